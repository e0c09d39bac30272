"""When a cron line was last due: against the scheduler's own reckoning, and where the clocks change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import takewhile

import pytest
from dagster._utils.schedules import cron_string_iterator
from hypothesis import given
from hypothesis import strategies as st

from backup_pipeline.core.cron import due_times, last_due, next_due

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


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Africa/Cairo", "Pacific/Auckland"])
@pytest.mark.parametrize("line", ["30 2 * * *", "0 0 * * *", "15 1 * * *", "0 3 * * 0"])
def test_where_clocks_change_it_is_what_the_scheduler_itself_comes_to(zone: str, line: str) -> None:
    """Else a run that the scheduler launched in time would be for no due time, and that one missed."""
    start, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC)
    ticks = (tick.astimezone(UTC) for tick in cron_string_iterator(start.timestamp(), line, zone))
    expected = list(takewhile(lambda tick: tick <= end, ticks))
    assert list(due_times(line, zone, after=start - MICRO, until=end)) == expected


def test_a_line_that_is_never_due_has_no_next_time() -> None:
    assert next_due("0 0 31 2 *", DHAKA, NOW) is None


def test_a_time_is_due_once() -> None:
    """Between is later than the one, and up to the other."""
    midnight = datetime(2026, 11, 20, 18, tzinfo=UTC)
    day = timedelta(days=1)
    assert list(due_times("0 0 * * *", DHAKA, after=midnight, until=midnight + day)) == [midnight + day]
    assert list(due_times("0 0 * * *", DHAKA, after=midnight, until=midnight)) == []
