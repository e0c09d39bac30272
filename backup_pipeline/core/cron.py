"""When a cron line was last due: five fields, as `catalog_rules.cron` allows them, in a timezone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from backup_pipeline.core.catalog_rules import CRON_FIELDS, cron, cron_number

_DAYS_BACK = 366 * 8
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

    A time that the change of clocks leaves out counts as the instant at which the clocks change.
    """
    fields, zone = _parse(line), ZoneInfo(timezone)
    today = now.astimezone(zone).date()
    for back in range(_DAYS_BACK):
        day = today - timedelta(days=back)
        if fields.on(day) and (found := _latest(fields, day, zone, now)) is not None:
            return found
    return None


def _latest(fields: _Fields, day: date, zone: ZoneInfo, now: datetime) -> datetime | None:
    for hour in sorted(fields.hours, reverse=True):
        for minute in sorted(fields.minutes, reverse=True):
            at = datetime.combine(day, time(hour, minute), tzinfo=zone).astimezone(UTC)
            if at <= now:
                return at
    return None


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
