"""The plan of a prune: which backups, partitions and debris go, which stay and why, and what does not fit together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime

from backup_pipeline.core.dates import local_date
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.ports import StoredObject
from backup_pipeline.core.prune_facts import Folder, StoreFacts, sorted_days, sorted_folders
from backup_pipeline.core.removal import Left, Unfinished
from backup_pipeline.core.retention_plan import Verdict, plan_retention
from backup_pipeline.core.retention_rules import PARTITIONS_ONLY, Basis
from backup_pipeline.core.statuses import Status

GONE = frozenset({Status.EXPIRED, Status.DELETED})
_UNKNOWN = "It stays: every run has a row, so either the ledger lost it, or somebody else put it there. Look at it."
_REBUILD = "`backup-pipeline rebuild` makes the ledger what the store is."


@dataclass(frozen=True)
class DayVerdict:
    """What becomes of the partitions and the schema of one date, and why."""

    day: date
    removed: bool
    reason: str
    objects: tuple[StoredObject, ...]

    @property
    def bytes(self) -> int:
        """The bytes of its objects."""
        return sum(found.size for found in self.objects)


@dataclass(frozen=True)
class Debris:
    """The folder of a backup that is none: what a killed run or an interrupted removal left."""

    folder: Folder
    reason: str


@dataclass(frozen=True)
class PrunePlan:
    """What a prune of a catalog would do at `made_at`. Nothing of it is done yet.

    `successors`: by the id of a backup that goes, the one that stays in its place and was found whole in the store.
    `begun`: backups whose removal was interrupted, finished first. `hidden`: what was removed before, and whose bytes a
    versioned bucket kept. `copies`: of backups that are gone, in further stores. `remarks`: what ledger and store do
    not agree on, which is never removed. `locked`: by backup id, what the store will not let go now; such a backup
    stays whole.
    """

    catalog: str
    made_at: datetime
    verdicts: tuple[Verdict, ...]
    successors: Mapping[str, Attempt] = field(default_factory=dict)
    begun: Mapping[str, Status] = field(default_factory=dict)
    days: tuple[DayVerdict, ...] = ()
    debris: tuple[Debris, ...] = ()
    unfinished: tuple[Unfinished, ...] = ()
    hidden: tuple[StoredObject, ...] = ()
    copies: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    locked: Mapping[str, tuple[Left, ...]] = field(default_factory=dict)

    @property
    def removed(self) -> tuple[Verdict, ...]:
        """The backups that go, the oldest first."""
        return tuple(verdict for verdict in reversed(self.verdicts) if verdict.removed)

    @property
    def removed_days(self) -> tuple[DayVerdict, ...]:
        """The dates whose partitions go."""
        return tuple(day for day in self.days if day.removed)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        ours = (self.removed, self.begun, self.removed_days, self.debris, self.unfinished, self.hidden, self.copies)
        return not any(ours)

    @property
    def bytes(self) -> int:
        """The bytes that it would free, as far as they are known."""
        bundles = sum(verdict.attempt.file_size_bytes or 0 for verdict in self.removed)
        debris = sum(each.folder.bytes for each in self.debris) + sum(found.size for found in self.hidden)
        return bundles + sum(day.bytes for day in self.removed_days) + debris

    def as_json(self) -> dict[str, object]:
        """The plan as JSON."""
        return {
            "catalog": self.catalog,
            "made_at": self.made_at.isoformat(),
            "backups": [verdict.as_json() for verdict in self.verdicts],
            "begun": sorted(self.begun),
            "partitions": [
                {"date": each.day.isoformat(), "removed": each.removed, "reason": each.reason, "bytes": each.bytes}
                for each in self.days
            ],
            "debris": [
                {"backup_id": each.folder.backup_id, "reason": each.reason, "bytes": each.folder.bytes}
                for each in self.debris
            ],
            "unfinished": [{"key": each.key, "begun": each.begun.isoformat()} for each in self.unfinished],
            "hidden": [found.key for found in self.hidden],
            "copies": list(self.copies),
            "remarks": list(self.remarks),
            "locked": {backup_id: [left.as_json() for left in found] for backup_id, found in self.locked.items()},
            "bytes": self.bytes,
        }


def make_plan(catalog: str, rows: Sequence[Attempt], facts: StoreFacts, basis: Basis) -> PrunePlan:
    """The plan of pruning `catalog`, whose rows of any status are `rows`.

    A backup counts when its row is good and its manifest is in the store. Where only one of the two is there, nothing
    is removed, and a remark says so.
    """
    there = [row for row in rows if row.status.good and _exists(row, facts)]
    verdicts = plan_retention(there, replace(basis, claims={**facts.held, **basis.claims}))
    debris = tuple(_debris(rows, facts, basis))
    return PrunePlan(
        catalog=catalog,
        made_at=basis.now,
        verdicts=verdicts,
        begun=facts.begun,
        days=tuple(_days(rows, _going(verdicts, facts, debris), facts, basis)),
        debris=debris,
        unfinished=tuple(_unfinished(rows, facts, basis)),
        hidden=tuple(_hidden(catalog, rows, facts)),
        remarks=tuple(_remarks(rows, facts, basis)),
    )


def lacking(rows: Sequence[Attempt], folders: Mapping[str, Folder]) -> Sequence[Attempt]:
    """The good rows whose manifest is not in the store."""
    return [row for row in rows if row.status.good and not _exists(row, StoreFacts(folders, {}))]


def _exists(row: Attempt, facts: StoreFacts) -> bool:
    folder = facts.folders.get(row.backup_id)
    filed = folder is not None and folder.has_manifest and folder.day == row.partition_date
    return row.kind == PARTITIONS_ONLY or filed


def _going(verdicts: Sequence[Verdict], facts: StoreFacts, debris: Sequence[Debris]) -> frozenset[str]:
    """The backups that keep no date any more."""
    removed = {verdict.attempt.backup_id for verdict in verdicts if verdict.removed}
    return frozenset(removed | set(facts.begun) | {each.folder.backup_id for each in debris})


def _days(rows: Sequence[Attempt], going: frozenset[str], facts: StoreFacts, basis: Basis) -> Iterator[DayVerdict]:
    """Partitions are the newest run of a date: they go with the last backup of that date."""
    alive = (row for row in reversed(rows) if row.status.good or row.status is Status.RUNNING)
    stays = {folder.day: folder.backup_id for folder in facts.folders.values() if folder.backup_id not in going}
    stays |= {row.partition_date: row.backup_id for row in alive if row.backup_id not in going}
    today = local_date(basis.now, basis.timezone)
    for day, objects in facts.days.items():
        newest = max(found.modified for found in objects)
        if day in stays:
            yield DayVerdict(day, removed=False, reason=f"backup {stays[day]} has this date", objects=objects)
        elif day >= today or basis.now - newest < basis.retention.grace:
            reason = "the date is not over" if day >= today else "written within the grace"
            yield DayVerdict(day, removed=False, reason=reason, objects=objects)
        else:
            yield DayVerdict(day, removed=True, reason="no kept backup has this date", objects=objects)


def _debris(rows: Sequence[Attempt], facts: StoreFacts, basis: Basis) -> Iterator[Debris]:
    """Folders without a manifest are no backups, but for those that somebody is making at this moment."""
    statuses = {row.backup_id: row.status for row in rows}
    for folder in facts.folders.values():
        status = statuses.get(folder.backup_id)
        if folder.has_manifest or folder.backup_id in facts.begun or (status and status.good):
            continue
        if status in GONE:
            yield Debris(folder, f"the backup is {status}, and this was left of it")
        elif status not in {None, Status.RUNNING} and basis.now - folder.newest >= basis.retention.grace:
            yield Debris(folder, f"no manifest, and its run is {status}")


def _unfinished(rows: Sequence[Attempt], facts: StoreFacts, basis: Basis) -> Iterator[Unfinished]:
    running = [row.backup_id for row in rows if row.status is Status.RUNNING]
    for found in facts.unfinished:
        own = any(backup_id in found.key for backup_id in running)
        shared = bool(running) and "/backups/" not in found.key
        if not own and not shared and basis.now - found.begun >= basis.retention.grace:
            yield found


def _hidden(catalog: str, rows: Sequence[Attempt], facts: StoreFacts) -> Iterator[StoredObject]:
    """What was removed on purpose: what somebody else deleted may be wanted back, and stays."""
    gone = {row.backup_id for row in rows if row.status in GONE}
    dates = {row.partition_date for row in rows if row.status in GONE} - set(facts.days)
    dates -= {row.partition_date for row in rows if row.status.good or row.status is Status.RUNNING}
    for backup_id, folder in sorted_folders(catalog, facts.hidden).items():
        if backup_id in gone:
            yield from folder.objects
    for day, objects in sorted_days(catalog, facts.hidden).items():
        if day in dates:
            yield from objects


def _remarks(rows: Sequence[Attempt], facts: StoreFacts, basis: Basis) -> Iterator[str]:
    known = {row.backup_id: row for row in rows}
    yield from (f"broken: {backup_id} counts as none: {why}." for backup_id, why in basis.broken.items())
    for row in rows:
        if row.status.good and not _exists(row, facts) and row.backup_id not in facts.begun:
            yield f"orphan: {row.backup_id} is {row.status} in the ledger, and has no manifest in the store. {_REBUILD}"
    for folder in facts.folders.values():
        status = known[folder.backup_id].status if folder.backup_id in known else None
        if status is None and not folder.has_manifest and basis.now - folder.newest >= basis.retention.grace:
            yield f"orphan: {folder.backup_id} has no manifest in the store, and no row in the ledger. {_UNKNOWN}"
        if not folder.has_manifest or status is Status.RUNNING or (status and status.good):
            continue
        if basis.now - folder.newest >= basis.retention.grace:
            row_says = f"is {status} in the ledger" if status else "has no row in the ledger"
            yield f"orphan: {folder.backup_id} is in the store with its manifest, but {row_says}. {_REBUILD}"
