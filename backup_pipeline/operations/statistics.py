"""Stats: what the ledger and the store tell about a catalog's backups, and what is to come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.copies import CopyStatus
from backup_pipeline.core.due import DueState
from backup_pipeline.core.ledger import GOOD, Attempt, Status, until_now
from backup_pipeline.core.ports import Ledger, Store
from backup_pipeline.core.restore.requests import RestoreRow, RestoreStatus
from backup_pipeline.core.retention import RetentionBasis, plan_retention
from backup_pipeline.core.scope import Scope
from backup_pipeline.core.statistics import (
    Keep,
    KnownStates,
    Metric,
    Standing,
    Statistics,
    forecast,
    keep_all,
    metrics_of,
    statistics_of,
)
from backup_pipeline.operations.due import look, second_ages


@dataclass(frozen=True)
class Places:
    """Where backups go: the URL of the first store, and that of the second, None where there is none."""

    first: str
    second: str | None = None


_YOUNG = "There is none before backups are two days apart."


def counted_rows(ledger: Ledger, *, scope: Scope | None, now: datetime, days: int) -> Sequence[Attempt]:
    """The rows that statistics are made of, newest first: what is there, and what was tried in the last `days`.

    What is over and gone is not read, however much there is of it.
    """
    there = ledger.list(scope=scope, status=sorted(GOOD))
    tried = ledger.list(scope=scope, since=now - timedelta(days=days))
    rows = {row.backup_id: row for row in (*there, *tried)}
    return sorted(rows.values(), key=lambda row: (row.created_at, row.backup_id), reverse=True)


def catalog_statistics(
    rows: Sequence[Attempt], scope: Scope, declared: Catalog | None, *, now: datetime, days: int
) -> Statistics:
    """The statistics of the `counted_rows` of a catalog, with a forecast by its retention.

    `declared` is None when it is gone.
    """
    own = [row for row in rows if row.scope == scope]
    past = until_now(own, now)
    plain = statistics_of(scope, own, now=now, days=days)
    ahead = forecast(past, now=now, days=days, keep=_kept_by(declared) if declared else keep_all)
    rule = "what retention leaves of them" if declared else "nothing is removed: no catalog of that name is declared"
    basis = f"backups as often, and growing, as in the last {days} days; {rule}" if ahead else _YOUNG
    return replace(plain, forecast=ahead, forecast_basis=basis)


def stored_bytes(store: Store, scope: Scope) -> Mapping[str, int]:
    """What lies in the store, listed object by object, by folder: bundles and manifests, partitions, schemas."""
    bytes_by_folder: dict[str, int] = {}
    for stored in store.list(f"{scope.folder}/"):
        folder = stored.key.removeprefix(f"{scope.folder}/").split("/")[0]
        bytes_by_folder[folder] = bytes_by_folder.get(folder, 0) + stored.size
    return bytes_by_folder


def all_metrics(ledger: Ledger, places: Places, catalogs: Sequence[Catalog], now: datetime) -> tuple[Metric, ...]:
    """The metrics of everything the ledger knows, and of how the `catalogs` stand; LedgerError when it can not be read.

    The cost grows with what is there, not with what was.
    """
    attempts = (*ledger.list(status=sorted(GOOD)), *ledger.list(status=[Status.RUNNING]))
    ends = ledger.tallies.ends()
    known = KnownStates(
        attempts=attempts,
        ends=ends,
        copies=ledger.copies.list(status=CopyStatus.GOOD),
        restores=[
            row for scope in sorted({scope for scope, _ in ends}, key=str) for row in _newest_restore(ledger, scope)
        ],
        standings=tuple(_standings(ledger, places, catalogs, now)),
        destination=places.first,
        now=now,
    )
    return metrics_of(known)


def _newest_restore(ledger: Ledger, scope: Scope) -> Sequence[RestoreRow]:
    return ledger.restores.list(scope=scope, status=[RestoreStatus.DONE], limit=1)


def _standings(ledger: Ledger, places: Places, catalogs: Sequence[Catalog], now: datetime) -> Iterator[Standing]:
    for catalog in catalogs:
        state = look(catalog, ledger, now)
        promised = state.state in {DueState.FRESH, DueState.OVERDUE}
        yield Standing(state.catalog, places.first, state.age_s, not state.overdue if promised else None)
        if places.second is not None:
            [second] = second_ages([catalog], places.second, ledger, now)
            age = second.age.total_seconds() if second.age else None
            yield Standing(state.catalog, places.second, age, second.stale is None if promised else None)


def _kept_by(catalog: Catalog) -> Keep:
    """What the catalog's retention leaves of backups at an instant."""

    def kept(rows: Sequence[Attempt], at: datetime) -> Sequence[Attempt]:
        verdicts = plan_retention(rows, RetentionBasis(catalog.retention, catalog.timezone, at))
        return [verdict.attempt for verdict in verdicts if not verdict.removed]

    return kept


_KINDS: Mapping[str, type[GaugeMetricFamily] | type[CounterMetricFamily]] = {
    "gauge": GaugeMetricFamily,
    "counter": CounterMetricFamily,
}


def prometheus_text(metrics: Sequence[Metric]) -> str:
    """The metrics as Prometheus reads them, with `# HELP` and `# TYPE`."""
    registry = CollectorRegistry()
    registry.register(_Ready(metrics))
    return generate_latest(registry).decode()


class _Ready(Collector):
    """Metrics whose values are known already."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Family]:
        """One family a metric."""
        for metric in self._metrics:
            family = _KINDS[metric.kind](metric.name, metric.help, labels=metric.labels)
            for sample in metric.samples:
                family.add_metric([sample.labels[label] for label in metric.labels], sample.value)
            yield family
