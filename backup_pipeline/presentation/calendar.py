"""The calendar of a catalog: a letter for each table and day, and what the letters mean."""

from __future__ import annotations

from backup_pipeline.core.calendar import Calendar, Day
from backup_pipeline.presentation.document import DayGrid, ReportDocument, Span, Tone, document, item

_TONES = {
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
    return Span(day.letter, _TONES[day])
