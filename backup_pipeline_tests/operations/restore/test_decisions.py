"""What people decide about restores: who may, about which plan, and what the ledger says of it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from backup_pipeline.core.errors import LedgerError, PreflightRefusedError, RefusedError, StalePlanError, UsageError
from backup_pipeline.core.ports import Ports
from backup_pipeline.core.restore import Mode, RemarkSeverity, RestorePlan, RestoreRemark, RestoreRequest
from backup_pipeline.core.restore.requests import RestoreChange, RestoreRow, RestoreStatus, kept_plan
from backup_pipeline.core.scope import Actor, ActorKind
from backup_pipeline.operations.restore import request_restore, restore
from backup_pipeline.operations.restore.decisions import AskedRestore, approve, ask_for_approval, reject, take_back
from backup_pipeline.operations.restore.requests import TargetDatabase, plan_request
from backup_pipeline_tests.actors import KARIM, RAHIM
from backup_pipeline_tests.operations.restore.conftest import AT, BY_RAHIM, ID, SECRET, Engine, KeptDoor, Requests


def planned(confirm: str | None = None, *remarks: RestoreRemark, **fields: Any) -> AskedRestore:
    """A plan, kept as a run keeps it and read again."""
    request = RestoreRequest(ID, mode=Mode.REPLACE, tables=("customers",))
    plan = RestorePlan(request, ID, "isp", AT, "url", "isp", (), tuple(remarks), "isp", safety_backup=True)
    kept = json.loads(json.dumps(plan.as_json(), default=str)) | fields
    seen = kept_plan(kept).confirmed_with(confirm)
    return AskedRestore(replace(seen, request=replace(seen.request, actor=RAHIM, reason="why not")), kept)


def test_what_was_seen_is_asked_for_with_its_plan(target: TargetDatabase, ports: Ports, requested: Requests) -> None:
    asked = planned("isp")
    row = ask_for_approval(asked, target, ports, BY_RAHIM)
    assert (row.status, row.tables, row.mode, row.actor) == (RestoreStatus.REQUESTED, ("customers",), "replace", RAHIM)
    assert row.owner is None
    assert requested.row(row.id).plan == asked.kept
    assert requested.actions == ["restore requested"]
    assert approve(row.id, KARIM, ports).status is RestoreStatus.APPROVED


@pytest.mark.parametrize("typed", [None, "", "ISP", "isp2"])
def test_without_the_name_nothing_is_asked_for(target: TargetDatabase, ports: Ports, typed: str | None) -> None:
    with pytest.raises(PreflightRefusedError, match="not confirmed"):
        ask_for_approval(planned(typed), target, ports, BY_RAHIM)
    assert ports.ledger.restores.list() == []


def test_a_refused_plan_is_not_asked_for(target: TargetDatabase, ports: Ports) -> None:
    no = RestoreRemark(RemarkSeverity.REFUSAL, "The table is not there.", "customers")
    with pytest.raises(PreflightRefusedError, match="The table is not there"):
        ask_for_approval(planned("isp", no), target, ports, BY_RAHIM)
    with pytest.raises(UsageError, match="no digest"):
        ask_for_approval(planned("isp", digest=""), target, ports, BY_RAHIM)
    assert ports.ledger.restores.list() == []


def test_no_secret_of_a_kept_plan_reaches_the_ledger(target: TargetDatabase, ports: Ports) -> None:
    remark = RestoreRemark(RemarkSeverity.WARNING, f"see postgresql://app:{SECRET}@db/isp")
    ask_for_approval(planned("isp", remark), target, ports, BY_RAHIM)
    assert SECRET not in str(ports.ledger.restores.list())


def _waiting(requested: Requests, target: TargetDatabase, ports: Ports) -> RestoreRow:
    row = requested.add(replace(BY_RAHIM, needs_approval=True))
    plan_request(row, target, ports)
    return requested.row(row.id)


def test_the_approval_is_of_the_plan_that_was_seen(
    requested: Requests, target: TargetDatabase, ports: Ports, engine: Engine
) -> None:
    row = _waiting(requested, target, ports)
    seen = str((row.plan or {})["digest"])
    ports.ledger.restores.change(row.id, RestoreChange(plan={"digest": "f" * 64}))
    with pytest.raises(StalePlanError, match="The plan is stale"):
        approve(row.id, KARIM, ports, of_plan=seen)
    assert requested.row(row.id).status is RestoreStatus.REQUESTED
    assert requested.actions == ["restore requested"]
    approved = approve(row.id, KARIM, ports, of_plan="f" * 64, reason="seen")
    assert (approved.status, approved.decided_actor, approved.decision_reason) == (
        RestoreStatus.APPROVED,
        KARIM,
        "seen",
    )


def test_who_asked_approves_only_where_nobody_else_can(
    requested: Requests, target: TargetDatabase, ports: Ports, engine: Engine
) -> None:
    row = _waiting(requested, target, ports)
    with pytest.raises(RefusedError, match="can not approve it too"):
        approve(row.id, RAHIM, ports)
    assert approve(row.id, RAHIM, ports, alone=True).decided_actor == RAHIM
    [approved] = [event for event in ports.ledger.audits(ID) if event.action == "restore approved"]
    assert approved.detail["by_who_asked"] is True
    claimed = ports.ledger.observations.claim()
    assert claimed is not None
    assert claimed[1].message == f"Restore request {row.id} is approved by rahim.", "it is shown in Dagster, too"


def test_a_rejected_request_is_over(requested: Requests, target: TargetDatabase, ports: Ports, engine: Engine) -> None:
    row = _waiting(requested, target, ports)
    assert reject(row.id, KARIM, ports, reason="no").status is RestoreStatus.REJECTED
    with pytest.raises(LedgerError, match="is rejected"):
        approve(row.id, KARIM, ports)
    with pytest.raises(LedgerError, match="is rejected"):
        reject(row.id, KARIM, ports, reason="again")


def test_one_takes_back_ones_own(requested: Requests, target: TargetDatabase, ports: Ports, engine: Engine) -> None:
    row = _waiting(requested, target, ports)
    with pytest.raises(RefusedError, match="only they"):
        take_back(row.id, KARIM, ports)
    taken = take_back(row.id, RAHIM, ports, reason="found it")
    assert (taken.status, taken.error_message) == (RestoreStatus.CANCELED, "Taken back. found it")
    assert [alert.title for alert in requested.alerts] == [f"Restore taken back: isp into isp (request {row.id})"]


@pytest.mark.acceptance("3.10")
def test_who_approves_is_told_who_wants_what_why_and_where_and_that_it_is_over(
    target: TargetDatabase, ports: Ports, requested: Requests
) -> None:
    there = replace(ports, console_url="https://backup.example.com/")
    row = ask_for_approval(planned("isp"), target, there, BY_RAHIM)
    [waits] = requested.alerts
    assert waits.title == f"A restore waits for approval: isp into isp (request {row.id})"
    assert waits.what == (
        f"rahim asks to restore customers of backup {ID} into isp (replace). Reason: why not. Nothing was touched."
    )
    assert f"https://backup.example.com/requests/{row.id}" in waits.do
    assert SECRET not in waits.body()
    karim = Actor(ActorKind.PERSON, "karim@example.com")
    approve(row.id, karim, there, reason="seen")
    reject(row.id, karim, there, reason="not today")
    assert [alert.what for alert in requested.alerts[1:]] == [
        "The request of rahim is approved, by karim@example.com. Reason: seen",
        "The request of rahim is rejected, by karim@example.com. Reason: not today",
    ]
    nowhere = ask_for_approval(planned("isp"), target, ports, BY_RAHIM)
    assert f"backup-pipeline restores show {nowhere.id}" in requested.alerts[-1].do


def test_a_request_at_the_command_line_is_told_too_and_a_refused_plan_is_not(
    target: TargetDatabase, ports: Ports, requested: Requests, engine: Engine
) -> None:
    wanted = RestoreRequest(ID, mode=Mode.REPLACE, actor=RAHIM, reason="why not")
    row, _ = request_restore(wanted, target, ports, BY_RAHIM, KeptDoor())
    assert [alert.title for alert in requested.alerts] == [
        f"A restore waits for approval: isp into isp (request {row.id})"
    ]
    engine.remarks = (RestoreRemark(RemarkSeverity.REFUSAL, "The table is not there.", "customers"),)
    with pytest.raises(PreflightRefusedError):
        request_restore(wanted, target, ports, BY_RAHIM, KeptDoor())
    assert len(requested.alerts) == 1


@pytest.mark.acceptance("3.10")
def test_what_was_approved_and_is_done_is_told(
    target: TargetDatabase, ports: Ports, requested: Requests, engine: Engine
) -> None:
    row = _waiting(requested, target, ports)
    approve(row.id, KARIM, ports)
    restore(requested.row(row.id), target, ports, replace(BY_RAHIM, needs_approval=True), KeptDoor())
    assert [alert.title.partition(":")[0] for alert in requested.alerts] == ["Restore approved", "Restore done"]
