"""What every ledger promises of threads of alerts: one suite over the one in memory and the one in PostgreSQL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from backup_pipeline.core.alerts import Say, Thread
from backup_pipeline.core.ports import Ledger, Threads
from backup_pipeline.core.scope import Scope
from backup_pipeline_tests.ledger.attempts import NOON

HOUR = timedelta(hours=1)


@pytest.fixture
def remind_every() -> timedelta:
    return HOUR


@pytest.fixture
def threads(ledger: Ledger) -> Threads:
    return ledger.threads


def test_a_thread_goes_its_course_and_others_are_not_touched(threads: Threads) -> None:
    assert threads.failing(Scope("isp"), "full", NOON, 1).say is Say.FIRST
    assert threads.failing(Scope("isp"), "full", NOON + HOUR / 2, 2).say is Say.NOTHING
    assert threads.failing(Scope("retail"), "full", NOON + HOUR / 2, 1).say is Say.FIRST
    assert threads.failing(Scope("isp"), "tables", NOON + HOUR / 2, 1).say is Say.FIRST
    step = threads.failing(Scope("isp"), "full", NOON + HOUR, 0)
    assert (step.say, step.after) == (Say.REMINDER, Thread(Scope("isp"), "full", NOON, 3, 3, NOON + HOUR))
    opened = [(thread.scope, thread.topic) for thread in threads.list()]
    assert opened[0] == (Scope("isp"), "full")
    assert len(opened) == 3
    assert threads.recovered(Scope("isp"), "full").before.failures == 3
    assert threads.recovered(Scope("isp"), "full").say is Say.NOTHING
    assert len(threads.list()) == 2
    assert threads.failing(Scope("isp"), "full", NOON + 2 * HOUR, 1).say is Say.FIRST


def test_what_only_the_log_knows_is_remembered_as_that(threads: Threads) -> None:
    assert threads.failing(Scope("isp"), "full", NOON, 1, reachable=False).say is Say.FIRST
    assert [thread.reached for thread in threads.list()] == [False]
    assert threads.failing(Scope("isp"), "full", NOON, 0).say is Say.REMINDER
    assert [thread.reached for thread in threads.list()] == [True]
    assert threads.failing(Scope("isp"), "full", NOON, 0).say is Say.NOTHING


def test_what_never_failed_does_not_recover(threads: Threads) -> None:
    assert threads.recovered(Scope("isp"), "full").say is Say.NOTHING
    assert threads.list() == []


def test_of_many_that_fail_at_once_one_is_told_and_all_are_counted(threads: Threads) -> None:
    with ThreadPoolExecutor(4) as pool:
        said = [step.say for step in pool.map(lambda _: threads.failing(Scope("isp"), "full", NOON, 1), range(12))]
    assert said.count(Say.FIRST) == 1
    assert said.count(Say.NOTHING) == 11
    assert threads.list() == [Thread(Scope("isp"), "full", NOON, failures=12, notified=1, notified_at=NOON)]


def test_of_many_that_recover_at_once_one_is_told(threads: Threads) -> None:
    threads.failing(Scope("isp"), "full", NOON, 1)
    with ThreadPoolExecutor(4) as pool:
        said = [step.say for step in pool.map(lambda _: threads.recovered(Scope("isp"), "full"), range(8))]
    assert said.count(Say.RECOVERY) == 1
