"""The life of a restore request around a restore that does what a test says: its row, its audit, its alerts."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backup_pipeline.core.actor import command_line
from backup_pipeline.core.alerts import Alert, Delivery
from backup_pipeline.core.errors import (
    BackupError,
    CanceledError,
    LedgerError,
    LockedError,
    NotFoundError,
    PreflightRefusedError,
    RefusedError,
    TargetError,
)
from backup_pipeline.core.layout import RESTORES
from backup_pipeline.core.ports import Ports
from backup_pipeline.core.restore.model import (
    Mode,
    RemarkSeverity,
    RestorePlan,
    RestoreRemark,
    RestoreReport,
    RestoreRequest,
)
from backup_pipeline.core.restore.requests import RestoreChange, RestoreRow, RestoreStatus
from backup_pipeline.core.text import redact
from backup_pipeline.operations.restore import requests as life
from backup_pipeline.operations.restore.requests import (
    Access,
    Address,
    close_abandoned,
    end_restore_run,
    ended_when_it_fails,
    tidy,
)
from backup_pipeline_tests.actors import KARIM, RAHIM
from backup_pipeline_tests.doubles.ledgers import MemoryLedger
from backup_pipeline_tests.doubles.ports import NOBODY, ports_for_test
from backup_pipeline_tests.doubles.stores import MemoryStore
from backup_pipeline_tests.ledger.attempts import attempt, outcome

ID = "20261121T120000Z-full-00000001"
SECRET = "hush-hush"
AT = datetime(2026, 11, 21, 12, tzinfo=UTC)


@dataclass
class Heard:
    """The port `Alerter`, with everything it was told."""

    alerts: list[Alert] = field(default_factory=list)

    channels: Sequence[str] = ("mailto://ops",)

    def send(self, alert: Alert, only: Collection[str] | None = None) -> list[Delivery]:
        self.alerts.append(alert)
        return [Delivery("mailto://ops")]


@dataclass
class Engine:
    """What stands in for the restore itself: a plan, and what running it gives or raises."""

    confirm_name: str | None = None
    remarks: tuple[RestoreRemark, ...] = ()
    planning: BaseException | None = None
    running: BaseException | None = None
    began: list[str] = field(default_factory=list)
    during: Callable[[], object] = lambda: None

    def plan(self, request: RestoreRequest, target: object, ports: Ports) -> RestorePlan:
        if self.planning:
            raise self.planning
        return RestorePlan(
            request, ID, "isp", AT, "url", "isp", (), self.remarks, self.confirm_name, safety_backup=True
        )

    def run(
        self, plan: RestorePlan, target: object, ports: Ports, *, safety: Callable[[], str] | None
    ) -> RestoreReport:
        self.began.append(plan.backup_id)
        self.during()
        if self.running:
            raise self.running
        safe = safety() if safety else None
        return RestoreReport(ID, "isp", AT, "url", "isp", Mode.REPLACE, (), 10, 1.0, safe)


class Nowhere:
    """The port `RestoreTarget`: nothing may connect to it here."""

    url = "postgresql://app@db/isp"

    def session(self) -> None:
        raise AssertionError


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    made = Engine()
    monkeypatch.setattr(life, "plan_restore", made.plan)
    monkeypatch.setattr(life, "run_restore", made.run)
    return made


@pytest.fixture
def access(tmp_path: Path) -> Access:
    ledger = MemoryLedger()
    ledger.begin(attempt(ID))
    ledger.end(ID, outcome())
    ports = ports_for_test(store=MemoryStore(), ledger=ledger, alerter=Heard(), clock=lambda: AT, spool=tmp_path)
    return Access(
        ports=ports,
        target=Nowhere(),  # type: ignore[arg-type]
        address=Address("postgresql://app@db:5432/isp", "isp"),
        safety=lambda row, _: f"safe-{row.id}",
        hide=lambda text: redact(text, SECRET),
    )


def _request(access: Access, **fields: object) -> RestoreRow:
    given: dict[str, object] = {"backup_id": ID, "actor": RAHIM, "mode": Mode.REPLACE}
    return life.request(RestoreRequest(**(given | fields)), access)  # type: ignore[arg-type]


def _row(access: Access, number: int) -> RestoreRow:
    found = access.ledger.restores.get(number)
    assert found is not None
    return found


def _alerts(access: Access) -> list[Alert]:
    assert isinstance(access.ports.alerter, Heard)
    return access.ports.alerter.alerts


def _actions(access: Access) -> list[str]:
    return [event.action for event in reversed(access.ledger.audits(ID)) if event.action != "alert"]


def test_the_row_comes_before_anything_connects(access: Access) -> None:
    row = _request(access, tables=("customers",), reason="a wrong UPDATE")
    assert (row.status, row.backup_id, row.catalog, row.database) == (RestoreStatus.REQUESTED, ID, "isp", "isp")
    assert (row.tables, row.mode, row.reason, row.created_at) == (("customers",), "replace", "a wrong UPDATE", AT)
    assert _row(access, row.id) == row
    assert _actions(access) == ["restore requested"]


def test_what_is_no_backup_is_no_request(access: Access) -> None:
    with pytest.raises(NotFoundError):
        _request(access, backup_id="20261121T120000Z-full-00000009")
    access.ledger.begin(attempt("20261121T120000Z-full-00000002"))
    with pytest.raises(NotFoundError, match="has no bundle"):
        _request(access, backup_id="20261121T120000Z-full-00000002")
    assert access.ledger.restores.list() == []


def test_a_restore_that_goes_well_is_done_with_plan_and_report(access: Access, engine: Engine) -> None:
    row = _request(access)
    plan = life.plan_request(row, access)
    engine.during = lambda: running.append(_row(access, row.id))
    running: list[RestoreRow] = []
    life.perform(row, plan, access, actor=RAHIM)
    [meanwhile] = running
    assert (meanwhile.status, meanwhile.owner, meanwhile.started_at) == (RestoreStatus.RUNNING, NOBODY, AT)
    ended = _row(access, row.id)
    assert (ended.status, ended.finished_at, ended.error_message) == (RestoreStatus.DONE, AT, None)
    assert ended.plan is not None
    assert ended.plan["database"] == "isp"
    assert ended.report is not None
    assert ended.report["safety_backup_id"] == f"safe-{row.id}"
    assert _actions(access) == ["restore requested", "restore started", "restore done"]
    assert _alerts(access) == []


def test_without_a_safety_backup_none_is_made(access: Access, engine: Engine) -> None:
    wish = RestoreRequest(backup_id=ID, actor=RAHIM)
    row = life.request(wish, access, safety_backup=False)
    report = life.perform(row, life.plan_request(row, access), access, actor=RAHIM)
    assert report.safety_backup_id is None


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (TargetError(f"Key of {SECRET} is gone.", do="Look."), RestoreStatus.FAILED, "Key of *** is gone."),
        (LockedError("Another restore runs there."), RestoreStatus.FAILED, "Another restore"),
        (ValueError(f"postgresql://app:{SECRET}@db"), RestoreStatus.FAILED, "ValueError"),
        (CanceledError("Stopped."), RestoreStatus.CANCELED, "Stopped."),
        (KeyboardInterrupt(), RestoreStatus.CANCELED, "stopped by hand"),
    ],
)
def test_a_restore_that_fails_says_so_and_people_hear_of_it(
    access: Access, engine: Engine, error: BaseException, status: RestoreStatus, said: str
) -> None:
    engine.running = error
    row = _request(access)
    plan = life.plan_request(row, access)
    with pytest.raises(type(error)):
        life.perform(row, plan, access, actor=RAHIM)
    ended = _row(access, row.id)
    assert ended.status is status
    assert said in str(ended.error_message)
    [alert] = _alerts(access)
    assert said in alert.what
    assert f"into isp (request {row.id})" in alert.title
    assert SECRET not in f"{ended} {alert} {access.ledger.audits()}"
    assert _actions(access)[-1] == f"restore {status}"


def test_no_secret_reaches_the_ledger_by_reason_or_plan(access: Access, engine: Engine) -> None:
    engine.remarks = (RestoreRemark(RemarkSeverity.WARNING, f"password={SECRET} postgresql://app:{SECRET}@db/isp"),)
    row = _request(access, reason=f"see postgresql://app:{SECRET}@db/isp")
    life.plan_request(row, access)
    assert SECRET not in f"{_row(access, row.id)} {access.ledger.audits()}"
    assert "***" in str(_row(access, row.id).plan)


def test_a_refused_or_unconfirmed_plan_begins_nothing(access: Access, engine: Engine) -> None:
    row = _request(access)
    engine.remarks = (
        RestoreRemark(RemarkSeverity.REFUSAL, "orders refers to it.", "customers", do="Restore orders too."),
    )
    with pytest.raises(PreflightRefusedError, match=r"customers: orders refers to it\.") as refused:
        life.perform(row, life.plan_request(row, access), access, actor=RAHIM)
    assert refused.value.do == "Restore orders too."
    engine.remarks, engine.confirm_name = (), "isp"
    plan = life.plan_request(row, access)
    for typed in (None, "", "ISP", "isp2"):
        told = replace(plan, request=replace(plan.request, confirm=typed))
        with pytest.raises(PreflightRefusedError, match="not confirmed"):
            life.perform(row, told, access, actor=RAHIM)
    assert engine.began == []
    assert _row(access, row.id).status is RestoreStatus.REQUESTED
    life.perform(row, replace(plan, request=replace(plan.request, confirm="isp")), access, actor=RAHIM)
    assert engine.began == [ID]


@pytest.mark.parametrize(("attended", "told"), [(True, 0), (False, 1)])
def test_a_refusal_is_told_to_whoever_waits_else_to_everybody(access: Access, attended: bool, told: int) -> None:
    row, at = _request(access), replace(access, attended=attended)
    with pytest.raises(PreflightRefusedError), ended_when_it_fails(row, at):
        raise PreflightRefusedError("No.")
    assert len(_alerts(access)) == told
    assert _row(access, row.id).status is RestoreStatus.FAILED


def test_a_target_that_does_not_answer_ends_the_request(access: Access, engine: Engine) -> None:
    engine.planning = TargetError("No answer.")
    row = _request(access)
    with pytest.raises(TargetError), ended_when_it_fails(row, access):
        life.plan_request(row, access)
    assert _row(access, row.id).status is RestoreStatus.FAILED
    assert len(_alerts(access)) == 1


def test_with_approval_another_person_decides(access: Access, engine: Engine) -> None:
    strict = replace(access, needs_approval=True)
    row = _request(strict)
    plan = life.plan_request(row, strict)
    with pytest.raises(RefusedError, match="not approved yet") as refused:
        life.perform(row, plan, strict, actor=RAHIM)
    assert refused.value.exit_code == 21
    with pytest.raises(RefusedError, match="can not approve it too"):
        life.approve(row.id, command_line("Rahim"), strict.ports)
    assert engine.began == []
    approved = life.approve(row.id, KARIM, strict.ports, reason="checked")
    assert (approved.decided_actor, approved.decided_at, approved.decision_reason) == (KARIM, AT, "checked")
    life.perform(row, plan, strict, actor=RAHIM)
    assert _row(access, row.id).status is RestoreStatus.DONE
    assert _actions(access) == ["restore requested", "restore approved", "restore started", "restore done"]


def test_what_was_rejected_never_runs(access: Access, engine: Engine) -> None:
    row = _request(access)
    plan = life.plan_request(row, access)
    life.approve(row.id, KARIM, access.ports)
    rejected = life.reject(row.id, KARIM, access.ports, reason="found elsewhere")
    assert (rejected.status, rejected.decision_reason) == (RestoreStatus.REJECTED, "found elsewhere")
    with pytest.raises(RefusedError, match="rejected"):
        life.perform(row, plan, access, actor=RAHIM)
    with pytest.raises(LedgerError, match="can not become approved"):
        life.approve(row.id, KARIM, access.ports)
    assert engine.began == []


def test_a_request_is_performed_once(access: Access, engine: Engine) -> None:
    row = _request(access)
    plan = life.plan_request(row, access)
    life.perform(row, plan, access, actor=RAHIM)
    with pytest.raises(RefusedError, match="performed once"):
        life.perform(row, plan, access, actor=RAHIM)
    assert engine.began == [ID]


def test_a_ledger_that_goes_away_makes_no_failure_of_a_restore_that_is_done(
    access: Access, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = _request(access)
    plan = life.plan_request(row, access)

    def gone(*_: object) -> None:
        raise LedgerError("gone")

    engine.during = lambda: monkeypatch.setattr(access.ledger.restores, "change", gone)
    assert life.perform(row, plan, access, actor=RAHIM).bytes_fetched == 10


def test_a_restore_whose_process_died_is_closed_and_told(access: Access) -> None:
    dead, alive, waiting = _request(access), _request(access), _request(access)
    for row in (dead, alive):
        access.ledger.restores.change(row.id, RestoreChange(RestoreStatus.RUNNING, started_at=AT))
    closed = close_abandoned(access.ports, lambda row: row.id == dead.id)
    assert [row.id for row in closed] == [dead.id]
    statuses = [_row(access, row.id).status for row in (dead, alive, waiting)]
    assert statuses == [RestoreStatus.FAILED, RestoreStatus.RUNNING, RestoreStatus.REQUESTED]
    assert "ended without a word" in str(_row(access, dead.id).error_message)
    assert len(_alerts(access)) == 1
    assert close_abandoned(access.ports, lambda _: True) != closed


def test_a_request_whose_process_died_before_it_began_is_canceled_in_silence(access: Access) -> None:
    asked = _request(access)
    assert _row(access, asked.id).owner == access.ports.owner
    [closed] = close_abandoned(access.ports, lambda row: row.owner == access.ports.owner)
    row = _row(access, closed.id)
    assert (row.id, row.status) == (asked.id, RestoreStatus.CANCELED)
    assert "Nothing was touched" in str(row.error_message)
    assert _alerts(access) == []


def test_files_of_dead_restores_go_when_none_runs(access: Access) -> None:
    spool = access.ports.spool / RESTORES
    spool.mkdir()
    for name, hours in (("dead", 2), ("new", 0)):
        (spool / name).mkdir()
        at = (AT - timedelta(hours=hours)).timestamp()
        os.utime(spool / name, (at, at))
    row = _request(access)
    access.ledger.restores.change(row.id, RestoreChange(RestoreStatus.RUNNING, started_at=AT))
    tidy(access, lambda _: False)
    assert len(list(spool.iterdir())) == 2
    tidy(access, lambda _: True)
    assert [folder.name for folder in spool.iterdir()] == ["new"]
    assert _row(access, row.id).status is RestoreStatus.FAILED


def test_the_run_of_a_request_that_died_ends_it_and_one_without_a_row_is_told(access: Access) -> None:
    error = BackupError("The run crashed.")
    of_run = replace(access, run_id="r1")
    waiting, running = _request(of_run), _request(of_run)
    access.ledger.restores.change(running.id, RestoreChange(RestoreStatus.RUNNING, started_at=AT))
    assert [row.id for row in end_restore_run("r1", "isp", error, access.ports, needs_approval=True)] == [running.id]
    assert _row(access, waiting.id).status is RestoreStatus.REQUESTED
    assert [row.id for row in end_restore_run("r1", "isp", error, access.ports, needs_approval=False)] == [waiting.id]
    assert [alert.title for alert in _alerts(access)] == [
        f"Restore failed: isp into isp (request {running.id})",
        f"Restore failed: isp into isp (request {waiting.id})",
    ]
    assert end_restore_run("r9", "isp", error, access.ports, needs_approval=False) == []
    assert _alerts(access)[-1].title == "Restore failed: isp"
