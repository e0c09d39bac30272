"""Installations that earlier versions made, under this version.

`earlier/NAME.*` hold the two stores of each, catalogs, keys, ledger, and what its commands printed: a plain full
backup, a sealed one that was copied and drilled, a sealed selective one that is held, one of another catalog that is
encrypted and sealed, the safety backup of a restore, and one that failed. `earlier/make.py` made them:

    main_1_4    November 2026, format 1.4, ledger r0008, at d6402b0
    v1_0        1.0.0, format 1.7; also backups of two businesses

CONTRIBUTING.md says how a version adds its own.
"""

from __future__ import annotations

import json
import os
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from backup_pipeline import read_partition
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline_tests.cli.conftest import Run
from backup_pipeline_tests.cli.installation import executed
from backup_pipeline_tests.earlier.make import HOME, RETAIL
from backup_pipeline_tests.servers.postgres import temporary_database

EARLIER = Path(__file__).parent.parent / "earlier"
NEWEST = "v1_0"
OLDER = ("main_1_4",)


@dataclass(frozen=True)
class Earlier:
    """What one of them left."""

    name: str

    @cached_property
    def printed(self) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """What its commands printed, by command."""
        read: Mapping[str, Sequence[Mapping[str, Any]]] = json.loads((EARLIER / f"{self.name}.json").read_text())
        return read

    def __getitem__(self, reason: str) -> str:
        """The backup that was made for that reason."""
        return next(str(row["backup_id"]) for row in self.printed["list --json"] if row["reason"] == reason)


PLAIN, SEALED, HELD = "plain", "sealed and copied", "of two tables"
ENCRYPTED, SAFETY = "encrypted and sealed", "before restore 2"
GOOD = (PLAIN, SEALED, HELD, ENCRYPTED, SAFETY)
CUSTOMER = "SELECT name, balance::text, size::text, note::text, code::text, born::text FROM customers WHERE id = 7"
SEVENTH = (
    "15.75",
    "large",
    '{"n": 7}',
    "8f14e45f-ceea-167a-5a36-dedd4bea2543",
    "1990-01-08",
)


@pytest.fixture(scope="module", params=[NEWEST, *(pytest.param(name, marks=pytest.mark.slow) for name in OLDER)])
def earlier(request: pytest.FixtureRequest) -> Earlier:
    return Earlier(request.param)


