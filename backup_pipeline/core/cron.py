"""When a cron line is due: five fields, as `catalog_rules.cron` allows them, in a timezone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from backup_pipeline.core.catalog_rules import CRON_FIELDS, cron, cron_number

_DAYS = 366 * 8
"""29 February comes every four years, and after a century that is no leap year after eight."""


@dataclass(frozen=True)
class _Fields:
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    any_weekday: bool

    def on(self, day: date) -> bool:
        """Where both the day and the weekday are given, one of them is enough: that is cron's old rule."""
        by_day, by_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        either = not (self.any_day or self.any_weekday)
        return day.month in self.months and ((by_day or by_weekday) if either else (by_day and by_weekday))


def last_due(line: str, timezone: str, now: datetime) -> datetime | None:
    """The last instant at or before `now` when `line` was due, in UTC; None for a line that is never due.

    As the scheduler does it: a time that the change of clocks leaves out counts as the instant at which the clocks
    change, and of a time that comes twice the second one counts.
    """
    fields, zone = _parse(line), ZoneInfo(timezone)
    today = now.astimezone(zone).date()
    for back in range(_DAYS):
        found = [at for at in _instants(fields, today - timedelta(days=back), zone) if at <= now]
        if found:
            return found[-1]
    return None


def due_times(line: str, timezone: str, *, after: datetime, until: datetime) -> Iterator[datetime]:
    """Every instant when `line` is due, later than `after` and at or before `until`, in order, in UTC."""
    fields, zone = _parse(line), ZoneInfo(timezone)
    first, last = after.astimezone(zone).date(), until.astimezone(zone).date()
    for ahead in range((last - first).days + 1):
        day = first + timedelta(days=ahead)
        yield from (at for at in _instants(fields, day, zone) if after < at <= until)


def next_due(line: str, timezone: str, now: datetime) -> datetime | None:
    """The first instant after `now` when `line` is due, in UTC; None for a line that is never due."""
    return next(due_times(line, timezone, after=now, until=now + timedelta(days=_DAYS)), None)


def _instants(fields: _Fields, day: date, zone: ZoneInfo) -> list[datetime]:
    """The instants of one day, in order, each once."""
    if not fields.on(day):
        return []
    return sorted({_instant(datetime.combine(day, time(h, m)), zone) for h in fields.hours for m in fields.minutes})


def _instant(wall: datetime, zone: ZoneInfo) -> datetime:
    later = wall.replace(tzinfo=zone, fold=1)
    at = later.astimezone(UTC)
    if at.astimezone(zone).replace(tzinfo=None) == wall:
        return at
    # The clocks leave it out: they change somewhere between what it would be by the old time and by the new.
    offset = later.utcoffset()
    while at.astimezone(zone).utcoffset() != offset:
        at += timedelta(minutes=1)
    return at


def _parse(line: str) -> _Fields:
    texts = dict(zip(CRON_FIELDS, cron(line).lower().split(), strict=True))
    minutes, hours, days, months, weekdays = (_values(text, name) for name, text in texts.items())
    sunday_is_0 = frozenset(day % 7 for day in weekdays)
    return _Fields(minutes, hours, days, months, sunday_is_0, texts["day"] == "*", texts["weekday"] == "*")


def _values(text: str, field: str) -> frozenset[int]:
    return frozenset(value for part in text.split(",") for value in _range(part, field))


def _range(part: str, field: str) -> range:
    span, _, step = part.partition("/")
    least, most = CRON_FIELDS[field]
    if span != "*":
        first, _, last = span.partition("-")
        least = cron_number(first, field)
        most = cron_number(last, field) if last else (most if step else least)
    return range(least, most + 1, int(step or 1))
