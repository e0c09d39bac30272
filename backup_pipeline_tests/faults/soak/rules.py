"""Which backups a prune must let go, and whether one may be deleted: written anew from docs/retention.md."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta

from backup_pipeline_tests.faults.soak.model import Row

KEEP_LAST, MIN_KEEP, GRACE_MINUTES = 1, 2, 3
GRACE = timedelta(minutes=GRACE_MINUTES)


def let_go(rows: Sequence[Row], claims: Collection[str], now: datetime) -> set[str]:
    """The backups of `rows`, good ones whose manifest is there, that a prune removes at `now`."""
    good = _newest_first(rows)
    kept = {row.backup_id for row in good if row.backup_id in claims or any(guards(row, good, now))}
    for kind in {row.kind for row in good}:
        counted = [row.backup_id for row in good if row.kind == kind and not row.red]
        kept |= set(counted[:KEEP_LAST])
        spare = [backup_id for backup_id in counted if backup_id not in kept]
        kept |= set(spare[: max(0, MIN_KEEP - (len(counted) - len(spare)))])
    return {row.backup_id for row in good} - kept


def is_deletable(row: Row, rows: Sequence[Row], claims: Collection[str], now: datetime) -> bool:
    """Whether a person may delete the backup of `row`."""
    good = _newest_first(rows)
    others = [other for other in good if other.kind == row.kind and other != row and not other.red]
    enough = row.red or len(others) >= MIN_KEEP
    return enough and row.backup_id not in claims and not any(guards(row, good, now))


def guards(row: Row, good: Sequence[Row], now: datetime) -> Iterator[str]:
    """What keeps the backup, whoever wants to remove it."""
    if row.held(now):
        yield "held"
    if now - (row.finished_at or row.started_at) < GRACE:
        yield "in grace"
    newer = [other for other in good[: good.index(row)] if _covers(other, row)]
    if not newer:
        yield "newest"
    elif newer[-1].red or newer[-1].depth < 1:
        yield "successor not verified"


def _covers(newer: Row, row: Row) -> bool:
    if row.kind == "full":
        return newer.kind == "full"
    return set(newer.table_counts or newer.tables_wanted) >= set(row.table_counts or row.tables_wanted)


def _newest_first(rows: Sequence[Row]) -> list[Row]:
    return sorted((row for row in rows if row.good), key=lambda row: (row.taken, row.backup_id), reverse=True)
