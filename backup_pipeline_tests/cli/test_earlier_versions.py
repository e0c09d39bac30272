"""Backups and a ledger that an earlier version made: they list, verify and restore.

`earlier/` holds the store and the ledger of version 0.1 (November 2026, format 1.2): three tables, two full backups,
the newer one drilled, and a selective one that is held.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psycopg
import pytest

from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline_tests.cli.conftest import Run
from backup_pipeline_tests.cli.installation import executed
from backup_pipeline_tests.servers.postgres import temporary_database

EARLIER = Path(__file__).parent.parent / "earlier"
CATALOG = "catalog: shop\ntimezone: Asia/Dhaka\ntables:\n  areas:\n  customers:\n  orders:\n"
FIRST, SECOND = "20261130T044053Z-full-44cf21ea", "20261130T044111Z-full-eb6485d9"
SELECTIVE = "20261130T044126Z-selective-22745d5e"


@pytest.fixture(scope="module")
def environment(
    postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """An installation with the earlier version's store and ledger."""
    home = tmp_path_factory.mktemp("earlier")
    with tarfile.open(EARLIER / "store_0_1.tar.gz") as packed:
        packed.extractall(home, filter="data")
    (home / "catalogs").mkdir()
    (home / "catalogs" / "shop.yaml").write_text(CATALOG)
    with temporary_database(postgres_server) as ledger, temporary_database(postgres_server) as source:
        with psycopg.connect(ledger) as session:
            _make_roles(session)
            session.execute((EARLIER / "ledger_0_1.sql").read_text().encode())
        yield {
            "BACKUP_HOME": str(home),
            "BACKUP_CATALOGS": str(home / "catalogs"),
            "BACKUP_CATALOG": "shop",
            "BACKUP_SOURCE_URL": source,
            "BACKUP_LEDGER_URL": ledger,
            "BACKUP_STORE": (home / "store").as_uri(),
        }


def _make_roles(session: psycopg.Connection) -> None:
    for role in ("admin", "super_admin", "backup_pipeline_writer"):
        session.execute(
            f"DO $$ BEGIN CREATE ROLE {role} NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$".encode()
        )


def _revision(ledger: str) -> str:
    with psycopg.connect(ledger) as session:
        row = session.execute("SELECT version_num FROM backup_ledger_version").fetchone()
        assert row is not None
        return str(row[0])


@pytest.fixture
def run(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a command in that installation; what it printed, and its exit code."""
    for name in [name for name in os.environ if name.startswith("BACKUP_")]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return partial(executed, capfd)


def test_its_backups_are_listed_with_what_was_known_of_them(run: Run) -> None:
    rows = {row["backup_id"]: row for row in json.loads(run("list", "--json").out)}
    assert set(rows) == {FIRST, SECOND, SELECTIVE}
    assert rows[SECOND]["record_count"] == 163
    assert rows[SECOND]["verification_level"] == "4"
    assert rows[SELECTIVE]["held_reason"] == "kept for the test"
    shown = run("show", FIRST)
    assert shown.code == 0, shown.err
    assert "the first" in shown.out


@pytest.mark.parametrize("backup_id", [FIRST, SECOND, SELECTIVE])
def test_its_backups_are_verified_as_deep_as_ours(run: Run, backup_id: str) -> None:
    ended = run("verify", backup_id, "--level", "3")
    assert ended.code == 0, ended.out + ended.err


def test_its_newest_backup_is_restored_whole(run: Run, fresh_database: str) -> None:
    ended = run("restore", SECOND, "--target-url", fresh_database)
    assert ended.code == 0, ended.out + ended.err
    with psycopg.connect(fresh_database) as session:
        counts = session.execute(
            "SELECT (SELECT count(*) FROM areas), (SELECT count(*) FROM customers), (SELECT count(*) FROM orders)"
        ).fetchone()
        assert counts == (2, 40, 121)
        row = session.execute(
            "SELECT name, balance::text, size::text, note::text, code::text FROM customers WHERE id = 1"
        )
        assert row.fetchone() == ("Customer 1", "2.25", "large", '{"n": 1}', "c4ca4238-a0b9-2382-0dcc-509a6f75849b")
        assert session.execute("SELECT tags FROM orders WHERE number = 3").fetchone() == (["a3", None],)


def test_its_ledger_agrees_with_its_store(run: Run) -> None:
    ended = run("rebuild")
    assert ended.code == 0, ended.out + ended.err
    assert "agree" in ended.out + ended.err


def test_its_hold_and_its_retention_count(run: Run) -> None:
    ended = run("prune", "--json")
    assert ended.code == 0, ended.out + ended.err
    assert SELECTIVE in ended.out


def test_doctor_says_that_nothing_is_to_be_done_and_looks_alone(
    run: Run, fresh_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(fresh_database) as session:
        _make_roles(session)
        session.execute((EARLIER / "ledger_0_1.sql").read_text().encode())
    monkeypatch.setenv("BACKUP_LEDGER_URL", fresh_database)
    lines = json.loads(run("doctor", "--json").out)
    of_ledger = [line for line in lines if line["topic"] == "ledger"]
    assert "an earlier version made its tables (r0007; this version has" in of_ledger[0]["what"]
    assert "`backup-pipeline list`" in of_ledger[0]["do"]
    assert not [line for line in lines if "does not exist" in line["what"]]
    assert _revision(fresh_database) == "r0007"
    assert run("check").code in {0, 22}  # overdue or not, as the time of day has it
    assert _revision(fresh_database) > "r0007"


def test_doctor_says_of_a_newer_ledger_what_is_to_be_installed(
    run: Run, fresh_ledger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(fresh_ledger) as session:
        session.execute("UPDATE backup_ledger_version SET version_num = 'r9999'")
    monkeypatch.setenv("BACKUP_LEDGER_URL", fresh_ledger)
    lines = json.loads(run("doctor", "--json").out)
    [line] = [line for line in lines if line["topic"] == "ledger" and "newer version" in line["what"]]
    assert "a newer version made its tables (r9999; this version has r" in line["what"]
    assert line["do"] == "Install the version of backup-pipeline that made them."
    assert _revision(fresh_ledger) == "r9999"


@pytest.mark.parametrize("command", [("list",), ("calendar",), ("stats",), ("verify", SECOND), ("prune",), ("audit",)])
def test_whatever_looks_into_its_ledger_brings_it_to_this_version(
    run: Run, fresh_database: str, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    with psycopg.connect(fresh_database) as session:
        _make_roles(session)
        session.execute((EARLIER / "ledger_0_1.sql").read_text().encode())
    monkeypatch.setenv("BACKUP_LEDGER_URL", fresh_database)
    ended = run(*command)
    assert ended.code == 0, ended.out + ended.err
    assert _revision(fresh_database) > "r0007"


def test_a_ledger_without_tables_is_no_list_of_problems(
    run: Run, fresh_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKUP_LEDGER_URL", fresh_database)
    ended = run("doctor")
    assert "it answers, and has no tables yet" in ended.out
    assert "does not exist" not in ended.out
    listed = run("list")
    assert listed.code == 1
    assert "the first `backup-pipeline backup` makes them" in listed.err
