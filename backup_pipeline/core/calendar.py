"""The calendar of a catalog: for each table and day whether its backup is verified, good, late, partial or missed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.due import FULL, NOTHING_BEGAN, start_deadline
from backup_pipeline.core.ledger import Attempt, Status
from backup_pipeline.core.schedule import day_end, due_times, local_date
from backup_pipeline.core.verification import Level, depth_of, has_failed


class Day(StrEnum):
    """What became of a table on a day, the best first."""

    VERIFIED = "verified"
    GOOD = "good"
    LATE = "late"
    PARTIAL = "partial"
    RUNNING = "running"
    EXPECTED = "expected"
    REMOVED = "removed"
    MISSED = "missed"
    NONE = "none"

    @property
    def letter(self) -> str:
        """One sign for it."""
        return _LETTERS[self]

    @property
    def meaning(self) -> str:
        """It in words."""
        return _MEANINGS[self]


_LETTERS = {
    Day.VERIFIED: "V",
    Day.GOOD: "G",
    Day.LATE: "L",
    Day.PARTIAL: "P",
    Day.RUNNING: "r",
    Day.EXPECTED: "e",
    Day.REMOVED: "x",
    Day.MISSED: "M",
    Day.NONE: "·",
}
_MEANINGS = {
    Day.VERIFIED: "in a good full backup whose contents were verified",
    Day.GOOD: "in a good full backup, read back when it was made",
    Day.LATE: "in a good full backup that began after its grace, or that shows rows of a later date",
    Day.PARTIAL: "only in a backup of some tables, or in one that was found damaged",
    Day.RUNNING: "a full backup is under way",
    Day.EXPECTED: "due, and there is time yet",
    Day.REMOVED: "its backup was there, and was removed since",
    Day.MISSED: "due, and not there",
    Day.NONE: "nothing was due",
}
_RANK = {day: number for number, day in enumerate(Day)}


@dataclass(frozen=True)
class Calendar:
    """The days, oldest first, and of each table what became of it on each of them."""

    catalog: str
    days: tuple[date, ...]
    tables: tuple[tuple[str, tuple[Day, ...]], ...]

    @property
    def seen(self) -> tuple[Day, ...]:
        """What occurs in it, the best first."""
        found = {day for _, days in self.tables for day in days}
        return tuple(day for day in Day if day in found)


def calendar(catalog: Catalog, rows: Sequence[Attempt], now: datetime, *, days: int) -> Calendar:
    """The last `days` days up to today. `rows` are those of the catalog since the first of them.

    Before the first row that the ledger has, nothing was due as far as it knows.
    """
    today = local_date(now, catalog.timezone)
    shown = tuple(today - timedelta(days=back) for back in reversed(range(days)))
    tables = {*catalog.tables} | {table for row in rows if row.kind == FULL for table in row.table_counts}
    ordered = (*catalog.tables, *sorted(tables - set(catalog.tables)))
    by_day = {day: [row for row in rows if row.partition_date == day] for day in shown}
    grid = ((table, tuple(_of(catalog, table, day, by_day[day], rows, now) for day in shown)) for table in ordered)
    return Calendar(catalog.catalog, shown, tuple(grid))


def _of(catalog: Catalog, table: str, day: date, own: Sequence[Attempt], rows: Sequence[Attempt], now: datetime) -> Day:
    known_since = min((row.created_at for row in rows), default=now)
    due = [at for at in _due_on(catalog, day) if at >= known_since]
    found = [verdict for row in own if (verdict := _of_row(catalog, table, row, due)) is not None]
    best = min(found, key=_RANK.__getitem__, default=None)
    return best if best is not None else _without(catalog, table, own, due, now)


def _of_row(catalog: Catalog, table: str, row: Attempt, due: Sequence[datetime]) -> Day | None:
    """What a row says of a table; None when it says nothing, because it does not hold it or came to nothing."""
    if row.status is Status.RUNNING:
        return Day.RUNNING if row.kind == FULL else None
    if not row.status.good or table not in (row.table_counts or row.tables_wanted):
        return None
    if row.kind != FULL or has_failed(row.verification):
        return Day.PARTIAL
    if row.late or (row.due_at is None and due and row.created_at > start_deadline(catalog, due[0])):
        return Day.LATE
    return Day.VERIFIED if depth_of(row.verification) >= Level.CONTENTS else Day.GOOD


def _due_on(catalog: Catalog, day: date) -> Sequence[datetime]:
    if catalog.schedule is None:
        return []
    start = day_end(day - timedelta(days=1), catalog.timezone) - timedelta(microseconds=1)
    end = day_end(day, catalog.timezone) - timedelta(microseconds=1)
    return list(due_times(catalog.schedule, catalog.timezone, after=start, until=end))


def _without(catalog: Catalog, table: str, own: Sequence[Attempt], due: Sequence[datetime], now: datetime) -> Day:
    """Nothing holds the table that day: was anything due, and did the backups of that day know it?"""
    if table not in catalog.tables or any(row.kind == FULL and row.status.good for row in own):
        return Day.NONE
    rows = {row.due_at: row for row in own if row.due_at is not None}
    verdicts = [_of_due(catalog, at, rows.get(at), now) for at in {*rows, *due}]
    return min(verdicts, key=_RANK.__getitem__, default=Day.NONE)


def _of_due(catalog: Catalog, due: datetime, row: Attempt | None, now: datetime) -> Day:
    if row is not None and row.status is Status.CANCELED and row.run_id is None and row.owner is None:
        return Day.NONE  # the schedule was changed
    if row is not None and row.status in {Status.DELETED, Status.EXPIRED}:
        return Day.REMOVED
    if row is not None and row.status not in NOTHING_BEGAN:
        return Day.MISSED
    return Day.MISSED if now > start_deadline(catalog, due) else Day.EXPECTED
