"""Restore requests: the list, and one of them with its plan, where people decide about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import Response

from backup_pipeline.core.access import Permission, decides_alone
from backup_pipeline.core.errors import LockedError, RefusedError, UsageError
from backup_pipeline.core.ledger import AuditEvent
from backup_pipeline.core.restore import SECOND
from backup_pipeline.core.restore.requests import MOVES, RestoreRow, RestoreStatus, check_may_run, digest_of
from backup_pipeline.core.runs import RequestStatus, RunRequest, RunVerb
from backup_pipeline.core.scope import Scope
from backup_pipeline.operations.progress import work_now
from backup_pipeline.operations.restore import decisions
from backup_pipeline.operations.restore.requests import find_request
from backup_pipeline.operations.run_requests import RunWish, cancel_request
from backup_pipeline.presentation.restore import MODES, kept_plan_document, kept_report_document, status_tone
from backup_pipeline.web.pages.rows import sees_rows
from backup_pipeline.web.people import Visitor, allowed, fresh, launched, launcher_of
from backup_pipeline.web.rendering import chosen_system, page, redirect, systems_of

router = APIRouter()

_Reason = Annotated[str, Form(max_length=1_000)]
_MOST = 200
_ROWS = 25
_LARGEST = 2**63 - 1
_ASKS = Depends(allowed(Permission.REQUEST_RESTORE))
WORDS = {
    RestoreStatus.REQUESTED: "waits for approval",
    RestoreStatus.APPROVED: "approved",
    RestoreStatus.REJECTED: "rejected",
    RestoreStatus.RUNNING: "running",
    RestoreStatus.DONE: "done",
    RestoreStatus.FAILED: "failed",
    RestoreStatus.CANCELED: "canceled",
}
_TABS = {
    "": ("All", tuple(RestoreStatus)),
    "waiting": ("Waiting", (RestoreStatus.REQUESTED,)),
    "approved": ("Approved", (RestoreStatus.APPROVED,)),
    "running": ("Running", (RestoreStatus.RUNNING,)),
    "done": ("Done", (RestoreStatus.DONE,)),
    "failed": ("Not done", (RestoreStatus.FAILED, RestoreStatus.CANCELED, RestoreStatus.REJECTED)),
}
_EMPTY = (
    "Nobody has asked for a restore. Begin with what is to come back; nothing is touched before a plan is approved."
)


@dataclass(frozen=True)
class Possible:
    """What the visitor may do with a request as it stands."""

    approve: bool = False
    reject: bool = False
    run: bool = False
    look_again: bool = False
    cancel: bool = False
    take_back: bool = False


@router.get("/requests")
def requests_page(
    request: Request,
    visitor: Annotated[Visitor, Depends(allowed(Permission.SEE))],
    status: str = "",
    before: Annotated[int | None, Query(ge=1, le=_LARGEST)] = None,
) -> Response:
    """The requests, newest first, a page at a time; of one status, of one system, or all that the visitor sees."""
    if status not in _TABS:
        message = f"There is no status {status!r} of restore requests."
        raise UsageError(message, do=f"Choose one of {', '.join(name for name in _TABS if name)}.")
    system = chosen_system(request)
    scope = Scope(system.catalog) if system else None
    counts = visitor.ledger.restores.counts(scope)
    matching = visitor.ledger.restores.list(scope=scope, status=_TABS[status][1], before=before, limit=_ROWS + 1)
    rows = matching[:_ROWS]
    return page(
        request,
        "requests.html",
        rows=rows,
        tabs=[(key, label, sum(counts.get(each, 0) for each in within)) for key, (label, within) in _TABS.items()],
        chosen=status,
        following=rows[-1].id if len(matching) > _ROWS else None,
        empty=_EMPTY if not status and before is None else "None has this status.",
        words=_words(),
        tone=status_tone,
        modes=_modes(),
        command=f"backup-pipeline restores list{_status_options(status)}",
        live=before is None,
    )


@router.get("/requests/{number}")
def request_page(
    request: Request, number: int, visitor: Annotated[Visitor, Depends(allowed(Permission.SEE))]
) -> Response:
    """One request: what was asked, the plan with its hash, who decided, what became of it."""
    row = find_request(number, visitor.ledger)
    alone = _alone(row, visitor)
    possible, run = possible_now(row, visitor, alone=alone), run_of(row, visitor)
    coming = row.status is RestoreStatus.APPROVED and run is not None and not run.status.over
    history = [event for event in visitor.ledger.audits(row.backup_id) if event.detail.get("request") == row.id]
    values = sees_rows(visitor, systems_of(request).get(row.scope.catalog))
    safety = row.safety_backup
    plan = kept_plan_document(row.plan, request=row.id, safety_backup=safety, values=values) if row.plan else None
    return page(
        request,
        "request.html",
        row=row,
        may=replace(possible, run=possible.run and not coming),
        alone=alone,
        fresh=visitor.session.is_fresh(visitor.ports.clock()),
        why_not=_why_not(row, visitor, possible),
        standing=f"It is on its way: {row.database} is as it was until it begins." if coming else _standing(row),
        facts=list(_facts(row)),
        digest=digest_of(row),
        plan=plan,
        report=kept_report_document(row.id, row.report) if row.report else None,
        history=list(reversed(history)),
        run=run,
        progress=_progress(row, visitor),
        request_uuid=uuid4(),
        words=_words(),
        tone=status_tone,
        modes=_modes(),
        command=f"backup-pipeline restores show {row.id}",
        live=bool(MOVES[row.status]),
    )


@router.post("/requests/{number}/approve")
def approve(
    request: Request,
    number: int,
    visitor: Annotated[Visitor, Depends(fresh(Permission.APPROVE))],
    plan: Annotated[str, Form(max_length=64)] = "",
    reason: _Reason = "",
) -> Response:
    """Approve the plan that was on the page: its hash comes with the form."""
    if not plan:
        message = "Which plan is approved was not said."
        raise UsageError(message, do="Approve on the request's page, which shows the plan.")
    row = _undecided(number, visitor, RestoreStatus.APPROVED)
    alone = _alone(row, visitor)
    decisions.approve(number, visitor.actor, visitor.ports, reason=reason, of_plan=plan, alone=alone)
    return redirect(request, f"/requests/{number}", f"Request {number} is approved. Nothing was restored yet: run it.")


@router.post("/requests/{number}/reject")
def reject(
    request: Request,
    number: int,
    visitor: Annotated[Visitor, Depends(allowed(Permission.APPROVE))],
    reason: _Reason = "",
) -> Response:
    """Reject a request that has not begun, with a reason."""
    if not reason.strip():
        message = "A rejection wants a reason: whoever asked will want to know."
        raise UsageError(message, do="Say why.")
    _undecided(number, visitor, RestoreStatus.REJECTED)
    decisions.reject(number, visitor.actor, visitor.ports, reason=reason.strip())
    return redirect(request, f"/requests/{number}", f"Request {number} is rejected.", tone="warning")


@router.post("/requests/{number}/take-back")
def take_back(
    request: Request,
    number: int,
    visitor: Annotated[Visitor, Depends(allowed(Permission.REQUEST_RESTORE))],
    reason: _Reason = "",
) -> Response:
    """End one's own request."""
    _undecided(number, visitor, RestoreStatus.CANCELED)
    decisions.take_back(number, visitor.actor, visitor.ports, reason=reason.strip())
    return redirect(request, f"/requests/{number}", f"Request {number} is taken back.")


