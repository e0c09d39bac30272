"""The rules of retention: what a catalog may say, and until when `keep_within` keeps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from backup_pipeline.core.names import Trigger
from backup_pipeline.core.retention import FOREVER, ManualRule, Retention, Rule, expiry, kept_until
from backup_pipeline_tests.core.values import INSTANTS

DHAKA = ZoneInfo("Asia/Dhaka")
BERLIN = ZoneInfo("Europe/Berlin")
SPANS = st.builds(
    lambda count, unit: f"{count} {unit}s",
    st.integers(1, 400),
    st.sampled_from(["hour", "day", "week", "month", "year"]),
)
ZONES = st.sampled_from(["UTC", "Asia/Dhaka", "Europe/Berlin", "America/New_York", "Pacific/Apia"])


def until(text: str, within: str, zone: str = "Asia/Dhaka") -> str:
    """In local time, as it is written."""
    tz = ZoneInfo(zone)
    found = kept_until(datetime.fromisoformat(text).replace(tzinfo=tz), within, zone)
    assert found is not None
    assert found.tzinfo is UTC
    return found.astimezone(tz).strftime("%Y-%m-%d %H:%M")


def test_the_defaults_are_thirty_days_for_automatic_ones_and_for_ever_for_manual_ones() -> None:
    rules = Retention()
    assert (rules.automatic.keep_within, rules.automatic.min_keep, rules.automatic.grace_minutes) == ("30 days", 3, 60)
    assert (rules.manual.keep_within, rules.manual.min_keep) == (FOREVER, 0)
    assert rules.schedule == "0 3 * * 0"
    assert rules.of(Trigger.AUTOMATIC) is rules.automatic
    assert rules.of(Trigger.MANUAL) is rules.manual


@pytest.mark.parametrize(
    ("text", "within", "wanted"),
    [
        ("2026-11-21 00:00", "30 days", "2026-12-21 00:00"),
        ("2026-11-21 00:00", "1 week", "2026-11-28 00:00"),
        ("2026-11-21 00:00", "36 hours", "2026-11-22 12:00"),
        ("2026-01-31 09:00", "1 month", "2026-03-01 00:00"),  # there is no 31 February: to the end of the month
        ("2028-01-31 09:00", "1 month", "2028-03-01 00:00"),
        ("2027-11-30 09:00", "3 months", "2028-03-01 00:00"),  # 2028 has a 29 February, and no 30
        ("2027-11-29 09:00", "3 months", "2028-02-29 09:00"),
        ("2026-11-29 09:00", "3 months", "2027-03-01 00:00"),
        ("2026-12-31 09:00", "6 months", "2027-07-01 00:00"),
        ("2028-02-29 09:00", "1 year", "2029-03-01 00:00"),
        ("2028-02-29 09:00", "4 years", "2032-02-29 09:00"),
        ("2026-12-15 09:00", "1 month", "2027-01-15 09:00"),
    ],
)
def test_within_counts_on_the_calendar(text: str, within: str, wanted: str) -> None:
    assert until(text, within) == wanted


def test_days_are_those_of_the_timezone_when_the_clocks_change_and_hours_are_hours() -> None:
    before = datetime(2026, 3, 28, 12, tzinfo=BERLIN)  # clocks go forward on the 29th
    day, hours = (kept_until(before, within, "Europe/Berlin") for within in ("1 day", "24 hours"))
    assert day is not None
    assert hours is not None
    assert day - before.astimezone(UTC) == timedelta(hours=23)
    assert hours - before.astimezone(UTC) == timedelta(hours=24)


def test_for_ever_has_no_end_and_neither_has_what_lies_beyond_the_calendar() -> None:
    now = datetime(2026, 11, 21, tzinfo=UTC)
    assert kept_until(now, FOREVER, "UTC") is None
    assert kept_until(now, "9000 years", "UTC") is None
    assert kept_until(datetime(9999, 12, 31, tzinfo=UTC), "2 days", "UTC") is None


@settings(deadline=None)
@given(INSTANTS, st.timedeltas(timedelta(0), timedelta(days=800)), SPANS, ZONES)
def test_a_newer_backup_is_kept_at_least_as_long(at: datetime, later: timedelta, within: str, zone: str) -> None:
    first, second = kept_until(at, within, zone), kept_until(at + later, within, zone)
    if first is not None and second is not None:
        assert first <= second + timedelta(hours=24 if zone == "Pacific/Apia" else 1)  # as far as clocks jump back


@settings(deadline=None)
@given(INSTANTS, SPANS, ZONES)
def test_what_is_kept_is_kept_beyond_its_own_instant(at: datetime, within: str, zone: str) -> None:
    found = kept_until(at, within, zone)
    assert found is None or found > at - timedelta(hours=24)


def test_a_backup_never_expires_within_the_grace_and_counted_rules_say_no_time() -> None:
    at = datetime(2026, 11, 21, tzinfo=UTC)
    rule = Rule(keep_within="1 hour", grace_minutes=120)
    assert expiry(rule, at=at, finished=at + timedelta(minutes=90), timezone="UTC") == at + timedelta(minutes=210)
    assert expiry(Rule(keep_daily=7), at=at, finished=at, timezone="UTC") is None
    assert expiry(Rule(keep_within=FOREVER), at=at, finished=at, timezone="UTC") is None
    assert expiry(Rule(keep_within="30 days"), at=at, finished=at, timezone="Asia/Dhaka") == datetime(
        2026, 12, 21, tzinfo=UTC
    )


@pytest.mark.parametrize("text", ["30", "30d", "0 days", "1.5 days", "30  days", "days", "for ever", "-1 day", ""])
def test_a_time_that_is_none_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ValidationError, match="Write a number and hours, days, weeks, months or years, or forever"):
        Rule(keep_within=text)


@pytest.mark.parametrize("rule", [Rule, ManualRule])
def test_a_rule_that_keeps_nothing_is_refused(rule: type[Rule]) -> None:
    with pytest.raises(ValidationError, match="no `keep_` field asks for anything"):
        rule(min_keep=3)


@pytest.mark.parametrize("values", [{"keep_last": -1}, {"keep_daily": 1, "min_keep": -1}, {"keep_dayly": 7}])
def test_other_mistakes_are_refused(values: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        Rule.model_validate(values)


def test_a_rule_that_is_given_replaces_the_default_one() -> None:
    rules = Retention.model_validate({"automatic": {"keep_daily": 7}})
    assert rules.automatic.keep_within is None
    assert rules.automatic.min_keep == 3
    assert rules.manual == Retention().manual
    assert Retention.model_validate({"manual": {"keep_last": 10}}).manual.min_keep == 0
