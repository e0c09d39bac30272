"""How an installation stands: its catalogs, what is due, statistics, what the doctor saw, alerts on their way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from backup_pipeline.core.alerts import Delivery, OutboxEntry
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.copies import CopyAge
from backup_pipeline.core.doctor import Line, LineState
from backup_pipeline.core.due import Calendar, Day, DueState, Freshness
from backup_pipeline.core.rebuild import RebuildPlan
from backup_pipeline.core.statistics import Growth, Statistics
from backup_pipeline.core.text import first_sentence
from backup_pipeline.core.verification import age, ago
from backup_pipeline.presentation import (
    Block,
    Bytes,
    Checks,
    DayGrid,
    Item,
    Minute,
    Note,
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
    prose,
    size,
    text_of,
    texts,
)

if TYPE_CHECKING:
    from backup_pipeline.operations.doctor import CatalogReport


_STATES = {
    DueState.FRESH: Tone.GOOD,
    DueState.OVERDUE: Tone.FAILURE,
    DueState.WAITING: Tone.WARNING,
    DueState.UNSCHEDULED: Tone.QUIET,
}
_FRESHNESS = (
    *texts("Catalog", "State", "Newest good", "Began", "Was due", "Due next"),
    *numbers("Missed", "Failed"),
)


def freshness_document(catalogs: Sequence[Freshness], copies: Sequence[CopyAge] = ()) -> ReportDocument:
    """A row for each catalog, then a line for each one's newest good copy."""
    return document(Table(_FRESHNESS, tuple(map(_freshness_row, catalogs))), *map(_copy_age, copies))


def _freshness_row(catalog: Freshness) -> tuple[Part, ...]:
    return (
        catalog.catalog,
        Span(catalog.state, _STATES[catalog.state]),
        catalog.newest,
        age(catalog.newest_at, catalog.at) if catalog.newest_at else None,
        _minute(catalog.due),
        _minute(catalog.next_due),
        len(catalog.missed),
        catalog.failed,
    )


def _minute(at: datetime | None) -> Minute | None:
    return Minute(at) if at else None


def _copy_age(copy: CopyAge) -> Item:
    newest = f"{copy.newest.backup_id} began {ago(copy.age)}" if copy.newest and copy.age else "no good copy"
    state = Span("fresh", Tone.GOOD) if copy.newest else Span("none", Tone.QUIET)
    if copy.stale:
        state = Span("STALE", Tone.FAILURE)
    return item(f"Second store, {copy.catalog}: ", state, f", {newest} ({copy.store})")


_CHECKS = {
    LineState.OK: Tone.GOOD,
    LineState.WARNING: Tone.WARNING,
    LineState.PROBLEM: Tone.FAILURE,
    LineState.SKIPPED: Tone.QUIET,
}


def doctor_document(lines: Sequence[Line]) -> ReportDocument:
    """The checks in their order, then their count."""
    notes = (Note(each.state, _CHECKS[each.state], each.what, each.topic, each.do) for each in lines)
    counts = Counter(each.state for each in lines)
    return document(
        Checks(tuple(notes)), line(", ".join(f"{counts[state]} {state}" for state in _CHECKS if counts[state]))
    )


_OUTBOX = (*numbers("N"), prose("Of"), prose("Alert"), prose("Channel"), *numbers("Attempts"), prose("State"))


def outbox_document(entries: Sequence[OutboxEntry]) -> ReportDocument:
    """A row for each alert and channel, with when it is tried again."""
    return document(Table(_OUTBOX, tuple(map(_outbox_row, entries))))


def deliveries_document(deliveries: Sequence[Delivery]) -> ReportDocument:
    """What became of one alert on each channel."""
    return document(*(item(f"{each.channel}: ", _delivery(each)) for each in deliveries))


def _delivery(delivery: Delivery) -> Span:
    if delivery.error:
        return Span(f"NOT delivered: {delivery.error}", Tone.WRONG)
    return Span("delivered", Tone.GOOD)


