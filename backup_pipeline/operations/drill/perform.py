"""Drill of a backup: the rehearsal, what remains of it, and what is told when it can not be done."""

from __future__ import annotations

from dataclasses import replace

from backup_pipeline.core.drill import DrillReport
from backup_pipeline.core.errors import (
    BackupError,
    CanceledError,
    DecryptError,
    NotFoundError,
    UsageError,
    VerificationError,
)
from backup_pipeline.core.freshness import staleness
from backup_pipeline.core.unforeseen import in_our_words
from backup_pipeline.operations.browse import bundle_place
from backup_pipeline.operations.drill.asked import DrillPorts, DrillRequest
from backup_pipeline.operations.drill.record import record, record_failure
from backup_pipeline.operations.drill.rehearsed import Rehearsal, rehearse

_SAID_BY_ITSELF = (VerificationError, DecryptError, NotFoundError, UsageError, CanceledError)
"""Errors that say by their exit code what they are; any other means that the drill failed."""


def drill(request: DrillRequest, ports: DrillPorts) -> DrillReport:
    """Rehearse a restore of the backup; the ledger keeps what came out, and people hear of what is wrong.

    The report says what was found; `report.error()` is for whoever must fail on it. NotFoundError, which alerts nobody,
    when the attempt has no bundle. VerificationError when what verified a moment ago can not be read any more, and a
    BackupError when a step could not be done: both alert.
    """
    bundle_place(request.attempt)
    try:
        rehearsal = rehearse(request, ports)
    except BackupError as error:
        told = as_drill_error(error, request)
        record_failure(told, request, ports)
        raise told from error
    except Exception as error:
        told = as_drill_error(BackupError(in_our_words(error)), request)
        record_failure(told, request, ports)
        raise
    rehearsal = _with_age(rehearsal, request, ports)
    record(rehearsal, request, ports)
    return rehearsal.report


def as_drill_error(error: BackupError, request: DrillRequest) -> BackupError:
    """The error as that of a drill: whatever a step calls it, the drill failed."""
    message = f"The drill of backup {request.attempt.backup_id} could not be done: {error.what}"
    kind = next((kind for kind in _SAID_BY_ITSELF if isinstance(error, kind)), BackupError)
    return kind(message, do=error.do or "Correct the cause, and run `backup-pipeline drill` again.")


def _with_age(rehearsal: Rehearsal, request: DrillRequest, ports: DrillPorts) -> Rehearsal:
    """The rehearsal, with a word when the newest backup is too old; a catalog that is gone promises nothing."""
    if not request.newest or request.catalog is None:
        return rehearsal
    stale = staleness(request.catalog, request.attempt.created_at, ports.clock())
    return replace(rehearsal, report=replace(rehearsal.report, stale=stale.what if stale else None))
