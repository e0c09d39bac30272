"""Restore requests as values: the moves, who may approve, when one may run, and when its owner is dead."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from backup_pipeline.core.errors import (
    BackupError,
    LedgerError,
    LockedError,
    PreflightRefusedError,
    RefusedError,
    UsageError,
)
from backup_pipeline.core.ledger import STALE_AFTER, Owner
from backup_pipeline.core.restore import RemarkSeverity, RestorePlan, RestoreRemark, RestoreRequest
from backup_pipeline.core.restore.requests import (
    MOVES,
    RestoreChange,
    RestoreStatus,
    after,
    check_confirmed,
    check_decision,
    check_may_run,
    check_move,
    check_refusals,
    is_abandoned,
)
from backup_pipeline.core.scope import command_line
from backup_pipeline_tests.actors import KARIM
from backup_pipeline_tests.ledger.attempts import NOON
from backup_pipeline_tests.ledger.restores import wish

R = RestoreStatus
ROW = replace(wish(), id=7)


def test_every_status_has_its_moves_and_those_at_the_end_have_none() -> None:
    assert set(MOVES) == set(R)
    assert {status for status, moves in MOVES.items() if not moves} == {R.REJECTED, R.DONE, R.FAILED, R.CANCELED}


@pytest.mark.parametrize(
    ("before", "next_"),
    [
        (R.REQUESTED, R.APPROVED),
        (R.REQUESTED, R.RUNNING),
        (R.APPROVED, R.RUNNING),
        (R.APPROVED, R.REJECTED),
        (R.RUNNING, R.DONE),
    ],
)
def test_a_request_goes_its_way(before: RestoreStatus, next_: RestoreStatus) -> None:
    check_move(7, before, next_)


@pytest.mark.parametrize(
    ("before", "next_"),
    [
        (R.REQUESTED, R.DONE),
        (R.RUNNING, R.APPROVED),
        (R.RUNNING, R.REJECTED),
        (R.REJECTED, R.APPROVED),
        (R.FAILED, R.RUNNING),
        (R.DONE, R.RUNNING),
        (R.APPROVED, R.APPROVED),
    ],
)
def test_and_no_other(before: RestoreStatus, next_: RestoreStatus) -> None:
    with pytest.raises(LedgerError, match=f"request 7 is {before} and can not become {next_}"):
        check_move(7, before, next_)


def test_a_change_keeps_what_it_does_not_name() -> None:
    running = after(ROW, RestoreChange(R.RUNNING, started_at=NOON))
    ended = after(running, RestoreChange(R.FAILED, error_message="gone"))
    assert ended == replace(ROW, status=R.FAILED, started_at=NOON, error_message="gone")


@pytest.mark.parametrize("by", ["rahim", "RAHIM", "  Rahim ", "rahim\u00a0"])
def test_nobody_approves_their_own_request(by: str) -> None:
    with pytest.raises(RefusedError, match="made by rahim") as refused:
        check_decision(ROW, command_line(by))
    assert refused.value.exit_code == 21
    check_decision(replace(ROW, plan={"digest": "1f3a"}), KARIM)


def test_nothing_can_be_approved_without_a_plan() -> None:
    with pytest.raises(RefusedError, match="has no plan that could be approved"):
        check_decision(ROW, KARIM)


@pytest.mark.parametrize("by", ["", "   "])
def test_nobody_is_no_approver(by: str) -> None:
    with pytest.raises(UsageError, match="Nobody is named"):
        check_decision(ROW, command_line(by))


@pytest.mark.parametrize(
    ("status", "needs_approval", "error"),
    [
        (R.REQUESTED, False, None),
        (R.REQUESTED, True, RefusedError),
        (R.APPROVED, False, None),
        (R.APPROVED, True, None),
        (R.REJECTED, False, RefusedError),
        (R.RUNNING, False, LockedError),
        (R.DONE, False, RefusedError),
        (R.FAILED, True, RefusedError),
        (R.CANCELED, False, RefusedError),
    ],
)
def test_what_may_run(status: RestoreStatus, needs_approval: bool, error: type[BackupError] | None) -> None:
    row = replace(ROW, status=status, started_at=NOON)
    if error is None:
        check_may_run(row, needs_approval=needs_approval)
        return
    with pytest.raises(error, match="Restore request 7 is"):
        check_may_run(row, needs_approval=needs_approval)


def test_a_request_is_abandoned_when_its_process_of_this_host_died_before_it_began() -> None:
    asked = replace(ROW, owner=Owner("here", 1, 2.0))
    assert is_abandoned(asked, now=NOON, host="here", alive=lambda _: False)
    assert not is_abandoned(asked, now=NOON, host="here", alive=lambda _: True)
    assert not is_abandoned(asked, now=NOON + 9 * STALE_AFTER, host="elsewhere", alive=lambda _: False)


def test_only_a_running_request_can_be_abandoned() -> None:
    later = NOON + 2 * STALE_AFTER
    assert not is_abandoned(ROW, now=later, host="here", alive=lambda _: False)
    running = replace(ROW, status=R.RUNNING, started_at=NOON, heartbeat_at=NOON, owner=Owner("here", 1, 2.0))
    assert is_abandoned(running, now=NOON, host="here", alive=lambda _: False)
    assert not is_abandoned(running, now=later, host="here", alive=lambda _: True)
    assert is_abandoned(running, now=later, host="elsewhere", alive=lambda _: True)
    assert not is_abandoned(running, now=NOON + timedelta(seconds=1), host="elsewhere", alive=lambda _: True)


PLAN = RestorePlan(RestoreRequest("b"), "b", "isp", NOON, "url", "isp", (), ())


def test_the_first_refusal_is_told_and_how_many_there_are() -> None:
    check_refusals(replace(PLAN, remarks=(RestoreRemark(RemarkSeverity.WARNING, "Look out."),)))
    first = RestoreRemark(RemarkSeverity.REFUSAL, "orders refers to it.", "customers", do="Restore orders too.")
    second = RestoreRemark(RemarkSeverity.REFUSAL, "It is read-only.")
    with pytest.raises(PreflightRefusedError) as refused:
        check_refusals(replace(PLAN, remarks=(first, second)))
    assert refused.value.what == (
        "The restore is refused, and nothing was touched. customers: orders refers to it. (2 reasons in all)"
    )
    assert refused.value.do == "Restore orders too."


@pytest.mark.parametrize("name", [None, "", "ISP", "isp "])
def test_only_the_name_of_the_database_confirms(name: str | None) -> None:
    check_confirmed(PLAN.confirmed_with(name))  # nothing that is there can change
    changing = replace(PLAN, confirm_name="isp")
    check_confirmed(changing.confirmed_with("isp"))
    with pytest.raises(PreflightRefusedError, match="not confirmed") as refused:
        check_confirmed(changing.confirmed_with(name))
    assert "--confirm isp" in refused.value.do
    with pytest.raises(PreflightRefusedError) as refused:
        check_confirmed(changing.confirmed_with(name), do="Type it.")
    assert refused.value.do == "Type it."


def test_a_row_asks_for_what_was_asked() -> None:
    row = replace(ROW, tables=("goods",), rename={"goods": "wares"}, store="second", safety_backup=False)
    asked = row.request
    assert (asked.tables, asked.rename, asked.store, asked.safety_backup) == (row.tables, row.rename, "second", False)
    assert (asked.backup_id, asked.actor, asked.confirm) == (row.backup_id, row.actor, None)


def test_the_json_of_a_plan_has_no_other_names_than_before() -> None:
    request = PLAN.as_json()["request"]
    assert isinstance(request, dict)
    names = {"backup_id", "tables", "mode", "into_schema", "rename", "fill", "confirm", "requested_by", "reason"}
    assert set(request) == names