@pytest.fixture(scope="module")
def environment(
    earlier: Earlier, postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """That installation, unpacked."""
    home = tmp_path_factory.mktemp(earlier.name)
    with tarfile.open(EARLIER / f"{earlier.name}.tar.gz") as packed:
        packed.extractall(home, filter="data")
    (home / "keys" / "age.txt").chmod(0o600)
    (home / "keys" / "seal.pem").chmod(0o600)
    with temporary_database(postgres_server) as ledger, temporary_database(postgres_server) as source:
        with psycopg.connect(ledger) as session:
            dump = (EARLIER / f"{earlier.name}.sql").read_text().replace(HOME, str(home))
            for role in sorted(set(re.findall(r"\bTO (admin|super_admin|backup_\w+)", dump))):
                create = f"DO $$ BEGIN CREATE ROLE {role} NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
                session.execute(create.encode())
            session.execute(dump.encode())
        yield {
            "BACKUP_HOME": str(home / "home"),
            "BACKUP_CATALOGS": str(home / "catalogs"),
            "BACKUP_CATALOG": "shop",
            "BACKUP_SOURCE_URL": source,
            "BACKUP_LEDGER_URL": ledger,
            "BACKUP_STORE": (home / "store").as_uri(),
            "BACKUP_SECOND_STORE": (home / "second").as_uri(),
            "BACKUP_SEAL_KEY_FILE": str(home / "keys" / "seal.pem"),
            "BACKUP_AGE_IDENTITY_FILE": str(home / "keys" / "age.txt"),
        }


@pytest.fixture
def run(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a command in that installation; what it printed, and its exit code."""
    for name in [name for name in os.environ if name.startswith("BACKUP_")]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return partial(executed, capfd)


COMMANDS = ("list --json", "audit --json --limit 1000", "alerts list --json", "restores list --json")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_row_is_printed_as_that_version_printed_it(
    run: Run, environment: dict[str, str], earlier: Earlier, command: str
) -> None:
    ended = run(*command.split())
    assert ended.code == 0, ended.err
    now = json.loads(ended.out)
    home = str(Path(environment["BACKUP_HOME"]).parent)
    for row in json.loads(json.dumps(earlier.printed[command]).replace(HOME, home)):
        assert any(row.items() <= other.items() for other in now), row


@pytest.mark.parametrize("reason", GOOD)
def test_a_backup_is_shown_with_its_tables(run: Run, earlier: Earlier, reason: str) -> None:
    ended = run("show", earlier[reason])
    assert ended.code == 0, ended.err
    assert "customers" in ended.out
    assert reason in ended.out


@pytest.mark.parametrize("reason", GOOD)
def test_a_backup_is_verified_with_what_it_refers_to(run: Run, earlier: Earlier, reason: str) -> None:
    ended = run("verify", earlier[reason], "--level", "3")
    assert ended.code == 0, ended.out + ended.err


@pytest.mark.parametrize(("reason", "store"), [(SEALED, "second"), (SEALED, "first"), (ENCRYPTED, "first")])
def test_a_full_backup_is_restored_whole(
    run: Run, earlier: Earlier, fresh_database: str, reason: str, store: str
) -> None:
    ended = run("restore", earlier[reason], "--target-url", fresh_database, "--store", store)
    assert ended.code == 0, ended.out + ended.err
    with psycopg.connect(fresh_database) as session:
        counts = session.execute(
            "SELECT (SELECT count(*) FROM areas), (SELECT count(*) FROM customers), (SELECT count(*) FROM orders)"
        ).fetchone()
        assert counts == (2, 40, 121)
        assert session.execute(CUSTOMER).fetchone() == ("Customer 7", *SEVENTH)
        tags = session.execute("SELECT tags FROM orders WHERE shop = 'A' AND number = 3").fetchone()
        assert tags == (["a3", None],)


def test_a_safety_backup_gives_the_rows_back_that_a_restore_overwrote(
    run: Run, earlier: Earlier, fresh_database: str
) -> None:
    ended = run("restore", earlier[PLAIN], "-T", "areas", "--target-url", fresh_database)
    assert ended.code == 0, ended.out + ended.err
    ended = run("restore", earlier[SAFETY], "--target-url", fresh_database)
    assert ended.code == 0, ended.out + ended.err
    with psycopg.connect(fresh_database) as session:
        assert session.execute(CUSTOMER).fetchone() == ("Nobody", *SEVENTH)


@pytest.mark.parametrize("store", ["first", "second"])
def test_its_ledger_agrees_with_its_stores(run: Run, store: str) -> None:
    ended = run("rebuild", "--store", store)
    assert ended.code == 0, ended.out + ended.err
    assert "agree" in ended.out + ended.err


def test_a_lost_ledger_is_rebuilt_from_its_store(
    run: Run, earlier: Earlier, fresh_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKUP_LEDGER_URL", fresh_database)
    # The plain backup has no seal: where a key for seals is set, a person has to take it for right.
    unsealed = [row["backup_id"] for row in earlier.printed["list --json"] if row["sha256"] and not row["seal_key"]]
    accepted = [word for backup_id in unsealed for word in ("--accept", backup_id)]
    ended = run("rebuild", "--confirm", *accepted)
    assert ended.code == 0, ended.out + ended.err
    rows = {row["backup_id"]: row for row in json.loads(run("list", "--json").out)}
    assert set(rows) == {row["backup_id"] for row in earlier.printed["list --json"] if row["sha256"]}
    assert {earlier[reason] for reason in GOOD} <= set(rows)
    known = ("catalog", "kind", "type", "reason", "created_at", "record_count", "table_counts", "sha256", "seal_key")
    for printed in earlier.printed["list --json"]:
        if printed["backup_id"] in rows:
            rebuilt = rows[printed["backup_id"]]
            assert {name: rebuilt[name] for name in known} == {name: printed[name] for name in known}
    assert rows[earlier[HELD]]["held_until"] == "2099-01-01T18:00:00+00:00"


@pytest.mark.parametrize("catalog", ["shop", "vault"])
@pytest.mark.usefixtures("run")
def test_its_partitions_are_read(catalog: str) -> None:
    customers = read_partition(catalog, "customers", as_="arrow")
    assert customers.num_rows == 40
    assert customers.column("name")[6].as_py() == "Customer 7"


def test_its_open_request_can_be_shown_and_decided(run: Run, earlier: Earlier) -> None:
    number = str(next(row["id"] for row in earlier.printed["restores list --json"] if row["status"] == "requested"))
    shown = run("restores", "show", number)
    assert shown.code == 0, shown.err
    assert "orders" in shown.out
    rejected = run("restores", "reject", number, "--reason", "that database is gone")
    assert rejected.code == 0, rejected.err


def test_its_hold_and_its_retention_count(run: Run, earlier: Earlier) -> None:
    ended = run("prune", "--json")
    assert ended.code == 0, ended.out + ended.err
    assert earlier[HELD] in ended.out
    assert "shop" in ended.out


@pytest.mark.parametrize("command", [("calendar",), ("stats",), ("audit",), ("key", "check", ENCRYPTED)])
def test_whatever_looks_into_it_works(run: Run, earlier: Earlier, command: tuple[str, ...]) -> None:
    ended = run(*(earlier[word] if word == ENCRYPTED else word for word in command))
    assert ended.code == 0, ended.out + ended.err


def test_a_business_is_read_of_its_chain(
    run: Run, earlier: Earlier, fresh_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if earlier.name in OLDER:
        pytest.skip("that version had no businesses")
    of_b = [row for row in earlier.printed["list --json"] if row["business"] == "b" and row["sha256"]]
    assert [row["kind"] for row in of_b] == ["incremental", "full"]  # the newest first
    for row in of_b:
        ended = run("verify", row["backup_id"], "--level", "3")
        assert ended.code == 0, ended.out + ended.err
    with psycopg.connect(fresh_database) as session:
        session.execute(RETAIL.encode())
    monkeypatch.setenv("BACKUP_SOURCE_URL_RETAIL", fresh_database)
    ended = run("businesses", "restore", of_b[0]["backup_id"], "--json")  # what it would do: the rows are older here
    assert ended.code == 0, ended.out + ended.err
    [sales] = [table for table in json.loads(ended.out)["plan"]["diff"]["tables"] if table["name"] == "sales"]
    assert (sales["create"], sales["update"], sales["delete"]) == (0, 1, 1)
