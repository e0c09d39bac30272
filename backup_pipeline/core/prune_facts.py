"""What the store holds of a catalog, sorted for a prune: the folders of backups, the files of each date."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from backup_pipeline.core.layout import HOLD_NAME, MANIFEST_NAME, backups_prefix, schema_prefix, tables_prefix
from backup_pipeline.core.ports import StoredObject
from backup_pipeline.core.removal import Unfinished
from backup_pipeline.core.statuses import Status

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
    catalog: str, found: Iterable[StoredObject], days: Mapping[str, date] | None = None
) -> Mapping[str, Folder]:
    """The folders of backups among the objects below `backups/`; what has another shape is not ours, and left out.

    `days` says of which date a backup is. Of an id that lies under several dates, that one counts: else a copy that
    somebody puts under another date would hide the backup itself.
    """
    objects: dict[tuple[str, date], list[StoredObject]] = {}
    for stored in found:
        parts = stored.key.removeprefix(backups_prefix(catalog)).split("/")
        day = _day(parts[0])
        if len(parts) == 3 and day is not None:  # date, backup id, name
            objects.setdefault((parts[1], day), []).append(stored)
    right = {(backup_id, day) for backup_id, day in (days or {}).items()}
    return {
        backup_id: Folder(backup_id, day, tuple(own))
        for (backup_id, day), own in sorted(objects.items(), key=lambda item: item[0] in right)
    }


def sorted_days(catalog: str, found: Iterable[StoredObject]) -> Mapping[date, tuple[StoredObject, ...]]:
    """The objects of each date among those below `tables/` and `schema/`."""
    objects: dict[date, list[StoredObject]] = {}
    for stored in found:
        if not stored.key.startswith((tables_prefix(catalog), schema_prefix(catalog))):
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
