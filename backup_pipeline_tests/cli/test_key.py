"""`key`, and what the other commands say of an encrypted backup, by their exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from backup_pipeline.core.ledger import Attempt
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.formats.files import EncryptedFormats, FileFormats
from backup_pipeline.formats.keys import AgeCipher, new_identity, parse_recipients
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline.stores.directory import DirectoryStore
from backup_pipeline.stores.wrappers import EncryptedStore, WrittenOutlines
from backup_pipeline_tests.cli.conftest import Run, made_installation
from backup_pipeline_tests.cli.installation import Ended, Installation
from backup_pipeline_tests.operations.conftest import SHOP
from backup_pipeline_tests.operations.made import Place

RunWith = Callable[..., Ended]
SECRET, PUBLIC = new_identity()
STRANGER_SECRET, STRANGER = new_identity()


@dataclass(frozen=True)
class Keys:
    """The files of the owner's key and of a stranger's, and an encrypted backup."""

    own: Path
    strange: Path
    attempt: Attempt

    @property
    def environment(self) -> Mapping[str, str]:
        return {"BACKUP_AGE_IDENTITY_FILE": str(self.own)}


@pytest.fixture(scope="module")
def installation(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One of these tests' own: an encrypted backup is its newest."""
    with made_installation(postgres_server, tmp_path_factory.mktemp("home")) as made:
        yield made


@pytest.fixture
def run_with(run: Run, monkeypatch: pytest.MonkeyPatch) -> RunWith:
    """Run a command with more in its environment."""

    def execute(environment: Mapping[str, str], *arguments: str) -> Ended:
        with monkeypatch.context() as changed:
            for name, value in environment.items():
                changed.setenv(name, value)
            return run(*arguments)

    return execute


@pytest.fixture(scope="module")
def keys(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keys]:
    folder = tmp_path_factory.mktemp("keys")
    for name, secret in (("own", SECRET), ("strange", STRANGER_SECRET)):
        (folder / name).write_text(secret)
        (folder / name).chmod(0o600)
    cipher = AgeCipher(parse_recipients(PUBLIC, setting="TEST"))
    ledger = SqlLedger(installation.environment["BACKUP_LEDGER_URL"])
    store = EncryptedStore(DirectoryStore(installation.store), cipher, WrittenOutlines(folder / "written"))
    place = Place(folder / "work", store, ledger, EncryptedFormats(FileFormats(), cipher))
    attempt = place.back_up(installation.environment["BACKUP_SOURCE_URL"], SHOP)
    yield Keys(folder / "own", folder / "strange", attempt)
    ledger.close()


