"""Which backups are copied and why, and how new the second destination is."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.copies import GIVEN_UP_AFTER, Copy, CopyStatus, copy_age, decide_copies
from backup_pipeline.core.ledger import Attempt, Owner, Status
from backup_pipeline.core.names import Kind
from backup_pipeline.core.scope import Scope
from backup_pipeline.core.verification import Level, Verification
from backup_pipeline_tests.ledger.attempts import attempt
from backup_pipeline_tests.ledger.copies import FULL, SECOND, a_copy

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
HERE, THERE = Owner("here", 1, 2.0), Owner("there", 1, 2.0)
CATALOG = Catalog.model_validate(
    {"catalog": "isp", "timezone": "Asia/Dhaka", "schedule": "0 0 * * *", "grace_minutes": 60, "tables": {"a": None}}
)


def good(**fields: Any) -> Attempt:
    return attempt(**({"backup_id": FULL, "status": Status.SUCCESS} | fields))


def decided(row: Copy | None, backup: Attempt | None = None, *, alive: bool = True) -> tuple[bool, str] | None:
    rows = [row] if row else []
    found = decide_copies([backup or good()], rows, now=NOW, host="here", alive=lambda _: alive)
    return (found[0].wanted, found[0].reason) if found else None


@pytest.mark.parametrize(
    ("fields", "wanted", "reason"),
    [
        ({}, False, "good"),
        ({"verification": Verification(Level.PRESENT, NOW, passed=False)}, True, "damaged"),
        ({"verification": Verification(None, NOW, passed=False)}, True, "damaged"),
        ({"status": CopyStatus.FAILED}, True, "failed"),
        ({"status": CopyStatus.DELETED}, False, "deleted"),
        ({"status": CopyStatus.COPYING, "owner": HERE}, False, "now"),
        ({"status": CopyStatus.COPYING, "owner": THERE, "at": NOW - timedelta(hours=1)}, False, "now"),
        ({"status": CopyStatus.COPYING, "owner": THERE, "at": NOW - GIVEN_UP_AFTER * 2}, True, "gone"),
    ],
)
def test_what_is_done_depends_on_what_the_copy_is_and_the_reason_says_so(
    fields: Mapping[str, Any], wanted: bool, reason: str
) -> None:
    found = decided(a_copy(**fields))
    assert found is not None
    assert (found[0], reason in found[1]) == (wanted, True), found


def test_what_was_never_copied_is_wanted() -> None:
    assert decided(None) == (True, "it was never copied")


def test_a_copier_that_died_on_this_host_is_seen_at_once() -> None:
    copying = a_copy(status=CopyStatus.COPYING, owner=HERE, at=NOW - timedelta(seconds=5))
    assert decided(copying, alive=False) == (True, "whoever copied it is gone")


@pytest.mark.parametrize("status", sorted(set(Status) - {Status.SUCCESS, Status.SUCCESS_WITH_WARNINGS}))
def test_only_good_backups_are_copied(status: Status) -> None:
    assert decided(None, good(status=status)) is None


def test_partitions_without_a_bundle_are_no_backup_to_copy() -> None:
    assert decided(None, good(kind=Kind.TABLES)) is None


def test_the_newest_come_first() -> None:
    older = good(backup_id="20261119T180000Z-full-1f3a9c2e", created_at=NOW - timedelta(days=2))
    newer = good(backup_id="20261120T180000Z-full-1f3a9c2e", created_at=NOW - timedelta(days=1))
    found = decide_copies([older, newer], [], now=NOW, host="here", alive=lambda _: True)
    assert [each.attempt for each in found] == [newer, older]


def test_the_age_is_that_of_the_rows_and_not_of_the_copying() -> None:
    age = copy_age(CATALOG, SECOND, [a_copy(at=NOW, finished_at=NOW)], NOW)
    assert age.newest == a_copy(at=NOW, finished_at=NOW)
    assert age.age == timedelta(hours=18)
    assert age.stale is None


def test_a_second_store_that_fell_behind_is_stale_and_says_what_to_do() -> None:
    old = a_copy(backup_id="20261118T180000Z-full-1f3a9c2e")
    age = copy_age(CATALOG, SECOND, [old], NOW)
    assert age.stale is not None
    assert age.stale.exit_code == 22
    assert SECOND in age.stale.what
    assert "copy --missing" in age.stale.do


@pytest.mark.parametrize(
    "fields",
    [
        {"status": CopyStatus.FAILED},
        {"verification": Verification(Level.PRESENT, NOW, passed=False)},
        {"store": "file:///other"},
        {"scope": Scope("shop")},
        {"backup_id": "20261120T180000Z-selective-1f3a9c2e"},
    ],
)
def test_what_is_no_good_copy_of_a_full_backup_there_counts_nothing(fields: Mapping[str, Any]) -> None:
    age = copy_age(CATALOG, SECOND, [a_copy(**fields)], NOW)
    assert (age.newest, age.age) == (None, None)
    assert age.stale is not None


def test_a_catalog_without_a_schedule_promises_nothing() -> None:
    manual = CATALOG.model_copy(update={"schedule": None})
    assert copy_age(manual, SECOND, [], NOW).stale is None
