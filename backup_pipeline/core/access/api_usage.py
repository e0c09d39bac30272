"""What keys of programs did: rows of the log, sums of an hour, and which keys do what they did not do before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from backup_pipeline.core.access.api_keys import ApiKey

LOOKED_BACK = timedelta(days=7)
"""What is usual of a key is what it did in so long."""
_LATELY = timedelta(hours=1)
_FEW = 20
_MUCH_MORE = 3
_EXPIRES_SOON = timedelta(days=7)
_UNUSED_FOR = timedelta(days=60)


@dataclass(frozen=True)
class UsageRow:
    """A call as the log has it, or several that were refused, added up. `ms` and `bytes` are None while it runs."""

    at: datetime
    key: int
    route: str
    allowed: bool
    calls: int
    request_id: str
    address: str
    business: str | None = None
    status: int | None = None
    ms: int | None = None
    bytes: int | None = None


@dataclass(frozen=True)
class UsageSum:
    """What a key did on a route in an hour (`hour` is its beginning, UTC). `failed` are answers of 400 or more."""

    hour: datetime
    key: int
    route: str
    allowed: int
    refused: int
    failed: int
    bytes: int
    slowest_ms: int
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True)
class UnusualKey:
    """A key that somebody should look at, and why."""

    key: ApiKey
    why: str


@dataclass(frozen=True)
class KeyHabits:
    """What a key did of late (`calls`, `failed`, `refused`), and what is usual of it: the calls of a median hour.

    `usual` is None where it did not call before. `new_addresses` are those that it calls from of late alone, where it
    has called before.
    """

    calls: int
    failed: int
    refused: int
    usual: int | None = None
    new_addresses: tuple[str, ...] = ()


def of_late(now: datetime) -> datetime:
    """Hours that begin after it count as of late: the present one, and the one or two before."""
    return now - 2 * _LATELY


def unusual_keys(keys: Sequence[ApiKey], habits: Mapping[int, KeyHabits], now: datetime) -> Sequence[UnusualKey]:
    """The keys that do what they did not do before, or that nobody needs; `habits` by their numbers."""
    return [UnusualKey(key, why) for key in keys for why in _reasons(key, habits.get(key.number, _NONE), now)]


_NONE = KeyHabits(0, 0, 0)


def _reasons(key: ApiKey, habits: KeyHabits, now: datetime) -> Iterator[str]:
    calls, failed = habits.calls, habits.failed
    if habits.refused:
        limit = f"it has {key.limit:,} an hour"
        yield f"{habits.refused:,} calls were refused of late: {limit}. Raise its limit, or ask why."
    if calls > _FEW and habits.usual is not None and calls > _MUCH_MORE * (usual := 2 * max(habits.usual, 1)):
        yield f"{calls:,} calls in the last two hours, where {usual:,} are usual."
    if calls >= _FEW and failed * 4 > calls:
        yield f"{failed:,} of its last {calls:,} calls failed."
    if habits.new_addresses:
        named = ", ".join(habits.new_addresses[:3])
        yield f"It calls from {named}, where it did not call from in the week before."
    if key.revoked_at is not None:
        return
    if key.expires_at is not None and now < key.expires_at < now + _EXPIRES_SOON:
        yield f"It expires at {key.expires_at:%Y-%m-%d %H:%M} UTC: make another in time."
    if now - (key.last_used_at or key.created_at) > _UNUSED_FOR:
        yield f"Nobody has used it for {(now - (key.last_used_at or key.created_at)).days} days: revoke it."
