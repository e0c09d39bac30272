"""The demo's history: real backups of past nights, with what goes wrong in a month."""

from __future__ import annotations

import json
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from backup_pipeline.core.errors import RefusedError
from backup_pipeline.core.ledger import Status
from backup_pipeline.core.legacy import LegacyState
from backup_pipeline.core.restore.requests import RestoreStatus
from backup_pipeline.core.schedule import local_date
from backup_pipeline.core.scope import Scope
from backup_pipeline.core.verification import Level
from backup_pipeline.demo import CAR_AUDIO, create_system, live_a_day, lose_rows
from backup_pipeline.operations.history import DEMO_DATA, HistorySystem, Night, make_history, plan_history
from backup_pipeline.operations.legacy import legacy_files
from backup_pipeline.operations.verify import VerifyRequest, verify_attempt
from backup_pipeline.postgres.source import PostgresSource
from backup_pipeline.settings import given_settings
from backup_pipeline.wiring.embedded import ledger_ready
from backup_pipeline.wiring.history import demo_history_of, make_demo_history
from backup_pipeline.wiring.ports import open_ledger, ports_over
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.operations.made import Place, verify_ports
from backup_pipeline_tests.systems.system import catalog_of

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def test_a_month_has_one_night_of_each_trouble_and_none_at_its_ends() -> None:
    nights = plan_history(catalog_of("car_audio"), 30, NOW, loses_rows=True)
    assert len(nights) == 30
    assert Counter(night.night for night in nights) == Counter(
        {Night.GOOD: 26, Night.MISSED: 1, Night.LATE: 1, Night.FAILED: 1, Night.ROWS_LOST: 1}
    )
    assert nights[0].night is nights[-1].night is Night.GOOD
    assert nights == sorted(nights, key=lambda night: night.due)
    plain = plan_history(catalog_of("sales_portal"), 30, NOW, loses_rows=False)
    assert Night.ROWS_LOST not in {night.night for night in plain}


def test_the_nights_are_in_the_ledger_as_they_went_and_each_backup_is_a_whole_one(
    fresh_database: str, tmp_path: Path
) -> None:
    create_system(fresh_database, CAR_AUDIO, scale=0.1)
    place, catalog = Place(tmp_path / "spool"), catalog_of("car_audio")
    system = HistorySystem(
        catalog=catalog,
        ports=place.ports(fresh_database),
        broken=PostgresSource("postgresql://demo@127.0.0.1:1/nothing"),
        grow=lambda number: live_a_day(fresh_database, CAR_AUDIO, number),
        lose_rows=lambda: lose_rows(fresh_database, CAR_AUDIO),
        person=RAHIM,
    )
    nights = plan_history(catalog, 11, NOW, loses_rows=True)
    made = make_history(system, nights, time.monotonic, lambda _: None)
    rows = place.ledger.list()
    by_night = {night.night: night.due for night in nights}
    assert Counter(row.status for row in rows if row.status in {Status.MISSED, Status.FAILED}) == Counter(
        {Status.MISSED: 2, Status.FAILED: 1}
    )
    missed = {row.due_at for row in rows if row.status is Status.MISSED}
    assert missed == {by_night[Night.MISSED], by_night[Night.LATE]}
    (late,) = (row for row in rows if row.late)
    assert late.partition_date == local_date(by_night[Night.LATE], catalog.timezone)
    (failed,) = (row for row in rows if row.status is Status.FAILED)
    assert (failed.due_at, "127.0.0.1" in str(failed.error_message)) == (by_night[Night.FAILED], True)
    (held,) = (row for row in rows if row.hold is not None)
    assert held.created_at < by_night[Night.ROWS_LOST]
    assert all(row.reason.startswith(DEMO_DATA) for row in made)
    assert all(abs((row.snapshot_at or NOW) - row.created_at) < timedelta(minutes=1) for row in made)
    counts = [row.record_count or 0 for row in sorted(made, key=lambda row: row.created_at)]
    assert counts[:-2] == sorted(set(counts[:-2]))  # it grew every day, until rows were lost
    assert counts[-2] < counts[-3]
    report = verify_attempt(
        made[-1], VerifyRequest(Level.CONTENTS), verify_ports(place.store, ledger=place.ledger), actor=RAHIM
    )
    assert report.passed


@pytest.mark.parametrize("given", [{"source_url": SecretStr("postgresql://b@db/x")}, {"catalogs": Path("/tmp")}])
def test_nothing_is_invented_about_real_systems(given: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="demo systems alone"):
        make_demo_history(given_settings(home=tmp_path, **given), 10, lambda _: None)
    assert demo_history_of(given_settings(home=tmp_path)) is None


@pytest.mark.slow
def test_a_newcomers_home_has_a_history_of_every_system(tmp_path: Path) -> None:
    settings = given_settings(home=tmp_path)
    assert make_demo_history(settings, 10, lambda _: None) > 20
    told = demo_history_of(settings)
    assert told is not None
    assert json.dumps(told["catalogs"]) == '["isp", "isp_customers", "car_audio", "sales_portal"]'
    with ledger_ready(settings) as ready, open_ledger(ready) as ledger:
        for name in ("isp", "isp_customers", "car_audio", "sales_portal"):
            statuses = {row.status for row in ledger.list(scope=Scope(name))}
            assert {Status.SUCCESS, Status.MISSED, Status.FAILED} <= statuses
        (request,) = ledger.restores.list()
        assert request.status is RestoreStatus.REQUESTED
        store = ports_over(ledger, ready).store
        states = [file.state for file in legacy_files(catalog_of("sales_portal"), store)]
        assert sorted(states) == [LegacyState.GOOD, LegacyState.TRUNCATED]
    assert make_demo_history(settings, 10, lambda _: None) == 0  # what has backups keeps its own past
