"""What became of the days, and how backups grow: the calendar and the charts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Annotated
from urllib.parse import urlencode
from uuid import uuid4
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Query, Request, Response
from markupsafe import Markup

from backup_pipeline.core.access import Permission
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.due import Day, whole_days
from backup_pipeline.core.ledger import Attempt, Status
from backup_pipeline.core.listing import BackupFilter
from backup_pipeline.core.schedule import local_date
from backup_pipeline.core.scope import Scope
from backup_pipeline.core.statistics import Statistics, bundles
from backup_pipeline.operations.browse import MONTH, calendar_of
from backup_pipeline.operations.health import catalog_statistics, counted_rows
from backup_pipeline.presentation import Bytes, ReportDocument, duration, size, text_of
from backup_pipeline.presentation.charts import Chart, Mark, bar_chart, line_chart, ranked_chart, strip, strip_chart
from backup_pipeline.presentation.health import calendar_document, per_day, statistics_document
from backup_pipeline.web.people import Visitor, in_one_reading, signed_in, systems_seen
from backup_pipeline.web.rendering import chosen_system, page

router = APIRouter()


@router.get("/calendar")
def show_calendar(
    request: Request,
    visitor: Annotated[Visitor, Depends(signed_in)],
    days: Annotated[int, Query(ge=1, le=366)] = MONTH,
) -> Response:
    """What became of each table on each day."""
    now = visitor.ports.clock()
    with in_one_reading(visitor) as reader:
        calendars = [_month(catalog, reader, now, days) for catalog in systems_seen(request, visitor)]
    named = f" --catalog {calendars[0].catalog.catalog}" if len(calendars) == 1 else ""
    return page(
        request,
        "calendar.html",
        calendars=calendars,
        days=days,
        choices=[(30, "30 days"), (90, "90 days"), (366, "a year")],
        may_run=visitor.user.may(Permission.RUN_BACKUP),
        new_request=lambda: str(uuid4()),
        command=f"backup-pipeline calendar --days {days}{named}",
    )


_MOST_GAPS = 10
_THERE = frozenset({Day.VERIFIED, Day.GOOD, Day.LATE})
_TONES = {
    Day.VERIFIED: "proven",
    Day.GOOD: "good",
    Day.LATE: "warning",
    Day.PARTIAL: "partial",
    Day.RUNNING: "active",
    Day.MISSED: "failure",
}


@dataclass(frozen=True)
class DayOffer:
    """What became of a day, and why nothing can be run for it now (`why_not`); empty where something can."""

    day: date
    state: Day
    link: str
    why_not: str = ""

    @property
    def tone(self) -> str:
        """Of its badge."""
        return _TONES.get(self.state, "quiet")


def why_not_now(day: date, state: Day, today: date) -> str:
    """Why no backup can be run for the day; empty where one can: for today, as long as it has none."""
    if day < today:
        return "Can not be run any more: a backup made now holds the rows of today, and is filed under today."
    if day > today:
        return "Has not come yet."
    if state is Day.RUNNING:
        return "A full backup is under way."
    return "Today's backup is there." if state in _THERE else ""


@dataclass(frozen=True)
class _Month:
    """The days of one system; `first` is when its oldest row was made, `offers` are today and the newest gaps."""

    catalog: Catalog
    strip: Markup
    grid: ReportDocument
    gaps: tuple[date, ...]
    offers: tuple[DayOffer, ...]
    first: datetime | None


def _month(catalog: Catalog, visitor: Visitor, now: datetime, days: int) -> _Month:
    grid = calendar_of(catalog, visitor.ledger, now, days=days)
    first = visitor.ledger.listings.first(catalog.catalog)
    cells = whole_days(catalog, grid)
    gaps = tuple(day for day, state in cells if state is Day.MISSED)
    drawn = strip(cells, _before(first, catalog), lambda day: _of_day(catalog, day))
    today = local_date(now, catalog.timezone)
    offered = [(day, state) for day, state in reversed(cells) if day == today or day in gaps][: _MOST_GAPS + 1]
    offers = tuple(
        DayOffer(day, state, _of_day(catalog, day), why_not_now(day, state, today)) for day, state in offered
    )
    return _Month(catalog, drawn, calendar_document(grid), gaps, offers, first)


def _before(first: datetime | None, catalog: Catalog) -> Callable[[date], bool]:
    """Whether a day lies before the `first` row of the system; every day does where there is none."""
    known = local_date(first, catalog.timezone) if first else None
    return lambda day: known is None or day < known


def _of_day(catalog: Catalog, day: date) -> str:
    """The list of what happened on a day."""
    return f"/backups?{urlencode({'system': catalog.catalog, 'status': 'all', 'since': day, 'until': day})}"


@router.get("/charts")
def show_charts(
    request: Request,
    visitor: Annotated[Visitor, Depends(signed_in)],
    days: Annotated[int, Query(ge=1, le=3650)] = 90,
) -> Response:
    """Sizes, rows, durations, growth and what is to come, of each system."""
    now = visitor.ports.clock()
    chosen = chosen_system(request)
    with in_one_reading(visitor) as reader:
        shown = [drawn_statistics(request, reader, catalog, now, days) for catalog in systems_seen(request, visitor)]
    named = f" --catalog {chosen.catalog}" if chosen else ""
    return page(
        request,
        "charts.html",
        shown=shown,
        days=days,
        choices=[(30, "30 days"), (90, "90 days"), (365, "a year")],
        command=f"backup-pipeline stats --days {days}{named}",
    )


@dataclass(frozen=True)
class DrawnStatistics:
    """The statistics of one system and their charts. `of` says of how many backups, where those are not all."""

    catalog: Catalog
    counted: Statistics
    charts: tuple[Markup, ...]
    document: ReportDocument
    of: str = ""


_MOST_COUNTED = 3000
_MOST_MARKS = 120
_MOST_KEPT = 64
_kept: dict[object, DrawnStatistics] = {}
"""What was drawn already, until something changes: statistics of thousands of backups take a second."""


def drawn_statistics(request: Request, visitor: Visitor, catalog: Catalog, now: datetime, days: int) -> DrawnStatistics:
    """The statistics of a system over the last `days`; drawn anew when a backup came or went, and each hour."""
    wanted = BackupFilter(catalog.catalog, tuple(Status))
    newest = visitor.ledger.listings.page(wanted, limit=1).rows
    totals = visitor.ledger.listings.totals(catalog.catalog)
    state = [(row.backup_id, row.status) for row in newest]
    key = (
        request.app.state.ports.ledger,
        str(state),
        str(totals),
        str(catalog),
        days,
        now.replace(minute=0, second=0, microsecond=0),
    )
    if key not in _kept:
        while len(_kept) >= _MOST_KEPT:
            _kept.pop(next(iter(_kept)), None)
        _kept[key] = _drawn(visitor, catalog, now, days, totals.backups)
    return _kept[key]


def _drawn(visitor: Visitor, catalog: Catalog, now: datetime, days: int, there: int) -> DrawnStatistics:
    scope, of = Scope(catalog.catalog), ""
    if there <= _MOST_COUNTED:
        rows = counted_rows(visitor.ledger, scope=scope, now=now, days=days)
    else:
        rows = visitor.ledger.list(scope=scope, since=now - timedelta(days=days), limit=_MOST_COUNTED)
        of = f"Of the newest {len(rows):,} attempts: there are {there:,} backups, which `backup-pipeline stats` counts."
    counted = catalog_statistics(rows, scope, catalog, now=now, days=days)
    charts = [*_charts(rows, counted, catalog, now, days), _success(catalog, visitor, now)] if counted.backups else []
    return DrawnStatistics(catalog, counted, tuple(charts), statistics_document(counted), of)


def _charts(
    rows: Sequence[Attempt], counted: Statistics, catalog: Catalog, now: datetime, days: int
) -> Iterator[Markup]:
    zone = ZoneInfo(catalog.timezone)
    recent = sorted(_recent(rows, now, days), key=lambda row: row.created_at)
    sizes = [(row, row.file_size_bytes) for row in recent if row.file_size_bytes is not None]
    yield line_chart(
        Chart(
            "Size of each backup",
            ("Backup", "Size"),
            _thinned([_mark(row, count, size(count), zone) for row, count in sizes]),
            _size,
            f"Bundles as they lie in the store; {size(counted.sizes.total)} in all." if counted.sizes else "",
        )
    )
    counts = [(row, row.record_count) for row in recent if row.record_count is not None]
    yield line_chart(
        Chart(
            "Rows of each backup",
            ("Backup", "Rows"),
            _thinned([_mark(row, count, f"{count:,}", zone) for row, count in counts]),
            _short,
        )
    )
    yield _durations(rows, counted, zone, now, days)
    yield _forecast(counted)
    yield _growth(counted)


def _success(catalog: Catalog, visitor: Visitor, now: datetime) -> Markup:
    """A strip of the last month, and the table of its days."""
    cells = whole_days(catalog, calendar_of(catalog, visitor.ledger, now, days=MONTH))
    before = _before(visitor.ledger.listings.first(catalog.catalog), catalog)
    marks = tuple(
        Mark(day.isoformat(), 0, day.isoformat(), "before the first backup" if before(day) else state.value)
        for day, state in cells
    )
    missed = sum(state is Day.MISSED for _, state in cells)
    note = f"{MONTH} days; {f'{missed} missed' if missed else 'none missed'}."
    return strip_chart(Chart("What became of each day", ("Day", "State"), marks, str, note), strip(cells, before))


def _thinned(marks: Sequence[Mark]) -> tuple[Mark, ...]:
    """As many as people can tell apart: every second, third, … mark, the newest among them."""
    every = -(-len(marks) // _MOST_MARKS) or 1
    return tuple(marks[::-1][::every][::-1])


def _mark(row: Attempt, value: float, text: str, zone: ZoneInfo) -> Mark:
    local = row.created_at.astimezone(zone)
    return Mark(row.created_at, value, f"{local.day} {local:%b %Y, %H:%M}", text)


def _durations(rows: Sequence[Attempt], counted: Statistics, zone: ZoneInfo, now: datetime, days: int) -> Markup:
    """Of the same backups that the statistics are made of."""
    good = sorted(counted_durations(rows, now, days), key=lambda pair: pair[0].created_at)
    note = ""
    if counted.durations:
        median, p95 = duration(counted.durations.median), duration(counted.durations.p95)
        note = f"Median {median}, 95 % within {p95}."
    marks = _thinned([_mark(row, seconds, duration(seconds), zone) for row, seconds in good])
    return line_chart(Chart("Duration of each backup", ("Backup", "Duration"), marks, duration, note))


def counted_durations(rows: Sequence[Attempt], now: datetime, days: int) -> Iterator[tuple[Attempt, float]]:
    """Seconds from start to end of the good backups of the last `days`, as the statistics count them."""
    for row in _recent(rows, now, days):
        if row.finished_at is not None:
            yield row, (row.finished_at - row.started_at).total_seconds()


def _recent(rows: Sequence[Attempt], now: datetime, days: int) -> list[Attempt]:
    """The backups that are there and were made in the last `days`."""
    return [row for row in bundles(rows) if now - timedelta(days=days) < row.created_at <= now]


def _forecast(counted: Statistics) -> Markup:
    present = counted.sizes.total if counted.sizes else 0
    marks = [Mark("today", present, "Today", f"{size(present)} in {counted.backups:,} backups")]
    for ahead in counted.forecast:
        text = f"{size(ahead.bytes)} in {ahead.backups:,} backups"
        marks.append(Mark(f"{ahead.days} days", ahead.bytes, f"In {ahead.days} days", text, "ahead"))
    note = f"{counted.forecast_basis[:1].upper()}{counted.forecast_basis[1:].rstrip('.')}."
    return bar_chart(Chart("What the store will hold", ("When", "Bundles"), tuple(marks), _size, note))


def _growth(counted: Statistics) -> Markup:
    marks = []
    for name, growth in counted.tables.items():
        daily = text_of(per_day(growth.rows_per_day))
        grown = f", {daily} a day" if daily else ""
        weight = f", {text_of(Bytes(growth.bytes))}" if growth.bytes is not None else ""
        marks.append(Mark(name, growth.rows, name, f"{growth.rows:,}{grown}{weight}"))
    note = "The largest tables of the newest backup, and how many rows come a day."
    return ranked_chart(Chart("Tables", ("Table", "Rows, growth, bytes"), tuple(marks), _short, note))


def _size(value: float) -> str:
    """A size on an axis: `15 MB`."""
    return size(value).replace(".0 ", " ") if value else "0"


_THOUSAND = 1000


def _short(value: float) -> str:
    """A count on an axis: `250 k`."""
    for unit in ("", " k", " M"):
        if abs(value) < _THOUSAND:
            return f"{value:g}{unit}"
        value /= _THOUSAND
    return f"{value:g} G"
