"""What is said of an object that S3 keeps: hidden in a versioned bucket, or locked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from backup_pipeline.core.removal import Left, Why

_HIDDEN = (
    "Remove them too with `backup-pipeline prune --versions remove`, or let a lifecycle rule of the bucket do it "
    "(NoncurrentVersionExpiration) and set BACKUP_PRUNE_VERSIONS=leave."
)


def hidden_left(key: str, versions: Sequence[Mapping[str, Any]]) -> Left:
    """An object of a versioned bucket that was deleted, and so only hidden."""
    real = [version for version in versions if not version["marker"]]
    size = sum(version["size"] for version in real)
    said = f"The bucket is versioned: the object is hidden, {len(real)} versions of it with {size:,} bytes stay."
    return Left(key, Why.VERSIONED, said, _HIDDEN, hidden=True)


def lock_left(key: str, head: Mapping[str, Any], *, hidden: bool) -> Left | None:
    """An object that is locked, as its head tells; None when it is not, or not any more."""
    until: datetime | None = head.get("ObjectLockRetainUntilDate")
    mode = str(head.get("ObjectLockMode", "")).lower()
    if head.get("ObjectLockLegalHoldStatus") == "ON":
        said = "It is under a legal hold (Object Lock)."
        return Left(key, Why.LOCKED, said, "Whoever may (s3:PutObjectLegalHold) lifts the hold; then prune.", hidden)
    if until is None or until <= datetime.now(until.tzinfo):
        return None
    said = f"It is locked until {until:%Y-%m-%d %H:%M} UTC (Object Lock, {mode})."
    wait = f"Wait until {until:%Y-%m-%d}: the next prune after that removes it."
    if mode == "governance":
        wait += " Who has s3:BypassGovernanceRetention may shorten the lock before."
    return Left(key, Why.LOCKED, said, wait, hidden)