def _outbox_row(entry: OutboxEntry) -> tuple[Part, ...]:
    state = Span(_outbox_state(entry), Tone.PLAIN if entry.delivered_at else Tone.WRONG)
    return str(entry.id), Minute(entry.created_at), entry.alert.title, entry.channel, entry.attempts, state


def _outbox_state(entry: OutboxEntry) -> str:
    if entry.delivered_at is not None:
        return f"delivered {text_of(Minute(entry.delivered_at))}"
    if entry.last_error is None:
        return "being sent"
    error = first_sentence(entry.last_error)
    if entry.given_up_at is not None:
        return f"given up {text_of(Minute(entry.given_up_at))}: {error}"
    return f"tried again {text_of(Minute(entry.next_try_at))}: {error}"


_CHANGES = {
    "add": Tone.GOOD,
    "correct": Tone.WARNING,
    "hold": Tone.WARNING,
    "gone": Tone.FAILURE,
    "problem": Tone.FAILURE,
}


def rebuild_document(plan: RebuildPlan) -> ReportDocument:
    """A row for each change and copy, then how many backups agree."""
    changes: list[tuple[Part, ...]] = [
        (Span(change.kind, _CHANGES[change.kind]), change.backup_id, str(change.scope), change.reason)
        for change in plan.changes
    ]
    copies = [(Span("copy", Tone.GOOD), copy.backup_id, str(copy.scope), f"in {copy.store}") for copy in plan.copies]
    rows = (*changes, *copies)
    table = [Table((*texts("", "", ""), prose("")), rows)] if rows else []
    return document(*table, line(f"{plan.store}: {plan.agree} backups agree with the ledger."))


_COLUMNS = (*texts("Table", "Reads", "Sheet"), prose("Sheet columns"), prose("Left out or masked"))


def catalog_document(catalog: Catalog) -> ReportDocument:
    """What the catalog declares: its tables, and what is left out and why."""
    schedule = f"schedule {catalog.schedule}" if catalog.schedule else "no schedule"
    return document(
        line(Span(catalog.catalog, Tone.STRONG), f"  {catalog.title}"),
        line(f"{catalog.timezone}, {schedule}, bundle {catalog.bundle_name}"),
        Table(_COLUMNS, tuple(_row(catalog, name) for name in catalog.tables)),
        *(Note("Left out", Tone.STRONG, rule.reason, about=rule.table) for rule in catalog.excluded),
    )


def check_document(report: CatalogReport) -> ReportDocument:
    """Whether the catalog fits, and each thing that is wrong or left out."""
    state = Span("fits", Tone.GOOD) if report.fits else Span("does NOT fit", Tone.FAILURE)
    counts = f", {len(report.ready)} tables ready, {len(report.excluded)} left out on purpose"
    head = line(Span(report.catalog, Tone.STRONG), " ", state, f" database {report.database}{counts}")
    return document(head, *_notes(report))


def _row(catalog: Catalog, name: str) -> tuple[Part, ...]:
    table = catalog.tables[name]
    hidden = ", ".join((*table.exclude, *(f"{column} (masked)" for column in table.mask)))
    columns = ", ".join(table.columns) or "all"
    return name, ".".join(catalog.relation_of(name)), catalog.sheet_of(name), columns, hidden


def _notes(report: CatalogReport) -> Iterator[Note]:
    for error in (report.refused, *report.failed.values()):
        if error is not None:
            yield Note("Error", Tone.WRONG, error.what, do=error.do)
    for table in report.unlisted:
        locked = " (and the backup role may not read it)" if table in report.unreadable else ""
        text = f"{table} is neither listed nor excluded{locked}; each backup will warn of it."
        yield Note("Warning", Tone.WARNING, text)
    for gap in report.not_held:
        word, tone = ("Warning", Tone.WARNING) if gap.warns else ("Note", Tone.QUIET)
        yield Note(word, tone, gap.message, do=gap.do)


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
