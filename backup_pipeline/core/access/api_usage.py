"""What keys of programs did: rows of the log, sums of an hour, and which keys do what they did not do before."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median_low

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


def unusual_keys(keys: Sequence[ApiKey], sums: Sequence[UsageSum], now: datetime) -> Sequence[UnusualKey]:
    """The keys that do what they did not do before, or that nobody needs; `sums` are those of `LOOKED_BACK`."""
    own: Mapping[int, list[UsageSum]] = defaultdict(list)
    for each in sums:
        own[each.key].append(each)
    return [UnusualKey(key, why) for key in keys for why in _reasons(key, own[key.number], now)]


def _reasons(key: ApiKey, sums: Sequence[UsageSum], now: datetime) -> Iterator[str]:
    lately = [each for each in sums if each.hour > now - _LATELY - timedelta(hours=1)]
    before = [each for each in sums if each.hour <= now - _LATELY - timedelta(hours=1)]
    calls, failed = sum(each.allowed for each in lately), sum(each.failed for each in lately)
    if refused := sum(each.refused for each in lately):
        yield f"{refused:,} calls were refused of late: it has {key.limit:,} an hour. Raise its limit, or ask why."
    if calls > _FEW and before and calls > _MUCH_MORE * (usual := 2 * _usual_hour(before)):
        yield f"{calls:,} calls in the last two hours, where {usual:,} are usual."
    if calls >= _FEW and failed * 4 > calls:
        yield f"{failed:,} of its last {calls:,} calls failed."
    known = {address for each in before for address in each.addresses}
    if known and (new := sorted({address for each in lately for address in each.addresses} - known)):
        yield f"It calls from {', '.join(new[:3])}, where it did not call from in the week before."
    if key.revoked_at is not None:
        return
    if key.expires_at is not None and now < key.expires_at < now + _EXPIRES_SOON:
        yield f"It expires at {key.expires_at:%Y-%m-%d %H:%M} UTC: make another in time."
    if now - (key.last_used_at or key.created_at) > _UNUSED_FOR:
        yield f"Nobody has used it for {(now - (key.last_used_at or key.created_at)).days} days: revoke it."


def _usual_hour(sums: Sequence[UsageSum]) -> int:
    hours: dict[datetime, int] = defaultdict(int)
    for each in sums:
        hours[each.hour] += each.allowed
    return max(median_low(hours.values()), 1)
