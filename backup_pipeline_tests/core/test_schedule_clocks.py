"""Clocks that differ, and rows that a wrong one has written."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from backup_pipeline.core.copies import Copy, CopyStatus, copy_age
from backup_pipeline.core.due import DueState, freshness
from backup_pipeline.core.errors import ClockError
from backup_pipeline.core.ledger import Attempt, Hold, Status, check_rows, is_missed, until_now
from backup_pipeline.core.retention import Retention, RetentionBasis, objections
from backup_pipeline.core.schedule import check_difference, differing, in_words
from backup_pipeline.core.scope import Scope
from backup_pipeline.core.statistics import KnownStates, metrics_of, statistics_of
from backup_pipeline.core.verification import Level, Verification, age
from backup_pipeline_tests.actors import KARIM
from backup_pipeline_tests.core.retained import NOW, backup
from backup_pipeline_tests.core.values import catalog

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
YEARS = 1000 * DAY
SHOP = catalog({"goods": None})
AHEAD = backup(NOW + YEARS, salt=9)
OF_TODAY = backup(NOW - 8 * HOUR, salt=1)


def test_a_minute_is_nothing_more_is_told_and_an_hour_is_refused() -> None:
    for by in (timedelta(0), MINUTE, -MINUTE):
        assert check_difference("this machine", by, "the ledger") is None
    assert differing("this machine", 2 * MINUTE, "the ledger") == (
        "The clock of this machine is 2 minutes ahead of that of the ledger."
    )
    assert check_difference("the source", -HOUR, "the ledger") == (
        "The clock of the source is 1 hour behind that of the ledger."
    )
    with pytest.raises(ClockError, match=r"is 1,000 days ahead of that of the ledger\. Nothing was touched") as refused:
        check_difference("this machine", YEARS, "the ledger")
    assert refused.value.exit_code == 21
    with pytest.raises(ClockError):
        check_difference("this machine", -HOUR - timedelta(seconds=1), "the ledger")


def test_what_is_expected_is_no_row_of_the_future() -> None:
    due = replace(AHEAD, backup_id="due", status=Status.EXPECTED)
    soon = backup(NOW + MINUTE, salt=4)
    assert until_now([AHEAD, due, soon, OF_TODAY], NOW) == [due, soon, OF_TODAY]


def test_what_was_missed_before_its_time_was_not() -> None:
    row = replace(OF_TODAY, status=Status.MISSED, finished_at=NOW + YEARS)
    assert not is_missed(row, NOW)
    assert is_missed(row, NOW + YEARS)


def test_nothing_is_pruned_where_a_backup_began_later_than_now() -> None:
    check_rows([OF_TODAY, replace(AHEAD, status=Status.FAILED)], NOW)
    with pytest.raises(ClockError, match=f"{AHEAD.backup_id} began 1,000 days later than it is now") as refused:
        check_rows([OF_TODAY, AHEAD], NOW)
    assert f"delete those of the future: {AHEAD.backup_id} " in refused.value.do


def test_a_backup_of_the_future_can_be_deleted_once_there_is_another() -> None:
    basis = RetentionBasis(Retention(), "UTC", NOW)
    assert objections(AHEAD, [AHEAD], basis) == ("the only good backup",)
    assert objections(AHEAD, [AHEAD, OF_TODAY], basis) == ()
    held = replace(AHEAD, hold=Hold(KARIM, "audit"))
    assert objections(held, [held, OF_TODAY], basis)
    assert any("newest good" in reason for reason in objections(OF_TODAY, [AHEAD, OF_TODAY], basis))


def test_a_row_of_the_future_is_neither_fresh_nor_the_newest() -> None:
    stands = freshness(SHOP, None, [AHEAD, replace(AHEAD, backup_id="f", status=Status.FAILED)], NOW)
    assert (stands.state, stands.newest, stands.age_s, stands.failed) == (DueState.WAITING, None, None, 0)
    missed = replace(OF_TODAY, due_at=OF_TODAY.created_at, status=Status.MISSED, finished_at=NOW + YEARS)
    assert freshness(SHOP, OF_TODAY, [missed], NOW).missed == ()
    assert freshness(SHOP, OF_TODAY, [missed], NOW).age_s == 8 * 3600


def test_an_age_is_never_less_than_nothing() -> None:
    assert freshness(SHOP, replace(OF_TODAY, created_at=NOW + MINUTE), [], NOW).age_s == 0
    assert age(NOW + YEARS, NOW) == "1,000 days ahead"
    assert age(NOW + MINUTE, NOW) == "just now"


def test_metrics_tell_of_the_newest_that_is_not_of_the_future() -> None:
    copies = [_copy(AHEAD, NOW + YEARS), _copy(OF_TODAY, NOW - HOUR)]
    verified = replace(AHEAD, verification=Verification(Level.BYTES, NOW + YEARS))
    known = KnownStates([verified, OF_TODAY], {}, copies, [], [], "file:///first", NOW)
    found = {(one.name, *sample.labels.values()): sample.value for one in metrics_of(known) for sample in one.samples}
    now = NOW.timestamp()
    values = [value for (name, *_), value in found.items() if name.endswith("timestamp_seconds")]
    assert values
    assert max(values) <= now
    assert found["backup_last_success_timestamp_seconds", "shop", "s3://second"] == OF_TODAY.created_at.timestamp()


def test_statistics_and_the_second_store_leave_the_future_out() -> None:
    big = replace(AHEAD, file_size_bytes=10**9)
    counted = statistics_of(Scope("shop"), [big, OF_TODAY], now=NOW, days=30)
    assert counted.sizes is not None
    assert (counted.backups, counted.attempts) == (2, 1)
    assert counted.sizes.newest == OF_TODAY.file_size_bytes
    ages = copy_age(SHOP, "s3://second", [_copy(AHEAD, NOW + YEARS), _copy(OF_TODAY, NOW - HOUR)], NOW)
    assert ages.age is not None
    assert ages.newest is not None
    assert ages.newest.backup_id == OF_TODAY.backup_id


def test_lengths_of_time_in_words() -> None:
    spans = [timedelta(seconds=90), timedelta(minutes=150), timedelta(days=1), timedelta(seconds=5)]
    assert [in_words(span) for span in spans] == ["1 minute", "2 hours", "1 day", "5 seconds"]


def _copy(row: Attempt, at: datetime) -> Copy:
    return Copy(row.backup_id, row.scope, "s3://second", CopyStatus.GOOD, at, finished_at=at)