@router.post("/requests/{number}/plan")
def plan_again(
    request: Request,
    number: int,
    visitor: Annotated[Visitor, _ASKS],
    request_id: Annotated[UUID, Form(alias="request")],
) -> Response:
    """Let a run plan a request that waits anew: its plan is then what the restore would do now."""
    row = _undecided(number, visitor, RestoreStatus.APPROVED)
    detail = {"request": number, "dry_run": True, "backup_id": row.backup_id}
    launched(request, visitor, _wish(request, request_id, row, visitor, detail))
    return redirect(request, f"/requests/{number}", "The plan is being made again.", tone="active")


@router.post("/requests/{number}/run")
def run(
    request: Request,
    number: int,
    visitor: Annotated[Visitor, _ASKS],
    request_id: Annotated[UUID, Form(alias="request")],
) -> Response:
    """Let a run perform an approved request: exactly the plan that was approved, or nothing."""
    row = find_request(number, visitor.ledger)
    check_may_run(row, needs_approval=True)
    earlier = run_of(row, visitor, performing=True)
    if earlier is not None and not earlier.status.over and earlier.id != request_id:
        return redirect(request, f"/requests/{number}", "It is on its way already.", tone="active")
    wish = _wish(request, request_id, row, visitor, {"request": number, "backup_id": row.backup_id})
    asked = launched(request, visitor, wish)
    if asked.status is RequestStatus.REFUSED:
        return redirect(request, f"/requests/{number}", "It could not be started: see below.", tone="failure")
    return redirect(request, f"/requests/{number}", "The restore is on its way.", tone="active")


