"""What a restore request reaches the world through."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from backup_pipeline.core.actor import PROGRAM, Actor
from backup_pipeline.core.errors import (
    BackupError,
    CanceledError,
    LedgerError,
    NotFoundError,
    PreflightRefusedError,
    SettingsError,
    UsageError,
    in_our_words,
)
from backup_pipeline.core.layout import RESTORES
from backup_pipeline.core.ledger import AuditEvent
from backup_pipeline.core.ports import Clock, Ledger, Ports, RestoreTarget
from backup_pipeline.core.restore.model import Mode, RestorePlan, RestoreReport, RestoreRequest
from backup_pipeline.core.restore.requests import (
    FIRST,
    MOVES,
    RestoreChange,
    RestoreRow,
    RestoreStatus,
    Which,
    check_approved_plan,
    check_decision,
    check_may_run,
)
from backup_pipeline.operations.alerting import no_row_alert, restore_alert, tell
from backup_pipeline.operations.browse import bundle_place, find_sound_backup
from backup_pipeline.operations.restore.perform import plan_restore, run_restore

Safety = Callable[[RestoreRow, RestorePlan], str]
"""Backs up what the plan may overwrite; the id of that backup."""


@dataclass(frozen=True)
class Address:
    """Where a target is, for people: its URL without the password, and the database's name."""

    url: str
    database: str


@dataclass(frozen=True)
class Access:
    """The ports of a restore, its target, and who runs it.

    `hide` takes everything secret of the target out of a text. `needs_approval` is the installation's rule. `attended`
    says that a person waits for the answer: a refusal, which touches nothing, is then told to them alone.
    """

    ports: Ports
    target: RestoreTarget
    address: Address
    safety: Safety
    hide: Callable[[str], str]
    needs_approval: bool = False
    attended: bool = True
    run_id: str | None = None
    run_url: str | None = None

    @property
    def ledger(self) -> Ledger:
        """Where the request's row is."""
        return self.ports.ledger

    @property
    def clock(self) -> Clock:
        """The present instant."""
        return self.ports.clock


logger = logging.getLogger(__name__)

_LEFT_AFTER = timedelta(hours=1)
_NEVER_BEGUN = CanceledError(
    "The process that asked for this restore ended before it began. Nothing was touched.", do="Ask for it again."
)


@contextmanager
def ended_when_it_fails(row: RestoreRow, access: Access) -> Iterator[None]:
    """Close the row as `failed`, or `canceled` when somebody stopped it, whatever comes out of the context."""
    try:
        yield
    except BackupError as error:
        end_failed(row, error, access)
        raise
    except Exception as error:
        end_failed(row, BackupError(in_our_words(error)), access)
        raise
    except BaseException:
        end_failed(row, stopped(row), access)
        raise


def stopped(row: RestoreRow) -> CanceledError:
    """What is true of a restore that somebody stops at any moment."""
    what = f"Restore request {row.id} was stopped by hand."
    if row.status is not RestoreStatus.RUNNING:
        return CanceledError(f"{what} Nothing was touched.", do="Ask for it again.")
    whole = f"It is one transaction: database {row.database} is as it was, unless only statistics were left to be made."
    return CanceledError(
        f"{what} {whole}", do="Run the same restore with --dry-run to see the rows that are there now."
    )


def end_failed(row: RestoreRow, error: BackupError, access: Access) -> None:
    """Close the row with an error and alert, without anything secret.

    A person who waits is told of a refusal alone, and of what went wrong with the request before it was begun.
    """
    begun = row.status is RestoreStatus.RUNNING
    told = PreflightRefusedError if begun else (PreflightRefusedError, UsageError, NotFoundError, CanceledError)
    quiet = access.attended and isinstance(error, told)
    kind = CanceledError if isinstance(error, CanceledError) else BackupError
    hidden = kind(access.hide(error.what), do=access.hide(error.do))
    _end(row, hidden, access.ports, run_url=access.run_url, quiet=quiet)


