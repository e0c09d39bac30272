"""A store whose owner forges, and a key that seals, as somebody types it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from backup_pipeline.core.manifest import sealed
from backup_pipeline.core.verification import depth_of
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.formats.keys import Ed25519Keys, parse_seal_key
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline.operations.browse import place_of
from backup_pipeline.stores.directory import DirectoryStore
from backup_pipeline.stores.wrappers import SealedStore
from backup_pipeline_tests.cli.conftest import Run, made_installation
from backup_pipeline_tests.cli.installation import Installation
from backup_pipeline_tests.operations.conftest import SHOP
from backup_pipeline_tests.operations.made import Place

TARGET = "postgresql://nobody@127.0.0.1:1/nothing"


@pytest.fixture(scope="module")
def installation(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One of this module's own: its store is forged."""
    with made_installation(postgres_server, tmp_path_factory.mktemp("home")) as made:
        yield made


@pytest.fixture
def forged(installation: Installation) -> Iterator[str]:
    """The good backup's id; its bundle and its manifest are others now, and fit each other."""
    manifest = installation.store / installation.place.manifest
    before = installation.bundle.read_bytes(), manifest.read_bytes()
    data = before[0] + b"planted"
    body = json.loads(before[1])
    body["bundle"] |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    del body["manifest_sha256"]
    _replace(installation.bundle, data)
    _replace(manifest, sealed(body))
    yield installation.good.backup_id
    _replace(installation.bundle, before[0])
    _replace(manifest, before[1])
    ledger = SqlLedger(installation.environment["BACKUP_LEDGER_URL"])
    ledger.adopt([installation.good], [])
    ledger.close()


def _replace(path: Path, data: bytes) -> None:
    """As a store's owner can: whatever the mode of the file, and without touching what shares its bytes."""
    path.unlink()
    path.write_bytes(data)


@pytest.mark.parametrize(
    "command",
    [
        ("verify", "ID"),
        ("download", "ID"),
        ("download", "ID", "--as", "json"),
        ("restore", "ID", "--target-url", TARGET),
        ("restore", "latest", "--target-url", TARGET, "--mode", "replace", "--confirm", "nothing"),
    ],
)
def test_what_reads_a_forged_backup_ends_with_20(
    run: Run, forged: str, command: tuple[str, ...], tmp_path: Path
) -> None:
    ended = run(*(forged if word == "ID" else word for word in command))
    assert ended.code == 20
    told = ended.out + ended.err
    assert "the ledger" in told
    clash = "contradicts the ledger" if command[0] == "verify" else "contradict each other"
    assert clash in told.replace("\n", " ")
    assert list(tmp_path.iterdir()) == []


def test_show_says_so_beside_what_the_ledger_knows(run: Run, forged: str) -> None:
    ended = run("show", forged)
    assert (ended.code, "contradicts the ledger" in " ".join(ended.out.split())) == (0, True)


def test_a_rebuild_asks_for_a_persons_word(run: Run, forged: str, installation: Installation) -> None:
    ended = run("rebuild", "--confirm")
    assert ended.code == 3
    assert f"--accept {forged}" in ended.out.replace("\n", " ")
    row = _row(installation, forged)
    assert (row["sha256"], row["depth"]) == (installation.good.sha256, 1)
    assert run("rebuild", "--accept", forged, "--confirm").code == 0
    row = _row(installation, forged)
    assert (row["sha256"] == installation.good.sha256, row["depth"]) == (False, 0)


def test_accept_wants_an_id(run: Run) -> None:
    assert run("rebuild", "--accept", "latest").code == 2


def _row(installation: Installation, backup_id: str) -> dict[str, object]:
    ledger = SqlLedger(installation.environment["BACKUP_LEDGER_URL"])
    found = ledger.get(backup_id)
    ledger.close()
    assert found is not None
    return {"sha256": found.sha256, "depth": depth_of(found.verification), "seal_key": found.seal_key}


def test_a_key_for_seals_is_its_owners_alone_and_never_overwritten(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "seal.pem"
    made = run("key", "seal", "--to", str(file))
    assert (made.code, made.out.startswith("seal-ed25519:")) == (0, True)
    assert file.stat().st_mode & 0o777 == 0o600
    assert "PRIVATE KEY" not in made.out + made.err
    assert run("key", "seal", "--to", str(file)).code == 21


def test_a_sealed_backup_is_read_with_the_public_key_and_refused_without_its_seal(
    run: Run, installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = run("key", "seal", "--to", str(tmp_path / "seal.pem")).out.strip()
    keys = Ed25519Keys(parse_seal_key((tmp_path / "seal.pem").read_text(), where="TEST"))
    ledger = SqlLedger(installation.environment["BACKUP_LEDGER_URL"])
    raw = DirectoryStore(installation.store)
    place = Place(tmp_path / "work", SealedStore(raw, keys), ledger)
    row = place.back_up(installation.environment["BACKUP_SOURCE_URL"], SHOP)
    ledger.close()
    monkeypatch.setenv("BACKUP_SEAL_PUBLIC_KEYS", public)
    assert run("verify", row.backup_id).code == 0
    shown = run("show", row.backup_id)
    assert f"key {keys.signing}" in shown.out
    assert "sealed" in run("list").out
    manifest = installation.store / place_of(row).manifest
    body = json.loads(manifest.read_bytes())
    _replace(manifest, sealed({name: value for name, value in body.items() if name not in {"seal", "manifest_sha256"}}))
    ended = run("verify", row.backup_id)
    assert (ended.code, "has no seal" in (ended.out + ended.err).replace("\n", " ")) == (20, True)
    _replace(
        manifest, sealed({name: value for name, value in body.items() if name != "manifest_sha256"} | {"title": ""})
    )
    monkeypatch.setenv("BACKUP_SEAL_REQUIRED", "true")
    assert run("verify", installation.good.backup_id).code == 20