@router.post("/requests/{number}/cancel")
def cancel(request: Request, number: int, visitor: Annotated[Visitor, _ASKS]) -> Response:
    """Stop the run of a request: its transaction is undone."""
    row = find_request(number, visitor.ledger)
    if not possible_now(row, visitor, alone=False).cancel:
        message = f"Restore request {number} is {WORDS[row.status]}: there is nothing that you can stop."
        raise RefusedError(message, do="A super admin, or who asked for it, can stop one that runs.")
    running = run_of(row, visitor, performing=True)
    if running is not None and not running.status.over:
        cancel_request(running.id, visitor.actor, visitor.ports, launcher_of(request))
    elif row.run_id:
        launcher_of(request).terminate(row.run_id)
        known = {"request": row.id, "run_id": row.run_id}
        visitor.ledger.audit(AuditEvent(visitor.ports.clock(), visitor.actor, "run canceled", row.backup_id, known))
    return redirect(request, f"/requests/{number}", "It is being stopped.", tone="warning")


def _wish(request: Request, request_id: UUID, row: RestoreRow, visitor: Visitor, detail: dict[str, object]) -> RunWish:
    catalog = systems_of(request).get(row.scope.catalog)
    if catalog is None:
        message = f"The catalog of request {row.id}, {row.scope.catalog}, is not declared here any more."
        raise UsageError(message, do=f"Run it in a terminal: backup-pipeline restore --request {row.id}.")
    return RunWish(request_id, RunVerb.RESTORE, catalog, visitor.actor, row.reason, detail, row.scope.business)


def _undecided(number: int, visitor: Visitor, to: RestoreStatus) -> RestoreRow:
    """The request; LockedError (409) where somebody was quicker, and it can not become that any more."""
    row = find_request(number, visitor.ledger)
    if to not in MOVES[row.status]:
        message = f"Restore request {number} is {WORDS[row.status]}: it can not be {WORDS[to]} any more."
        raise LockedError(message, do=f"Look at it: /requests/{number}.")
    return row


def possible_now(row: RestoreRow, visitor: Visitor, *, alone: bool) -> Possible:
    """What the visitor may do with the request now."""
    user, open_ = visitor.user, row.status in {RestoreStatus.REQUESTED, RestoreStatus.APPROVED}
    approver, asks = user.may(Permission.APPROVE), user.may(Permission.REQUEST_RESTORE)
    mine = row.actor == visitor.actor
    waits = row.status is RestoreStatus.REQUESTED
    return Possible(
        approve=approver and waits and bool(digest_of(row)) and (alone or not _same_person(row, visitor)),
        reject=approver and open_,
        run=asks and row.status is RestoreStatus.APPROVED,
        look_again=asks and waits and row.owner is None,
        cancel=(approver or mine) and row.status is RestoreStatus.RUNNING and row.run_id is not None,
        take_back=asks and mine and waits and not approver,
    )


