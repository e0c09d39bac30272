"""How the businesses of a catalog are protected, and how much room their backups take.

Of the ledger alone, with as many queries for many as for few.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from backup_pipeline.core.alerts import Alert, Severity
from backup_pipeline.core.businesses.strips import DAY, SlotStretch, TickWindow, last_due, strips
from backup_pipeline.core.catalog.businesses import parse_size
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.payments.accounts import AccountFilter, AccountStatus, BusinessAccount
from backup_pipeline.core.ports import Ledger
from backup_pipeline.core.ports.ticks import BusinessRanking, BusinessSort
from backup_pipeline.core.scope import Scope

_TICKS_OF_A_TIME = 3
"""The tick of a time, one that found it at work, and one that somebody ran again: more of them are not looked at."""


class ProtectionState(StrEnum):
    """How a business stands now."""

    PROTECTED = "protected"
    MISSED = "missed"
    """What is known to be right is older than two ticks."""
    NEVER = "never"
    PAUSED = "paused"
    NOT_ACTIVE = "not active"


@dataclass(frozen=True)
class BusinessProtection:
    """A business: its newest backup, until when that is known to be right, and what is stored of it.

    Times are those of snapshots. `quota_share` is 1 where all of its room is taken.
    """

    catalog: str
    business: str
    name: str
    status: str
    paused: bool
    backup_id: str | None
    kind: str | None
    snapshot_at: datetime | None
    confirmed_until: datetime | None
    backups: int
    bytes: int
    quota_bytes: int

    @property
    def quota_share(self) -> float:
        """The share of its room that is taken."""
        return self.bytes / self.quota_bytes if self.quota_bytes else 0.0

    def standing(self, now: datetime, interval: timedelta) -> ProtectionState:
        """How it stands, with ticks so far apart."""
        if self.status != AccountStatus.ACTIVE:
            return ProtectionState.NOT_ACTIVE
        if self.paused:
            return ProtectionState.PAUSED
        if self.confirmed_until is None:
            return ProtectionState.NEVER
        return ProtectionState.MISSED if now - self.confirmed_until > 2 * interval else ProtectionState.PROTECTED


@dataclass(frozen=True)
class ProtectionPage:
    """A page of a list: its businesses, what each got in the last day, and where the next page begins."""

    rows: Sequence[BusinessProtection]
    strips: Mapping[str, Sequence[SlotStretch]]
    following: tuple[str, str] | None


NAMED = 20
"""Businesses that an alert names."""
WARNED = 0.8
"""Of its room, from when on people are warned."""


@dataclass(frozen=True)
class QuotaUse:
    """What the backups of a business take of its room, all in bytes; `before` is without those of this tick."""

    business: str
    bytes: int
    before: int
    quota_bytes: int

    @property
    def just_full(self) -> bool:
        """Whether all of its room is taken since this tick."""
        return self.before < self.quota_bytes <= self.bytes


def crowded(catalog: Catalog, added: Mapping[str, int], ledger: Ledger) -> Sequence[QuotaUse]:
    """The businesses that take most of their room, of those of which so many bytes were `added`."""
    if not added or catalog.businesses is None:
        return ()
    usual = parse_size(catalog.businesses.quota.total)
    accounts = ledger.businesses.list(AccountFilter(catalog=catalog.catalog, keys=tuple(added)))
    own = {account.business: account.quota_bytes for account in accounts}
    stored = ledger.ticks.stored(catalog.catalog, list(added))
    uses = (QuotaUse(key, n, n - added[key], own.get(key) or usual) for key, (_, n) in stored.items())
    return sorted((use for use in uses if use.bytes >= WARNED * use.quota_bytes), key=lambda use: use.business)


def quota_alert(catalog: str, uses: Sequence[QuotaUse], at: datetime) -> Alert | None:
    """What people are told when businesses have just taken all of their room; None when none has. Told once each."""
    full = [use for use in uses if use.just_full]
    if not full:
        return None
    return Alert(
        severity=Severity.WARNING,
        title=f"Businesses take all of their room: {catalog}",
        what=f"The backups of {len(full)} businesses have reached their quota. They are backed up all the same.",
        do="Keep less (`businesses: retention:`), prune, or give it more room (`backup-pipeline businesses set`).",
        scope=Scope(catalog),
        at=at,
        tables={use.business: f"{use.bytes:,} of {use.quota_bytes:,} bytes" for use in full[:NAMED]},
        failures=0,
    )


def protection_of(
    catalog: Catalog, ledger: Ledger, *, after: str = "", limit: int | None = None
) -> Sequence[BusinessProtection]:
    """The registered businesses, by key: those after `after`, at most `limit`."""
    start = (catalog.catalog, after) if after else None
    accounts = ledger.businesses.list(AccountFilter(catalog=catalog.catalog), after=start, limit=limit)
    return protections_of(catalog, ledger, accounts)


def protection_page(
    catalog: Catalog, ledger: Ledger, now: datetime, listing: Listing, *, limit: int = 50
) -> ProtectionPage:
    """A page of the registered businesses, in an order, with their strips: as many queries for many as for few.

    Where no tick has run there are no strips: nothing is known then of what a business got.
    """
    order = BusinessRanking(catalog.catalog, listing.sort, now - DAY, listing.text)
    keys = ledger.ticks.ordered(order, after=listing.after, limit=limit + 1)
    wanted = [key for _, key in keys[:limit]]
    known = ledger.businesses.list(AccountFilter(catalog=catalog.catalog, keys=tuple(wanted)))
    accounts = sorted(known, key=lambda each: wanted.index(each.business))
    rows = protections_of(catalog, ledger, accounts)
    never = {row.business for row in rows if row.backup_id is None}
    window = window_of(catalog, ledger, wanted, now)
    return ProtectionPage(
        rows,
        strips(window, {each.business: each.registered_at for each in accounts}, never) if window else {},
        keys[limit - 1] if len(keys) > limit else None,
    )


@dataclass(frozen=True)
class Listing:
    """How a list of businesses is asked for; `after` is the `following` of the page before."""

    sort: BusinessSort = BusinessSort.NAME
    text: str = ""
    after: tuple[str, str] | None = None


def window_of(catalog: Catalog, ledger: Ledger, keys: Sequence[str], now: datetime) -> TickWindow | None:
    """The ticks of the last day with the misses of these businesses; None where there has never been one to see."""
    newest = ledger.ticks.last(catalog.catalog)
    if newest is None or catalog.businesses is None:
        return None
    interval = catalog.businesses.interval
    until = max(last_due(now, interval), min(newest.scheduled_at, now))
    window = TickWindow((), until, interval, known_before=False)
    since = window.since - interval
    most = _TICKS_OF_A_TIME * window.count
    ticks = ledger.ticks.list(catalog.catalog, since=since, limit=most, of=keys, by_hand=False)
    before = newest.scheduled_at < window.since or any(tick.scheduled_at < window.since for tick in ticks)
    return replace(window, ticks=ticks, known_before=before)


def protections_of(
    catalog: Catalog, ledger: Ledger, accounts: Sequence[BusinessAccount]
) -> Sequence[BusinessProtection]:
    """How these businesses are protected, in their order."""
    keys = [account.business for account in accounts]
    records, stored = ledger.ticks.newest_records(catalog.catalog, keys), ledger.ticks.stored(catalog.catalog, keys)
    paused = ledger.businesses.paused(catalog.catalog)
    usual = parse_size(catalog.businesses.quota.total) if catalog.businesses else 0
    rows = []
    for account in accounts:
        record = records.get(account.business)
        count, size = stored.get(account.business, (0, 0))
        rows.append(
            BusinessProtection(
                catalog=catalog.catalog,
                business=account.business,
                name=account.name,
                status=account.status.value,
                paused=account.business in paused,
                backup_id=record.backup_id if record else None,
                kind=record.kind if record else None,
                snapshot_at=record.snapshot_at if record else None,
                confirmed_until=record.confirmed_until if record else None,
                backups=count,
                bytes=size,
                quota_bytes=account.quota_bytes or usual,
            )
        )
    return rows
