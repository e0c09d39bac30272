"""An installation that the version of November 2026 made (format 1.4, ledger r0008) under this version.

`earlier/main_1_4.*` hold its two stores, catalogs, keys, ledger, and what its commands printed: a plain full backup, a
sealed one that was copied and drilled, a sealed selective one that is held, one of another catalog that is encrypted
and sealed, the safety backup of a restore, and one that failed. `earlier/make.py` made them at d6402b0.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from backup_pipeline import read_partition
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline_tests.cli.conftest import Run
from backup_pipeline_tests.cli.installation import executed
from backup_pipeline_tests.earlier.make import HOME
from backup_pipeline_tests.servers.postgres import temporary_database

EARLIER = Path(__file__).parent.parent / "earlier"
PRINTED: Mapping[str, Sequence[Mapping[str, Any]]] = json.loads((EARLIER / "main_1_4.json").read_text())
BY_REASON = {row["reason"]: str(row["backup_id"]) for row in PRINTED["list --json"]}
PLAIN, SEALED, HELD = BY_REASON["plain"], BY_REASON["sealed and copied"], BY_REASON["of two tables"]
ENCRYPTED, SAFETY = BY_REASON["encrypted and sealed"], BY_REASON["before restore 2"]
GOOD = (PLAIN, SEALED, HELD, ENCRYPTED, SAFETY)
CUSTOMER = "SELECT name, balance::text, size::text, note::text, code::text, born::text FROM customers WHERE id = 7"
SEVENTH = (
    "15.75",
    "large",
    '{"n": 7}',
    "8f14e45f-ceea-167a-5a36-dedd4bea2543",
    "1990-01-08",
)


@pytest.fixture(scope="module")
def environment(
    postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """That installation, unpacked."""
    home = tmp_path_factory.mktemp("earlier_main")
    with tarfile.open(EARLIER / "main_1_4.tar.gz") as packed:
        packed.extractall(home, filter="data")
    (home / "keys" / "age.txt").chmod(0o600)
    (home / "keys" / "seal.pem").chmod(0o600)
    with temporary_database(postgres_server) as ledger, temporary_database(postgres_server) as source:
        with psycopg.connect(ledger) as session:
            for role in ("admin", "super_admin", "backup_pipeline_writer"):
                create = f"DO $$ BEGIN CREATE ROLE {role} NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
                session.execute(create.encode())
            session.execute((EARLIER / "main_1_4.sql").read_text().replace(HOME, str(home)).encode())
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


@pytest.mark.parametrize("command", sorted(PRINTED))
def test_every_row_is_printed_as_that_version_printed_it(run: Run, environment: dict[str, str], command: str) -> None:
    ended = run(*command.split())
    assert ended.code == 0, ended.err
    now = json.loads(ended.out)
    home = str(Path(environment["BACKUP_HOME"]).parent)
    for row in json.loads(json.dumps(PRINTED[command]).replace(HOME, home)):
        assert any(row.items() <= other.items() for other in now), row


@pytest.mark.parametrize("backup_id", GOOD)
def test_a_backup_is_shown_with_its_tables(run: Run, backup_id: str) -> None:
    ended = run("show", backup_id)
    assert ended.code == 0, ended.err
    assert "customers" in ended.out
    assert BY_REASON.items() & {(reason, backup_id) for reason in BY_REASON if reason in ended.out}


@pytest.mark.parametrize("backup_id", GOOD)
def test_a_backup_is_verified_with_what_it_refers_to(run: Run, backup_id: str) -> None:
    ended = run("verify", backup_id, "--level", "3")
    assert ended.code == 0, ended.out + ended.err


@pytest.mark.parametrize(("backup_id", "store"), [(SEALED, "second"), (SEALED, "first"), (ENCRYPTED, "first")])
def test_a_full_backup_is_restored_whole(run: Run, fresh_database: str, backup_id: str, store: str) -> None:
    ended = run("restore", backup_id, "--target-url", fresh_database, "--store", store)
    assert ended.code == 0, ended.out + ended.err
    with psycopg.connect(fresh_database) as session:
        counts = session.execute(
            "SELECT (SELECT count(*) FROM areas), (SELECT count(*) FROM customers), (SELECT count(*) FROM orders)"
        ).fetchone()
        assert counts == (2, 40, 121)
        assert session.execute(CUSTOMER).fetchone() == ("Customer 7", *SEVENTH)
        tags = session.execute("SELECT tags FROM orders WHERE shop = 'A' AND number = 3").fetchone()
        assert tags == (["a3", None],)


def test_a_safety_backup_gives_the_rows_back_that_a_restore_overwrote(run: Run, fresh_database: str) -> None:
    ended = run("restore", PLAIN, "-T", "areas", "--target-url", fresh_database)
    assert ended.code == 0, ended.out + ended.err
    ended = run("restore", SAFETY, "--target-url", fresh_database)
    assert ended.code == 0, ended.out + ended.err
    with psycopg.connect(fresh_database) as session:
        assert session.execute(CUSTOMER).fetchone() == ("Nobody", *SEVENTH)


@pytest.mark.parametrize("store", ["first", "second"])
def test_its_ledger_agrees_with_its_stores(run: Run, store: str) -> None:
    ended = run("rebuild", "--store", store)
    assert ended.code == 0, ended.out + ended.err
    assert "agree" in ended.out + ended.err


def test_a_lost_ledger_is_rebuilt_from_its_store(
    run: Run, fresh_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKUP_LEDGER_URL", fresh_database)
    # The plain backup has no seal: where a key for seals is set, a person has to take it for right.
    ended = run("rebuild", "--confirm", "--accept", PLAIN, "--accept", SAFETY)
    assert ended.code == 0, ended.out + ended.err
    rows = {row["backup_id"]: row for row in json.loads(run("list", "--json").out)}
    assert set(rows) == set(GOOD)
    known = ("catalog", "kind", "type", "reason", "created_at", "record_count", "table_counts", "sha256", "seal_key")
    for printed in PRINTED["list --json"]:
        if printed["backup_id"] in rows:
            rebuilt = rows[printed["backup_id"]]
            assert {name: rebuilt[name] for name in known} == {name: printed[name] for name in known}
    assert rows[HELD]["held_until"] == "2099-01-01T18:00:00+00:00"


@pytest.mark.parametrize("catalog", ["shop", "vault"])
@pytest.mark.usefixtures("run")
def test_its_partitions_are_read(catalog: str) -> None:
    customers = read_partition(catalog, "customers", as_="arrow")
    assert customers.num_rows == 40
    assert customers.column("name")[6].as_py() == "Customer 7"


def test_its_open_request_can_be_shown_and_decided(run: Run) -> None:
    number = str(next(row["id"] for row in PRINTED["restores list --json"] if row["status"] == "requested"))
    shown = run("restores", "show", number)
    assert shown.code == 0, shown.err
    assert "orders" in shown.out
    rejected = run("restores", "reject", number, "--reason", "that database is gone")
    assert rejected.code == 0, rejected.err


def test_its_hold_and_its_retention_count(run: Run) -> None:
    ended = run("prune", "--json")
    assert ended.code == 0, ended.out + ended.err
    assert HELD in ended.out
    assert "shop" in ended.out


@pytest.mark.parametrize("command", [("calendar",), ("stats",), ("audit",), ("key", "check", ENCRYPTED)])
def test_whatever_looks_into_it_works(run: Run, command: tuple[str, ...]) -> None:
    ended = run(*command)
    assert ended.code == 0, ended.out + ended.err
