"""Stats: what the ledger and the store tell about a catalog's backups, and what is to come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from backup_pipeline.core.catalog import Catalog
from backup_pipeline.core.clocks import until_now
from backup_pipeline.core.copies import CopyStatus
from backup_pipeline.core.due_state import State
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.metrics import Known, Metric, Standing, metrics_of
from backup_pipeline.core.ports import Ledger, Store
from backup_pipeline.core.restore_requests import RestoreRow, RestoreStatus
from backup_pipeline.core.retention_plan import plan_retention
from backup_pipeline.core.retention_rules import Basis
from backup_pipeline.core.statistics import Statistics, statistics_of
from backup_pipeline.core.statistics_forecast import Keep, forecast, keep_all
from backup_pipeline.core.statuses import GOOD, Status
from backup_pipeline.operations.account import look
from backup_pipeline.operations.second_age import second_ages


@dataclass(frozen=True)
class Places:
    """Where backups go: the URL of the first store, and that of the second, None where there is none."""

    first: str
    second: str | None = None


_YOUNG = "There is none before backups are two days apart."


def counted_rows(ledger: Ledger, *, catalog: str | None, now: datetime, days: int) -> Sequence[Attempt]:
    """The rows that statistics are made of, newest first: what is there, and what was tried in the last `days`.

    What is over and gone is not read, however much there is of it.
    """
    there = ledger.list(catalog=catalog, status=sorted(GOOD))
    tried = ledger.list(catalog=catalog, since=now - timedelta(days=days))
    rows = {row.backup_id: row for row in (*there, *tried)}
    return sorted(rows.values(), key=lambda row: (row.created_at, row.backup_id), reverse=True)


def catalog_statistics(
    rows: Sequence[Attempt], name: str, declared: Catalog | None, *, now: datetime, days: int
) -> Statistics:
    """The statistics of the `counted_rows` of a catalog, with a forecast by its retention.

    `declared` is None when it is gone.
    """
    own = [row for row in rows if row.catalog == name]
    past = until_now(own, now)
    plain = statistics_of(name, own, now=now, days=days)
    ahead = forecast(past, now=now, days=days, keep=_kept_by(declared) if declared else keep_all)
    rule = "what retention leaves of them" if declared else "nothing is removed: no catalog of that name is declared"
    basis = f"backups as often, and growing, as in the last {days} days; {rule}" if ahead else _YOUNG
    return replace(plain, forecast=ahead, forecast_basis=basis)


def stored_bytes(store: Store, catalog: str) -> Mapping[str, int]:
    """What lies in the store, listed object by object, by folder: bundles and manifests, partitions, schemas."""
    found: dict[str, int] = {}
    for stored in store.list(f"{catalog}/"):
        folder = stored.key.split("/")[1]
        found[folder] = found.get(folder, 0) + stored.size
    return found


def all_metrics(ledger: Ledger, places: Places, catalogs: Sequence[Catalog], now: datetime) -> tuple[Metric, ...]:
    """The metrics of everything the ledger knows, and of how the `catalogs` stand; LedgerError when it can not be read.

    The cost grows with what is there, not with what was.
    """
    attempts = (*ledger.list(status=sorted(GOOD)), *ledger.list(status=[Status.RUNNING]))
    ends = ledger.tallies.ends()
    known = Known(
        attempts=attempts,
        ends=ends,
        copies=ledger.copies.list(status=CopyStatus.GOOD),
        restores=[row for name in sorted({name for name, _ in ends}) for row in _newest_restore(ledger, name)],
        standings=tuple(_standings(ledger, places, catalogs, now)),
        destination=places.first,
        now=now,
    )
    return metrics_of(known)


def _newest_restore(ledger: Ledger, catalog: str) -> Sequence[RestoreRow]:
    return ledger.restores.list(catalog=catalog, status=[RestoreStatus.DONE], limit=1)


def _standings(ledger: Ledger, places: Places, catalogs: Sequence[Catalog], now: datetime) -> Iterator[Standing]:
    for catalog in catalogs:
        one = look(catalog, ledger, now)
        promised = one.state in {State.FRESH, State.OVERDUE}
        yield Standing(one.catalog, places.first, one.age_s, not one.overdue if promised else None)
        if places.second is not None:
            [second] = second_ages([catalog], places.second, ledger, now)
            age = second.age.total_seconds() if second.age else None
            yield Standing(one.catalog, places.second, age, second.stale is None if promised else None)


def _kept_by(catalog: Catalog) -> Keep:
    """What the catalog's retention leaves of backups at an instant."""

    def kept(rows: Sequence[Attempt], at: datetime) -> Sequence[Attempt]:
        verdicts = plan_retention(rows, Basis(catalog.retention, catalog.timezone, at))
        return [verdict.attempt for verdict in verdicts if not verdict.removed]

    return kept
