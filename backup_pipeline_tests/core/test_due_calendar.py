"""The calendar: what each row of the ledger says of each table and day, and what their absence says."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from backup_pipeline.core.due import Day, calendar, due_row
from backup_pipeline.core.ledger import Attempt, Status
from backup_pipeline.core.names import Kind
from backup_pipeline.core.verification import Level, Verification
from backup_pipeline_tests.core.values import catalog as catalog_of

MIDNIGHT = datetime(2026, 11, 20, 18, tzinfo=UTC)  # the 21st begins in Dhaka
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
SHOP = catalog_of({"goods": None, "sold": None})
BEFORE = replace(due_row(SHOP, MIDNIGHT - 9 * DAY), status=Status.MISSED)
"""A row that shows that the ledger knew of this catalog all the time."""


def _row(due: datetime | None = MIDNIGHT, at: datetime = MIDNIGHT, **fields: Any) -> Attempt:
    given: dict[str, Any] = {
        "backup_id": "b1",
        "status": Status.SUCCESS,
        "table_counts": {"goods": 3, "sold": 4},
        "verification": Verification(Level.BYTES, at),
        "created_at": at,
        "due_at": due,
    }
    return replace(due_row(SHOP, MIDNIGHT), **(given | fields))


def _days(*rows: Attempt, now: datetime = MIDNIGHT + DAY / 2, days: int = 1, table: str = "goods") -> list[Day]:
    return list(dict(calendar(SHOP, (*rows, BEFORE), now, days=days).tables)[table])


@pytest.mark.parametrize(
    ("row", "day"),
    [
        (_row(), Day.GOOD),
        (_row(status=Status.SUCCESS_WITH_WARNINGS), Day.GOOD),
        (_row(verification=Verification(Level.CONTENTS, MIDNIGHT)), Day.VERIFIED),
        (_row(verification=Verification(Level.RESTORED, MIDNIGHT)), Day.VERIFIED),
        (_row(verification=Verification(Level.BYTES, MIDNIGHT, passed=False)), Day.PARTIAL),
        (_row(verification=Verification(None, MIDNIGHT, passed=False)), Day.PARTIAL),
        (_row(late=True), Day.LATE),
        (_row(due=None, at=MIDNIGHT + 3 * HOUR), Day.LATE),
        (_row(due=None, at=MIDNIGHT + HOUR), Day.GOOD),
        (_row(kind=Kind.SELECTIVE), Day.PARTIAL),
        (_row(kind=Kind.TABLES, table_counts={}, tables_wanted=("goods",)), Day.PARTIAL),
        (_row(status=Status.RUNNING, table_counts={}), Day.RUNNING),
        (_row(status=Status.FAILED, table_counts={}), Day.MISSED),
        (_row(status=Status.CANCELED, table_counts={}, run_id="r1"), Day.MISSED),
        (_row(status=Status.MISSED, table_counts={}), Day.MISSED),
        (_row(status=Status.EXPECTED, table_counts={}), Day.MISSED),
        (_row(status=Status.DELETED), Day.REMOVED),
        (_row(status=Status.EXPIRED), Day.REMOVED),
    ],
    ids=lambda value: str(value) if isinstance(value, Day) else "",
)
def test_what_a_row_says(row: Attempt, day: Day) -> None:
    assert _days(row) == [day]


def test_the_best_of_a_day_counts() -> None:
    rows = [
        _row(status=Status.FAILED, table_counts={}),
        _row(None, backup_id="b2", verification=Verification(Level.REFERENCES, MIDNIGHT)),
    ]
    assert _days(*rows) == [Day.VERIFIED]
    assert _days(_row(), _row(None, MIDNIGHT + 9 * HOUR, backup_id="b2")) == [Day.GOOD]


def test_a_table_that_a_backup_does_not_hold_is_not_in_it() -> None:
    some = _row(kind=Kind.SELECTIVE, table_counts={"goods": 3})
    assert (_days(some), _days(some, table="sold")) == ([Day.PARTIAL], [Day.MISSED])


def test_what_the_catalog_did_not_list_that_day_was_not_due() -> None:
    older = _row(table_counts={"goods": 3, "gone": 1})
    assert _days(older, table="sold") == [Day.NONE]
    assert _days(older, table="gone") == [Day.GOOD]
    assert _days(older, table="gone", now=MIDNIGHT + DAY + DAY / 2, days=2) == [Day.GOOD, Day.NONE]


def test_days_without_any_row_are_missed_once_their_grace_is_over() -> None:
    assert _days(days=3) == [Day.MISSED] * 3
    assert _days(now=MIDNIGHT + HOUR) == [Day.EXPECTED]


def test_before_the_first_row_and_without_a_schedule_nothing_was_due() -> None:
    days = calendar(SHOP, [_row(None, MIDNIGHT + 9 * HOUR)], MIDNIGHT + DAY / 2, days=3).tables[0][1]
    assert days == (Day.NONE, Day.NONE, Day.GOOD)  # the first of all is not late
    never = catalog_of({"goods": None}, schedule=None)
    assert calendar(never, [BEFORE], MIDNIGHT, days=2).tables == (("goods", (Day.NONE, Day.NONE)),)


@pytest.mark.acceptance("0.15")
def test_a_weekly_schedule_leaves_the_other_days_empty() -> None:
    weekly = catalog_of({"goods": None}, schedule="0 0 * * sat")
    [(_, days)] = calendar(weekly, [BEFORE], MIDNIGHT + DAY / 2, days=8).tables
    assert days == (Day.MISSED, *[Day.NONE] * 6, Day.MISSED)


def test_a_day_is_one_of_the_catalog_s_timezone() -> None:
    shown = calendar(SHOP, [BEFORE], MIDNIGHT, days=2)
    assert shown.days == (date(2026, 11, 20), date(2026, 11, 21))


@pytest.mark.acceptance("0.15")
def test_what_a_changed_schedule_dropped_was_not_due() -> None:
    weekly = catalog_of({"goods": None}, schedule="0 0 * * sun")
    dropped = _row(status=Status.CANCELED, table_counts={})
    [(_, days)] = calendar(weekly, [dropped, BEFORE], MIDNIGHT + DAY / 2, days=1).tables
    assert days == (Day.NONE,)
