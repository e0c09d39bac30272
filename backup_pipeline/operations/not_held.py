"""What a backup would not hold, found in a snapshot of the source: the rows in question are counted there."""

from __future__ import annotations

from backup_pipeline.core.catalog import Catalog
from backup_pipeline.core.errors import BackupError, SnapshotLostError
from backup_pipeline.core.not_held import COUNTED, NotHeld, not_held, uncertain
from backup_pipeline.core.ports import Snapshot
from backup_pipeline.core.relations import Database, Relation


def find_not_held(catalog: Catalog, database: Database, snapshot: Snapshot) -> tuple[NotHeld, ...]:
    """The list of `core.not_held`. What can not be counted, a locked table for one, is said without a number.

    SnapshotLostError when the snapshot is gone.
    """
    rows: dict[tuple[str, str], int | None] = {}
    left = COUNTED
    for relation in uncertain(catalog, database):
        rows[relation.id] = counted = _count(relation, left, snapshot) if left > 0 else None
        left -= counted if counted is not None else left
    return not_held(catalog, database, rows)


def _count(relation: Relation, most: int, snapshot: Snapshot) -> int | None:
    """The rows, when they are no more than `most`."""
    try:
        return snapshot.count_up_to(relation, most)
    except SnapshotLostError:
        raise
    except BackupError:
        return None
