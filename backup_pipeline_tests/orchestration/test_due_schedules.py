"""The daily schedule, tick by tick across midnight in Dhaka."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from dagster._utils.schedules import schedule_execution_time_iterator

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.orchestration.definitions import assemble
from backup_pipeline.orchestration.due import daily_schedule
from backup_pipeline.orchestration.keys import STOPPED, daily_partitions
from backup_pipeline.settings import BUILT_IN_CATALOGS, Settings
from backup_pipeline_tests.core.zones import Zone, changing
from backup_pipeline_tests.orchestration.installation import isp_catalogs


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return isp_catalogs()["isp"]


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return assemble(isp_catalogs(), Settings(catalogs=BUILT_IN_CATALOGS, automation="running"))


def _tick(
    definitions: dg.Definitions, at: datetime, *, catalog: Catalog | None = None, now: datetime | None = None
) -> dg.RunRequest:
    """A tick that is due `at`, and comes then or `now`."""
    isp = catalog or isp_catalogs()["isp"]
    schedule = daily_schedule(isp, str(isp.schedule), STOPPED, clock=lambda: now or at)
    context = dg.build_schedule_context(scheduled_execution_time=at, repository_def=definitions.get_repository_def())
    with dg.partition_loading_context(effective_dt=at):
        [request] = schedule.evaluate_tick(context).run_requests or []
    return request


def test_it_is_on_at_midnight_in_dhaka_where_automation_runs(definitions: dg.Definitions) -> None:
    schedule = definitions.resolve_schedule_def("isp_daily")
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 0 * * *", "Asia/Dhaka")
    assert schedule.job_name == "isp_full_backup"


@pytest.mark.acceptance("0.12")
def test_its_ticks_are_at_18_utc(definitions: dg.Definitions) -> None:
    schedule = definitions.resolve_schedule_def("isp_daily")
    start = datetime(2026, 11, 21, 17, 59, 59, tzinfo=UTC).timestamp()
    ticks = schedule_execution_time_iterator(start, str(schedule.cron_schedule), schedule.execution_timezone)
    assert [next(ticks).astimezone(UTC).isoformat() for _ in range(2)] == [
        "2026-11-21T18:00:00+00:00",
        "2026-11-22T18:00:00+00:00",
    ]


@pytest.mark.acceptance("0.12")
@pytest.mark.parametrize(
    ("at", "line", "key"),
    [
        (datetime(2026, 11, 20, 18, 0, tzinfo=UTC), "0 0 * * *", "2026-11-21"),
        (datetime(2026, 11, 21, 17, 59, tzinfo=UTC), "59 23 * * *", "2026-11-21"),
        (datetime(2026, 11, 21, 18, 0, tzinfo=UTC), "0 0 * * *", "2026-11-22"),
        (datetime(2026, 12, 31, 18, 0, tzinfo=UTC), "0 0 * * *", "2027-01-01"),
        (datetime(2028, 2, 28, 18, 0, tzinfo=UTC), "0 0 * * *", "2028-02-29"),
    ],
)
def test_the_partition_of_a_tick_is_its_date_in_dhaka(
    definitions: dg.Definitions, catalog: Catalog, at: datetime, line: str, key: str
) -> None:
    scheduled = catalog.model_copy(update={"schedule": line})
    assert _tick(definitions, at, catalog=scheduled).partition_key == key


def test_a_tick_that_fires_late_keeps_the_date_it_was_due(definitions: dg.Definitions, catalog: Catalog) -> None:
    due = datetime(2026, 11, 21, 17, 30, tzinfo=UTC)
    evening = catalog.model_copy(update={"schedule": "30 23 * * *"})
    request = _tick(definitions, due, catalog=evening, now=due + timedelta(hours=1))
    assert request.partition_key == "2026-11-21"


@pytest.mark.parametrize(
    ("at", "newest"),
    [
        (datetime(2026, 11, 21, 17, 59, 59, tzinfo=UTC), "2026-11-21"),
        (datetime(2026, 11, 21, 18, 0, 0, tzinfo=UTC), "2026-11-22"),
    ],
)
def test_a_date_becomes_a_partition_at_its_midnight_and_not_a_second_before(
    catalog: Catalog, at: datetime, newest: str
) -> None:
    with dg.partition_loading_context(effective_dt=at):
        assert daily_partitions(catalog).get_last_partition_key() == newest
        assert daily_partitions(catalog).has_partition_key("2026-11-22") is (newest == "2026-11-22")


def test_a_tick_launches_the_full_job_once_however_often_it_is_evaluated(definitions: dg.Definitions) -> None:
    at = datetime(2026, 11, 21, 18, tzinfo=UTC)
    first, again = _tick(definitions, at), _tick(definitions, at)
    assert first.run_key == again.run_key
    assert first.run_key != _tick(definitions, datetime(2026, 11, 22, 18, tzinfo=UTC)).run_key


def test_a_schedule_of_several_ticks_a_day_launches_each_of_them(catalog: Catalog) -> None:
    often = catalog.model_copy(update={"schedule": "0 */6 * * *"})
    definitions = assemble({"isp": often}, Settings(catalogs=BUILT_IN_CATALOGS))
    ticks = (datetime(2026, 11, 21, hour, tzinfo=UTC) for hour in (0, 6, 12))
    requests = [_tick(definitions, tick, catalog=often) for tick in ticks]
    assert {request.partition_key for request in requests} == {"2026-11-21"}
    assert len({request.run_key for request in requests}) == 3


def test_where_clocks_change_each_date_is_launched_once_and_has_its_partition() -> None:
    """At midnight, which in some places comes twice on one day of the year, and on another never."""
    midnight_changes = [zone for zone in changing() if zone.name in _AT_MIDNIGHT]
    assert len(midnight_changes) >= 4
    for zone in midnight_changes:
        _check_launches(zone, zone.changes[:2])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_each_date_is_launched_once_in_all_timezones() -> None:
    for zone in changing():
        _check_launches(zone, zone.changes)


_AT_MIDNIGHT = {"Africa/Cairo", "America/Havana", "America/Santiago", "Asia/Beirut"}


def _check_launches(zone: Zone, changes: Sequence[datetime]) -> None:
    catalog = isp_catalogs()["isp"].model_copy(update={"timezone": zone.name})
    definitions = assemble({"isp": catalog}, Settings(catalogs=BUILT_IN_CATALOGS))
    for change in changes:
        ticks = _ticks_around(definitions.resolve_schedule_def("isp_daily"), change)
        requests = [request for at in ticks for request in _tried(catalog, definitions, at)]
        dates = [day.isoformat() for day in _dates_around(change, ZoneInfo(zone.name))]
        assert [request.partition_key for request in requests] == dates, (zone.name, change)
        assert len({request.run_key for request in requests}) == len(dates)


def _ticks_around(schedule: dg.ScheduleDefinition, change: datetime) -> list[datetime]:
    """The scheduler's ticks on the date of `change` and on those before and after it."""
    zone = ZoneInfo(str(schedule.description).split(", ")[-1].rstrip(")."))
    start = (change - timedelta(days=4)).timestamp()
    ticks = schedule_execution_time_iterator(start, schedule.cron_schedule, schedule.execution_timezone)
    near = (tick.astimezone(UTC) for tick in islice(ticks, 40))
    return [at for at in near if at.astimezone(zone).date() in _dates_around(change, zone)]


def _dates_around(change: datetime, zone: ZoneInfo) -> Sequence[date]:
    return [change.astimezone(zone).date() + timedelta(days=shift) for shift in (-1, 0, 1)]


def _tried(catalog: Catalog, definitions: dg.Definitions, at: datetime) -> Sequence[dg.RunRequest]:
    schedule = daily_schedule(catalog, str(catalog.schedule), STOPPED, clock=lambda: at)
    context = dg.build_schedule_context(scheduled_execution_time=at, repository_def=definitions.get_repository_def())
    with dg.partition_loading_context(effective_dt=at):
        requests = schedule.evaluate_tick(context).run_requests or []
        assert all(daily_partitions(catalog).has_partition_key(str(request.partition_key)) for request in requests)
    return requests
