"""Restore requests in the ledger: made, planned, decided about, begun, and ended honestly in every case."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

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
from backup_pipeline.core.ports import Ledger, Ports, RestoreTarget
from backup_pipeline.core.restore import Mode, RestorePlan, RestoreReport, RestoreRequest
from backup_pipeline.core.restore.businesses import BusinessReport
from backup_pipeline.core.restore.requests import (
    MOVES,
    Address,
    Plan,
    RestoreChange,
    RestoreRow,
    RestoreStatus,
    check_may_run,
    is_abandoned,
)
from backup_pipeline.core.scope import PROGRAM, Actor, Scope
from backup_pipeline.operations.alerting import (
    break_glass_alert,
    decided_alert,
    no_row_alert,
    restore_alert,
    tell,
    waiting_alert,
)
from backup_pipeline.operations.browse import bundle_place, find_sound_backup
from backup_pipeline.operations.businesses.restore import BusinessWork, plan_business
from backup_pipeline.operations.restore.transfer import plan_restore

Safety = Callable[[RestoreRow, RestorePlan], str]
"""Backs up what the plan may overwrite; the id of that backup."""


class Goal(Protocol):
    """A database that a restore is to go into: a named one, or one that can be connected to."""

    @property
    def address(self) -> Address:
        """Where it is, for people."""

    @property
    def hide(self) -> Callable[[str], str]:
        """Takes everything secret of it out of a text."""


@dataclass(frozen=True)
class TargetDatabase:
    """The database that a restore goes into. `hide` takes everything secret of it out of a text.

    `business` is how one business in it is restored; None where the catalog has none.
    """

    address: Address
    database: RestoreTarget
    safety: Safety
    hide: Callable[[str], str]
    business: BusinessWork | None = None

    @property
    def business_work(self) -> BusinessWork:
        """How one business in it is restored; UsageError where the catalog declares none."""
        if self.business is None:
            message = "The catalog of this backup declares no businesses here: nothing says which rows are whose."
            raise UsageError(message, do="Restore tables of it: `backup-pipeline restore`.")
        return self.business


@dataclass(frozen=True)
class RestoreCaller:
    """Who performs a restore, as the audit names them, and the installation's rule for it.

    `attended` says that a person waits for the answer: a refusal, which touches nothing, is then told to them alone.
    `break_glass` is why they do without an approval: everybody is told, before anything is touched.
    """

    actor: Actor
    needs_approval: bool = False
    attended: bool = True
    run_id: str | None = None
    run_url: str | None = None
    break_glass: str = ""


logger = logging.getLogger(__name__)

_LEFT_AFTER = timedelta(hours=1)
_SHOWN_FOR = timedelta(days=1)
"""How long a plan that nobody asks for shows examples of rows."""
_NEVER_BEGUN = CanceledError(
    "The process that asked for this restore ended before it began. Nothing was touched.", do="Ask for it again."
)


@contextmanager
def ended_when_it_fails(row: RestoreRow, target: TargetDatabase, ports: Ports, caller: RestoreCaller) -> Iterator[None]:
    """Close the row as `failed`, or `canceled` when somebody stopped it, whatever comes out of the context."""
    try:
        yield
    except BackupError as error:
        end_failed(row, error, target, ports, caller)
        raise
    except Exception as error:
        end_failed(row, BackupError(in_our_words(error)), target, ports, caller)
        raise
    except BaseException:
        end_failed(row, stopped(row), target, ports, caller)
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


def end_failed(
    row: RestoreRow, error: BackupError, target: TargetDatabase, ports: Ports, caller: RestoreCaller
) -> None:
    """Close the row with an error and alert, without anything secret.

    A person who waits is told of a refusal alone, and of what went wrong with the request before it was begun.
    """
    begun = row.status is RestoreStatus.RUNNING
    answers = PreflightRefusedError if begun else (PreflightRefusedError, UsageError, NotFoundError, CanceledError)
    quiet = caller.attended and isinstance(error, answers)
    kind = CanceledError if isinstance(error, CanceledError) else BackupError
    hidden = kind(target.hide(error.what), do=target.hide(error.do))
    _end(row, hidden, ports, run_url=caller.run_url, quiet=quiet)


def end_well(
    row: RestoreRow, report: RestoreReport | BusinessReport, target: TargetDatabase, ports: Ports, caller: RestoreCaller
) -> None:
    """Close the row as `done`. The rows are in the target whatever the ledger says: its trouble is only logged."""
    change = RestoreChange(
        RestoreStatus.DONE, finished_at=ports.clock(), report=hidden_json(report.as_json(), target.hide)
    )
    try:
        ports.ledger.restores.change(row.id, change)
        detail = {"seconds": round(report.seconds, 1), "safety_backup": report.safety_backup_id}
        audit_restore(row, "done", caller.actor, ports, **detail)
        if row.decided_actor is not None:
            done = replace(row, status=RestoreStatus.DONE)
            tell(decided_alert(done, caller.actor, "", ports.clock()), ports)
    except LedgerError as error:
        logger.warning("Restore request %s is done, but its row could not be closed: %s", row.id, error)


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
        tell(no_row_alert(Scope(catalog), error, ports.clock(), run_id, run_url, what="Restore"), ports)
    waits = {RestoreStatus.REQUESTED, RestoreStatus.APPROVED} if needs_approval else set()
    left = [row for row in rows if MOVES[row.status] and row.status not in waits]
    for row in left:
        _end(row, error, ports, run_url=run_url)
    return left


def close_abandoned(ports: Ports) -> Sequence[RestoreRow]:
    """End every restore whose owner is dead; those that were closed.

    One that was running is `failed`, and people are alerted. One that had not begun is `canceled`, without a word.
    """
    unfinished = ports.ledger.restores.list(status=[RestoreStatus.REQUESTED, RestoreStatus.RUNNING])
    now, host = ports.clock(), ports.owner.host
    dead = [row for row in unfinished if is_abandoned(row, now=now, host=host, alive=ports.alive)]
    for row in dead:
        begun = row.status is RestoreStatus.RUNNING
        _end(row, _death(row) if begun else _NEVER_BEGUN, ports, quiet=not begun)
    return dead


def tidy(ports: Ports) -> Sequence[RestoreRow]:
    """Close what was abandoned, remove files that dead processes left, and rows in old plans; what was closed."""
    closed = close_abandoned(ports)
    ports.ledger.run_requests.forget_examples(ports.clock() - _SHOWN_FOR)
    running = ports.ledger.restores.list(status=[RestoreStatus.RUNNING])
    spool = ports.spool / RESTORES
    for folder in spool.iterdir() if spool.is_dir() and not running else ():
        # A restore that begins at this very moment has a folder and not yet a running row here.
        if ports.clock() - datetime.fromtimestamp(folder.stat().st_mtime, UTC) > _LEFT_AFTER:
            shutil.rmtree(folder, ignore_errors=True)
    return closed


def audit_restore(row: RestoreRow, action: str, actor: Actor, ports: Ports, **detail: object) -> None:
    """Keep in the audit what became of a request; it stands with the backup that it restores."""
    kept = {name: value for name, value in detail.items() if value}
    event = AuditEvent(
        ports.clock(), actor, f"restore {action}", row.backup_id, {"request": row.id, "target": row.target, **kept}
    )
    ports.ledger.audit(event)


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


def add_request(
    request: RestoreRequest,
    target: Goal,
    ports: Ports,
    caller: RestoreCaller,
    plan: Mapping[str, object] | None = None,
) -> RestoreRow:
    """Add the request's row, before anything but the ledger is connected; `request.backup_id` may be `latest`.

    With the `plan`, as JSON, where it was made before. UsageError or NotFoundError, without a row, when there is no
    such backup or it has no bundle.
    """
    attempt = find_sound_backup(request.backup_id, ports.ledger, store=request.store)
    bundle_place(attempt)
    if request.mode is Mode.DIFFERENCE and attempt.scope.business is None:
        message = f"Backup {attempt.backup_id} is not of one business."
        raise UsageError(message, do="`backup-pipeline businesses protection` shows theirs.")
    row = ports.ledger.restores.add(
        RestoreRow(
            backup_id=attempt.backup_id,
            scope=attempt.scope,
            mode=request.mode.value,
            target=target.address.url,
            database=target.address.database,
            actor=request.actor,
            created_at=ports.clock(),
            tables=request.tables,
            into_schema=request.into_schema,
            rename=dict(request.rename),
            fill=dict(request.fill),
            safety_backup=request.safety_backup,
            store=request.store,
            selection=request.selection.as_json() if request.selection is not None else None,
            reason=target.hide(request.reason),
            run_id=caller.run_id,
            plan=hidden_json(plan, target.hide) if plan is not None else None,
            owner=None if caller.needs_approval else ports.owner,
        )
    )
    detail = {"mode": row.mode, "tables": list(row.tables), "store": row.store, "reason": row.reason}
    audit_restore(row, "requested", row.actor, ports, **detail)
    return row


def tell_waiting(row: RestoreRow, ports: Ports) -> None:
    """Tell people that a request waits for an approval from now on."""
    tell(waiting_alert(row, ports.console_url), ports)


def find_request(number: int, ledger: Ledger) -> RestoreRow:
    """The row of a request; NotFoundError when there is none."""
    row = ledger.restores.get(number)
    if row is None:
        message = f"There is no restore request {number}."
        raise NotFoundError(message, do="`backup-pipeline restores` lists them.")
    return row


def find_performable(number: int, ledger: Ledger, *, needs_approval: bool) -> RestoreRow:
    """The row of a request that may be performed now; NotFoundError, RefusedError or LockedError when it may not."""
    row = find_request(number, ledger)
    check_may_run(row, needs_approval=needs_approval)
    return row


def planned(request: RestoreRequest, target: TargetDatabase, ports: Ports) -> Plan:
    """What a restore of tables, or of one business, would do now. Errors are those of whichever it is."""
    if request.mode is Mode.DIFFERENCE:
        return plan_business(request, target.business_work, target.address, ports)
    return plan_restore(request, target.database, ports)


def plan_request(row: RestoreRow, target: TargetDatabase, ports: Ports) -> Plan:
    """What the restore would do now: changes nothing, and is kept in the row, unless another one was approved."""
    plan = planned(row.request, target, ports)
    if row.status is RestoreStatus.APPROVED:
        return plan
    ports.ledger.restores.change(row.id, RestoreChange(plan=hidden_json(plan.as_json(), target.hide)))
    return plan


def cancel(row: RestoreRow, why: str, ports: Ports) -> None:
    """End a request that nobody wants any more. Nothing was touched, so nobody is alerted."""
    change = RestoreChange(RestoreStatus.CANCELED, finished_at=ports.clock(), error_message=why)
    ports.ledger.restores.change(row.id, change)
    audit_restore(row, "canceled", row.actor, ports, reason=why)


def start(row: RestoreRow, ports: Ports, caller: RestoreCaller) -> RestoreRow:
    """The row as it is once it runs in this process."""
    now = ports.clock()
    change = RestoreChange(
        RestoreStatus.RUNNING, started_at=now, owner=ports.owner, heartbeat_at=now, run_id=caller.run_id
    )
    running = ports.ledger.restores.change(row.id, change)
    alone = caller.break_glass if row.status is RestoreStatus.REQUESTED else ""
    audit_restore(running, "started", caller.actor, ports, break_glass=alone)
    if alone:
        tell(break_glass_alert(running, caller.actor, alone), ports)
    return running
