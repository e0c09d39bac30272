"""Is the newest backup as new as its schedule promises? At the edges, in the catalog's own timezone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from backup_pipeline.core.due import staleness
from backup_pipeline_tests.core.values import catalog

MIDNIGHT = datetime(2026, 11, 20, 18, tzinfo=UTC)  # in Dhaka, where the catalog is
GRACE = timedelta(minutes=120)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("newest", "now", "stale"),
    [
        (MIDNIGHT, MIDNIGHT + GRACE, False),
        (MIDNIGHT - MINUTE, MIDNIGHT + GRACE - MINUTE, False),  # the one that is due may still come
        (MIDNIGHT - MINUTE, MIDNIGHT + GRACE, True),
        (MIDNIGHT - timedelta(days=30), MIDNIGHT, True),
        (MIDNIGHT, MIDNIGHT + timedelta(days=1) + GRACE - MINUTE, False),
        (MIDNIGHT, MIDNIGHT + timedelta(days=1) + GRACE, True),
    ],
)
def test_a_backup_is_due_at_its_time_and_has_the_grace_to_come(newest: datetime, now: datetime, stale: bool) -> None:
    found = staleness(catalog({"goods": None}), newest, now)
    assert (found is not None) is stale


def test_the_error_says_when_it_was_due_and_carries_exit_code_22() -> None:
    found = staleness(catalog({"goods": None}), MIDNIGHT - timedelta(days=2), MIDNIGHT + GRACE)
    assert found is not None
    assert found.exit_code == 22
    assert "began 2026-11-18 18:00 UTC, but one was due 2026-11-20 18:00 UTC" in found.what


def test_a_catalog_without_a_schedule_promises_nothing() -> None:
    assert staleness(catalog({"goods": None}, schedule=None), MIDNIGHT - timedelta(days=900), MIDNIGHT) is None


def test_a_weekly_schedule_allows_a_week() -> None:
    weekly = catalog({"goods": None}, schedule="0 0 * * sat")  # midnight begins Saturday the 21st
    assert staleness(weekly, MIDNIGHT, MIDNIGHT + timedelta(days=7)) is None
    assert staleness(weekly, MIDNIGHT, MIDNIGHT + timedelta(days=7) + GRACE) is not None
