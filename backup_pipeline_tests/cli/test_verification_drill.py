"""`drill` as people and scripts use it: the report, JSON, exit codes, injected faults."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from backup_pipeline.core.drill.objects import DatabaseObjects
from backup_pipeline.core.verification import depth_of, has_failed
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline.ledger.tables import backup_logs
from backup_pipeline.postgres.drill import PostgresScratch
from backup_pipeline_tests.cli.conftest import Run, made_installation
from backup_pipeline_tests.cli.installation import Installation


@pytest.fixture(scope="module")
def installation(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with made_installation(postgres_server, tmp_path_factory.mktemp("home")) as made:
        yield made


def level(installation: Installation) -> tuple[int, bool]:
    ledger = SqlLedger(installation.environment["BACKUP_LEDGER_URL"])
    try:
        found = ledger.get(installation.good.backup_id)
        verification = found.verification if found else None
        return depth_of(verification), not has_failed(verification)
    finally:
        ledger.close()


def test_a_good_backup_earns_level_4_and_the_report_says_how(run: Run, installation: Installation) -> None:
    ended = run("drill")
    assert (ended.code, ended.err.count("Error")) == (0, 0)
    assert f"Drill of backup {installation.good.backup_id}: everything came back as it was" in ended.out
    assert "sold   2,000      2,000  bytes" in ended.out
    assert "2 of 2 tables" in ended.out
    assert "A restore of this backup would take about" in ended.out
    assert level(installation) == (4, True)
    assert "4, just now" in run("list").out
    shown = run("show", "latest").out
    assert "drill" in shown


def test_there_has_to_be_such_a_backup(run: Run, installation: Installation) -> None:
    assert run("drill", "20261120T180000Z-full-1f3a9c2e").code == 10
    assert run("drill", installation.failed.backup_id).code == 10
    assert run("drill", "latest", "--catalog", "other").code == 10
    assert run("drill", "--inject", "fire").code == 2


@pytest.mark.parametrize(("fault", "code"), [("bitflip", 20), ("drop-file", 20), ("stale", 22)])
def test_an_injected_fault_is_told_as_one(run: Run, installation: Installation, fault: str, code: int) -> None:
    before = level(installation)
    ended = run("drill", "--inject", fault)
    assert ended.code == code
    assert f"FAULT INJECTED: {fault}. No level is recorded, and nobody is alerted." in ended.out
    assert f"Injected fault {fault} was FOUND" in ended.err
    assert level(installation) == before


def test_an_old_backup_ends_with_22_when_all_else_is_well_and_json_has_it_all(
    run: Run, installation: Installation
) -> None:
    ledger = SqlLedger(installation.environment["BACKUP_LEDGER_URL"])
    row = backup_logs.c.backup_id == installation.good.backup_id
    old = installation.good.created_at - timedelta(days=9)
    try:
        with ledger._engine.begin() as connection:
            connection.execute(update(backup_logs).where(row).values(created_at=old))
        ended = run("drill", "--json")
    finally:
        with ledger._engine.begin() as connection:
            connection.execute(update(backup_logs).where(row).values(created_at=installation.good.created_at))
        ledger.close()
    report = json.loads(ended.out)
    assert (ended.code, report["passed"]) == (22, True)
    assert report["stale"].startswith("The newest good backup of catalog shop began")
    assert report["outcome"] == report["stale"]
    assert {table["name"]: (table["parquet"], table["sheet"]) for table in report["tables"]} == {
        "goods": ("bytes", "bytes"),
        "sold": ("bytes", "bytes"),
    }
    assert report["predicted_restore_seconds"] > 0


def test_a_difference_ends_with_20_and_the_next_step(
    run: Run, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PostgresScratch, "objects", lambda _: DatabaseObjects())
    ended = run("drill")
    assert ended.code == 20
    assert "DIFFERENT: public.goods: schema.sql makes it (table), and it is not there." in ended.out
    assert "What to do:" in ended.err
    assert level(installation) == (3, False)
    assert [*(Path(installation.environment["BACKUP_HOME"]) / "work" / "drills").iterdir()] == []
