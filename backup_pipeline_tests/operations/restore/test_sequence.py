"""A restore from its request to its report: its order, what keeps it from running, and how it ends in every case."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backup_pipeline.core.errors import (
    BackupError,
    CanceledError,
    LedgerError,
    LockedError,
    PreflightRefusedError,
    RefusedError,
    TargetError,
)
from backup_pipeline.core.ports import Ports
from backup_pipeline.core.restore import Mode, RemarkSeverity, RestoreRemark, RestoreReport, RestoreRequest
from backup_pipeline.core.restore.requests import RestoreRow, RestoreStatus
from backup_pipeline.core.scope import command_line
from backup_pipeline.operations.restore import request_restore, restore
from backup_pipeline.operations.restore.decisions import approve, reject
from backup_pipeline.operations.restore.requests import RestoreCaller, TargetDatabase, plan_request
from backup_pipeline_tests.actors import KARIM, RAHIM
from backup_pipeline_tests.doubles.ports import NOBODY
from backup_pipeline_tests.operations.restore.conftest import AT, BY_RAHIM, ID, SECRET, Engine, KeptDoor, Requests

STRICT = replace(BY_RAHIM, needs_approval=True)
REFUSAL = RestoreRemark(RemarkSeverity.REFUSAL, "orders refers to it.", "customers", do="Restore orders too.")


def _new(**fields: object) -> RestoreRequest:
    values: dict[str, object] = {"backup_id": ID, "actor": RAHIM, "mode": Mode.REPLACE}
    return RestoreRequest(**(values | fields))  # type: ignore[arg-type]


@pytest.mark.acceptance("3.10")
def test_a_restore_that_goes_well_is_done_with_plan_and_report(
    requested: Requests, target: TargetDatabase, ports: Ports, engine: Engine
) -> None:
    running: list[RestoreRow] = []
    engine.during = lambda: running.append(requested.newest)
    door = KeptDoor()
    outcome = restore(_new(), target, ports, BY_RAHIM, door)
    assert door.reached == ["show", "confirm", "watching"]
    [meanwhile] = running
    assert (meanwhile.status, meanwhile.owner, meanwhile.started_at) == (RestoreStatus.RUNNING, NOBODY, AT)
    ended = requested.row(outcome.row.id)
    assert (ended.status, ended.finished_at, ended.error_message) == (RestoreStatus.DONE, AT, None)
    assert ended.plan is not None
    assert ended.plan["database"] == "isp"
    assert ended.report is not None
    assert ended.report["safety_backup_id"] == outcome.report.safety_backup_id == f"safe-{ended.id}"
    assert requested.actions == ["restore requested", "restore started", "restore done"]
    assert requested.alerts == []


def test_without_a_safety_backup_none_is_made(target: TargetDatabase, ports: Ports, engine: Engine) -> None:
    outcome = restore(_new(safety_backup=False), target, ports, BY_RAHIM, KeptDoor())
    assert outcome.report.safety_backup_id is None


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (TargetError(f"Key of {SECRET} is gone.", do="Look."), RestoreStatus.FAILED, "Key of *** is gone."),
        (LockedError("Another restore runs there."), RestoreStatus.FAILED, "Another restore"),
        (ValueError(f"postgresql://app:{SECRET}@db"), RestoreStatus.FAILED, "ValueError"),
        (CanceledError("Stopped."), RestoreStatus.CANCELED, "Stopped."),
        (KeyboardInterrupt(), RestoreStatus.CANCELED, "stopped by hand"),
    ],
)
def test_a_restore_that_fails_says_so_and_people_hear_of_it(
    requested: Requests,
    target: TargetDatabase,
    ports: Ports,
    engine: Engine,
    error: BaseException,
    status: RestoreStatus,
    message: str,
) -> None:
    engine.running = error
    row = requested.add()
    with pytest.raises(type(error)):
        restore(row, target, ports, BY_RAHIM, KeptDoor())
    ended = requested.row(row.id)
    assert ended.status is status
    assert message in str(ended.error_message)
    [alert] = requested.alerts
    assert message in alert.what
    assert f"into isp (request {row.id})" in alert.title
    assert SECRET not in f"{ended} {alert} {ports.ledger.audits()}"
    assert requested.actions[-1] == f"restore {status}"


def test_a_refused_or_unconfirmed_plan_begins_nothing(
    requested: Requests, target: TargetDatabase, ports: Ports, engine: Engine
) -> None:
    row = requested.add()
    engine.remarks = (REFUSAL,)
    door = KeptDoor()
    with pytest.raises(PreflightRefusedError, match=r"customers: orders refers to it\.") as refused:
        restore(row, target, ports, BY_RAHIM, door)
    assert refused.value.do == "Restore orders too."
    assert door.reached == ["show"]
    engine.remarks, engine.confirm_name = (), "isp"
    for typed in (None, "", "ISP", "isp2"):
        with pytest.raises(PreflightRefusedError, match="not confirmed") as refused:
            restore(row, target, ports, BY_RAHIM, KeptDoor(typed))
        assert refused.value.do == "Type it."
    assert engine.began == []
    assert requested.row(row.id).status is RestoreStatus.REQUESTED
    restore(row, target, ports, BY_RAHIM, KeptDoor("isp"))
    assert engine.began == [ID]


@pytest.mark.parametrize(
    ("typed", "error"), [(None, PreflightRefusedError), ("no", PreflightRefusedError), (KeyboardInterrupt(), None)]
)
def test_a_new_request_ends_when_nobody_confirms_it(
    requested: Requests,
    target: TargetDatabase,
    ports: Ports,
    engine: Engine,
    typed: str | BaseException | None,
    error: type[BackupError] | None,
) -> None:
    engine.confirm_name = "isp"
    with pytest.raises(error or KeyboardInterrupt):
        restore(_new(), target, ports, BY_RAHIM, KeptDoor(typed))
    assert requested.newest.status is RestoreStatus.CANCELED
    assert (engine.began, requested.alerts) == ([], [])


def test_a_new_request_that_is_refused_ends_as_failed(
    requested: Requests, target: TargetDatabase, ports: Ports, engine: Engine
) -> None:
    engine.remarks = (REFUSAL,)
    for verb in (restore, request_restore):
        with pytest.raises(PreflightRefusedError):
            verb(_new(), target, ports, BY_RAHIM, KeptDoor())
        assert requested.newest.status is RestoreStatus.FAILED
    assert requested.alerts == []


def test_a_target_that_does_not_answer_ends_the_request(
    requested: Requests, target: TargetDatabase, ports: Ports, engine: Engine
) -> None:
    engine.planning = TargetError("No answer.")
    with pytest.raises(TargetError):
        restore(_new(), target, ports, BY_RAHIM, KeptDoor())
    assert requested.newest.status is RestoreStatus.FAILED
    assert len(requested.alerts) == 1


def test_what_is_asked_for_waits_with_its_plan(
    requested: Requests, target: TargetDatabase, ports: Ports, engine: Engine
) -> None:
    engine.confirm_name = "isp"
    door = KeptDoor("isp")
    row, plan = request_restore(_new(), target, ports, BY_RAHIM, door)
    assert door.reached == ["show"]
    waiting = requested.row(row.id)
    assert (waiting.status, waiting.owner) == (RestoreStatus.REQUESTED, None)
    assert waiting.plan is not None
    assert waiting.plan["digest"] == plan.digest
    assert engine.began == []


def test_with_approval_another_person_decides(
    requested: Requests, target: TargetDatabase, ports: Ports, engine: Engine
) -> None:
    engine.confirm_name = "isp"
    door = KeptDoor("isp")
    with pytest.raises(RefusedError, match="not approved yet") as refused:
        restore(_new(), target, ports, STRICT, door)
    assert refused.value.exit_code == 21
    assert door.reached == ["show"]
    row = requested.newest
    assert row.status is RestoreStatus.REQUESTED
    with pytest.raises(RefusedError, match="can not approve it too"):
        approve(row.id, command_line("Rahim"), ports)
    assert engine.began == []
    approved = approve(row.id, KARIM, ports, reason="checked")
    assert (approved.decided_actor, approved.decided_at, approved.decision_reason) == (KARIM, AT, "checked")
    restore(approved, target, ports, STRICT, door)
    assert requested.row(row.id).status is RestoreStatus.DONE
    assert requested.actions == ["restore requested", "restore approved", "restore started", "restore done"]


def test_what_was_decided_while_a_person_types_counts(
    requested: Requests, target: TargetDatabase, ports: Ports, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row is read again once it is confirmed."""
    row = requested.add()
    door = KeptDoor()
    confirm = door.confirm

    def rejected(*given: object) -> object:
        reject(row.id, KARIM, ports, reason="found elsewhere")
        return confirm(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(door, "confirm", rejected)
    with pytest.raises(RefusedError, match="rejected"):
        restore(row, target, ports, BY_RAHIM, door)
    assert engine.began == []


def test_what_was_rejected_never_runs(
    requested: Requests, target: TargetDatabase, ports: Ports, engine: Engine
) -> None:
    row = requested.add()
    plan_request(row, target, ports)
    approve(row.id, KARIM, ports)
    rejected = reject(row.id, KARIM, ports, reason="found elsewhere")
    assert (rejected.status, rejected.decision_reason) == (RestoreStatus.REJECTED, "found elsewhere")
    door = KeptDoor()
    with pytest.raises(RefusedError, match="rejected"):
        restore(rejected, target, ports, BY_RAHIM, door)
    assert door.reached == []
    with pytest.raises(LedgerError, match="can not become approved"):
        approve(row.id, KARIM, ports)
    assert engine.began == []


def test_a_request_is_performed_once(requested: Requests, target: TargetDatabase, ports: Ports, engine: Engine) -> None:
    row = requested.add()
    plan_request(row, target, ports)
    approved = approve(row.id, KARIM, ports)
    restore(approved, target, ports, BY_RAHIM, KeptDoor())
    with pytest.raises(RefusedError, match="performed once"):
        restore(approved, target, ports, BY_RAHIM, KeptDoor())
    assert engine.began == [ID]


def test_a_ledger_that_goes_away_makes_no_failure_of_a_restore_that_is_done(
    target: TargetDatabase, ports: Ports, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise LedgerError("gone")

    engine.during = lambda: monkeypatch.setattr(ports.ledger.restores, "change", gone)
    report = restore(_new(), target, ports, BY_RAHIM, KeptDoor()).report
    assert isinstance(report, RestoreReport)
    assert report.bytes_fetched == 10


def test_who_breaks_the_glass_needs_no_approval_and_everybody_is_told_before_anything_is_touched(
    requested: Requests, target: TargetDatabase, ports: Ports, engine: Engine
) -> None:
    told: list[str] = []
    engine.during = lambda: told.extend(alert.title for alert in requested.alerts)
    caller = RestoreCaller(RAHIM, break_glass="the site is down")
    outcome = restore(RestoreRequest(ID, mode=Mode.REPLACE, actor=RAHIM), target, ports, caller, KeptDoor())
    assert told == [f"A restore without approval: isp into isp (request {outcome.row.id})"]
    assert "the site is down" in requested.alerts[0].what
    started = next(event for event in ports.ledger.audits(ID) if event.action == "restore started")
    assert started.detail["break_glass"] == "the site is down"


def test_what_was_approved_breaks_no_glass(
    requested: Requests, target: TargetDatabase, ports: Ports, engine: Engine
) -> None:
    row = requested.add(replace(BY_RAHIM, needs_approval=True))
    plan_request(row, target, ports)
    approved = approve(row.id, KARIM, ports)
    restore(approved, target, ports, RestoreCaller(RAHIM, break_glass="the site is down"), KeptDoor())
    assert not any("without approval" in alert.title for alert in requested.alerts)
