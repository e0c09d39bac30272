"""The sensor that accounts for what is due, and what Dagster itself can not see: each is told by the watch."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test, create_test_daemon_workspace_context
from dagster._core.workspace.load_target import PythonFileTarget
from dagster._scheduler.scheduler import launch_scheduled_runs

from backup_pipeline.core.due import settle
from backup_pipeline.core.ledger import Outcome, Status
from backup_pipeline.core.names import Trigger
from backup_pipeline.core.schedule import last_due
from backup_pipeline.core.scope import Scope
from backup_pipeline.operations.health import watch_all
from backup_pipeline.orchestration import due as overdue_module
from backup_pipeline.orchestration.keys import DUE_TAG
from backup_pipeline.wiring.ports import ports_over
from backup_pipeline_tests.ledger.attempts import attempt
from backup_pipeline_tests.orchestration.installation import TIMEZONE, Installation
from backup_pipeline_tests.watching import an_hour_ago

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)


def _due_an_hour_ago(installation: Installation) -> datetime:
    """A daily schedule whose last time is an hour ago, whenever the test runs; that time."""
    line = an_hour_ago()
    installation.edit_catalog("grace_minutes: 0", f'grace_minutes: 0\nschedule: "{line}"')
    due = last_due(line, TIMEZONE, datetime.now(UTC))
    assert due is not None
    return due


def _watched_at(installation: Installation, now: datetime) -> None:
    ledger, catalog = installation.ledger, installation.catalog
    ledger.dues.settle("shop", lambda known: settle(catalog, known, now), since=now, now=now)
    ledger.close()


def _tick(installation: Installation) -> tuple[Sequence[dg.RunRequest], str]:
    """One tick of the sensor: what it launches, and what it says."""
    definitions = installation.definitions()
    with (
        installation.instance() as instance,
        dg.build_sensor_context(
            instance=instance,
            repository_def=definitions.get_repository_def(),
            resources={"shop_backups": installation.resource()},
        ) as context,
    ):
        data = definitions.resolve_sensor_def("backup_overdue").evaluate_tick(context)
    return data.run_requests or [], data.skip_message or ""


def _execute(installation: Installation, request: dg.RunRequest) -> bool:
    assert request.job_name is not None
    with installation.instance() as instance:
        done = installation.run_job(
            request.job_name,
            instance=instance,
            partition_key=request.partition_key,
            run_config=request.run_config,
            tags=request.tags,
        )
    return done.success


def _statuses(installation: Installation) -> list[Status]:
    return [attempt.status for attempt in installation.attempts()]


def _titles(installation: Installation) -> list[str]:
    return [str(body["title"]).partition(": ")[2] for body in installation.webhook.bodies]


def test_two_nights_missed_are_two_rows_one_alert_and_one_run_with_todays_date(installation: Installation) -> None:
    due = _due_an_hour_ago(installation)
    _watched_at(installation, due - DAY - HOUR)
    [request], _ = _tick(installation)
    assert _statuses(installation) == [Status.EXPECTED, Status.MISSED, Status.MISSED]
    assert _titles(installation) == ["Backup overdue: shop"]
    assert (request.job_name, request.partition_key) == ("shop_full_backup", installation.today.isoformat())
    [again], _ = _tick(installation)
    assert again.run_key == request.run_key  # which Dagster launches once

    assert _execute(installation, request)
    caught_up = next(attempt for attempt in installation.attempts() if attempt.status.good)
    assert (caught_up.type, str(caught_up.actor), caught_up.late) == ("automatic", "catch-up", False)
    assert caught_up.partition_date == installation.today
    assert "Makes up for 2 missed backups" in caught_up.reason
    assert installation.materialized("bundle") == {"bundle": {installation.today.isoformat()}}
    requests, said = _tick(installation)
    assert list(requests) == []
    assert "The newest good backup of catalog shop began" in said
    assert _titles(installation) == ["Backup overdue: shop", "Backups work again: shop"]
    assert _statuses(installation).count(Status.MISSED) == 2


def test_a_night_that_failed_is_tried_again_once(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backup_pipeline.core.due.TRY_AGAIN_AFTER", timedelta(0))
    due = _due_an_hour_ago(installation)
    _watched_at(installation, due - HOUR)
    now, ledger = datetime.now(UTC), installation.ledger
    failed = replace(
        attempt("failed", scope=Scope("shop"), type=Trigger.AUTOMATIC, due_at=due, created_at=now),
        started_at=now,
        partition_date=now.date(),
    )
    assert ledger.dues.take(failed).due_at == due
    ledger.end("failed", Outcome(Status.FAILED, now, error_message="The disk was full."))
    ledger.close()
    [request], _ = _tick(installation)
    assert (request.run_key, request.partition_key) == (
        f"try again shop {due.isoformat()}",
        installation.today.isoformat(),
    )
    assert _execute(installation, request)
    [again] = [row for row in installation.attempts() if row.status.good]
    assert (again.type, str(again.actor), again.due_at) == ("automatic", "catch-up", None)
    assert again.partition_date == installation.today
    assert again.reason == "Tries again after failed failed, with the rows of now."
    requests, _ = _tick(installation)
    assert list(requests) == []


def test_no_catch_up_while_a_full_backup_waits_or_runs(installation: Installation) -> None:
    due = _due_an_hour_ago(installation)
    _watched_at(installation, due - HOUR)
    with installation.instance() as instance:
        create_run_for_test(instance, job_name="shop_full_backup", status=dg.DagsterRunStatus.STARTED)
    requests, said = _tick(installation)
    assert list(requests) == []
    assert "One catch-up run" in said
    assert _statuses(installation) == [Status.EXPECTED, Status.MISSED]


def test_a_tick_that_comes_too_late_leaves_it_to_the_watch(installation: Installation) -> None:
    installation.edit_catalog("grace_minutes: 0", 'grace_minutes: 0\nschedule: "* * * * *"')
    definitions = installation.definitions()
    schedule, repository = definitions.resolve_schedule_def("shop_daily"), definitions.get_repository_def()
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    for scheduled, launched in [(now, 1), (now - 13 * MINUTE, 1), (now - 16 * MINUTE, 0)]:
        with dg.build_schedule_context(scheduled_execution_time=scheduled, repository_def=repository) as context:
            data = schedule.evaluate_tick(context)
        assert len(data.run_requests or []) == launched
        for request in data.run_requests or []:
            assert request.tags[DUE_TAG] == scheduled.isoformat()
    assert "too late now, `backup_overdue` sees to it" in (data.skip_message or "")


@pytest.mark.acceptance("2.7")
def test_a_scheduled_run_takes_over_the_row_that_was_expected(installation: Installation) -> None:
    due = _due_an_hour_ago(installation)
    installation.edit_catalog("grace_minutes: 0", "grace_minutes: 90")
    _watched_at(installation, due - HOUR)
    _tick(installation)
    assert _statuses(installation) == [Status.EXPECTED, Status.EXPECTED]
    with installation.instance() as instance:
        tags = {"dagster/schedule_name": "shop_daily", DUE_TAG: due.isoformat()}
        assert installation.run_job("shop_full_backup", instance=instance, tags=tags).success
    [expected, good] = sorted(installation.attempts(), key=lambda attempt: attempt.status)
    assert (good.status.good, good.due_at, good.type) == (True, due, "automatic")
    assert (expected.status, expected.due_at) == (Status.EXPECTED, due + DAY)


def test_the_bundle_shows_the_calendar(installation: Installation) -> None:
    result = installation.run()
    with installation.instance() as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey(["shop", "bundle"]))
    assert result.success
    assert event is not None
    assert event.asset_materialization is not None
    shown = str(event.asset_materialization.metadata["calendar"].value)
    assert shown.splitlines()[2].startswith("| customers |")
    assert shown.splitlines()[2].endswith("| G |")


# What Dagster itself can not see.

HEALTHY = """
from pathlib import Path
from backup_pipeline.catalogs import load_catalogs
from backup_pipeline.orchestration import due
from backup_pipeline.orchestration.definitions import assemble
from backup_pipeline.settings import Settings
{spoil}
defs = assemble(load_catalogs(Settings().catalogs), Settings())
"""
TICK_RAISES = """
def broken(*_):
    raise RuntimeError("this tick raises")