def test_a_new_key_is_its_owners_alone_and_never_overwritten(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "owner-key.txt"
    made = run("key", "new", "--to", str(file))
    assert made.code == 0
    assert made.out.startswith("age1")
    assert file.stat().st_mode & 0o777 == 0o600
    assert f"# public key: {made.out.strip()}\nAGE-SECRET-KEY-1" in file.read_text()
    assert "AGE-SECRET-KEY" not in made.out + made.err
    before = file.read_text()
    again = run("key", "new", "--to", str(file))
    assert again.code == 21
    assert file.read_text() == before
    assert run("key", "check", "--identity", str(file)).out == made.out


@pytest.mark.acceptance("2.26")
def test_the_right_key_is_told_to_open_the_backup(run: Run, run_with: RunWith, keys: Keys) -> None:
    ended = run("key", "check", keys.attempt.backup_id, "--identity", str(keys.own))
    assert ended.code == 0
    assert f"The key of {PUBLIC} opens backup {keys.attempt.backup_id}." in ended.out
    shown = run_with(keys.environment, "show", keys.attempt.backup_id, "--json")
    actions = [(event["action"], event["detail"].get("identity")) for event in json.loads(shown.out)["audit"]]
    assert ("key used", PUBLIC) in actions


def test_a_wrong_key_ends_with_12_and_names_the_recipients(run: Run, keys: Keys) -> None:
    ended = run("key", "check", keys.attempt.backup_id, "--identity", str(keys.strange), "--json")
    assert ended.code == 12
    error = json.loads(ended.err.splitlines()[-1])
    assert error["code"] == 12
    assert f"is encrypted to {PUBLIC}; the key here, of {STRANGER}, does not open it" in error["message"]
    assert run("key", "check").code == 12


@pytest.mark.parametrize(
    ("command", "without", "with_key"),
    [
        (["verify", "--level", "1"], 0, 0),
        (["verify", "--level", "2"], 12, 0),
        (["download", "--as", "json", "--to", "{}/a"], 12, 0),
        (["download", "--to", "{}/b"], 0, 0),
        (["show"], 0, 0),
    ],
)
def test_what_reads_contents_ends_with_12_without_a_key(
    run: Run, run_with: RunWith, keys: Keys, tmp_path: Path, command: list[str], without: int, with_key: int
) -> None:
    verb, *options = (part.format(tmp_path) for part in command)
    given = [verb, keys.attempt.backup_id, *options]
    ended = run(*given)
    assert ended.code == without, ended.err
    if without == 12:
        assert PUBLIC in ended.err
        assert "BACKUP_AGE_IDENTITY_FILE" in ended.err
        assert list(tmp_path.rglob("*.json")) == []
    assert run_with(keys.environment, *given, *(["--force"] if verb == "download" else [])).code == with_key


def test_a_restore_without_the_key_touches_nothing(run: Run, keys: Keys, installation: Installation) -> None:
    ended = run("restore", keys.attempt.backup_id, "--to-source", "--mode", "replace", "--dry-run")
    assert ended.code == 12
    assert PUBLIC in ended.err


def test_show_names_the_recipients(run: Run, run_with: RunWith, keys: Keys) -> None:
    assert PUBLIC in run_with(keys.environment, "show", keys.attempt.backup_id).out
    assert f"is encrypted to {PUBLIC}" in " ".join(run("show", keys.attempt.backup_id).out.split())


def test_an_unencrypted_backup_needs_no_key(run: Run, installation: Installation, keys: Keys) -> None:
    ended = run("key", "check", installation.good.backup_id, "--identity", str(keys.strange))
    assert (ended.code, ended.out) == (0, f"Backup {installation.good.backup_id} is not encrypted.\n")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("BACKUP_AGE_RECIPIENTS", "age1nonsense", "'age1nonsense' is no age recipient"),
        pytest.param("BACKUP_AGE_RECIPIENTS", SECRET, "holds a private key", id="a private key"),
        ("BACKUP_AGE_IDENTITY_FILE", "/nowhere/key.txt", "/nowhere/key.txt, which can not be read"),
        ("BACKUP_AGE_IDENTITY", "hunter2", "holds a line that is no age private key"),
        ("BACKUP_S3_SSE", "rot13", "'rot13'"),
        ("BACKUP_S3_SSE_KMS_KEY_ID", "1234", "BACKUP_S3_SSE is not set"),
    ],
)
def test_a_bad_setting_ends_with_2_before_anything_runs(run_with: RunWith, name: str, value: str, says: str) -> None:
    ended = run_with({name: value}, "list")
    assert ended.code == 2
    assert says in ended.err.replace("\n", " ")
    assert SECRET not in ended.err


def test_people_are_told_when_others_may_read_the_key(run: Run, keys: Keys, caplog: pytest.LogCaptureFixture) -> None:
    keys.strange.chmod(0o640)
    run("key", "check", "--identity", str(keys.strange))
    assert f"chmod 600 {keys.strange}" in caplog.text
    keys.strange.chmod(0o600)


def test_a_query_takes_the_key(run: Run, run_with: RunWith, keys: Keys) -> None:
    for options in (("--catalog", "shop"), ("--as-of", keys.attempt.backup_id)):
        without = run("query", "SELECT max(id) AS most FROM goods", "--json", *options)
        assert without.code == 12, without.err
        assert PUBLIC in without.err
        ended = run_with(keys.environment, "query", "SELECT max(id) AS most FROM goods", "--json", *options)
        assert json.loads(ended.out) == [{"most": 500}], ended.err
