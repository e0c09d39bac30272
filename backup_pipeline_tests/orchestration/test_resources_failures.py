"""Runs whose process was killed: Dagster's own record says so too, whoever notices first."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import dagster as dg
import psutil
from dagster._core.launcher.base import WorkerStatus
from dagster._core.test_utils import create_run_for_test
from dagster._daemon.monitoring.run_monitoring import monitor_started_run

from backup_pipeline.core.ledger import Owner, Status
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.core.ports import Ports
from backup_pipeline.operations.attempts import Request, begin
from backup_pipeline.operations.backup import close_orphans
from backup_pipeline.orchestration.keys import CATALOG_TAG, OWNER_TAG, owner_tag
from backup_pipeline.orchestration.sensors import close_what_died
from backup_pipeline.wiring.ports import open_ports, this_owner
from backup_pipeline_tests.actors import TESTER
from backup_pipeline_tests.orchestration.installation import Installation
from backup_pipeline_tests.orchestration.sensing import tell_of_failure, tick


def killed_process() -> Owner:
    """A process that was there, and was killed."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        owner = Owner(socket.gethostname(), process.pid, psutil.Process(process.pid).create_time())
        process.kill()
    return owner


def _started(instance: dg.DagsterInstance, **tags: str) -> dg.DagsterRun:
    status = dg.DagsterRunStatus.STARTED
    run = create_run_for_test(instance, job_name="shop_full_backup", tags={CATALOG_TAG: "shop", **tags}, status=status)
    assert isinstance(run, dg.DagsterRun)
    return run


def _begin(installation: Installation, ports: Ports, run: dg.DagsterRun, owner: Owner) -> None:
    today = installation.today
    request = Request(installation.catalog, Kind.FULL, ("notes",), today, Trigger.MANUAL, TESTER, run_id=run.run_id)
    begin(request, replace(ports, owner=owner))


def _status(installation: Installation, run: dg.DagsterRun) -> dg.DagsterRunStatus:
    with installation.instance() as instance:
        found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found.status


def test_a_run_of_akilled_process_ends_in_the_ledger_and_in_dagster_and_is_told_once(
    installation: Installation,
) -> None:
    with installation.instance() as instance, open_ports(installation.settings, "shop") as ports:
        run = _started(instance)
        _begin(installation, ports, run, killed_process())
    tick(installation, "backup_orphans")
    assert _status(installation, run) is dg.DagsterRunStatus.FAILURE
    assert installation.attempt().status is Status.FAILED
    tell_of_failure(installation, run.run_id)  # the sensor for failed runs sees it now, too
    [alert] = installation.alerts()
    assert "ended without a word" in alert


def test_a_living_run_is_left_alone(installation: Installation) -> None:
    with installation.instance() as instance, open_ports(installation.settings, "shop") as ports:
        run = _started(instance)
        other = _started(instance)
        _begin(installation, ports, run, this_owner())
    tick(installation, "backup_orphans")
    assert _status(installation, run) is dg.DagsterRunStatus.STARTED
    assert _status(installation, other) is dg.DagsterRunStatus.STARTED  # nothing is known of it


def test_a_run_whose_row_somebody_else_closed_ends_too(installation: Installation) -> None:
    with installation.instance() as instance, open_ports(installation.settings, "shop") as ports:
        run, canceled = _started(instance), _started(instance)
        owner = killed_process()
        _begin(installation, ports, run, owner)
        close_orphans(ports)
        _begin(installation, ports, canceled, owner)
        instance.report_run_canceling(canceled)
        assert len(close_what_died(instance, installation.catalogs, ports)) == 1
    assert _status(installation, run) is dg.DagsterRunStatus.FAILURE
    assert _status(installation, canceled) is dg.DagsterRunStatus.CANCELED


def test_of_another_hosts_run_the_daemon_waits_for_signs_and_asks_for_no_process(installation: Installation) -> None:
    elsewhere = replace(killed_process(), host="worker-1")
    with installation.instance() as instance, open_ports(installation.settings, "shop") as ports:
        run, closed = _started(instance), _started(instance)
        _begin(installation, ports, run, elsewhere)
        assert close_what_died(instance, installation.catalogs, ports) == []
        assert _status(installation, run) is dg.DagsterRunStatus.STARTED
        later = replace(ports, clock=lambda: ports.clock() + timedelta(seconds=91))
        assert len(close_what_died(instance, installation.catalogs, later)) == 1
        assert _status(installation, run) is dg.DagsterRunStatus.FAILURE
        # One that another host's run took the lease from: its row is closed, and nothing more comes of it.
        _begin(installation, ports, closed, elsewhere)
        assert len(close_orphans(replace(ports, clock=lambda: ports.clock() + timedelta(seconds=91)))) == 1
        assert close_what_died(instance, installation.catalogs, ports) == []
        assert _status(installation, closed) is dg.DagsterRunStatus.STARTED
        close_what_died(instance, installation.catalogs, replace(ports, clock=lambda: ports.clock() + _A_WHILE))
    assert _status(installation, closed) is dg.DagsterRunStatus.FAILURE


_A_WHILE = timedelta(minutes=20)


def test_run_monitoring_notices_a_killed_command_line_without_the_ledger(installation: Installation) -> None:
    with installation.instance() as instance:
        run = _started(instance, **{OWNER_TAG: owner_tag(killed_process())})
        alive = _started(instance, **{OWNER_TAG: owner_tag(this_owner())})
        for one in (run, alive):
            record = instance.get_run_record_by_id(one.run_id)
            assert record is not None
            monitor_started_run(instance, cast(Any, None), record, logging.getLogger(__name__))
    assert _status(installation, run) is dg.DagsterRunStatus.FAILURE
    assert _status(installation, alive) is dg.DagsterRunStatus.STARTED


def test_a_run_executed_again_in_the_ui_is_not_looked_for_in_the_process_of_the_first(
    installation: Installation,
) -> None:
    """It has the tags of the first, whose process has ended long ago."""
    gone = {OWNER_TAG: owner_tag(killed_process())}
    with installation.instance() as instance:
        first = _started(instance, **gone)
        again = create_run_for_test(
            instance,
            job_name=first.job_name,
            tags=dict(first.tags),
            parent_run_id=first.run_id,
            root_run_id=first.run_id,
        )
        launcher = instance.run_launcher
        assert launcher.check_run_worker_health(first).status is WorkerStatus.NOT_FOUND
        assert launcher.check_run_worker_health(again).status is WorkerStatus.UNKNOWN  # no server has launched it here
