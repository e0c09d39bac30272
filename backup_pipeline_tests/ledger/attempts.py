"""Attempts and outcomes for tests of the ledger."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

from backup_pipeline.core.ledger import Attempt, Outcome, Status
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.core.scope import Scope
from backup_pipeline_tests.actors import TESTER

NOON = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)


def attempt(backup_id: str = "b1", *, minutes: int = 0, **fields: Any) -> Attempt:
    """A running attempt of `isp`, created `minutes` after noon."""
    at = NOON + timedelta(minutes=minutes)
    given: dict[str, Any] = {
        "scope": Scope("isp"),
        "kind": Kind.FULL,
        "type": Trigger.MANUAL,
        "status": Status.RUNNING,
        "partition_date": date(2026, 11, 21),
        "created_at": at,
        "started_at": at,
        "actor": TESTER,
    }
    return Attempt(backup_id=backup_id, **(given | fields))


def outcome(status: Status = Status.SUCCESS, *, minutes: int = 1, **fields: Any) -> Outcome:
    """An outcome of `minutes` after noon."""
    return Outcome(status=status, finished_at=NOON + timedelta(minutes=minutes), **fields)
