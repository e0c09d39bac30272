"""Backups for tests of retention: rows of a ledger, made of a time and what matters about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from backup_pipeline.core.ledger import Attempt, Status
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.core.retention import Retention, RetentionBasis, Verdict, plan_retention
from backup_pipeline.core.schedule import local_date
from backup_pipeline.core.scope import SCHEDULE, Scope
from backup_pipeline.core.verification import Level, Verification

DHAKA = ZoneInfo("Asia/Dhaka")
NOW = datetime(2026, 11, 22, 3, 0, tzinfo=DHAKA).astimezone(UTC)
"""A Sunday, when the clean-up runs."""


def backup(at: datetime, *, salt: int = 0, **fields: Any) -> Attempt:
    """A good, verified, automatic full backup of the instant `at`."""
    given: dict[str, Any] = {
        "backup_id": f"{at.astimezone(UTC):%Y%m%dT%H%M%SZ}-full-{salt:08x}",
        "scope": Scope("shop"),
        "kind": Kind.FULL,
        "type": Trigger.AUTOMATIC,
        "status": Status.SUCCESS,
        "partition_date": local_date(at, "Asia/Dhaka"),
        "created_at": at,
        "started_at": at,
        "actor": SCHEDULE,
        "finished_at": at + timedelta(minutes=5),
        "snapshot_at": at,
        "file_size_bytes": 1000,
        "table_counts": {"goods": 1, "sold": 2},
        "verification": Verification(Level.BYTES, at),
    }
    return Attempt(**(given | fields))


def days(count: int, *, until: datetime = NOW, hour: int = 0) -> list[Attempt]:
    """A backup at `hour` in Dhaka of each of so many days, the newest first; the last one is of the day of `until`."""
    midnight = until.astimezone(DHAKA).replace(hour=hour, minute=0, second=0, microsecond=0)
    return [backup(midnight - timedelta(days=back)) for back in range(count)]


def basis(now: datetime = NOW, *, claims: Mapping[str, str] | None = None, **rules: Any) -> RetentionBasis:
    """What a plan is made with; `rules` are those of automatic backups, thirty days where there are none."""
    retention = Retention.model_validate({"automatic": rules}) if rules else Retention()
    return RetentionBasis(retention, "Asia/Dhaka", now, claims or {})


def plan(rows: Sequence[Attempt], now: datetime = NOW, **rules: Any) -> Mapping[str, Verdict]:
    """The verdicts by backup id."""
    return {verdict.attempt.backup_id: verdict for verdict in plan_retention(rows, basis(now, **rules))}


def kept(rows: Sequence[Attempt], now: datetime = NOW, **rules: Any) -> list[str]:
    """The local times of those that are kept, the newest first."""
    found = (each.attempt for each in plan(rows, now, **rules).values() if not each.removed)
    return [f"{(row.snapshot_at or row.started_at).astimezone(DHAKA):%Y-%m-%d %H:%M}" for row in found]
