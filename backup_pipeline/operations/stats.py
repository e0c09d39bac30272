"""Stats: what the ledger and the store tell about a catalog's backups, and what is to come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from backup_pipeline.core.catalog import Catalog
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.metrics import Known, Metric, metrics_of
from backup_pipeline.core.ports import Ledger, Store
from backup_pipeline.core.retention_plan import plan_retention
from backup_pipeline.core.retention_rules import Basis
from backup_pipeline.core.statistics import Statistics, statistics_of
from backup_pipeline.core.statistics_forecast import Keep, forecast, keep_all

_YOUNG = "There is none before backups are two days apart."


def catalog_statistics(
    rows: Sequence[Attempt], name: str, declared: Catalog | None, *, now: datetime, days: int
) -> Statistics:
    """The statistics of the rows of a catalog, with a forecast by its retention; `declared` is None when it is gone."""
    own = [row for row in rows if row.catalog == name]
    plain = statistics_of(name, own, now=now, days=days)
    ahead = forecast(own, now=now, days=days, keep=_kept_by(declared) if declared else keep_all)
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


def all_metrics(ledger: Ledger, destination: str, now: datetime) -> tuple[Metric, ...]:
    """The metrics of everything the ledger knows; LedgerError when it can not be read."""
    return metrics_of(Known(ledger.list(), ledger.copies.list(), ledger.restores.list(), destination, now))


def _kept_by(catalog: Catalog) -> Keep:
    """What the catalog's retention leaves of backups at an instant."""

    def kept(rows: Sequence[Attempt], at: datetime) -> Sequence[Attempt]:
        verdicts = plan_retention(rows, Basis(catalog.retention, catalog.timezone, at))
        return [verdict.attempt for verdict in verdicts if not verdict.removed]

    return kept
