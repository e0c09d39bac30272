"""Hold and release: exempt one backup from every removal, in the store first, so that the hold outlives the ledger."""

from __future__ import annotations

from backup_pipeline.core.errors import NotFoundError, StoreDeniedError, UsageError
from backup_pipeline.core.hold import Hold, seal_hold
from backup_pipeline.core.ledger import Attempt, AuditEvent
from backup_pipeline.core.ports import Store
from backup_pipeline.operations.browse import bundle_place
from backup_pipeline.operations.telling import Scribe


def hold_backup(attempt: Attempt, hold: Hold, store: Store, scribe: Scribe) -> None:
    """Hold the backup; a hold that is there is replaced. UsageError without a reason, or for a time that is over.

    NotFoundError when there is no such backup in the store.
    """
    _check(hold, scribe)
    place = bundle_place(attempt)
    if store.head(place.manifest) is None:
        message = f"Backup {attempt.backup_id} has no manifest in the store: {store.url}/{place.manifest} is missing."
        raise NotFoundError(message, do="There is nothing to hold; `backup-pipeline list` shows what there is.")
    store.put(place.hold, [seal_hold(attempt.backup_id, hold.until)])
    scribe.ledger.hold(attempt.backup_id, hold)
    detail = {"reason": hold.reason, "until": hold.until.isoformat() if hold.until else "released"}
    scribe.ledger.audit(AuditEvent(scribe.clock(), hold.by, "hold", attempt.backup_id, detail))


def release_backup(attempt: Attempt, store: Store, scribe: Scribe, *, by: str, reason: str = "") -> bool:
    """Let the rules count again for the backup; whether it was held.

    Where the store lets nobody delete, the hold there is written anew as one that is over.
    """
    place = bundle_place(attempt)
    there = store.head(place.hold) is not None
    if attempt.hold is None and not there:
        return False
    if there:
        try:
            store.delete([place.hold])
        except StoreDeniedError:
            store.put(place.hold, [seal_hold(attempt.backup_id, scribe.clock())])
    scribe.ledger.hold(attempt.backup_id, None)
    before = {"held_by": attempt.held_by, "held_because": attempt.held_reason}
    detail = {"reason": reason, **{name: value for name, value in before.items() if value}}
    scribe.ledger.audit(AuditEvent(scribe.clock(), by, "release", attempt.backup_id, detail))
    return True


def _check(hold: Hold, scribe: Scribe) -> None:
    if not hold.reason.strip():
        message = "A hold wants a reason: in a year nobody remembers why."
        raise UsageError(message, do='Say why: --reason "the audit of 2026".')
    if not hold.lasts(scribe.clock()):
        message = f"The hold would be over already: {hold.until:%Y-%m-%d %H:%M} UTC."
        raise UsageError(message, do="Give a date to come, or none: then it lasts until somebody releases it.")
