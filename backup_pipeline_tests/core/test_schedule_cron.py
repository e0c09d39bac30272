"""When a cron line was last due: against the scheduler's own reckoning, and where the clocks change."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise, takewhile

import pytest
from dagster._utils.schedules import cron_string_iterator, schedule_execution_time_iterator
from hypothesis import given
from hypothesis import strategies as st

from backup_pipeline.core.schedule import day_end, due_times, is_due, last_due, local_date, next_due, scheduler_lines
from backup_pipeline_tests.core.zones import Zone, changing, zones

DHAKA, BERLIN = "Asia/Dhaka", "Europe/Berlin"
NOW = datetime(2026, 11, 21, 15, 30, tzinfo=UTC)
MICRO = timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("line", "due"),
    [
        ("0 0 * * *", "2026-11-20T18:00"),  # midnight in Dhaka
        ("30 21 * * *", "2026-11-21T15:30"),  # now
        ("31 21 * * *", "2026-11-20T15:31"),
        ("*/20 * * * *", "2026-11-21T15:20"),
        ("5/20 * * * *", "2026-11-21T15:25"),
        ("0 3 * * sun", "2026-11-14T21:00"),
        ("0 3 * * 7", "2026-11-14T21:00"),
        ("0 3 * * mon-fri", "2026-11-19T21:00"),
        ("0 0 1 * *", "2026-10-31T18:00"),
        ("0 0 1 jan,jul *", "2026-06-30T18:00"),
        ("0 0 31 * *", "2026-10-30T18:00"),
        ("0 0 29 2 *", "2024-02-28T18:00"),
        ("0 0 13 * fri", "2026-11-19T18:00"),  # the 13th or a Friday
    ],
)
def test_the_last_time_at_or_before_now(line: str, due: str) -> None:
    assert last_due(line, DHAKA, NOW) == datetime.fromisoformat(due).replace(tzinfo=UTC)


def test_a_line_that_is_never_due_has_no_last_time() -> None:
    assert last_due("0 0 31 2 *", DHAKA, NOW) is None


@pytest.mark.parametrize(
    ("now", "due"),
    [
        ("2026-03-29T02:00", "2026-03-29T01:00"),  # 02:30 was left out when the clocks went forward to 03:00
        ("2026-10-25T12:00", "2026-10-25T01:30"),  # 02:30 came twice: the second one counts
    ],
)
def test_where_the_clocks_change(now: str, due: str) -> None:
    at = datetime.fromisoformat(now).replace(tzinfo=UTC)
    assert last_due("30 2 * * *", BERLIN, at) == datetime.fromisoformat(due).replace(tzinfo=UTC)


MINUTES = st.sampled_from(["0", "15", "*/10", "5,50", "10-20", "*"])
HOURS = st.sampled_from(["0", "23", "*/6", "9-17/4", "*"])
DAYS = st.sampled_from(["*", "*", "1", "15,28", "10-12"])
MONTHS = st.sampled_from(["*", "*", "2", "jan-mar", "11"])
WEEKDAYS = st.sampled_from(["*", "*", "0", "mon", "tue-thu", "6,7"])


@given(
    line=st.tuples(MINUTES, HOURS, DAYS, MONTHS, WEEKDAYS).map(" ".join),
    minutes=st.integers(0, 60 * 24 * 700),
)
def test_it_is_what_the_scheduler_itself_comes_to(line: str, minutes: int) -> None:
    now = NOW - timedelta(minutes=minutes)
    due = last_due(line, DHAKA, now)
    assert due is not None
    following = (tick.astimezone(UTC) for tick in cron_string_iterator(due.timestamp(), line, DHAKA))
    first, second = next(following), next(following)
    assert (first, second > now) == (due, True)


@given(
    line=st.tuples(MINUTES, HOURS, DAYS, MONTHS, WEEKDAYS).map(" ".join),
    minutes=st.integers(0, 60 * 24 * 700),
)
def test_the_next_time_and_those_between_are_the_scheduler_s(line: str, minutes: int) -> None:
    now = NOW - timedelta(minutes=minutes)
    ticks = (tick.astimezone(UTC) for tick in cron_string_iterator((now + MICRO).timestamp(), line, DHAKA))
    expected = [next(ticks) for _ in range(3)]
    assert next_due(line, DHAKA, now) == expected[0]
    assert list(due_times(line, DHAKA, after=now, until=expected[-1])) == expected


HALF_HOURS = [f"{minute} {hour} * * *" for hour in range(24) for minute in (0, 30)]
OTHERS = ["*/5 * * * *", "0 * * * *", "30 * * * *", "0 */6 * * *", "*/15 0-3 * * *", "0 0 * * 0", "30 23 * * 6"]
OTHERS += ["30 1 * * sun", "0 0 1 * *", "30 2 28-31 3,10 *", "0 1,2,3 * * *", "45 23 * * mon-fri"]


def _check_each_date_once(zone: Zone, change: datetime) -> None:
    dates = [local_date(change, zone.name) + timedelta(days=shift) for shift in (-1, 0, 1)]
    after, until = (day_end(day, zone.name) - MICRO for day in (dates[0] - timedelta(days=1), dates[-1]))
    for line in HALF_HOURS:
        due = list(due_times(line, zone.name, after=after, until=until))
        assert [local_date(at, zone.name) for at in due] == dates, (line, zone.name, change)
        assert due == sorted(due)


def test_a_daily_line_is_due_once_on_every_date_also_where_clocks_change() -> None:
    """Else a date would have no backup, or two, and its partition none or two."""
    assert len(changing()) > 20
    for zone in changing():
        for change in zone.changes[:2]:
            _check_each_date_once(zone, change)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_daily_line_is_due_once_on_every_date_of_ten_years() -> None:
    for zone in changing():
        for change in zone.changes:
            _check_each_date_once(zone, change)


def test_a_line_of_every_hour_goes_by_the_time_that_passes() -> None:
    """Five minutes stay five minutes when the clocks are put back an hour, or forward."""
    for zone in changing():
        for change in zone.changes[:2]:
            after, until = change - timedelta(hours=4), change + timedelta(hours=4)
            due = list(due_times("*/5 * * * *", zone.name, after=after, until=until))
            assert {later - earlier for earlier, later in pairwise(due)} == {timedelta(minutes=5)}


def _ticks(line: str, zone: Zone, after: datetime, until: datetime) -> list[datetime]:
    """The ticks of Dagster's scheduler that are due."""
    lines, timezone = scheduler_lines(line, zone.name)
    following = schedule_execution_time_iterator((after + MICRO).timestamp(), list(lines), timezone)
    ticks = takewhile(lambda at: at <= until, (tick.astimezone(UTC) for tick in following))
    return [at for at in ticks if is_due(line, zone.name, at)]


