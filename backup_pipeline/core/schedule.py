"""When a cron line is due: five fields, as `catalog_rules.cron` allows them, in a timezone.

This is the only place that knows it. A scheduler is given `scheduler_lines`, which tick at every due time and may tick
at others, and asks `is_due` of each of its ticks: no two programs agree on what a change of clocks does to a line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import cache, lru_cache
from zoneinfo import ZoneInfo

from backup_pipeline.core.catalog.rules import CRON_FIELDS, cron, cron_number
from backup_pipeline.core.errors import ClockError, RefusedError

_DAYS = 366 * 8
"""29 February comes every four years, and after a century that is no leap year after eight."""
_DAY_MINUTES = 24 * 60
_SEEN = (2020, 2060)
"""The years whose changes of clocks a scheduler's lines are made for. Where there is none, a line is left as it is."""

_HOURS = range(24)
_ANY_DAYS = frozenset(range(32))


@dataclass(frozen=True)
class _Fields:
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    any_weekday: bool

    @property
    def every_hour(self) -> bool:
        """Whether the line goes by the passing of time, and not by hours of the day."""
        return len(self.hours) == len(_HOURS)

    def on_any_day(self) -> _Fields:
        """The same times of the day, on every one."""
        return replace(self, any_day=True, any_weekday=True, days=_ANY_DAYS, months=_ANY_DAYS, weekdays=_ANY_DAYS)

    def on(self, day: date) -> bool:
        """Where both the day and the weekday are given, one of them is enough: that is cron's old rule."""
        by_day, by_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        either = not (self.any_day or self.any_weekday)
        return day.month in self.months and ((by_day or by_weekday) if either else (by_day and by_weekday))


def last_due(line: str, timezone: str, now: datetime) -> datetime | None:
    """The last instant at or before `now` when `line` was due, in UTC; None for a line that is never due.

    A time that the change of clocks leaves out counts as the instant at which they change, or as the minute before
    where that is on another date; of a time that comes twice the second one counts. So a daily line is due once on
    every date. A line for every hour goes by the time that passes: what comes twice counts twice, what is left out not.
    """
    fields, zone = _parse(line), ZoneInfo(timezone)
    today = now.astimezone(zone).date()
    for back in range(_DAYS):
        instants = [instant for instant in _instants(fields, today - timedelta(days=back), zone) if instant <= now]
        if instants:
            return instants[-1]
    return None


def due_times(line: str, timezone: str, *, after: datetime, until: datetime) -> Iterator[datetime]:
    """Every instant when `line` is due, later than `after` and at or before `until`, in order, in UTC."""
    fields, zone = _parse(line), ZoneInfo(timezone)
    first, last = after.astimezone(zone).date(), until.astimezone(zone).date()
    for ahead in range((last - first).days + 1):
        day = first + timedelta(days=ahead)
        yield from (instant for instant in _instants(fields, day, zone) if after < instant <= until)


def next_due(line: str, timezone: str, now: datetime) -> datetime | None:
    """The first instant after `now` when `line` is due, in UTC; None for a line that is never due."""
    return next(due_times(line, timezone, after=now, until=now + timedelta(days=_DAYS)), None)


def is_due(line: str, timezone: str, instant: datetime) -> bool:
    """Whether `line` is due at that very instant."""
    zone = ZoneInfo(timezone)
    return instant in _instants(_parse(line), instant.astimezone(zone).date(), zone)