def end_well(row: RestoreRow, report: RestoreReport, access: Access, *, actor: Actor) -> None:
    """Close the row as `done`. The rows are in the target whatever the ledger says: its trouble is only logged."""
    told = hidden_json(report.as_json(), access.hide)
    try:
        access.ledger.restores.change(
            row.id, RestoreChange(RestoreStatus.DONE, finished_at=access.clock(), report=told)
        )
        detail = {"seconds": round(report.seconds, 1), "safety_backup": report.safety_backup_id}
        audit_restore(row, "done", actor, access.ports, **detail)
    except LedgerError as trouble:
        logger.warning("Restore request %s is done, but its row could not be closed: %s", row.id, trouble)


def end_restore_run(
    run_id: str, catalog: str, error: BackupError, ports: Ports, *, needs_approval: bool, run_url: str | None = None
) -> Sequence[RestoreRow]:
    """Close the requests of a Dagster run that ended without closing them, and alert; those that were closed.

    Where a restore needs approval, a request outlives the run that made it. A run that failed before it could write its
    row is alerted too.
    """
    try:
        rows = ports.ledger.restores.list(run_id=run_id)
    except (LedgerError, SettingsError) as trouble:
        logger.warning("The restore request of run %s can not be read: %s", run_id, trouble)
        rows = ()
    if not rows:
        tell(no_row_alert(catalog, error, ports.clock(), run_id, run_url, what="Restore"), ports)
    waits = {RestoreStatus.REQUESTED, RestoreStatus.APPROVED} if needs_approval else set()
    left = [row for row in rows if MOVES[row.status] and row.status not in waits]
    for row in left:
        _end(row, error, ports, run_url=run_url)
    return left


def close_abandoned(ports: Ports, is_dead: Callable[[RestoreRow], bool]) -> Sequence[RestoreRow]:
    """End every restore whose owner is dead; those that were closed.

    One that was running is `failed`, and people are alerted. One that had not begun is `canceled`, without a word.
    """
    open_ones = ports.ledger.restores.list(status=[RestoreStatus.REQUESTED, RestoreStatus.RUNNING])
    dead = [row for row in open_ones if is_dead(row)]
    for row in dead:
        begun = row.status is RestoreStatus.RUNNING
        _end(row, _death(row) if begun else _NEVER_BEGUN, ports, quiet=not begun)
    return dead


def tidy(access: Access, is_dead: Callable[[RestoreRow], bool]) -> Sequence[RestoreRow]:
    """What every restore does first: close what was abandoned, and remove the files that dead processes left."""
    closed = close_abandoned(access.ports, is_dead)
    running = access.ledger.restores.list(status=[RestoreStatus.RUNNING])
    spool = access.ports.spool / RESTORES
    for folder in spool.iterdir() if spool.is_dir() and not running else ():
        # A restore that begins at this very moment has a folder and not yet a running row here.
        if access.clock() - datetime.fromtimestamp(folder.stat().st_mtime, UTC) > _LEFT_AFTER:
            shutil.rmtree(folder, ignore_errors=True)
    return closed


def audit_restore(row: RestoreRow, action: str, actor: Actor, ports: Ports, **detail: object) -> None:
    """Keep in the audit what became of a request; it stands with the backup that it restores."""
    told = {"request": row.id, "target": row.target, **{name: value for name, value in detail.items() if value}}
    ports.ledger.audit(AuditEvent(ports.clock(), actor, f"restore {action}", row.backup_id, told))


def hidden_json(value: Mapping[str, object], hide: Callable[[str], str]) -> dict[str, Any]:
    """The JSON object `value` with nothing secret in its texts."""
    return {name: _hidden(inner, hide) for name, inner in value.items()}


def _hidden(value: object, hide: Callable[[str], str]) -> object:
    if isinstance(value, str):
        return hide(str(value))
    if isinstance(value, Mapping):
        return {str(name): _hidden(inner, hide) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_hidden(inner, hide) for inner in value]
    return value


