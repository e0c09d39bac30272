"""A tick: which business gets what and why, how it was, and how it ended. Values and decisions alone."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from backup_pipeline.core.catalog.businesses import FullRule, parse_duration
from backup_pipeline.core.names import Kind

SHARED_KEY = ""
"""Stands for a business where rows are of none; no business has it, because no folder has it."""
STALE = timedelta(hours=1)
"""A business whose last snapshot is older gets everything again."""
HALF_OF_XIDS = 1 << 31
"""What PostgreSQL's comparison of transaction ids reaches over."""
OTHER_STATE = "the state is not that of the newest backup"
SPREAD = 0.25
"""By up to so much of their time fulls come earlier, each business at its own moment: not all in one tick."""


@dataclass(frozen=True)
class SourcePosition:
    """Where a snapshot stands in the life of its server.

    `xmin` is the oldest transaction that had not ended, `next_xid` the first that had not begun, both with their epoch;
    `lsn` a place in the WAL; `source` the server's identity, its timeline and database.
    """

    xmin: int
    next_xid: int
    lsn: int
    source: str
    taken_at: datetime

    def as_json(self) -> list[object]:
        """The same as JSON."""
        return [self.xmin, self.next_xid, self.lsn, self.source, self.taken_at.isoformat()]


def position_of(given: Sequence[Any]) -> SourcePosition:
    """The position that `as_json` gave."""
    xmin, next_xid, lsn, source, taken_at = given
    return SourcePosition(xmin, next_xid, lsn, source, datetime.fromisoformat(taken_at))


@dataclass(frozen=True)
class KnownBusiness:
    """What the state knows of a business: the keys of its rows as they were at `at`, and the backup that has them.

    `backup_id` is None where no backup has them (a business that is not backed up). `base_id` is the full that the
    chain began with, `chain` how many came after it. `as_text` are columns, by table, that the base has as text
    because a value did not fit.
    """

    key: str
    at: SourcePosition
    fingerprint: str
    backup_id: str | None = None
    base_id: str | None = None
    base_at: datetime | None = None
    chain: int = 0
    as_text: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The same as JSON, without its key."""
        return {
            "at": self.at.as_json(),
            "fingerprint": self.fingerprint,
            "backup_id": self.backup_id,
            "base_id": self.base_id,
            "base_at": self.base_at.isoformat() if self.base_at else None,
            "chain": self.chain,
            "as_text": {table: list(columns) for table, columns in self.as_text.items()},
        }


def known_of(business: str, given: Mapping[str, Any]) -> KnownBusiness:
    """What `as_json` gave, of a business."""
    base_at = given["base_at"]
    values = {name: given[name] for name in ("fingerprint", "backup_id", "base_id", "chain", "as_text")}
    since = datetime.fromisoformat(base_at) if base_at else None
    return KnownBusiness(business, position_of(given["at"]), base_at=since, **values)


@dataclass(frozen=True)
class View:
    """What a tick sees: where its snapshot stands, and how its tables are defined."""

    at: SourcePosition
    fingerprint: str


def distrust(known: KnownBusiness | None, view: View) -> str | None:
    """Why what is known of a business says nothing about now, so that its keys are read anew; None when it does."""
    if known is None:
        return "first time"
    if known.at.source != view.at.source:
        return "another server, timeline or database"
    if view.at.lsn < known.at.lsn:
        return "the server went back in time"
    if view.at.next_xid < known.at.xmin or view.at.next_xid - known.at.xmin >= HALF_OF_XIDS:
        return "transaction ids went back, or too far ahead"
    if known.fingerprint != view.fingerprint:
        return "the schema changed"
    return None


def full_due(known: KnownBusiness, newest: str | None, rule: FullRule, now: datetime) -> str | None:
    """Why a business that is known gets everything again; None: what changed will do.

    `newest` is the backup that the ledger has as the newest of its chain.
    """
    if known.backup_id is None or known.base_at is None:
        return "first time"
    if known.backup_id != newest:
        return OTHER_STATE
    if known.chain >= rule.chain:
        return f"{known.chain} in the chain"
    if now - known.base_at >= parse_duration(rule.every) * (1 - SPREAD * _spread(known.key)):
        return "the full is old"
    if now - known.at.taken_at > STALE:
        return "the last snapshot is old"
    return None


def _spread(key: str) -> float:
    """From 0 to 1, always the same for a business."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") / 2**32


class TickStatus(StrEnum):
    """How a tick ended."""

    RUNNING = "running"
    SUCCESS = "success"
    PARTIAL = "partial"
    """Some of its businesses failed, or were left for the next one."""
    FAILED = "failed"
    SKIPPED = "skipped"
    """Another one was still running."""
    MISSED = "missed"
    """Nothing ran at one or more scheduled times."""


class Miss(StrEnum):
    """Why a due business got no backup from a tick."""

    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class BusinessMiss:
    """A due business that a tick did not protect, and why."""

    business: str
    outcome: Miss
    reason: str


@dataclass(frozen=True)
class Tick:
    """A row of `business_ticks`: what one run did for all businesses of a catalog.

    `scheduled_at` is the time it was due; a row for missed ones has the first, `missed_until` the last and
    `missed_count` how many. `lag_s` is how long after its time the snapshot was taken. `left_out` are
    businesses that are not backed up, also those that are gone from the registry; `by_hand` is a tick for those that
    somebody chose.
    """

    catalog: str
    scheduled_at: datetime
    status: TickStatus
    number: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    snapshot_at: datetime | None = None
    run_id: str | None = None
    due: int = 0
    changed: int = 0
    unchanged: int = 0
    failed: int = 0
    skipped: int = 0
    fulls: int = 0
    rows: int = 0
    bytes: int = 0
    lag_s: float | None = None
    missed_until: datetime | None = None
    missed_count: int = 0
    by_hand: bool = False
    left_out: tuple[str, ...] = ()
    message: str = ""
    misses: tuple[BusinessMiss, ...] = ()

    @property
    def seconds(self) -> float | None:
        """How long it took."""
        return (self.finished_at - self.started_at).total_seconds() if self.started_at and self.finished_at else None


def missed_between(
    last: datetime | None, scheduled: datetime, interval: timedelta
) -> tuple[datetime, datetime, int] | None:
    """The scheduled times since the last tick at which nothing ran: the first, the last, how many; None without any."""
    if last is None or scheduled - last < 2 * interval:
        return None
    count = int((scheduled - last) / interval) - 1
    return last + interval, last + count * interval, count


def scheduled_before(now: datetime, interval: timedelta) -> datetime:
    """The newest scheduled time that is not after `now`: ticks are counted from midnight in UTC."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + int((now - midnight) / interval) * interval


@dataclass(frozen=True)
class DueBusiness:
    """A business that a tick is to protect: what it gets, and why it is everything where it is.

    `known` is what the state knows of it, where that says something about now.
    """

    key: str
    name: str
    known: KnownBusiness | None
    why_full: str | None

    @property
    def kind(self) -> Kind:
        """Of its backup."""
        return Kind.INCREMENTAL if self.why_full is None else Kind.FULL

    @property
    def unprotected_since(self) -> datetime | None:
        """Since when nothing has its newest rows; None: nothing ever had."""
        return self.known.at.taken_at if self.known and self.known.backup_id else None


def in_order(due: Collection[DueBusiness]) -> Sequence[DueBusiness]:
    """Longest unprotected first; who never was before all."""
    never = datetime.min.replace(tzinfo=next((d.unprotected_since.tzinfo for d in due if d.unprotected_since), None))
    return sorted(due, key=lambda each: (each.unprotected_since or never, each.key))
