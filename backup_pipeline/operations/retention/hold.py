"""Hold and release: exempt one backup from every removal, in the store first, so that the hold outlives the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from backup_pipeline.core.errors import (
    BackupError,
    LockedError,
    NotFoundError,
    PartialError,
    RefusedError,
    StoreDeniedError,
    UsageError,
)
from backup_pipeline.core.ledger import MOVES, Attempt, AuditEvent, Hold, Status, seal_hold
from backup_pipeline.core.ports import Ports
from backup_pipeline.core.retention import StandIns, objections
from backup_pipeline.core.scope import Actor
from backup_pipeline.operations.browse import bundle_place
from backup_pipeline.operations.leases import readers
from backup_pipeline.operations.mirror import mirror
from backup_pipeline.operations.retention import Removal, Removed, catalog_lease, remove_backup, remove_copies
from backup_pipeline.operations.retention.plan import Proofs, PruneRequest, basis_of, folder_of, held_in_store


def hold_backup(attempt: Attempt, hold: Hold, ports: Ports) -> None:
    """Hold the backup; a hold that is there is replaced. UsageError without a reason, or for a time that is over.

    NotFoundError when there is no such backup in the ports.store.
    """
    _check(hold, ports)
    place = bundle_place(attempt)
    if ports.store.head(place.manifest) is None:
        message = (
            f"Backup {attempt.backup_id} has no manifest in the store: {ports.store.url}/{place.manifest} is missing."
        )
        raise NotFoundError(message, do="There is nothing to hold; `backup-pipeline list` shows what there is.")
    ports.store.put(place.hold, [seal_hold(attempt.backup_id, hold.until)])
    ports.ledger.hold(attempt.backup_id, hold)
    detail = {"reason": hold.reason, "until": hold.until.isoformat() if hold.until else "released"}
    ports.ledger.audit(AuditEvent(ports.clock(), hold.actor, "hold", attempt.backup_id, detail))
    mirror(attempt, f"Backup {attempt.backup_id} is {hold}.", ports)


def release_backup(attempt: Attempt, ports: Ports, *, actor: Actor, reason: str = "") -> bool:
    """Let the rules count again for the backup; whether it was held.

    Where the store lets nobody delete, the hold there is written anew as one that is over.
    """
    place = bundle_place(attempt)
    there = ports.store.head(place.hold) is not None
    if attempt.hold is None and not there:
        return False
    if there:
        try:
            ports.store.delete([place.hold])
        except StoreDeniedError:
            ports.store.put(place.hold, [seal_hold(attempt.backup_id, ports.clock())])
    ports.ledger.hold(attempt.backup_id, None)
    held = attempt.hold
    before = {"held_by": str(held.actor), "held_because": held.reason} if held else {}
    detail = {"reason": reason, **{name: value for name, value in before.items() if value}}
    ports.ledger.audit(AuditEvent(ports.clock(), actor, "release", attempt.backup_id, detail))
    mirror(attempt, f"Backup {attempt.backup_id} is released by {actor.for_people}. {reason}".strip(), ports)
    return True


def _check(hold: Hold, ports: Ports) -> None:
    if not hold.reason.strip():
        message = "A hold wants a reason: in a year nobody remembers why."
        raise UsageError(message, do='Say why: --reason "the audit of 2026".')
    if not hold.lasts(ports.clock()):
        message = f"The hold would be over already: {hold.until:%Y-%m-%d %H:%M} UTC."
        raise UsageError(message, do="Give a date to come, or none: then it lasts until somebody releases it.")


@dataclass(frozen=True)
class DeleteRequest:
    """Which backup is deleted, by the rules of its catalog, and why. `confirm` is its id once more."""

    attempt: Attempt
    rules: PruneRequest
    confirm: str | None
    reason: str = ""


def check_deletable(attempt: Attempt, rules: PruneRequest, ports: Ports, proofs: Proofs | None = None) -> None:
    """Raise unless the backup may be deleted: LockedError while it is made or read, RefusedError with every reason."""
    if attempt.status is Status.RUNNING:
        message = f"Backup {attempt.backup_id} is being made at this moment."
        raise LockedError(message, do="Stop the run first, or wait for it.")
    if reader := readers(ports).get(attempt.backup_id):
        message = f"Backup {attempt.backup_id} stays: {reader}. Nothing was touched."
        raise LockedError(message, do="Wait until that has ended. If it died, it counts no more after 90 seconds.")
    if attempt.status is not Status.DELETED and Status.DELETED not in MOVES[attempt.status]:
        message = f"{attempt.backup_id} is {attempt.status}: nothing of it was ever stored. Nothing was touched."
        raise RefusedError(message, do="There is nothing to delete; the row stays as a record.")
    if reasons := _reasons(attempt, rules, ports, proofs or Proofs(ports.store)):
        message = f"Backup {attempt.backup_id} stays: {'; '.join(reasons)}. Nothing was touched."
        raise RefusedError(message, do=_advice(reasons))


def delete_backup(request: DeleteRequest, ports: Ports) -> Removed:
    """Delete the backup; its row stays, `deleted`. One that is deleted already loses what was left of it.

    Raises what `check_deletable` raises, before the catalog's lease is asked for and again under it; RefusedError too
    unless it is confirmed. Its partitions go with the next prune, unless another backup has their date.
    """
    attempt, rules, proofs = request.attempt, request.rules, Proofs(ports.store)
    check_deletable(attempt, rules, ports, proofs)
    _check_confirmed(request)
    with catalog_lease(rules, ports):
        check_deletable(attempt, rules, ports, proofs)
        if attempt.status is Status.DELETED:
            removed = _rest(attempt, rules, ports)
        else:
            removal = Removal(request.reason or "asked for", _proven_successor(attempt, rules, ports, proofs)[0])
            removed = remove_backup(attempt, Status.DELETED, removal, rules, ports)
        copies = tuple(remove_copies(rules, ports))
    if not removed.kept:
        who = rules.actor.for_people
        mirror(attempt, f"Backup {attempt.backup_id} is deleted by {who}. {request.reason}".strip(), ports)
    return replace(removed, left=(*removed.left, *copies))


def _check_confirmed(request: DeleteRequest) -> None:
    backup_id = request.attempt.backup_id
    if request.confirm != backup_id:
        given = f" ({request.confirm!r} is not its id)" if request.confirm else ""
        message = f"Deleting backup {backup_id} is not confirmed{given}. Nothing was touched."
        do = f"If that is what you want, run: backup-pipeline delete {backup_id} --confirm {backup_id}"
        raise RefusedError(message, do=do)


def left_error(removed: Removed) -> BackupError:
    """The error of a deletion that could not remove everything."""
    if not removed.left:
        return RefusedError(f"Backup {removed.backup_id} stays: {removed.kept}.", do="Look at it again, then decide.")
    first = removed.left[0]
    stays = "stays whole" if removed.kept else "is deleted, but something of it is left"
    return PartialError(f"Backup {removed.backup_id} {stays}. {first.key}: {first.message}", do=first.do)


def _rest(attempt: Attempt, rules: PruneRequest, ports: Ports) -> Removed:
    folder = folder_of(attempt, ports.store)
    left = tuple(ports.removals(ports.store).remove([*folder.pointers, *folder.data], rules.versions))
    return Removed(attempt.backup_id, attempt.status, len(folder.objects), folder.bytes, left)


def _reasons(attempt: Attempt, rules: PruneRequest, ports: Ports, proofs: Proofs) -> tuple[str, ...]:
    rows = ports.ledger.list(scope=attempt.scope)
    basis = basis_of(rules, ports)
    held = held_in_store(folder_of(attempt, ports.store), attempt, ports)
    claims = {attempt.backup_id: held} if held else {}
    _, broken = _proven_successor(attempt, rules, ports, proofs)
    return objections(attempt, rows, replace(basis, claims={**claims, **basis.claims}, broken=broken))


def _proven_successor(
    attempt: Attempt, rules: PruneRequest, ports: Ports, proofs: Proofs
) -> tuple[Attempt | None, Mapping[str, str]]:
    """The backup that stays in its place, found whole in the store; and those that were found not to be, with why."""
    broken: dict[str, str] = {}
    rows = ports.ledger.list(scope=attempt.scope) if attempt.status.good else ()
    stand_ins = StandIns(rows, basis_of(rules, ports))
    for row in stand_ins.of(attempt):
        lost = proofs.broken(stand_ins.needed(row))
        if not lost:
            return row, broken
        broken |= lost
    return None, broken


def _advice(reasons: tuple[str, ...]) -> str:
    if any(reason.startswith("held") for reason in reasons):
        return "Look at who holds it and why (`backup-pipeline show`); `backup-pipeline release ID` ends a hold."
    if any("restore request" in reason for reason in reasons):
        return "Let the restore be performed, or reject it (`backup-pipeline restores`)."
    if any("go on from it" in reason for reason in reasons):
        return "Delete those first, the newest of them first, if you want none of them."
    if any("good backup" in reason or "not verified" in reason for reason in reasons):
        return "Make another backup and verify it (`backup-pipeline backup`, `verify latest`); then delete this one."
    return "Wait until the grace is over, or change the rule in the catalog (docs/retention.md)."
