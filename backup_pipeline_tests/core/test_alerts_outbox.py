"""When an alert is tried again, and when it is given up."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_pipeline.core.alerts import (
    CLAIM,
    GIVE_UP_AFTER,
    LONGEST_WAIT,
    Alert,
    OutboxEntry,
    Severity,
    alert_json,
    alert_of,
    claimed,
    delayed,
    settled,
    wait_after,
)
from backup_pipeline.core.scope import Scope
from backup_pipeline_tests.ledger.attempts import NOON

ALERT = Alert(Severity.FAILURE, "Backup failed: isp", "It broke.", "Mend it.", Scope("isp"))
ENTRY = claimed(OutboxEntry(1, ALERT, "mailto://ops", created_at=NOON, next_try_at=NOON), NOON)
MINUTE = timedelta(minutes=1)


def test_what_is_delivered_is_done() -> None:
    done = settled(ENTRY, None, NOON + MINUTE)
    assert not done.open
    assert done.delivered_at == NOON + MINUTE
    assert settled(done, "late word of a failure", NOON + 2 * MINUTE) == done


def test_what_failed_is_tried_again_after_a_growing_wait() -> None:
    failed = settled(ENTRY, "connection refused", NOON)
    assert (failed.next_try_at, failed.last_error, failed.open) == (NOON + MINUTE, "connection refused", True)
    assert [wait_after(attempts) // MINUTE for attempts in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]


@given(st.integers(min_value=0, max_value=10**6))
def test_no_wait_is_endless(attempts: int) -> None:
    assert MINUTE <= wait_after(attempts) <= LONGEST_WAIT


def test_after_a_week_it_is_given_up_and_a_person_may_still_try() -> None:
    later = NOON + GIVE_UP_AFTER
    given_up = settled(ENTRY, "connection refused", later)
    assert given_up.given_up_at == later
    assert not given_up.free(later + MINUTE, early=False)
    assert given_up.free(later + MINUTE, early=True)
    assert claimed(given_up, later).open
    assert settled(ENTRY, "connection refused", later - MINUTE).open


def test_what_somebody_has_in_hand_is_nobody_else_s_until_they_have_died() -> None:
    for early in (False, True):
        assert not ENTRY.free(NOON + CLAIM - MINUTE, early=early)
        assert ENTRY.free(NOON + CLAIM, early=early)


def test_before_its_time_only_a_person_tries() -> None:
    failed = settled(ENTRY, "connection refused", NOON)
    assert not failed.free(NOON, early=False)
    assert failed.free(NOON, early=True)
    assert failed.free(NOON + MINUTE, early=False)


def test_a_late_alert_says_that_it_is_late() -> None:
    assert delayed(ENTRY) == ALERT
    again = delayed(claimed(ENTRY, NOON + MINUTE))
    assert "It broke." in again.what
    assert "this alert is of 2026-11-21 12:00 UTC, attempt 2" in again.what


@pytest.mark.parametrize(
    "alert",
    [
        ALERT,
        replace(ALERT, severity=Severity.INFO, backup_id="b1", run_id="r", run_url="u", at=NOON, tables={"a": "b"}),
    ],
)
def test_an_alert_survives_being_json(alert: Alert) -> None:
    assert alert_of(alert_json(alert)) == alert


def test_an_alert_of_another_version_can_be_read() -> None:
    told = alert_json(ALERT) | {"unheard_of": 1}
    del told["tables"]
    assert alert_of(told) == ALERT