def _same_person(row: RestoreRow, visitor: Visitor) -> bool:
    return row.actor.name.casefold() == visitor.actor.name.casefold()


def _alone(row: RestoreRow, visitor: Visitor) -> bool:
    """Whether it is the visitor's own request, and nobody else could approve it."""
    if not visitor.user.may(Permission.APPROVE) or not _same_person(row, visitor):
        return False
    return decides_alone(visitor.user, visitor.access.access.users.list())


def run_of(row: RestoreRow, visitor: Visitor, *, performing: bool = False) -> RunRequest | None:
    """The newest run that somebody asked for because of the request, to plan or, `performing`, to restore."""
    runs = visitor.ledger.run_requests.list(catalog=row.scope.catalog, limit=_MOST)
    own = (run for run in runs if run.verb is RunVerb.RESTORE and run.detail.get("request") == row.id)
    return next((run for run in own if not performing or not run.detail.get("dry_run")), None)


def _progress(row: RestoreRow, visitor: Visitor) -> str:
    """How far the run of a restore is, as far as that can be known."""
    if row.status is not RestoreStatus.RUNNING or not row.run_id:
        return ""
    going = work_now(visitor.ledger, visitor.ports.clock())
    return next((work.in_words for work in going if work.progress and work.progress.run_id == row.run_id), "")


def _why_not(row: RestoreRow, visitor: Visitor, possible: Possible) -> str:
    """Why there is no button to approve, for whoever might look for one."""
    if row.status is not RestoreStatus.REQUESTED or possible.approve:
        return ""
    if not visitor.user.may(Permission.APPROVE):
        return "A super admin approves it."
    return "You asked for it, so another super admin approves it." if digest_of(row) else ""


def _standing(row: RestoreRow) -> str:
    who = row.decided_actor.name if row.decided_actor else "somebody"
    because = f" Because: {row.decision_reason}" if row.decision_reason else ""
    business = (row.plan or {}).get("name")
    return {
        RestoreStatus.REQUESTED: "Nothing was touched. A super admin, other than who asked, looks at the plan below.",
        RestoreStatus.APPROVED: f"{who} has approved the plan below.{because} Nothing was touched yet: run it.",
        RestoreStatus.REJECTED: f"{who} has rejected it.{because} Nothing was touched.",
        RestoreStatus.RUNNING: f"It runs in {row.database}, as one transaction: all of it, or nothing.",
        RestoreStatus.DONE: f"{business} is as it was then." if business else f"The rows are in {row.database}.",
        RestoreStatus.FAILED: f"It did not work. {row.database} is as it was.",
        RestoreStatus.CANCELED: f"It was stopped or taken back. {row.database} is as it was.",
    }[row.status]


def _facts(row: RestoreRow) -> Iterator[tuple[str, object]]:
    yield "Backup", row.backup_id
    yield "System", str(row.scope)
    yield "Business", (row.plan or {}).get("name")
    yield "Tables", ", ".join(row.tables) or "all of the backup"
    yield "What is done", MODES[_mode(row)][0]
    yield "Into", f"{row.database} ({row.target})"
    yield "Schema", row.into_schema
    yield "Store", "the second" if row.store == SECOND else None
    yield "Safety", None if row.safety_backup else "NO safety backup is made"
    yield "Asked by", row.actor.name
    yield "Reason", row.reason
    yield "Decided by", row.decided_actor.name if row.decided_actor else None
    yield "Because", row.decision_reason
    yield "Run", row.run_id


def _mode(row: RestoreRow) -> Any:
    return row.request.mode


def _words() -> dict[str, str]:
    return {status.value: word for status, word in WORDS.items()}


def _modes() -> dict[str, tuple[str, str]]:
    return {mode.value: words for mode, words in MODES.items()}


def _status_options(status: str) -> str:
    return "".join(f" --status {each.value}" for each in _TABS[status][1]) if status else ""
