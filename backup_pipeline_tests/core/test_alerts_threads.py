"""Threads of alerts: the first of many failures is told, reminders keep their distance, the end is told once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from backup_pipeline.core.alerts import Say, Thread, ThreadStep, failing, recovered
from backup_pipeline.core.scope import Scope

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
DAY = timedelta(hours=24)
QUIET = Thread(Scope("isp"), "full")


def test_the_first_failure_is_told_at_once() -> None:
    step = failing(QUIET, NOON, 1, DAY)
    assert step == ThreadStep(
        QUIET, Thread(Scope("isp"), "full", NOON, failures=1, notified=1, notified_at=NOON), Say.FIRST
    )


def test_what_follows_within_the_interval_is_counted_and_not_told() -> None:
    first = failing(QUIET, NOON, 1, DAY).after
    step = failing(first, NOON + DAY - timedelta(seconds=1), 3, DAY)
    assert (step.say, step.after.failures, step.after.notified) == (Say.NOTHING, 4, 1)


def test_after_the_interval_people_are_reminded_with_the_count() -> None:
    first = failing(QUIET, NOON, 1, DAY).after
    step = failing(failing(first, NOON, 5, DAY).after, NOON + DAY, 0, DAY)
    assert (step.say, step.after.failures, step.after.notified, step.after.notified_at) == (
        Say.REMINDER,
        6,
        6,
        NOON + DAY,
    )


def test_what_only_the_log_knows_is_told_at_once_when_there_is_somebody_to_tell() -> None:
    first = failing(QUIET, NOON, 1, DAY, reachable=False).after
    assert (first.notified, first.reached) == (0, False)
    still = failing(first, NOON + timedelta(minutes=1), 2, DAY, reachable=False)
    assert still.say is Say.NOTHING  # nor is the log told each time
    step = failing(still.after, NOON + timedelta(minutes=2), 0, DAY)
    assert (step.say, step.after.failures, step.after.notified, step.after.reached) == (Say.REMINDER, 3, 3, True)
    assert failing(step.after, NOON + timedelta(minutes=3), 0, DAY).say is Say.NOTHING


def test_a_channel_that_is_gone_again_takes_nothing_back() -> None:
    heard = failing(QUIET, NOON, 1, DAY).after
    later = failing(heard, NOON + DAY, 4, DAY, reachable=False).after
    assert (later.notified, later.reached, later.failures) == (1, True, 5)


def test_the_end_is_told_once_and_what_begins_after_it_is_new() -> None:
    ended = recovered(failing(QUIET, NOON, 2, DAY).after)
    assert (ended.say, ended.before.failures, ended.after) == (Say.RECOVERY, 2, QUIET)
    assert recovered(ended.after).say is Say.NOTHING
    assert failing(ended.after, NOON, 1, DAY).say is Say.FIRST


def test_what_never_failed_does_not_recover() -> None:
    assert recovered(QUIET) == ThreadStep(QUIET, QUIET, Say.NOTHING)


Happening = tuple[int, int | None]  # minutes later, so many failures; None: it went well
HAPPENINGS = st.lists(st.tuples(st.integers(0, 3000), st.one_of(st.none(), st.integers(0, 5))), max_size=60)


@given(HAPPENINGS)
def test_any_course_is_one_thread_of_alerts(happenings: list[Happening]) -> None:
    thread, now = QUIET, NOON
    told: list[tuple[datetime, Say]] = []
    for minutes, failures in happenings:
        now += timedelta(minutes=minutes)
        step = recovered(thread) if failures is None else failing(thread, now, failures, DAY)
        thread = step.after
        if step.say is not Say.NOTHING:
            told.append((now, step.say))
        assert thread.notified <= thread.failures
    for (before, first), (after, second) in pairwise(told):
        assert (first, second) != (Say.RECOVERY, Say.REMINDER)
        assert (first is Say.RECOVERY) == (second is Say.FIRST)
        if second is Say.REMINDER:
            assert after - before >= DAY
    assert not told or told[0][1] is Say.FIRST
