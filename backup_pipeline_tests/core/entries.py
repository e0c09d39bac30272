"""Hand-made tables of manifests, and the backups before them, for tests of what is unusual."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from backup_pipeline.core.anomalies import KEY_UNIQUE, History, Past, Shape, TableShape, table_shape
from backup_pipeline.core.ledger import Attempt, Status
from backup_pipeline.core.manifest import AnomalyEntry, CheckEntry, ColumnEntry, FileEntry, SnapshotEntry, TableEntry
from backup_pipeline.core.names import Trigger
from backup_pipeline.core.verification import Level, Verification
from backup_pipeline_tests.ledger.attempts import attempt

AT = datetime(2026, 11, 21, 18, 0, tzinfo=UTC)
SNAPSHOT = SnapshotEntry(id="1-2-3", taken_at=AT, lsn="0/1", server_version="18", database="shop")
COLUMNS = {"id": "bigint", "name": "text"}


def table(
    name: str = "orders",
    rows: int = 1000,
    *,
    size: int = 1_000_000,
    columns: Mapping[str, str] = COLUMNS,
    excluded: Sequence[str] = (),
    unique: bool = True,
    anomalies: Sequence[AnomalyEntry] = (),
    **fields: Any,
) -> TableEntry:
    """A table of `public` with so many rows and bytes."""
    told = "Each key (id) stands once." if unique else "3 keys (id) stand more than once."
    given: dict[str, Any] = {
        "relation": f"public.{name}",
        "sheet": name,
        "key": ("id",),
        "order": "key",
        "snapshot": SNAPSHOT,
        "exported_by": "b1",
        "columns": tuple(
            ColumnEntry(name=column, pg_type=pg_type, arrow_type="string", nullable=True)
            for column, pg_type in columns.items()
        ),
        "sheet_columns": tuple(columns),
        "excluded_columns": dict.fromkeys(excluded, "a reason"),
        "checks": (CheckEntry(name=KEY_UNIQUE, passed=unique, message=told),),
        "anomalies": tuple(anomalies),
        "files": (FileEntry(name="p", format="parquet", rows=rows, bytes=size, sha256="", crc32=0),),
        "seconds": 1.0,
    }
    return TableEntry(name=name, row_count=rows, **(given | fields))


def past(
    *rows: int, sizes: Sequence[int] | None = None, shape: TableShape | None = None, told: Sequence[AnomalyEntry] = ()
) -> Past:
    """A table in earlier backups, newest first, whose shape was that of `table()`."""
    known = shape or table_shape(table(rows=rows[0] if rows else 0))
    return Past(tuple(rows), tuple([1_000_000] * len(rows) if sizes is None else sizes), "b0", known, tuple(told))


def good(number: int, counts: Mapping[str, int], **fields: Any) -> Attempt:
    """The good full backup of day `number`: `b<number>`."""
    at = AT + timedelta(days=number)
    given: dict[str, Any] = {
        "status": Status.SUCCESS,
        "created_at": at,
        "started_at": at,
        "finished_at": at + timedelta(seconds=30),
        "snapshot_at": at,
        "partition_date": at.date(),
        "table_counts": counts,
        "sha256": "ab",
        "file_size_bytes": 1000,
        "verification": Verification(Level.BYTES, at),
        "type": Trigger.AUTOMATIC,
    }
    return replace(attempt(f"b{number}"), **(given | fields))


def history(*attempts: Attempt, tables: Sequence[TableEntry] = (), full: Shape | None = None) -> History:
    """Backups, given oldest first; those that somebody holds are held. `tables` are those of the last one."""
    return History(
        attempts=tuple(reversed(attempts)),
        tables={one.name: table_shape(one) for one in tables},
        full=full,
        held=frozenset(one.backup_id for one in attempts if one.hold),
    )
