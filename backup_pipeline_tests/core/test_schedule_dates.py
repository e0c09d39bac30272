"""Tests of honest dates: which date a run belongs to, and which it may not claim."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_pipeline.core.errors import RefusedError
from backup_pipeline.core.schedule import day_end, is_late, local_date
from backup_pipeline_tests.core.values import INSTANTS

DHAKA = "Asia/Dhaka"
GRACE = timedelta(minutes=120)
SECOND = timedelta(seconds=1)
THE_21ST = date(2026, 11, 21)
MIDNIGHT = datetime(2026, 11, 21, 18, 0, tzinfo=UTC)  # the end of the 21st in Dhaka


def late(day: date, now: datetime, *, timezone: str = DHAKA, grace: timedelta = GRACE, allowed: bool = False) -> bool:
    return is_late(day, now=now, timezone=timezone, grace=grace, late=allowed)


def test_the_date_changes_at_midnight_in_dhaka() -> None:
    assert local_date(MIDNIGHT - timedelta(microseconds=1), DHAKA) == THE_21ST
    assert local_date(MIDNIGHT, DHAKA) == date(2026, 11, 22)
    assert day_end(THE_21ST, DHAKA) == MIDNIGHT


def test_the_day_itself_is_not_late_from_its_first_to_its_last_instant() -> None:
    assert late(THE_21ST, MIDNIGHT - timedelta(days=1)) is False
    assert late(THE_21ST, MIDNIGHT - timedelta(microseconds=1), grace=timedelta(0)) is False


def test_the_grace_period_ends_to_the_second() -> None:
    assert late(THE_21ST, MIDNIGHT + GRACE) is False
    with pytest.raises(RefusedError, match="2026-11-21 is over: it is 2026-11-22 in Asia/Dhaka") as refused:
        late(THE_21ST, MIDNIGHT + GRACE + SECOND)
    assert "--late" in refused.value.do
    assert "partition 2026-11-22" in refused.value.do


def test_a_run_within_grace_is_not_late_even_when_it_says_so() -> None:
    assert late(THE_21ST, MIDNIGHT + GRACE, allowed=True) is False


def test_a_past_date_is_late_when_the_run_says_so() -> None:
    assert late(THE_21ST, MIDNIGHT + GRACE + SECOND, allowed=True) is True
    assert late(date(2026, 1, 1), MIDNIGHT, allowed=True) is True


@pytest.mark.parametrize("allowed", [False, True])
def test_a_date_to_come_is_refused_in_any_case(allowed: bool) -> None:
    with pytest.raises(RefusedError, match="2026-11-22 lies ahead: it is 2026-11-21") as refused:
        late(date(2026, 11, 22), MIDNIGHT - SECOND, allowed=allowed)
    assert refused.value.do == "Run the partition 2026-11-21."


def test_grace_is_elapsed_time_where_clocks_go_back_within_it() -> None:
    # Berlin, 2026-10-25: midnight is 22:00 UTC, and from 03:00 it is 02:00 again. Four hours end at 02:00 UTC.
    end = datetime(2026, 10, 25, 2, 0, tzinfo=UTC)
    saturday = date(2026, 10, 24)
    assert late(saturday, end, timezone="Europe/Berlin", grace=timedelta(hours=4)) is False
    with pytest.raises(RefusedError):
        late(saturday, end + SECOND, timezone="Europe/Berlin", grace=timedelta(hours=4))


def test_grace_is_elapsed_time_where_clocks_go_forward_within_it() -> None:
    # Berlin, 2026-03-29: midnight is 23:00 UTC, 02:00 is 03:00. Four hours end at 03:00 UTC, 05:00 local.
    end = datetime(2026, 3, 29, 3, 0, tzinfo=UTC)
    assert late(date(2026, 3, 28), end, timezone="Europe/Berlin", grace=timedelta(hours=4)) is False


def test_a_midnight_that_does_not_exist_ends_the_day_all_the_same() -> None:
    # Cairo, 2026-04-24: 00:00 is 01:00.
    assert day_end(date(2026, 4, 23), "Africa/Cairo") == datetime(2026, 4, 23, 22, 0, tzinfo=UTC)


def test_a_midnight_that_comes_twice_ends_the_day_the_first_time() -> None:
    # Havana, 2026-11-01: 01:00 is 00:00 again.
    assert day_end(date(2026, 10, 31), "America/Havana") == datetime(2026, 11, 1, 4, 0, tzinfo=UTC)


@given(
    now=INSTANTS,
    timezone=st.sampled_from([DHAKA, "Europe/Berlin", "America/St_Johns", "Pacific/Apia", "Asia/Kathmandu", "UTC"]),
)
def test_today_is_never_late_or_refused(now: datetime, timezone: str) -> None:
    assert late(local_date(now, timezone), now, timezone=timezone, grace=timedelta(0)) is False


@given(
    now=INSTANTS,
    timezone=st.sampled_from([DHAKA, "Europe/Berlin", "America/St_Johns", "Pacific/Apia", "Asia/Kathmandu", "UTC"]),
)
def test_a_day_ends_where_the_next_date_begins(now: datetime, timezone: str) -> None:
    end = day_end(local_date(now, timezone), timezone)
    assert end > now
    assert local_date(end - timedelta(microseconds=1), timezone) == local_date(now, timezone)
    assert local_date(end, timezone) > local_date(now, timezone)
