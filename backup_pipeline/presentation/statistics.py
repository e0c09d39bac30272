"""Statistics of a catalog's backups, and its calendar: what there is, how it grows, and what became of each day."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from backup_pipeline.core.due import Calendar, Day
from backup_pipeline.core.statistics import Growth, Statistics
from backup_pipeline.presentation import (
    Block,
    Bytes,
    DayGrid,
    Number,
    Part,
    ReportDocument,
    Section,
    Span,
    Table,
    Tone,
    document,
    duration,
    facts,
    item,
    line,
    numbers,
    size,
    texts,
)

_DAYS = {
    Day.VERIFIED: Tone.PROVEN,
    Day.GOOD: Tone.GOOD,
    Day.LATE: Tone.WARNING,
    Day.PARTIAL: Tone.PARTIAL,
    Day.RUNNING: Tone.ACTIVE,
    Day.EXPECTED: Tone.ACTIVE,
    Day.REMOVED: Tone.QUIET,
    Day.MISSED: Tone.FAILURE,
    Day.NONE: Tone.QUIET,
}


def calendar_document(calendar: Calendar) -> ReportDocument:
    """The grid, and the letters that occur in it."""
    rows = tuple((table, tuple(map(_letter, days))) for table, days in calendar.tables)
    legend = (item(_letter(day), f" {day.value}: {day.meaning}") for day in calendar.seen)
    return document(DayGrid(calendar.catalog, calendar.days, rows), *legend)


def _letter(day: Day) -> Span:
    return Span(day.letter, _DAYS[day])


_TABLES = (*texts("Table"), *numbers("Rows", "A day", "Bytes", "A day"))


def statistics_document(statistics: Statistics, *, most: int | None = None) -> ReportDocument:
    """The facts, then a row for each table, the largest first; `most` tables, and how many more there are."""
    summary = Section((facts(_facts(statistics)),), title=statistics.catalog)
    tables = Section(tuple(_tables(statistics.tables, most)))
    return ReportDocument((summary, tables) if statistics.tables else (summary,))


def per_day(growth: float | None, *, in_bytes: bool = False) -> Part:
    """`+120`, `-3.5`, `+1.2 MB`; nothing before it can be said."""
    if growth is None:
        return None
    if in_bytes:
        return Bytes(growth, signed=True)
    return Number(growth, digits=0 if float(growth).is_integer() else 1, signed=True)


def _facts(of: Statistics) -> Iterator[tuple[str, Part]]:
    held = f", {of.held} held" if of.held else ""
    split = "; ".join(part for part in (_counted(of.by_type), _counted(of.by_kind)) if part)
    yield "Backups there", f"{of.backups:,}{f' ({split}{held})' if split else ''}"
    if of.sizes:
        sizes = of.sizes
        yield "Bundles", f"{size(sizes.total)} in all; newest {size(sizes.newest)}, largest {size(sizes.largest)}"
    if of.stored is not None:
        parts = ", ".join(f"{name} {size(count)}" for name, count in of.stored.items())
        yield "In the store", f"{size(sum(of.stored.values()))} ({parts})"
    ends = f" ({_counted(of.ends)})" if of.ends else ""
    yield f"Attempts, {of.days} days", f"{of.attempts:,}{ends}"
    yield "Success rate", "not known yet" if of.success_rate is None else f"{of.success_rate:.1%}"
    if of.durations:
        yield "Duration", f"median {duration(of.durations.median)}, 95% within {duration(of.durations.p95)}"
    for ahead in of.forecast:
        yield f"In {ahead.days} days", f"{size(ahead.bytes)} in {ahead.backups:,} backups"
    yield "Forecast", of.forecast_basis


def _counted(counts: Mapping[str, int]) -> str:
    """`12 automatic, 3 manual`."""
    return ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items())


def _tables(tables: Mapping[str, Growth], most: int | None) -> Iterator[Block]:
    rows = [_table_row(name, growth) for name, growth in tables.items()]
    yield Table(_TABLES, tuple(rows[:most]))
    if most is not None and len(rows) > most:
        yield line(f"and {len(rows) - most} more tables")


def _table_row(name: str, growth: Growth) -> tuple[Part, ...]:
    now = None if growth.bytes is None else Bytes(growth.bytes)
    return name, growth.rows, per_day(growth.rows_per_day), now, per_day(growth.bytes_per_day, in_bytes=True)
