"""Tests of the ledger's values: how a row ends, and when its owner counts as dead."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from backup_pipeline.core.errors import LedgerError
from backup_pipeline.core.ledger import STALE_AFTER, Attempt, Owner, Status, after, is_orphaned
from backup_pipeline_tests.ledger.attempts import NOON, attempt, outcome

HERE = Owner("here", 4711, 1.0)
ELSEWHERE = Owner("elsewhere", 4711, 1.0)
MICROSECOND = timedelta(microseconds=1)


def orphaned(row: Attempt, *, seconds: float = 0, alive: bool = True) -> bool:
    return is_orphaned(row, now=NOON + timedelta(seconds=seconds), host="here", alive=lambda _: alive)


@pytest.mark.parametrize("status", sorted(set(Status) - {Status.RUNNING}))
def test_only_a_running_attempt_can_be_orphaned(status: Status) -> None:
    assert not orphaned(attempt(status=status, owner=HERE), seconds=10**6, alive=False)


def test_on_the_same_host_the_process_decides_however_old_the_heartbeat() -> None:
    row = attempt(owner=HERE, heartbeat_at=NOON)
    assert not orphaned(row, seconds=10**6, alive=True)
    assert orphaned(row, seconds=0, alive=False)


@pytest.mark.parametrize("owner", [ELSEWHERE, None])
def test_elsewhere_the_heartbeat_decides_to_the_microsecond(owner: Owner | None) -> None:
    row = attempt(owner=owner, heartbeat_at=NOON)
    assert not is_orphaned(row, now=NOON + STALE_AFTER, host="here", alive=lambda _: False)
    assert is_orphaned(row, now=NOON + STALE_AFTER + MICROSECOND, host="here", alive=lambda _: True)


def test_before_the_first_heartbeat_the_start_counts() -> None:
    row = attempt(owner=ELSEWHERE, heartbeat_at=None)
    assert not orphaned(row, seconds=STALE_AFTER.total_seconds())
    assert orphaned(row, seconds=STALE_AFTER.total_seconds() + 1)


def test_a_heartbeat_from_a_clock_that_is_ahead_is_alive() -> None:
    assert not orphaned(attempt(owner=ELSEWHERE, heartbeat_at=NOON + timedelta(hours=1)))


def test_the_process_is_asked_about_its_own_owner() -> None:
    asked: list[Owner] = []
    row = attempt(owner=HERE)

    def alive(owner: Owner) -> bool:
        asked.append(owner)
        return True

    assert not is_orphaned(row, now=NOON, host="here", alive=alive)
    assert asked == [HERE]


def test_an_end_fills_in_what_was_counted_and_keeps_the_rest() -> None:
    row = after(attempt(reason="why", warnings=("old",)), outcome(record_count=0, table_counts={}))
    assert (row.status, row.record_count, row.table_counts) == (Status.SUCCESS, 0, {})
    assert (row.reason, row.warnings, row.sha256) == ("why", ("old",), None)


def test_a_false_is_told_and_not_taken_for_nothing() -> None:
    assert after(attempt(consistent=True), outcome(consistent=False)).consistent is False


def test_a_later_deletion_keeps_the_time_of_the_first_end() -> None:
    done = after(attempt(), outcome(minutes=1))
    gone = after(done, outcome(Status.DELETED, minutes=60))
    assert gone.status is Status.DELETED
    assert gone.finished_at == done.finished_at == NOON + timedelta(minutes=1)


def test_a_move_that_is_not_allowed_changes_nothing() -> None:
    row = replace(attempt(), status=Status.DELETED)
    with pytest.raises(LedgerError, match="b1 is deleted"):
        after(row, outcome())
