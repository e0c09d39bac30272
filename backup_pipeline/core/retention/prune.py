"""Removing objects from a store, and what may stay all the same: locks, versions, refusals, unfinished uploads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from enum import StrEnum
from typing import Protocol

from backup_pipeline.core.layout import HOLD_NAME, MANIFEST_NAME, backups_prefix, schema_prefix, tables_prefix
from backup_pipeline.core.ledger import Attempt, Status
from backup_pipeline.core.ports import StoredObject
from backup_pipeline.core.retention import RetentionBasis, Verdict, plan_retention
from backup_pipeline.core.schedule import local_date
from backup_pipeline.core.scope import Scope


class Why(StrEnum):
    """Why an object, or its bytes, are still there."""

    LOCKED = "locked"
    VERSIONED = "versioned"
    DENIED = "denied"
    FAILED = "failed"


class Versions(StrEnum):
    """What to do about earlier versions, where a bucket keeps them: a delete there only hides an object.

    REPORT tells of each that its bytes stay, LEAVE says nothing because the bucket's own lifecycle rule removes them,
    REMOVE removes them too.
    """

    REPORT = "report"
    LEAVE = "leave"
    REMOVE = "remove"


@dataclass(frozen=True)
class Left:
    """An object of which something is left, why, and what a person can do about it.

    `hidden` says whether it is gone for everybody who lists or reads the store: only its bytes are left.
    """

    key: str
    why: Why
    message: str
    do: str
    hidden: bool = False

    def as_json(self) -> dict[str, object]:
        """The same as JSON."""
        return {"key": self.key, "why": self.why.value, "message": self.message, "do": self.do, "hidden": self.hidden}


@dataclass(frozen=True)
class Unfinished:
    """What a writer left that died: an upload that was never completed, or a file that never got its name.

    `key` is where it was to appear, or how the store calls it; `token` is the store's own name for it.
    """

    key: str
    begun: datetime
    token: str


class Removals(Protocol):
    """How objects leave a store. Only a store that does not answer at all raises (StoreUnavailableError)."""

    def locked(self, keys: Sequence[str]) -> Sequence[Left]:
        """Those of the objects that are locked now: to delete them would fail, or hide them and free nothing."""

    def remove(self, keys: Sequence[str], versions: Versions) -> Sequence[Left]:
        """Delete the objects, each by itself; those of which something is left. A missing object is no error."""

    def hidden(self, prefix: str) -> Iterator[StoredObject]:
        """The objects that were deleted and are only hidden: their keys, the bytes of all their versions."""

    def unfinished(self, prefix: str) -> Iterator[Unfinished]:
        """What dead writers may have left of objects whose key starts with `prefix`, those of living ones too."""

    def discard(self, unfinished: Unfinished) -> Left | None:
        """Remove it; what is left of it, if it could not be. One that is being written at this moment stays."""


_DATE = "backup_date="


@dataclass(frozen=True)
class Folder:
    """The objects of one backup: what its prefix is, and what lies below."""

    backup_id: str
    day: date
    objects: tuple[StoredObject, ...]

    @property
    def has_manifest(self) -> bool:
        """Whether the backup exists."""
        return any(_name(found.key) == MANIFEST_NAME for found in self.objects)

    @property
    def has_hold(self) -> bool:
        """Whether the store says that somebody holds it."""
        return any(_name(found.key) == HOLD_NAME for found in self.objects)

    @property
    def bytes(self) -> int:
        """The bytes of its objects."""
        return sum(found.size for found in self.objects)

    @property
    def newest(self) -> datetime:
        """When something was last written there."""
        return max(found.modified for found in self.objects)

    @property
    def pointers(self) -> tuple[str, ...]:
        """The keys that make it a backup: gone first."""
        return tuple(found.key for found in self.objects if _name(found.key) == MANIFEST_NAME)

    @property
    def data(self) -> tuple[str, ...]:
        """The other keys; that of a hold last, because it is what protects them."""
        others = (found.key for found in self.objects if _name(found.key) != MANIFEST_NAME)
        return tuple(sorted(others, key=lambda key: (_name(key) == HOLD_NAME, key)))


@dataclass(frozen=True)
class StoreFacts:
    """What a store holds of a catalog. `days` has the objects of partitions and schemas by their date.

    `held` has a sentence for each backup that only the store knows to be held; `begun` the backups whose removal was
    begun and not finished, as the audit knows it, with what they become; `hidden` the objects of a versioned bucket
    that were deleted, and whose bytes are there.
    """

    folders: Mapping[str, Folder]
    days: Mapping[date, tuple[StoredObject, ...]]
    unfinished: tuple[Unfinished, ...] = ()
    held: Mapping[str, str] = field(default_factory=dict)
    begun: Mapping[str, Status] = field(default_factory=dict)
    hidden: tuple[StoredObject, ...] = ()


def sorted_folders(
    scope: Scope, found: Iterable[StoredObject], days: Mapping[str, date] | None = None
) -> Mapping[str, Folder]:
    """The folders of backups among the objects below `backups/`; what has another shape is not ours, and left out.

    `days` says of which date a backup is. Of an id that lies under several dates, that one counts: else a copy that
    somebody puts under another date would hide the backup itself.
    """
    objects: dict[tuple[str, date], list[StoredObject]] = {}
    for stored in found:
        parts = stored.key.removeprefix(backups_prefix(scope)).split("/")
        day = _day(parts[0])
        if len(parts) == 3 and day is not None:  # date, backup id, name
            objects.setdefault((parts[1], day), []).append(stored)
    right = {(backup_id, day) for backup_id, day in (days or {}).items()}
    return {
        backup_id: Folder(backup_id, day, tuple(own))
        for (backup_id, day), own in sorted(objects.items(), key=lambda item: item[0] in right)
    }


def sorted_days(scope: Scope, found: Iterable[StoredObject]) -> Mapping[date, tuple[StoredObject, ...]]:
    """The objects of each date among those below `tables/` and `schema/`."""
    objects: dict[date, list[StoredObject]] = {}
    for stored in found:
        if not stored.key.startswith((tables_prefix(scope), schema_prefix(scope))):
            continue
        days = [day for part in stored.key.split("/")[:-1] if (day := _day(part)) is not None]
        if len(days) == 1:
            objects.setdefault(days[0], []).append(stored)
    return {day: tuple(own) for day, own in sorted(objects.items())}


def records_first(keys: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The keys that make partitions visible, and the others."""
    records = tuple(key for key in keys if _name(key).endswith(".json"))
    return records, tuple(key for key in keys if key not in set(records))


