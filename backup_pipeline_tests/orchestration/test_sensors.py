"""The sensors: each death and each failed check is told once, and what ended by itself is left alone."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import psycopg
import pytest
from dagster._core.test_utils import create_run_for_test

from backup_pipeline.core.ledger import Status
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.core.ports import Event, StageStarted
from backup_pipeline.operations.attempts import Request, begin
from backup_pipeline.orchestration.keys import CATALOG_TAG
from backup_pipeline.wiring.ports import open_ports
from backup_pipeline_tests.actors import TESTER
from backup_pipeline_tests.orchestration.installation import Installation, until
from backup_pipeline_tests.orchestration.sensing import tell_of_cancellation, tell_of_failure, tell_of_success, tick
from backup_pipeline_tests.servers.parents import python


def _dead_run(installation: Installation, event: str, status: dg.DagsterRunStatus, *, row: bool, **tags: str) -> str:
    """A run that Dagster knows as ended, and that could not end its row (or had not begun one)."""
    with installation.instance() as instance:
        run = create_run_for_test(
            instance,
            job_name="shop_full_backup",
            tags={CATALOG_TAG: "shop", **tags},
            status=dg.DagsterRunStatus.STARTED,
        )
        if row:
            request = Request(
                catalog=installation.catalog,
                kind=Kind.FULL,
                tables=("notes",),
                day=installation.today,
                type=Trigger.MANUAL,
                actor=TESTER,
                run_id=run.run_id,
            )
            with open_ports(installation.settings, "shop") as ports:
                begin(request, ports)
        told = instance.report_run_failed if status is dg.DagsterRunStatus.FAILURE else instance.report_run_canceled
        told(run, event)
    return str(run.run_id)


@pytest.mark.acceptance("2.25")
def test_a_failed_run_that_left_its_row_open_is_closed_and_told_once(installation: Installation) -> None:
    run_id = _dead_run(installation, "Killed. password=hush", dg.DagsterRunStatus.FAILURE, row=True)
    tell_of_failure(installation, run_id)
    attempt = installation.attempt()
    assert attempt.status is Status.FAILED
    assert "Killed" in (attempt.error_message or "")
    [alert] = installation.alerts()
    assert attempt.backup_id in alert
    assert "hush" not in alert
    tell_of_failure(installation, run_id)
    assert len(installation.alerts()) == 1


def test_a_run_that_failed_before_its_row_is_told_too(installation: Installation) -> None:
    run_id = _dead_run(installation, "No code server.", dg.DagsterRunStatus.FAILURE, row=False)
    tell_of_failure(installation, run_id)
    [alert] = installation.alerts()
    assert "No code server." in alert
    assert run_id in alert
    assert installation.attempts() == []


def test_a_run_that_dagster_will_retry_is_not_told_yet(installation: Installation) -> None:
    tags = {"dagster/max_retries": "1"}
    run_id = _dead_run(installation, "Killed.", dg.DagsterRunStatus.FAILURE, row=False, **tags)
    tell_of_failure(installation, run_id)
    assert installation.alerts() == []


def test_a_canceled_run_that_left_its_row_open_is_closed_as_canceled(installation: Installation) -> None:
    run_id = _dead_run(installation, "Force-terminated.", dg.DagsterRunStatus.CANCELED, row=True)
    tell_of_cancellation(installation, run_id)
    assert installation.attempt().status is Status.CANCELED
    [alert] = installation.alerts()
    assert "canceled" in alert
    tell_of_cancellation(installation, run_id)
    assert len(installation.alerts()) == 1


def test_runs_of_nobody_s_catalog_are_ignored(installation: Installation) -> None:
    run_id = _dead_run(installation, "x", dg.DagsterRunStatus.FAILURE, row=False, **{CATALOG_TAG: "elsewhere"})
    tell_of_failure(installation, run_id)
    assert installation.alerts() == []


def test_the_failure_sensor_of_the_daemon_sees_runs_of_the_command_line(installation: Installation) -> None:
    cursor = tick(installation, "backup_failed").cursor  # the first tick only takes its bearings
    _dead_run(installation, "one", dg.DagsterRunStatus.FAILURE, row=True)
    _dead_run(installation, "two", dg.DagsterRunStatus.FAILURE, row=False)
    after = tick(installation, "backup_failed", cursor).cursor
    assert [attempt.status for attempt in installation.attempts()] == [Status.FAILED]
    assert len(installation.alerts()) == 1  # both in one tick, and in one thread of alerts
    held_back = [event for event in installation.audits() if event.action == "alert held back"]
    assert len(held_back) == 1
    tick(installation, "backup_failed", after)
    assert len(installation.alerts()) == 1


def test_failed_checks_of_a_good_run_are_told_with_their_tables(installation: Installation) -> None:
    assert installation.run().success
    installation.sql("DELETE FROM orders WHERE amount > 300")
    result = installation.run()
    assert result.success
    attempt = installation.attempt()
    assert attempt.status is Status.SUCCESS_WITH_WARNINGS
    assert any("shrinkage" in warning and "orders" in warning for warning in attempt.warnings)
    assert installation.alerts() == []
    tell_of_success(installation, result.run_id)
    [alert] = installation.alerts()
    assert "orders, shrinkage" in alert
    assert attempt.backup_id in alert


def test_a_run_whose_checks_passed_is_not_told(installation: Installation) -> None:
    result = installation.run()
    tell_of_success(installation, result.run_id)
    assert installation.alerts() == []


def test_the_orphans_sensor_leaves_the_living_alone(installation: Installation) -> None:
    with open_ports(installation.settings, "shop") as ports:
        request = Request(installation.catalog, Kind.FULL, ("notes",), installation.today, Trigger.MANUAL, TESTER)
        begin(request, ports)
    said = tick(installation, "backup_orphans")
    assert "alive" in str(said.skip_reason)
    assert installation.attempt().status is Status.RUNNING


class _Interrupt:
    """Somebody presses Ctrl-C when the run reaches its bundle."""

    def tell(self, event: Event) -> None:
        if isinstance(event, StageStarted) and event.stage == "bundle":
            signal.raise_signal(signal.SIGINT)


def test_ctrl_c_ends_run_and_row_as_canceled(installation: Installation) -> None:
    with pytest.raises(KeyboardInterrupt):
        installation.run(progress=_Interrupt())
    attempt = installation.attempt()
    assert attempt.status is Status.CANCELED
    assert installation.backups() == []
    with installation.instance() as instance:
        run = instance.get_run_by_id(attempt.run_id or "")
    assert run is not None
    assert run.status is dg.DagsterRunStatus.CANCELED


RUN = """
from datetime import UTC, datetime
from pathlib import Path
from backup_pipeline.catalogs import load_catalog
from backup_pipeline.core.schedule import local_date
from backup_pipeline.core.ports import Silence
from backup_pipeline.orchestration.launch import RunOrder, run_backup
from backup_pipeline.settings import Settings
from backup_pipeline_tests.actors import TESTER
catalog = load_catalog(Path(sys.argv[1]))
today = local_date(datetime.now(UTC), "Asia/Dhaka")
run_backup(RunOrder(catalog, (), today, "to be killed", TESTER), Settings(), Silence())
"""


@contextmanager
def _backup_that_hangs(installation: Installation) -> Iterator[subprocess.Popen[bytes]]:
    """A backup in a process of its own, in the midst of its export: three tables are done, one never ends."""
    installation.sql(
        "DROP VIEW totals; CREATE VIEW totals AS"
        " SELECT n AS customer_id, 1 AS amount, pg_sleep(CASE n WHEN 5 THEN 600 ELSE 0 END)::text AS orders"
        " FROM generate_series(1, 10) AS n"
    )
    with subprocess.Popen(python(RUN, str(installation.catalog_file))) as process:
        try:
            until(lambda: _done_tables(installation) == 3 and bool(_sleeping(installation)), 60)
            yield process
        finally:
            process.kill()


def _done_tables(installation: Installation) -> int:
    return sum(key.endswith("partition.json") for key in installation.store_keys())


def _sleeping(installation: Installation) -> list[int]:
    query = (
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
        " AND query LIKE '%totals%' AND state = 'active' AND pid <> pg_backend_pid()"
    )
    with psycopg.connect(installation.source_url) as session:
        return [row[0] for row in session.execute(query)]


def test_a_backup_killed_in_its_export_is_closed_by_the_next_start_and_leaves_nothing(
    installation: Installation,
) -> None:
    with _backup_that_hangs(installation) as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
    killed = installation.attempt()
    assert killed.status is Status.RUNNING
    assert [path.name for path in (installation.home / "work").iterdir()] == [killed.backup_id]
    assert installation.backups() == []
    assert installation.alerts() == []

    said = tick(installation, "backup_orphans")
    assert killed.backup_id in str(said.skip_reason)
    closed = installation.attempt()
    assert closed.status is Status.FAILED
    with installation.instance() as instance:
        run = instance.get_run_by_id(killed.run_id or "")
    assert run is not None
    assert run.status is dg.DagsterRunStatus.FAILURE
    assert "ended without a word" in (closed.error_message or "")
    [alert] = installation.alerts()
    assert killed.backup_id in alert
    tick(installation, "backup_orphans")
    assert len(installation.alerts()) == 1

    for pid in _sleeping(installation):
        installation.sql(f"SELECT pg_terminate_backend({pid}, 10000)")
    installation.sql("DROP VIEW totals; CREATE VIEW totals AS SELECT 1 AS customer_id, 2 AS amount, 3 AS orders")
    assert installation.run().success
    assert {key.split("/")[3] for key in installation.backups()} == {installation.attempt().backup_id}
    assert installation.manifest().consistent
    assert list((installation.home / "work").iterdir()) == []


def test_a_terminated_backup_stops_its_sql_at_once(installation: Installation) -> None:
    with _backup_that_hangs(installation) as process:
        process.send_signal(signal.SIGINT)
        took = until(lambda: not _sleeping(installation), 10, every=0.02)
        process.wait(20)
    assert took < 2, f"the query ran on for {took:.1f} s"
    assert installation.attempt().status is Status.CANCELED
    assert installation.backups() == []
