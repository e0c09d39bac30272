"""How restore requests end: done, failed, stopped, or abandoned by a process that died; and who is told."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from backup_pipeline.core.errors import (
    BackupError,
    CanceledError,
    LedgerError,
    NotFoundError,
    PreflightRefusedError,
    SettingsError,
    UsageError,
)
from backup_pipeline.core.ledger import AuditEvent
from backup_pipeline.core.restore_requests import MOVES, RestoreChange, RestoreRow, RestoreStatus
from backup_pipeline.core.restoring import RestoreReport
from backup_pipeline.core.unforeseen import in_our_words
from backup_pipeline.operations.restore_access import Access
from backup_pipeline.operations.telling import Scribe, Voice, no_row_alert, restore_alert, tell

logger = logging.getLogger(__name__)

PROGRAM = "backup_pipeline"
"""Who the audit names where nobody in person did it."""

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
    _end(row, hidden, access, run_url=access.run_url, quiet=quiet)


def end_well(row: RestoreRow, report: RestoreReport, access: Access, *, by: str) -> None:
    """Close the row as `done`. The rows are in the target whatever the ledger says: its trouble is only logged."""
    told = hidden_json(report.as_json(), access.hide)
    try:
        access.ledger.restores.change(
            row.id, RestoreChange(RestoreStatus.DONE, finished_at=access.clock(), report=told)
        )
        detail = {"seconds": round(report.seconds, 1), "safety_backup": report.safety_backup_id}
        audit_restore(row, "done", by, access, **detail)
    except LedgerError as trouble:
        logger.warning("Restore request %s is done, but its row could not be closed: %s", row.id, trouble)


def end_restore_run(
    run_id: str, catalog: str, error: BackupError, voice: Voice, *, needs_approval: bool, run_url: str | None = None
) -> Sequence[RestoreRow]:
    """Close the requests of a Dagster run that ended without closing them, and alert; those that were closed.

    Where a restore needs approval, a request outlives the run that made it. A run that failed before it could write its
    row is alerted too.
    """
    try:
        rows = voice.ledger.restores.list(run_id=run_id)
    except (LedgerError, SettingsError) as trouble:
        logger.warning("The restore request of run %s can not be read: %s", run_id, trouble)
        rows = ()
    if not rows:
        tell(no_row_alert(catalog, error, voice.clock(), run_id, run_url, what="Restore"), voice)
    waits = {RestoreStatus.REQUESTED, RestoreStatus.APPROVED} if needs_approval else set()
    left = [row for row in rows if MOVES[row.status] and row.status not in waits]
    for row in left:
        _end(row, error, voice, run_url=run_url)
    return left


def close_abandoned(voice: Voice, is_dead: Callable[[RestoreRow], bool]) -> Sequence[RestoreRow]:
    """End every restore whose owner is dead; those that were closed.

    One that was running is `failed`, and people are alerted. One that had not begun is `canceled`, without a word.
    """
    open_ones = voice.ledger.restores.list(status=[RestoreStatus.REQUESTED, RestoreStatus.RUNNING])
    dead = [row for row in open_ones if is_dead(row)]
    for row in dead:
        begun = row.status is RestoreStatus.RUNNING
        _end(row, _death(row) if begun else _NEVER_BEGUN, voice, quiet=not begun)
    return dead


def tidy(access: Access, is_dead: Callable[[RestoreRow], bool]) -> Sequence[RestoreRow]:
    """What every restore does first: close what was abandoned, and remove the files that dead processes left."""
    closed = close_abandoned(access, is_dead)
    running = access.ledger.restores.list(status=[RestoreStatus.RUNNING])
    spool = access.ports.spool
    for folder in spool.iterdir() if spool.is_dir() and not running else ():
        # A restore that begins at this very moment has a folder and not yet a running row here.
        if access.clock() - datetime.fromtimestamp(folder.stat().st_mtime, UTC) > _LEFT_AFTER:
            shutil.rmtree(folder, ignore_errors=True)
    return closed


def audit_restore(row: RestoreRow, action: str, actor: str, scribe: Scribe, **detail: object) -> None:
    """Keep in the audit what became of a request; it stands with the backup that it restores."""
    told = {"request": row.id, "target": row.target, **{name: value for name, value in detail.items() if value}}
    scribe.ledger.audit(AuditEvent(scribe.clock(), actor, f"restore {action}", row.backup_id, told))


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


def _end(row: RestoreRow, error: BackupError, voice: Voice, *, run_url: str | None = None, quiet: bool = False) -> None:
    """Close the row, at most once, and alert unless `quiet`; a ledger that is away never hides the error itself."""
    status = RestoreStatus.CANCELED if isinstance(error, CanceledError) else RestoreStatus.FAILED
    change = RestoreChange(status, finished_at=voice.clock(), error_message=str(error))
    try:
        current = voice.ledger.restores.get(row.id) or row
        if not MOVES[current.status]:
            return
        voice.ledger.restores.change(row.id, change)
        audit_restore(row, status.value, PROGRAM, voice, error=error.what)
    except LedgerError as trouble:
        logger.warning("The row of restore request %s could not be closed: %s", row.id, trouble)
    if not quiet:
        tell(restore_alert(row, error, run_url), voice)


def _death(row: RestoreRow) -> BackupError:
    return BackupError(
        "The process that ran this restore ended without a word (killed, out of memory, or the machine went down).",
        do=(
            f"A restore is one transaction: database {row.database} is as it was, or has all of it. Run the same "
            "restore with --dry-run to see the rows that are there now."
        ),
    )
