"""How a catalog stands: as new as its schedule promises, and all that is said of one that is not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from backup_pipeline.core.due import DueState, due_row, freshness
from backup_pipeline.core.ledger import Attempt, Status
from backup_pipeline.core.names import Kind
from backup_pipeline_tests.core.values import catalog as catalog_of

MIDNIGHT = datetime(2026, 11, 20, 18, tzinfo=UTC)  # in Dhaka
DAY, GRACE = timedelta(days=1), timedelta(minutes=120)
SHOP = catalog_of({"goods": None})


def _row(due: datetime, status: Status, **fields: object) -> Attempt:
    return replace(due_row(SHOP, due), status=status, **fields)  # type: ignore[arg-type]


GOOD = _row(MIDNIGHT, Status.SUCCESS)


def test_a_fresh_catalog_says_when_the_next_is_due() -> None:
    found = freshness(SHOP, GOOD, [GOOD, due_row(SHOP, MIDNIGHT + DAY)], MIDNIGHT + DAY + GRACE - timedelta(seconds=1))
    assert (found.state, found.newest, found.newest_at) == (DueState.FRESH, GOOD.backup_id, MIDNIGHT)
    assert (found.due, found.next_due) == (MIDNIGHT + DAY, MIDNIGHT + 2 * DAY)
    assert found.age_s == 26 * 3600 - 1
    assert not found.overdue


def test_an_overdue_catalog_says_what_was_missed_and_tried() -> None:
    rows = [
        _row(MIDNIGHT + 3 * DAY, Status.RUNNING, started_at=MIDNIGHT + 3 * DAY),
        _row(MIDNIGHT + 2 * DAY, Status.MISSED),
        _row(MIDNIGHT + DAY, Status.MISSED),
        _row(MIDNIGHT + DAY, Status.FAILED, due_at=None, backup_id="b2"),
        _row(MIDNIGHT + DAY, Status.FAILED, due_at=None, backup_id="b3", kind=Kind.TABLES),
        GOOD,
    ]
    found = freshness(SHOP, GOOD, rows, MIDNIGHT + 3 * DAY + GRACE)
    assert found.overdue
    assert (found.missed, found.failed) == ((MIDNIGHT + DAY, MIDNIGHT + 2 * DAY), 1)
    assert found.running == rows[0].backup_id
    assert "one was due 2026-11-23 18:00 UTC" in found.what
    assert "2 backups were missed, due 2026-11-21 18:00 to 2026-11-22 18:00 UTC. 1 attempt failed since." in found.what
    assert found.error().exit_code == 22


def test_without_any_backup_it_waits_for_the_first_that_is_due() -> None:
    first = due_row(SHOP, MIDNIGHT)
    assert freshness(SHOP, None, [first], MIDNIGHT + GRACE - timedelta(seconds=1)).state is DueState.WAITING
    found = freshness(SHOP, None, [first], MIDNIGHT + GRACE)
    assert (found.state, found.age_s, found.newest) == (DueState.OVERDUE, None, None)
    assert "has no good backup, and the first was due 2026-11-20 18:00 UTC." in found.what
    assert freshness(SHOP, None, [], MIDNIGHT + 9 * DAY).state is DueState.WAITING


def test_a_catalog_without_a_schedule_promises_nothing() -> None:
    never = catalog_of({"goods": None}, schedule=None)
    found = freshness(never, None, [], MIDNIGHT)
    assert (found.state, found.due, found.next_due) == (DueState.UNSCHEDULED, None, None)