def _day(part: str) -> date | None:
    try:
        return date.fromisoformat(part.removeprefix(_DATE)) if part.startswith(_DATE) else None
    except ValueError:
        return None


def _name(key: str) -> str:
    return key.rpartition("/")[2]


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

    scope: Scope
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
            "catalog": str(self.scope),
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


def make_plan(scope: Scope, rows: Sequence[Attempt], facts: StoreFacts, basis: RetentionBasis) -> PrunePlan:
    """The plan of pruning `scope`, whose rows of any status are `rows`.

    A backup counts when its row is good and its manifest is in the store. Where only one of the two is there, nothing
    is removed, and a remark says so.
    """
    there = [row for row in rows if row.status.good and _exists(row, facts)]
    verdicts = plan_retention(there, replace(basis, claims={**facts.held, **basis.claims}))
    debris = tuple(_debris(rows, facts, basis))
    return PrunePlan(
        scope=scope,
        made_at=basis.now,
        verdicts=verdicts,
        begun=facts.begun,
        days=tuple(_days(rows, _going(verdicts, facts, debris), facts, basis)),
        debris=debris,
        unfinished=tuple(_unfinished(rows, facts, basis)),
        hidden=tuple(_hidden(scope, rows, facts)),
        remarks=tuple(_remarks(rows, facts, basis)),
    )


def lacking(rows: Sequence[Attempt], folders: Mapping[str, Folder]) -> Sequence[Attempt]:
    """The good rows whose manifest is not in the store."""
    return [row for row in rows if row.status.good and not _exists(row, StoreFacts(folders, {}))]


def _exists(row: Attempt, facts: StoreFacts) -> bool:
    folder = facts.folders.get(row.backup_id)
    filed = folder is not None and folder.has_manifest and folder.day == row.partition_date
    return not row.kind.bundled or filed


def _going(verdicts: Sequence[Verdict], facts: StoreFacts, debris: Sequence[Debris]) -> frozenset[str]:
    """The backups that keep no date any more."""
    removed = {verdict.attempt.backup_id for verdict in verdicts if verdict.removed}
    return frozenset(removed | set(facts.begun) | {each.folder.backup_id for each in debris})


def _days(
    rows: Sequence[Attempt], going: frozenset[str], facts: StoreFacts, basis: RetentionBasis
) -> Iterator[DayVerdict]:
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


def _debris(rows: Sequence[Attempt], facts: StoreFacts, basis: RetentionBasis) -> Iterator[Debris]:
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


def _unfinished(rows: Sequence[Attempt], facts: StoreFacts, basis: RetentionBasis) -> Iterator[Unfinished]:
    running = [row.backup_id for row in rows if row.status is Status.RUNNING]
    for found in facts.unfinished:
        own = any(backup_id in found.key for backup_id in running)
        shared = bool(running) and "/backups/" not in found.key
        if not own and not shared and basis.now - found.begun >= basis.retention.grace:
            yield found


def _hidden(scope: Scope, rows: Sequence[Attempt], facts: StoreFacts) -> Iterator[StoredObject]:
    """What was removed on purpose: what somebody else deleted may be wanted back, and stays."""
    gone = {row.backup_id for row in rows if row.status in GONE}
    dates = {row.partition_date for row in rows if row.status in GONE} - set(facts.days)
    dates -= {row.partition_date for row in rows if row.status.good or row.status is Status.RUNNING}
    for backup_id, folder in sorted_folders(scope, facts.hidden).items():
        if backup_id in gone:
            yield from folder.objects
    for day, objects in sorted_days(scope, facts.hidden).items():
        if day in dates:
            yield from objects


def _remarks(rows: Sequence[Attempt], facts: StoreFacts, basis: RetentionBasis) -> Iterator[str]:
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