def scheduler_lines(line: str, timezone: str) -> tuple[Sequence[str], str]:
    """Cron lines and their timezone for a scheduler: it ticks whenever `line` is due in `timezone`, and at other times.

    Where the clocks are never changed that is `line` itself. Elsewhere they are lines in UTC, where there is nothing to
    agree on: one time for each distance from UTC, and the instants of the changes that leave a due time out.
    """
    offsets, changes = _clock_changes(timezone)
    if not changes:
        return (line,), timezone
    fields, zone = _parse(line), ZoneInfo(timezone)
    walls = {hour * 60 + minute for hour in fields.hours for minute in fields.minutes}
    times = {wall - offset for wall in walls for offset in offsets}
    minutes = {minute % _DAY_MINUTES for minute in times}
    for change in changes:
        days = [change.astimezone(zone).date() + timedelta(days=shift) for shift in (-1, 0, 1)]
        left_out = {minute for day in days for minute in _instants(fields.on_any_day(), day, zone)}
        minutes |= {minute.hour * 60 + minute.minute for minute in left_out}
    weekdays = (
        {(day + minute // _DAY_MINUTES) % 7 for day in fields.weekdays for minute in times} if fields.any_day else set()
    )
    return _lines_of(minutes, weekdays or set(range(7))), "UTC"


def _lines_of(minutes: set[int], weekdays: set[int]) -> Sequence[str]:
    """Lines for those minutes of the day, on those weekdays; hours with the same minutes share one."""
    on = "*" if len(weekdays) == 7 else _listed(weekdays)
    by_hour = {hour: frozenset(minute % 60 for minute in minutes if minute // 60 == hour) for hour in _HOURS}
    hours = {same: [hour for hour in _HOURS if by_hour[hour] == same] for same in by_hour.values() if same}
    return [
        f"{_listed(same)} {'*' if len(own) == len(_HOURS) else _listed(own)} * * {on}" for same, own in hours.items()
    ]


def _listed(numbers: Iterable[int]) -> str:
    return ",".join(str(number) for number in sorted(numbers))


@cache
def _clock_changes(timezone: str) -> tuple[frozenset[int], tuple[datetime, ...]]:
    """The distances from UTC, in minutes, and the first instant of each that follows another, in the years of _SEEN."""
    zone, step = ZoneInfo(timezone), timedelta(hours=12)
    instant, end = (datetime(year, 1, 1, tzinfo=UTC) for year in _SEEN)
    offsets, changes = {_offset(instant, zone)}, []
    while instant < end:
        if _offset(instant + step, zone) != _offset(instant, zone):
            changes.append(_change_between(instant, instant + step, zone))
            offsets.add(_offset(instant + step, zone))
        instant += step
    return frozenset(offsets), tuple(changes)


def _change_between(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """The first minute with the offset of `after`; the offset changes once between the two."""
    old = _offset(before, zone)
    while after - before > timedelta(minutes=1):
        middle = before + timedelta(minutes=(after - before) // timedelta(minutes=2))
        before, after = (middle, after) if _offset(middle, zone) == old else (before, middle)
    return after


def _offset(instant: datetime, zone: ZoneInfo) -> int:
    offset = instant.astimezone(zone).utcoffset()
    return 0 if offset is None else offset // timedelta(minutes=1)


@lru_cache(maxsize=64)
def _instants(fields: _Fields, day: date, zone: ZoneInfo) -> Sequence[datetime]:
    """The instants of one day, in order, each once. A scheduler asks for the same day at each of its ticks."""
    if not fields.on(day):
        return ()
    walls = (datetime.combine(day, time(hour, minute)) for hour in fields.hours for minute in fields.minutes)
    return tuple(
        sorted({instant for wall in walls for instant in _instants_of(wall, zone, every_hour=fields.every_hour)})
    )


def _instants_of(wall: datetime, zone: ZoneInfo, *, every_hour: bool) -> Sequence[datetime]:
    """When it is that time by the clocks of `zone`: see `last_due`."""
    first, second = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if second.astimezone(zone).replace(tzinfo=None) == wall:
        return (first, second) if every_hour else (second,)
    if every_hour:
        return ()
    change = _change_between(
        second, first, zone
    )  # left out: by the new clocks it is before the change, by the old after
    return (change if change.astimezone(zone).date() == wall.date() else change - timedelta(minutes=1),)


@cache
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


def local_date(instant: datetime, timezone: str) -> date:
    """The calendar date of the instant `at` in `timezone`."""
    return instant.astimezone(ZoneInfo(timezone)).date()


def day_end(day: date, timezone: str) -> datetime:
    """The instant at which `day` ends in `timezone`, in UTC: adding to it is not led astray by a change of clocks."""
    return datetime.combine(day + timedelta(days=1), time(), tzinfo=ZoneInfo(timezone)).astimezone(UTC)


def is_late(day: date, *, now: datetime, timezone: str, grace: timedelta, late: bool) -> bool:
    """Whether a run that starts `now` for the partition `day` is a late one.

    False on the day itself and until `grace` after its end (a run that was queued over midnight). After that only a
    run that says `late` may file today's rows under a past date; without it, and for a date to come, RefusedError.
    """
    today = local_date(now, timezone)
    if day > today:
        message = f"The partition {day} lies ahead: it is {today} in {timezone}."
        raise RefusedError(message, do=f"Run the partition {today}.")
    if now <= day_end(day, timezone) + grace:
        return False
    if late:
        return True
    message = f"The partition {day} is over: it is {today} in {timezone}, and a backup reads the rows of now."
    raise RefusedError(
        message,
        do=f"Run the partition {today}. To file today's rows under {day} all the same, say `late: true`"
        " (`--late`): the manifest then says late, with the true time. The missed date can not be made up for.",
    )


TOLERATED = timedelta(minutes=1)
"""By so much clocks may differ before anybody is told; later than that is the future."""
REFUSED = timedelta(hours=1)
"""A machine, or a source, that differs by more makes no backup and removes none."""
_SET_IT = "Set the clock that is wrong, and let both machines keep time by NTP (timedatectl status, chronyc tracking)."
_DAY = timedelta(days=1)


def is_future(instant: datetime, now: datetime) -> bool:
    """Whether `at` has not come yet, beyond what clocks may differ."""
    return instant > now + TOLERATED


def differing(ours: str, by: timedelta, theirs: str) -> str | None:
    """A sentence when the clock of `ours` is ahead of that of `theirs` by too much, or behind it; None when not."""
    if abs(by) <= TOLERATED:
        return None
    ahead = "ahead of" if by > timedelta(0) else "behind"
    return f"The clock of {ours} is {in_words(abs(by))} {ahead} that of {theirs}."


def check_difference(ours: str, by: timedelta, theirs: str) -> str | None:
    """As `differing`; ClockError when it is so much that no date, no retention and no schedule can be relied on."""
    sentence = differing(ours, by, theirs)
    if sentence is not None and abs(by) > REFUSED:
        message = f"{sentence} Nothing was touched."
        raise ClockError(message, do=_SET_IT)
    return sentence


def in_words(span: timedelta) -> str:
    """A length of time for people, in its largest unit."""
    for name, unit in (("day", _DAY), ("hour", timedelta(hours=1)), ("minute", timedelta(minutes=1))):
        if count := span // unit:
            return f"{count:,} {name}{'s' if count > 1 else ''}"
    return f"{span.total_seconds():.0f} seconds"


_WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_MONTHS = ("", "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
           "November", "December")  # fmt: skip
_MOST_TIMES = 4


def cron_in_words(line: str) -> str:
    """When a line is due, for people: `every day at 00:00`, `every Sunday at 04:00`, `every 5 minutes`."""
    fields = _parse(line)
    times, days = _times_in_words(fields), _days_in_words(fields)
    if times.startswith("every"):
        return times if days == "every day" else f"{times}, {days}"
    return f"{days} at {times}"


def _times_in_words(fields: _Fields) -> str:
    minutes, hours = sorted(fields.minutes), sorted(fields.hours)
    if fields.every_hour:
        step = minutes[1] - minutes[0] if len(minutes) > 1 else 60
        if minutes == list(range(0, 60, step)):
            return "every hour" if step == 60 else ("every minute" if step == 1 else f"every {step} minutes")
        return f"every hour at minute {', '.join(map(str, minutes))}"
    times = [f"{hour:02}:{minute:02}" for hour in hours for minute in minutes]
    more = f" and {len(times) - _MOST_TIMES} more times" if len(times) > _MOST_TIMES else ""
    return f"{', '.join(times[:_MOST_TIMES])}{more}"


def _days_in_words(fields: _Fields) -> str:
    by_day = f"on day {', '.join(map(str, sorted(fields.days)))}" if not fields.any_day else ""
    names = [_WEEKDAYS[(day + 1) % 7] for day in sorted((number - 1) % 7 for number in fields.weekdays)]
    by_weekday = f"every {', '.join(names)}" if not fields.any_weekday and len(names) < len(_WEEKDAYS) else ""
    days = " or ".join(part for part in (by_day, by_weekday) if part)
    every_month = len(fields.months) == len(_MONTHS) - 1
    months = "" if every_month else f" in {', '.join(_MONTHS[month] for month in sorted(fields.months))}"
    if not days:
        return f"every day{months}"
    return f"{days}{months or (' of every month' if by_day else '')}"
