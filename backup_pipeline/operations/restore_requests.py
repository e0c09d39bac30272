"""The life of a restore request: its row comes first, another person may have to approve it, then it is performed."""

from __future__ import annotations

from backup_pipeline.core.errors import NotFoundError, PreflightRefusedError
from backup_pipeline.core.ports import Ledger
from backup_pipeline.core.restore_requests import (
    FIRST,
    RestoreChange,
    RestoreRow,
    RestoreStatus,
    Which,
    check_approved_plan,
    check_decision,
    check_may_run,
)
from backup_pipeline.core.restoring import Mode, RestorePlan, RestoreReport, RestoreRequest
from backup_pipeline.operations.browse import bundle_place, find_sound_backup
from backup_pipeline.operations.restore import plan_restore, run_restore
from backup_pipeline.operations.restore_access import Access
from backup_pipeline.operations.restore_ends import audit_restore, end_well, ended_when_it_fails, hidden_json
from backup_pipeline.operations.telling import Scribe


def request(wish: RestoreRequest, access: Access, *, safety_backup: bool = True, store: Which = FIRST) -> RestoreRow:
    """Add the request's row, before anything but the ledger is connected; `wish.backup_id` may be `latest`.

    `store` is the one that `access` reads, so that whoever performs the request later reads the same.

    UsageError or NotFoundError, without a row, when there is no such backup or it has no bundle.
    """
    attempt = find_sound_backup(wish.backup_id, access.ledger, store=store)
    bundle_place(attempt)
    row = access.ledger.restores.add(
        RestoreRow(
            backup_id=attempt.backup_id,
            catalog=attempt.catalog,
            mode=wish.mode.value,
            target=access.address.url,
            database=access.address.database,
            requested_by=wish.requested_by,
            created_at=access.clock(),
            tables=wish.tables,
            into_schema=wish.into_schema,
            rename=dict(wish.rename),
            fill=dict(wish.fill),
            safety_backup=safety_backup,
            store=store,
            reason=access.hide(wish.reason),
            run_id=access.run_id,
            owner=None if access.needs_approval else access.owner,
        )
    )
    detail = {"mode": row.mode, "tables": list(row.tables), "store": row.store, "reason": row.reason}
    audit_restore(row, "requested", row.requested_by, access, **detail)
    return row


def find_request(number: int, ledger: Ledger) -> RestoreRow:
    """The row of a request; NotFoundError when there is none."""
    row = ledger.restores.get(number)
    if row is None:
        message = f"There is no restore request {number}."
        raise NotFoundError(message, do="`backup-pipeline restores` lists them.")
    return row


def wish_of(row: RestoreRow) -> RestoreRequest:
    """What the row asks for, as a restore takes it; not confirmed yet."""
    return RestoreRequest(
        backup_id=row.backup_id,
        tables=row.tables,
        mode=Mode(row.mode),
        into_schema=row.into_schema,
        rename=row.rename,
        fill=row.fill,
        requested_by=row.requested_by,
        reason=row.reason,
    )


def plan_request(row: RestoreRow, access: Access) -> RestorePlan:
    """What the restore would do now: reads only, and is kept in the row, unless another one was approved."""
    plan = plan_restore(wish_of(row), access.target, access.ports)
    if row.status is RestoreStatus.APPROVED:
        return plan
    access.ledger.restores.change(row.id, RestoreChange(plan=hidden_json(plan.as_json(), access.hide)))
    return plan


def approve(number: int, by: str, scribe: Scribe, *, reason: str = "") -> RestoreRow:
    """Approve a request, with the plan that stands in its row, in the name of `by`.

    RefusedError when it is `by` who asked for it, or when it has no plan.
    """
    row = find_request(number, scribe.ledger)
    check_decision(row, by)
    return _decide(row, RestoreStatus.APPROVED, by, reason, scribe)


def reject(number: int, by: str, scribe: Scribe, *, reason: str) -> RestoreRow:
    """Reject a request that has not begun, approved or not; who asked for it may take it back so."""
    return _decide(find_request(number, scribe.ledger), RestoreStatus.REJECTED, by, reason, scribe)


def cancel(row: RestoreRow, why: str, access: Access) -> None:
    """End a request that nobody wants any more. Nothing was touched, so nobody is alerted."""
    change = RestoreChange(RestoreStatus.CANCELED, finished_at=access.clock(), error_message=why)
    access.ledger.restores.change(row.id, change)
    audit_restore(row, "canceled", row.requested_by, access, reason=why)


def perform(row: RestoreRow, plan: RestorePlan, access: Access, *, by: str) -> RestoreReport:
    """Carry out a request whose plan somebody has confirmed; its row says how it ended, in every case.

    RefusedError when it may not run (not approved, approved for another plan, or over), when the plan is refused, or
    not confirmed: then nothing is touched, and the row stays as it is. LockedError when another restore runs on the
    target, or somebody keeps a table of it.
    """
    known = find_request(row.id, access.ledger)
    check_may_run(known, needs_approval=access.needs_approval)
    check_approved_plan(known, plan.digest)
    check_refusals(plan)
    check_confirmed(plan)
    running = _start(row, access, by)
    safety = (lambda: access.safety(running, plan)) if row.safety_backup else None
    with ended_when_it_fails(running, access):
        report = run_restore(plan, access.target, access.ports, safety=safety)
    end_well(running, report, access, by=by)
    return report


def check_refusals(plan: RestorePlan) -> None:
    """Raise PreflightRefusedError, with the plan's first reason, when it is refused."""
    if not plan.refused:
        return
    first = plan.refusals[0]
    more = f" ({len(plan.refusals)} reasons in all)" if len(plan.refusals) > 1 else ""
    about = f"{first.table}: " if first.table else ""
    message = f"The restore is refused, and nothing was touched. {about}{first.message}{more}"
    raise PreflightRefusedError(message, do=first.do)


def check_confirmed(plan: RestorePlan, *, do: str = "") -> None:
    """Raise PreflightRefusedError when the plan has to be confirmed and was not; `do` says how."""
    if plan.confirmed:
        return
    given = f" ({plan.request.confirm!r} is not its name)" if plan.request.confirm else ""
    message = (
        f"The restore can change rows that database {plan.database} has now, and is not confirmed{given}. "
        "Nothing was touched."
    )
    raise PreflightRefusedError(message, do=do or f"Read the plan, then confirm it with {plan.confirm_name!r}.")


def _start(row: RestoreRow, access: Access, by: str) -> RestoreRow:
    now = access.clock()
    change = RestoreChange(
        RestoreStatus.RUNNING, started_at=now, owner=access.owner, heartbeat_at=now, run_id=access.run_id
    )
    running = access.ledger.restores.change(row.id, change)
    audit_restore(running, "started", by, access)
    return running


def _decide(row: RestoreRow, status: RestoreStatus, by: str, reason: str, scribe: Scribe) -> RestoreRow:
    change = RestoreChange(status, decided_by=by, decided_at=scribe.clock(), decision_reason=reason)
    decided = scribe.ledger.restores.change(row.id, change)
    plan = (decided.plan or {}).get("digest") if status is RestoreStatus.APPROVED else None
    audit_restore(decided, status.value, by, scribe, reason=reason, plan=plan)
    return decided
