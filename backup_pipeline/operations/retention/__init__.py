"""Removing one backup: an audit row that says so, its manifest, its bundle, its row. Each step can be the last.

A backup exists when its manifest does, so that goes first: whatever is killed in between leaves no backup that looks
whole. A manifest that is missing, with that audit row, is a removal to finish; without it, it is a loss to report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import date, datetime
from secrets import token_hex

from backup_pipeline.core.alerts import Alert, Severity
from backup_pipeline.core.copies import Copy, CopyStatus
from backup_pipeline.core.errors import BackupError, PartialError
from backup_pipeline.core.layout import backups_prefix
from backup_pipeline.core.ledger import Attempt, AuditEvent, Claim, Outcome, Status
from backup_pipeline.core.ports import Ports, Store
from backup_pipeline.core.retention.prune import (
    DayVerdict,
    Folder,
    Left,
    PrunePlan,
    Versions,
    Why,
    records_first,
    sorted_folders,
)
from backup_pipeline.core.scope import Scope
from backup_pipeline.operations.browse import place_of
from backup_pipeline.operations.leases import HeldLease, claims, leased
from backup_pipeline.operations.retention.plan import (
    NOT_REMOVED,
    REMOVING,
    Proofs,
    PruneRequest,
    folder_of,
    held_in_store,
    orphaned_copies,
    plan_prune,
)


@dataclass(frozen=True)
class Removal:
    """Why a backup goes, and which backup stays in its place.

    Without a `successor` nothing does: of a backup that is none, as its row or the store say.
    """

    why: str
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


def remove_backup(attempt: Attempt, to: Status, removal: Removal, request: PruneRequest, ports: Ports) -> Removed:
    """Remove the backup of `attempt`, whose row becomes `to`; nothing is touched when something of it is locked.

    It is looked at once more: who held it since the plan was made, or began a restore, keeps it; so does a successor
    that is not there any more. May be called again after any error, and then finishes what was begun.
    """
    row, why, versions = ports.ledger.get(attempt.backup_id) or attempt, removal.why, request.versions
    folder = folder_of(row, ports.store)
    if objection := _objection(row, folder, ports) or _successor_lost(removal.successor, ports):
        return Removed(row.backup_id, row.status, kept=objection)
    removals = ports.removals(ports.store)
    locked = removals.locked([stored.key for stored in folder.objects])
    if locked:
        _note(row, NOT_REMOVED, request, ports, why=why, left=_messages(locked))
        return Removed(row.backup_id, row.status, left=tuple(locked), kept="locked by the store; it stays whole")
    _note(row, REMOVING, request, ports, to=to.value, why=why)
    pointers = removals.remove(folder.pointers, versions)
    if denied := [left for left in pointers if not left.hidden]:
        _note(row, NOT_REMOVED, request, ports, why=why, left=_messages(denied))
        return Removed(row.backup_id, row.status, left=tuple(denied), kept="the store refused; it stays whole")
    return _finish(row, folder, to, why, (*pointers, *removals.remove(folder.data, versions)), request, ports)


def finish_removal(row: Attempt, to: Status, request: PruneRequest, ports: Ports) -> Removed:
    """The rest of a removal that was begun and not finished: its manifest is gone already."""
    folder = folder_of(row, ports.store)
    left = ports.removals(ports.store).remove((place_of(row).manifest, *folder.data), request.versions)
    return _finish(row, folder, to, "its removal was begun and not finished", tuple(left), request, ports)


def _finish(  # a row, what it becomes and why
    row: Attempt, folder: Folder, to: Status, why: str, left: tuple[Left, ...], request: PruneRequest, ports: Ports
) -> Removed:
    """The last steps: the row, which says what is left, and the audit."""
    stays = {each.key for each in left}
    gone = [stored for stored in folder.objects if stored.key not in stays]
    ports.ledger.end(row.backup_id, Outcome(to, ports.clock(), warnings=_warnings(row, left)))
    size = sum(stored.size for stored in gone)
    _note(row, to.value, request, ports, why=why, objects=len(gone), bytes=size, left=_messages(left))
    return Removed(row.backup_id, to, objects=len(gone), bytes=size, left=left)


def _objection(row: Attempt, folder: Folder, ports: Ports) -> str:
    """Why the backup must stay after all, or nothing."""
    if row.hold is not None and row.hold.lasts(ports.clock()):
        return str(row.hold)
    return held_in_store(folder, row, ports) or claims(ports).get(row.backup_id, "")


def _successor_lost(successor: Attempt | None, ports: Ports) -> str:
    """Why the backup that was to stay in its place does not, or nothing."""
    lost = Proofs(ports.store).present(successor) if successor is not None else ""
    return f"{successor.backup_id}, which was to stay in its place: {lost}" if successor is not None and lost else ""


def _warnings(row: Attempt, left: Sequence[Left]) -> tuple[str, ...]:
    warnings = [f"Of {each.key} something is left in the store. {each.message}" for each in left]
    return (*row.warnings, *warnings) if warnings else ()


def _messages(left: Sequence[Left]) -> list[str]:
    return [f"{each.key}: {each.message}" for each in left]


def _note(row: Attempt, action: str, request: PruneRequest, ports: Ports, **detail: object) -> None:
    facts = {name: value for name, value in detail.items() if value not in ("", [], None)}
    ports.ledger.audit(AuditEvent(ports.clock(), request.actor, action, row.backup_id, facts))


def remove_copies(request: PruneRequest, ports: Ports) -> Iterator[Left]:
    """Remove the copies whose backup was removed; what is left of them. One that is locked stays a good copy.

    Every prune looks at all of them, so one that could not be removed goes with a later one.
    """
    if ports.second is None:
        return
    for copy in orphaned_copies(request, ports):
        yield from _remove_copy(copy, ports.second.store, request, ports)


def _remove_copy(copy: Copy, store: Store, request: PruneRequest, ports: Ports) -> Iterator[Left]:
    row = ports.ledger.get(copy.backup_id)
    assert row is not None  # noqa: S101  # it was there a moment ago, and rows never go
    prefix = f"{backups_prefix(copy.scope)}backup_date={row.partition_date.isoformat()}/{copy.backup_id}/"
    folder = sorted_folders(copy.scope, store.list(prefix)).get(copy.backup_id)
    keys = [stored.key for stored in folder.objects] if folder else []
    removals = ports.removals(store)
    left = list(removals.locked(keys))
    if folder and not left:
        left = list(removals.remove(folder.pointers, request.versions))
        if all(each.hidden for each in left):
            left += removals.remove(folder.data, request.versions)
    if all(each.hidden for each in left):
        ports.ledger.copies.put(replace(copy, status=CopyStatus.DELETED))
        detail = {"store": copy.store, "objects": len(keys)}
        ports.ledger.audit(AuditEvent(ports.clock(), request.actor, "copy deleted", copy.backup_id, detail))
    yield from (replace(each, key=f"{copy.store}/{each.key}") for each in left)


def catalog_lease(request: PruneRequest, ports: Ports) -> AbstractContextManager[HeldLease]:
    """The lease of the catalog for a prune or a deletion: other writers are kept out for as long as it lasts."""
    return leased(Claim(request.scope, f"prune {token_hex(4)}", request.actor, ports.owner), ports)


@dataclass(frozen=True)
class PruneReport:
    """What became of `plan`. `debris` counts folders, uploads and hidden objects; `left` is all that stays."""

    plan: PrunePlan
    removed: tuple[Removed, ...]
    days: tuple[date, ...]
    debris: int
    left: tuple[Left, ...]

    @property
    def partial(self) -> bool:
        """Whether something that was to go is still there, hidden or not."""
        return bool(self.left) or any(each.kept for each in self.removed)

    @property
    def only_locked(self) -> bool:
        """Whether all that stays is locked: it goes by itself with a later prune."""
        return bool(self.left) and all(left.why is Why.LOCKED for left in self.left)

    @property
    def bytes(self) -> int:
        """The bytes of the objects that nobody sees any more, those of partitions and debris too."""
        stays = {left.key for left in self.left}
        others = [stored for day in self.plan.removed_days if day.day in self.days for stored in day.objects]
        others += [stored for each in self.plan.debris for stored in each.folder.objects]
        others += self.plan.hidden
        return sum(each.bytes for each in self.removed) + sum(each.size for each in others if each.key not in stays)

    def error(self) -> PartialError:
        """The error of a prune that could not remove everything: the first object, and how many there are."""
        if not self.left:
            kept = next(each for each in self.removed if each.kept)
            message = f"Backup {kept.backup_id} stays: {kept.kept}."
            return PartialError(message, do="Prune again: the plan is another one now.")
        first = self.left[0]
        what = f"{len(self.left)} objects of catalog {self.plan.scope} stay, in whole or in part."
        return PartialError(f"{what} {first.key}: {first.message}", do=first.do)

    def as_json(self) -> dict[str, object]:
        """The report as JSON; the plan is not part of it."""
        return {
            "removed": [each.as_json() for each in self.removed],
            "partitions": [day.isoformat() for day in self.days],
            "debris": self.debris,
            "bytes": self.bytes,
            "left": [left.as_json() for left in self.left],
        }


def prune_alert(scope: Scope, error: BackupError, at: datetime, run_id: str, run_url: str | None) -> Alert:
    """What people are told of a clean-up that failed, or could not remove everything."""
    return Alert(
        severity=Severity.WARNING,
        title=f"Clean-up of old backups failed: {scope}",
        what=error.what,
        do=error.do or f"Run `backup-pipeline prune --catalog {scope}`: it says what is left to do.",
        scope=scope,
        run_id=run_id,
        run_url=run_url,
        at=at,
        topic="prune",
    )


def prune_catalog(
    requests: Sequence[PruneRequest], ports: Ports, *, confirmed: bool, show: Callable[[PrunePlan], None]
) -> tuple[Sequence[PrunePlan], Sequence[PruneReport]]:
    """Plan what the requests are about, and carry the plans out when that is `confirmed`; both.

    All is planned, and given to `show`, before anything goes. A later request than the first, for safety backups, is
    left out where there are none.
    """
    planned = [(request, plan_prune(request, ports)) for request in requests]
    planned = [(each, plan) for each, plan in planned if each is requests[0] or plan.verdicts or not plan.empty]
    plans = [plan for _, plan in planned]
    for plan in plans:
        show(plan)
    return plans, [prune(plan, request, ports) for request, plan in planned] if confirmed else []


Remove = Callable[[PrunePlan, PruneRequest, Ports, HeldLease], Iterator[Removed]]
"""How the backups that a plan lets go are removed."""


def remove_each(plan: PrunePlan, request: PruneRequest, ports: Ports, lease: HeldLease) -> Iterator[Removed]:
    """Remove the backups that `plan` lets go by themselves, the oldest first."""
    for verdict in plan.removed:
        lease.check(ask=True)
        why = "; ".join(verdict.reasons)
        removal = Removal(why, plan.successors.get(verdict.attempt.backup_id))
        yield remove_backup(verdict.attempt, Status.EXPIRED, removal, request, ports)


def prune(plan: PrunePlan, request: PruneRequest, ports: Ports, *, remove: Remove = remove_each) -> PruneReport:
    """Do what `plan` says: interrupted removals, backups, partitions, debris; then note when the others expire.

    The plan is in the audit before anything goes; `remove` takes the backups away. Each removal is looked at once more,
    so a plan that is no longer true removes too little and never too much. LockedError when somebody else writes the
    catalog; StoreError or LedgerError when one of the two goes away: run it again.
    """
    with catalog_lease(request, ports) as lease:
        _note_prune("prune", request, ports, **_essence(plan))
        removed = (*_finished(plan, request, ports), *remove(plan, request, ports, lease))
        left = [left for each in removed for left in each.left]
        left += remove_copies(request, ports)
        lease.check(ask=True)
        days, of_days = _remove_days(plan, removed, request, ports)
        left += [*of_days, *_sweep(plan, request, ports)]
        _note_expiry(plan, removed, ports)
        debris = len(plan.debris) + len(plan.unfinished) + len(plan.hidden)
        report = PruneReport(plan, removed, tuple(days), debris, tuple(left))
        _note_prune("pruned", request, ports, **_in_short(report))
    return report


def _finished(plan: PrunePlan, request: PruneRequest, ports: Ports) -> Iterator[Removed]:
    for backup_id, to in plan.begun.items():
        row = ports.ledger.get(backup_id)
        if row is not None and row.status.good:
            yield finish_removal(row, to, request, ports)


def _remove_days(
    plan: PrunePlan, removed: tuple[Removed, ...], request: PruneRequest, ports: Ports
) -> tuple[list[date], list[Left]]:
    """Remove the partitions of dates, but for those whose backup stayed after all, or that somebody makes anew."""
    kept = {each.backup_id for each in removed if each.kept}
    busy = {verdict.attempt.partition_date for verdict in plan.removed if verdict.attempt.backup_id in kept}
    busy |= {row.partition_date for row in ports.ledger.list(scope=request.scope, status=[Status.RUNNING])}
    days = [day for day in plan.removed_days if day.day not in busy]
    return [day.day for day in days], [left for day in days for left in _remove_day(day, request, ports)]


def _remove_day(day: DayVerdict, request: PruneRequest, ports: Ports) -> Iterator[Left]:
    """The records first: a partition exists when its record does. Where they stay, so do the files."""
    records, files = records_first([stored.key for stored in day.objects])
    removals = ports.removals(ports.store)
    refused = list(removals.remove(records, request.versions))
    yield from refused
    if all(left.hidden for left in refused):
        yield from removals.remove(files, request.versions)


def _sweep(plan: PrunePlan, request: PruneRequest, ports: Ports) -> Iterator[Left]:
    removals = ports.removals(ports.store)
    for debris in plan.debris:
        yield from removals.remove(debris.folder.data, request.versions)
    yield from removals.remove([stored.key for stored in plan.hidden], Versions.REMOVE)
    for unfinished in plan.unfinished:
        left = removals.discard(unfinished)
        if left is not None:
            yield left


def _note_expiry(plan: PrunePlan, removed: tuple[Removed, ...], ports: Ports) -> None:
    """The rules may have changed since a backup was made."""
    gone = {each.backup_id for each in removed if not each.kept}
    stay = [verdict for verdict in plan.verdicts if verdict.attempt.backup_id not in gone]
    changed = [verdict for verdict in stay if verdict.expires_at != verdict.attempt.expires_at]
    if changed:
        with ports.ledger.at_once() as ledger:  # of a business there are hundreds
            for verdict in changed:
                ledger.expires(verdict.attempt.backup_id, verdict.expires_at)


def _essence(plan: PrunePlan) -> dict[str, object]:
    """The plan as the audit keeps it: what goes and why; of what stays, the number."""
    facts = plan.as_json()
    going = [verdict.as_json() for verdict in plan.removed]
    days = [day.day.isoformat() for day in plan.removed_days]
    return {**facts, "backups": going, "kept": len(plan.verdicts) - len(going), "partitions": days}


def _in_short(report: PruneReport) -> dict[str, object]:
    return {
        "catalog": str(report.plan.scope),
        "removed": [each.backup_id for each in report.removed if not each.kept],
        "partitions": len(report.days),
        "debris": report.debris,
        "bytes": report.bytes,
        "left": [f"{left.key}: {left.message}" for left in report.left],
    }


def _note_prune(action: str, request: PruneRequest, ports: Ports, **detail: object) -> None:
    ports.ledger.audit(AuditEvent(ports.clock(), request.actor, action, None, detail))