def _end(row: RestoreRow, error: BackupError, ports: Ports, *, run_url: str | None = None, quiet: bool = False) -> None:
    """Close the row, at most once, and alert unless `quiet`; a ledger that is away never hides the error itself."""
    status = RestoreStatus.CANCELED if isinstance(error, CanceledError) else RestoreStatus.FAILED
    change = RestoreChange(status, finished_at=ports.clock(), error_message=str(error))
    try:
        current = ports.ledger.restores.get(row.id) or row
        if not MOVES[current.status]:
            return
        ports.ledger.restores.change(row.id, change)
        audit_restore(row, status.value, PROGRAM, ports, error=error.what)
    except LedgerError as trouble:
        logger.warning("The row of restore request %s could not be closed: %s", row.id, trouble)
    if not quiet:
        tell(restore_alert(row, error, run_url), ports)


def _death(row: RestoreRow) -> BackupError:
    return BackupError(
        "The process that ran this restore ended without a word (killed, out of memory, or the machine went down).",
        do=(
            f"A restore is one transaction: database {row.database} is as it was, or has all of it. Run the same "
            "restore with --dry-run to see the rows that are there now."
        ),
    )


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
            actor=wish.actor,
            created_at=access.clock(),
            tables=wish.tables,
            into_schema=wish.into_schema,
            rename=dict(wish.rename),
            fill=dict(wish.fill),
            safety_backup=safety_backup,
            store=store,
            reason=access.hide(wish.reason),
            run_id=access.run_id,
            owner=None if access.needs_approval else access.ports.owner,
        )
    )
    detail = {"mode": row.mode, "tables": list(row.tables), "store": row.store, "reason": row.reason}
    audit_restore(row, "requested", row.actor, access.ports, **detail)
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
        actor=row.actor,
        reason=row.reason,
    )


def plan_request(row: RestoreRow, access: Access) -> RestorePlan:
    """What the restore would do now: reads only, and is kept in the row, unless another one was approved."""
    plan = plan_restore(wish_of(row), access.target, access.ports)
    if row.status is RestoreStatus.APPROVED:
        return plan
    access.ledger.restores.change(row.id, RestoreChange(plan=hidden_json(plan.as_json(), access.hide)))
    return plan


def approve(number: int, actor: Actor, ports: Ports, *, reason: str = "") -> RestoreRow:
    """Approve a request, with the plan that stands in its row, in the name of `by`.

    RefusedError when it is `actor` who asked for it, or when it has no plan.
    """
    row = find_request(number, ports.ledger)
    check_decision(row, actor)
    return _decide(row, RestoreStatus.APPROVED, actor, reason, ports)


def reject(number: int, actor: Actor, ports: Ports, *, reason: str) -> RestoreRow:
    """Reject a request that has not begun, approved or not; who asked for it may take it back so."""
    return _decide(find_request(number, ports.ledger), RestoreStatus.REJECTED, actor, reason, ports)


def cancel(row: RestoreRow, why: str, access: Access) -> None:
    """End a request that nobody wants any more. Nothing was touched, so nobody is alerted."""
    change = RestoreChange(RestoreStatus.CANCELED, finished_at=access.clock(), error_message=why)
    access.ledger.restores.change(row.id, change)
    audit_restore(row, "canceled", row.actor, access.ports, reason=why)


def perform(row: RestoreRow, plan: RestorePlan, access: Access, *, actor: Actor) -> RestoreReport:
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
    running = _start(row, access, actor)
    safety = (lambda: access.safety(running, plan)) if row.safety_backup else None
    with ended_when_it_fails(running, access):
        report = run_restore(plan, access.target, access.ports, safety=safety)
    end_well(running, report, access, actor=actor)
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


def _start(row: RestoreRow, access: Access, actor: Actor) -> RestoreRow:
    now = access.clock()
    change = RestoreChange(
        RestoreStatus.RUNNING, started_at=now, owner=access.ports.owner, heartbeat_at=now, run_id=access.run_id
    )
    running = access.ledger.restores.change(row.id, change)
    audit_restore(running, "started", actor, access.ports)
    return running


def _decide(row: RestoreRow, status: RestoreStatus, actor: Actor, reason: str, ports: Ports) -> RestoreRow:
    change = RestoreChange(status, decided_actor=actor, decided_at=ports.clock(), decision_reason=reason)
    decided = ports.ledger.restores.change(row.id, change)
    plan = (decided.plan or {}).get("digest") if status is RestoreStatus.APPROVED else None
    audit_restore(decided, status.value, actor, ports, reason=reason, plan=plan)
    return decided
