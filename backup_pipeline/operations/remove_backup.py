"""Removing one backup: an audit row that says so, its manifest, its bundle, its row. Each step can be the last.

A backup exists when its manifest does, so that goes first: whatever is killed in between leaves no backup that looks
whole. A manifest that is missing, with that audit row, is a removal to finish; without it, it is a loss to report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backup_pipeline.core.ledger import Attempt, AuditEvent, Outcome
from backup_pipeline.core.prune_facts import Folder
from backup_pipeline.core.removal import Left, Versions
from backup_pipeline.core.statuses import Status
from backup_pipeline.operations.browse import place_of
from backup_pipeline.operations.prune_look import NOT_REMOVED, REMOVING, PrunePorts, folder_of, held_in_store
from backup_pipeline.operations.prune_proof import Proofs
from backup_pipeline.operations.readers import claims


@dataclass(frozen=True)
class Removal:
    """Why a backup goes, what is done about older versions of its objects, and which backup stays in its place.

    Without a `successor` nothing does: of a backup that is none, as its row or the store say.
    """

    why: str
    versions: Versions
    successor: Attempt | None


@dataclass(frozen=True)
class Removed:
    """What became of the removal of a backup.

    `kept` says why nothing of it was removed, empty when it was. `left` has each object of which something stays.
    """

    backup_id: str
    status: Status
    objects: int = 0
    bytes: int = 0
    left: tuple[Left, ...] = ()
    kept: str = ""

    def as_json(self) -> dict[str, object]:
        """The same as JSON."""
        return {
            "backup_id": self.backup_id,
            "status": self.status.value,
            "objects": self.objects,
            "bytes": self.bytes,
            "left": [left.as_json() for left in self.left],
            "kept": self.kept,
        }


def remove_backup(attempt: Attempt, to: Status, wish: Removal, ports: PrunePorts) -> Removed:
    """Remove the backup of `attempt`, whose row becomes `to`; nothing is touched when something of it is locked.

    It is looked at once more: who held it since the plan was made, or began a restore, keeps it; so does a successor
    that is not there any more. May be called again after any error, and then finishes what was begun.
    """
    row, why, versions = ports.ledger.get(attempt.backup_id) or attempt, wish.why, wish.versions
    folder = folder_of(row, ports.store)
    if objection := _objection(row, folder, ports) or _alone(wish.successor, ports):
        return Removed(row.backup_id, row.status, kept=objection)
    locked = ports.removals.locked([stored.key for stored in folder.objects])
    if locked:
        _note(row, NOT_REMOVED, ports, why=why, left=_said(locked))
        return Removed(row.backup_id, row.status, left=tuple(locked), kept="locked by the store; it stays whole")
    _note(row, REMOVING, ports, to=to.value, why=why)
    pointers = ports.removals.remove(folder.pointers, versions)
    if denied := [left for left in pointers if not left.hidden]:
        _note(row, NOT_REMOVED, ports, why=why, left=_said(denied))
        return Removed(row.backup_id, row.status, left=tuple(denied), kept="the store refused; it stays whole")
    return _finish(row, folder, to, why, (*pointers, *ports.removals.remove(folder.data, versions)), ports)


def finish_removal(row: Attempt, to: Status, versions: Versions, ports: PrunePorts) -> Removed:
    """The rest of a removal that was begun and not finished: its manifest is gone already."""
    folder = folder_of(row, ports.store)
    left = ports.removals.remove((place_of(row).manifest, *folder.data), versions)
    return _finish(row, folder, to, "its removal was begun and not finished", tuple(left), ports)


def _finish(row: Attempt, folder: Folder, to: Status, why: str, left: tuple[Left, ...], ports: PrunePorts) -> Removed:
    """The last steps: the row, which says what is left, and the audit."""
    stays = {each.key for each in left}
    gone = [stored for stored in folder.objects if stored.key not in stays]
    ports.ledger.end(row.backup_id, Outcome(to, ports.clock(), warnings=_warnings(row, left)))
    size = sum(stored.size for stored in gone)
    _note(row, to.value, ports, why=why, objects=len(gone), bytes=size, left=_said(left))
    return Removed(row.backup_id, to, objects=len(gone), bytes=size, left=left)


def _objection(row: Attempt, folder: Folder, ports: PrunePorts) -> str:
    """Why the backup must stay after all, or nothing."""
    if row.hold is not None and row.hold.lasts(ports.clock()):
        return str(row.hold)
    return held_in_store(folder, row, ports) or claims(ports).get(row.backup_id, "")


def _alone(successor: Attempt | None, ports: PrunePorts) -> str:
    """Why the backup that was to stay in its place does not, or nothing."""
    lost = Proofs(ports.store).present(successor) if successor is not None else ""
    return f"{successor.backup_id}, which was to stay in its place: {lost}" if successor is not None and lost else ""


def _warnings(row: Attempt, left: Sequence[Left]) -> tuple[str, ...]:
    told = [f"Of {each.key} something is left in the store. {each.message}" for each in left]
    return (*row.warnings, *told) if told else ()


def _said(left: Sequence[Left]) -> list[str]:
    return [f"{each.key}: {each.message}" for each in left]


def _note(row: Attempt, action: str, ports: PrunePorts, **detail: object) -> None:
    told = {name: value for name, value in detail.items() if value not in ("", [], None)}
    ports.ledger.audit(AuditEvent(ports.clock(), ports.actor, action, row.backup_id, told))
