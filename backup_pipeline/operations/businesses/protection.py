"""How the businesses of a catalog are protected: of the ledger alone, with as many queries for many as for few."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from backup_pipeline.core.catalog.businesses import parse_size
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.payments.accounts import AccountFilter
from backup_pipeline.core.ports import Ledger


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
        return self.bytes / self.quota_bytes


def protection_of(
    catalog: Catalog, ledger: Ledger, *, after: str = "", limit: int | None = None
) -> Sequence[BusinessProtection]:
    """The registered businesses, by key: those after `after`, at most `limit`."""
    start = (catalog.catalog, after) if after else None
    accounts = ledger.businesses.list(AccountFilter(catalog=catalog.catalog), after=start, limit=limit)
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