def _same_ticks(zone: Zone, lines: Sequence[str], moments: Sequence[datetime], days: float) -> None:
    for moment in moments:
        after, until = moment - timedelta(days=days), moment + timedelta(days=days)
        for line in lines:
            due = list(due_times(line, zone.name, after=after, until=until))
            assert _ticks(line, zone, after, until) == due, (line, zone.name, moment)


SOME = ["0 0 * * *", "30 1 * * *", "30 23 * * *"]


def test_the_scheduler_asks_at_every_due_time_wherever_clocks_change() -> None:
    """Else a run that the scheduler launched in time would be for no due time, and that one missed."""
    for zone in zones()[::3]:  # all of them, over ten years, below
        _same_ticks(zone, SOME, zone.changes[:2] or (NOW,), days=0.8)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_scheduler_asks_at_every_due_time_of_ten_years() -> None:
    for zone in zones():
        _same_ticks(zone, HALF_HOURS, zone.changes[:4] or (NOW,), days=1)
        _same_ticks(zone, [*SOME, *OTHERS], zone.changes or (NOW,), days=1)


def test_where_clocks_never_change_the_scheduler_has_the_line_as_it_is_written() -> None:
    assert scheduler_lines("0 0 * * *", DHAKA) == (("0 0 * * *",), DHAKA)


def test_a_weekly_line_is_not_asked_every_day() -> None:
    assert scheduler_lines("0 4 * * 0", BERLIN) == (["0 2,3 * * 0"], "UTC")
    assert scheduler_lines("0 0 * * 0", BERLIN) == (["0 22,23 * * 6"], "UTC")


def test_a_line_that_is_never_due_has_no_next_time() -> None:
    assert next_due("0 0 31 2 *", DHAKA, NOW) is None


def test_a_time_is_due_once() -> None:
    """Between is later than the one, and up to the other."""
    midnight = datetime(2026, 11, 20, 18, tzinfo=UTC)
    day = timedelta(days=1)
    assert list(due_times("0 0 * * *", DHAKA, after=midnight, until=midnight + day)) == [midnight + day]
    assert list(due_times("0 0 * * *", DHAKA, after=midnight, until=midnight)) == []