due.start_deadline = broken
"""
DOES_NOT_LOAD = "raise RuntimeError('this code server is down')"


def _daemon(installation: Installation, spoil: str) -> tuple[Sequence[dg.DagsterRun], Sequence[str]]:
    """The scheduler of the real daemon, over a real code server, a tick long: the runs, and what ticks ended with."""
    file = installation.home / "served.py"
    file.write_text(HEALTHY.format(spoil=spoil))
    target = PythonFileTarget(str(file), None, str(Path(__file__).parents[2]), "shop")
    minute = datetime.now(UTC).replace(second=0, microsecond=0)
    with warnings.catch_warnings(), installation.instance() as instance, ExitStack() as opened:
        warnings.simplefilter("ignore")  # of a location that does not load
        workspace = opened.enter_context(create_test_daemon_workspace_context(target, instance))
        for now in (minute - timedelta(seconds=30), minute):
            list(launch_scheduled_runs(workspace, logging.getLogger("test"), now, {}))
        states = instance.all_instigator_state()
        ticks = [tick for state in states for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id)]
        return instance.get_runs(), [str(tick.error.message if tick.error else tick.status.value) for tick in ticks]


def _watch(installation: Installation, now: datetime) -> Sequence[str]:
    """Somebody runs `check` at `now`: how the catalogs stand."""
    ledger = installation.ledger
    ports = replace(ports_over(ledger, installation.settings), clock=lambda: now)
    try:
        return [one.state.value for one in watch_all([installation.catalog], ports)]
    finally:
        ledger.close()


@pytest.fixture
def every_minute(installation: Installation) -> Installation:
    installation.configure(BACKUP_AUTOMATION="running")
    installation.edit_catalog("grace_minutes: 0", 'grace_minutes: 0\nschedule: "* * * * *"')
    return installation


def test_a_scheduler_that_works_launches_a_run_with_its_due_time(every_minute: Installation) -> None:
    [run], _ = _daemon(every_minute, spoil="")
    assert run.job_name == "shop_full_backup"
    assert DUE_TAG in run.tags


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(TICK_RAISES, id="a tick raises", marks=pytest.mark.slow),
        pytest.param(DOES_NOT_LOAD, id="the code server is down"),
    ],
)
def test_what_creates_no_run_is_told_by_the_watch(every_minute: Installation, spoil: str) -> None:
    now = datetime.now(UTC)
    every_minute.edit_catalog("* * * * *", "*/10 * * * *")
    _watch(every_minute, now - 10 * MINUTE)
    every_minute.edit_catalog("*/10 * * * *", "* * * * *")
    runs, ticks = _daemon(every_minute, spoil)
    assert list(runs) == []
    assert ("Error occurred during the evaluation of schedule" in "".join(ticks)) == (spoil == TICK_RAISES)
    every_minute.edit_catalog("* * * * *", "*/10 * * * *")
    assert _watch(every_minute, now + 30 * MINUTE) == ["overdue"]
    [title] = _titles(every_minute)
    assert title == "Backup overdue: shop"
    assert _statuses(every_minute).count(Status.MISSED) >= 2


def test_a_sensor_that_fails_is_no_loss_to_the_watch(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        message = "this sensor raises"
        raise RuntimeError(message)

    due = _due_an_hour_ago(installation)
    _watched_at(installation, due - HOUR)
    monkeypatch.setattr(overdue_module, "account", broken)
    with pytest.raises(Exception, match=r"Error occurred|this sensor raises"):
        _tick(installation)
    assert _titles(installation) == []
    assert _watch(installation, datetime.now(UTC)) == ["overdue"]
    assert _titles(installation) == ["Backup overdue: shop"]


def test_a_ledger_that_is_away_is_said_and_ends_no_tick(installation: Installation) -> None:
    installation.configure(BACKUP_LEDGER_URL="postgresql://127.0.0.1:1/gone")
    requests, said = _tick(installation)
    assert list(requests) == []
    assert "shop: not known." in said
