"""Restore requests in the ledger: their rows, their audit, their alerts."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta

import pytest

from backup_pipeline.core.errors import BackupError, NotFoundError, PreflightRefusedError, RefusedError
from backup_pipeline.core.layout import RESTORES
from backup_pipeline.core.ledger import Owner
from backup_pipeline.core.ports import Ports
from backup_pipeline.core.restore import RemarkSeverity, RestoreRemark
from backup_pipeline.core.restore.requests import RestoreChange, RestoreStatus
from backup_pipeline.core.scope import Scope
from backup_pipeline.operations.restore.requests import (
    RestoreCaller,
    TargetDatabase,
    close_abandoned,
    end_restore_run,
    ended_when_it_fails,
    find_performable,
    plan_request,
    tidy,
)
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.ledger.attempts import attempt
from backup_pipeline_tests.operations.restore.conftest import AT, BY_RAHIM, ID, SECRET, Engine, Requests

DEAD = Owner("test", 2, 0.0)


def test_the_row_comes_before_anything_connects(requested: Requests) -> None:
    row = requested.add(tables=("customers",), reason="a wrong UPDATE")
    assert (row.status, row.backup_id, row.scope, row.database) == (RestoreStatus.REQUESTED, ID, Scope("isp"), "isp")
    assert (row.tables, row.mode, row.reason, row.created_at) == (("customers",), "replace", "a wrong UPDATE", AT)
    assert requested.row(row.id) == row
    assert requested.actions == ["restore requested"]


def test_what_is_no_backup_is_no_request(requested: Requests, ports: Ports) -> None:
    with pytest.raises(NotFoundError):
        requested.add(backup_id="20261121T120000Z-full-00000009")
    ports.ledger.begin(attempt("20261121T120000Z-full-00000002"))
    with pytest.raises(NotFoundError, match="has no bundle"):
        requested.add(backup_id="20261121T120000Z-full-00000002")
    assert ports.ledger.restores.list() == []


@pytest.mark.parametrize("needs_approval", [True, False])
def test_what_may_not_run_is_refused_before_anything_connects(requested: Requests, needs_approval: bool) -> None:
    row = requested.add()
    ledger = requested.ports.ledger
    if needs_approval:
        with pytest.raises(RefusedError, match="not approved yet"):
            find_performable(row.id, ledger, needs_approval=True)
    else:
        assert find_performable(row.id, ledger, needs_approval=False) == row
    with pytest.raises(NotFoundError):
        find_performable(99, ledger, needs_approval=needs_approval)


def test_no_secret_reaches_the_ledger_by_reason_or_plan(
    requested: Requests, target: TargetDatabase, ports: Ports, engine: Engine
) -> None:
    engine.remarks = (RestoreRemark(RemarkSeverity.WARNING, f"password={SECRET} postgresql://app:{SECRET}@db/isp"),)
    row = requested.add(reason=f"see postgresql://app:{SECRET}@db/isp")
    plan_request(row, target, ports)
    assert SECRET not in f"{requested.row(row.id)} {ports.ledger.audits()}"
    assert "***" in str(requested.row(row.id).plan)


@pytest.mark.parametrize(("attended", "alerts"), [(True, 0), (False, 1)])
def test_a_refusal_is_told_to_whoever_waits_else_to_everybody(
    requested: Requests, target: TargetDatabase, ports: Ports, attended: bool, alerts: int
) -> None:
    row, caller = requested.add(), RestoreCaller(RAHIM, attended=attended)
    with pytest.raises(PreflightRefusedError), ended_when_it_fails(row, target, ports, caller):
        raise PreflightRefusedError("No.")
    assert len(requested.alerts) == alerts
    assert requested.row(row.id).status is RestoreStatus.FAILED


def test_a_restore_whose_process_died_is_closed_and_told(requested: Requests, ports: Ports) -> None:
    dead, alive, waiting = requested.add(), requested.add(), requested.add()
    for row, owner in ((dead, DEAD), (alive, ports.owner)):
        ports.ledger.restores.change(row.id, RestoreChange(RestoreStatus.RUNNING, started_at=AT, owner=owner))
    closed = close_abandoned(replace(ports, alive=lambda owner: owner != DEAD))
    assert [row.id for row in closed] == [dead.id]
    statuses = [requested.row(row.id).status for row in (dead, alive, waiting)]
    assert statuses == [RestoreStatus.FAILED, RestoreStatus.RUNNING, RestoreStatus.REQUESTED]
    assert "ended without a word" in str(requested.row(dead.id).error_message)
    assert len(requested.alerts) == 1
    assert [row.id for row in close_abandoned(replace(ports, alive=lambda _: False))] == [waiting.id, alive.id]


def test_a_restore_on_another_host_is_dead_once_it_gives_no_sign(requested: Requests, ports: Ports) -> None:
    row = requested.add()
    elsewhere = Owner("another host", 1, 0.0)
    ports.ledger.restores.change(row.id, RestoreChange(RestoreStatus.RUNNING, started_at=AT, owner=elsewhere))
    assert close_abandoned(replace(ports, alive=lambda _: False)) == []
    [closed] = close_abandoned(replace(ports, clock=lambda: AT + timedelta(hours=1)))
    assert closed.id == row.id


def test_a_request_whose_process_died_before_it_began_is_canceled_in_silence(requested: Requests, ports: Ports) -> None:
    row = requested.add()
    assert requested.row(row.id).owner == ports.owner
    [closed] = close_abandoned(replace(ports, alive=lambda owner: owner != ports.owner))
    ended = requested.row(closed.id)
    assert (ended.id, ended.status) == (row.id, RestoreStatus.CANCELED)
    assert "Nothing was touched" in str(ended.error_message)
    assert requested.alerts == []


def test_files_of_dead_restores_go_when_none_runs(requested: Requests, ports: Ports) -> None:
    spool = ports.spool / RESTORES
    spool.mkdir()
    for name, hours in (("dead", 2), ("new", 0)):
        (spool / name).mkdir()
        changed = (AT - timedelta(hours=hours)).timestamp()
        os.utime(spool / name, (changed, changed))
    row = requested.add()
    ports.ledger.restores.change(row.id, RestoreChange(RestoreStatus.RUNNING, started_at=AT))
    tidy(ports)
    assert len(list(spool.iterdir())) == 2
    tidy(replace(ports, alive=lambda _: False))
    assert [folder.name for folder in spool.iterdir()] == ["new"]
    assert requested.row(row.id).status is RestoreStatus.FAILED


def test_the_run_of_a_request_that_died_ends_it_and_one_without_a_row_is_told(
    requested: Requests, ports: Ports
) -> None:
    error = BackupError("The run crashed.")
    of_run = replace(BY_RAHIM, run_id="r1")
    waiting, running = requested.add(of_run), requested.add(of_run)
    ports.ledger.restores.change(running.id, RestoreChange(RestoreStatus.RUNNING, started_at=AT))
    assert [row.id for row in end_restore_run("r1", "isp", error, ports, needs_approval=True)] == [running.id]
    assert requested.row(waiting.id).status is RestoreStatus.REQUESTED
    assert [row.id for row in end_restore_run("r1", "isp", error, ports, needs_approval=False)] == [waiting.id]
    assert [alert.title for alert in requested.alerts] == [
        f"Restore failed: isp into isp (request {running.id})",
        f"Restore failed: isp into isp (request {waiting.id})",
    ]
    assert end_restore_run("r9", "isp", error, ports, needs_approval=False) == []
    assert requested.alerts[-1].title == "Restore failed: isp"
