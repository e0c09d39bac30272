"""How an installation stands: what was due and did not come, and its statistics and metrics."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import cast

from backup_pipeline.core.alerts import Alert, Severity
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.copies import CopyAge, CopyStatus, copy_age
from backup_pipeline.core.due import (
    DO,
    FULL,
    GIVEN_UP_AFTER,
    DueState,
    Freshness,
    Settlement,
    freshness,
    looked_back_to,
    settle,
    why_vanished,
)
from backup_pipeline.core.errors import LedgerError
from backup_pipeline.core.ledger import GOOD, Attempt, AuditEvent, Status, until_now
from backup_pipeline.core.ports import Ledger, Ports, Store
from backup_pipeline.core.restore.requests import RestoreRow, RestoreStatus
from backup_pipeline.core.retention import RetentionBasis, plan_retention
from backup_pipeline.core.scope import PROGRAM, Scope
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
from backup_pipeline.lazy import lazily
from backup_pipeline.operations.alerting import deliver, tell, tell_unreached
from backup_pipeline.operations.run_requests import tell_unstarted

with lazily():
    import prometheus_client
    from prometheus_client import metrics_core
    from prometheus_client import registry as registries

logger = logging.getLogger(__name__)

_DELIVERING = timedelta(seconds=5)
"""Whoever watches has an answer to give."""
_EVER = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Account:
    """What was written down, and how the catalog stands after that."""

    settlement: Settlement
    freshness: Freshness


def account(catalog: Catalog, ports: Ports) -> Account:
    """Write down what was due up to now, and tell people what is overdue: once, however many watchers do this.

    It needs the ledger alone: neither the source nor the store nor Dagster. LedgerError when that can not be asked.
    """
    now = ports.clock()
    settled = ports.ledger.dues.settle(
        catalog.catalog,
        lambda known: settle(catalog, known, now),
        since=looked_back_to(catalog, now),
        now=now,
    )
    for row in settled.missed:
        detail = {"catalog": catalog.catalog, "what": row.error_message}
        ports.ledger.audit(AuditEvent(now, PROGRAM, "missed", row.backup_id, detail))
    stands = look(catalog, ports.ledger, now)
    if settled.missed or stands.overdue:
        tell(overdue_alert(stands, settled), ports)
    return Account(settled, stands)


def end_vanished(declared: Collection[str], ports: Ports) -> Sequence[Attempt]:
    """Cancel what is expected of catalogs that are not `declared` any more, and tell people, once; the rows.

    Another installation may declare them: as long as anybody accounts for a catalog, it is left alone.
    """
    now = ports.clock()
    waiting = {row.scope.catalog for row in ports.ledger.list(status=[Status.EXPECTED])} - set(declared)
    ended = [
        row
        for name in sorted(waiting)
        for row in ports.ledger.dues.abandon(name, why_vanished(name), idle_since=now - GIVEN_UP_AFTER, now=now)
    ]
    for name in dict.fromkeys(row.scope.catalog for row in ended):
        tell(_vanished_alert(name, now), ports)
    return ended


def _vanished_alert(name: str, now: datetime) -> Alert:
    return Alert(
        severity=Severity.WARNING,
        title=f"Catalog {name} is no longer backed up",
        what=f"{why_vanished(name)} Nothing is expected of it any more.",
        do="If that is not meant, put its file back (BACKUP_CATALOGS). Its backups stay; nothing prunes them.",
        scope=Scope(name),
        at=now,
    )


def look(catalog: Catalog, ledger: Ledger, now: datetime) -> Freshness:
    """How the catalog stands, only read."""
    newest = ledger.dues.newest_good(catalog.catalog, now)
    rows = ledger.dues.since(catalog.catalog, newest.created_at if newest else _EVER)
    return freshness(catalog, newest, rows, now)


def overdue_alert(stands: Freshness, settled: Settlement) -> Alert:
    """What people are told of a catalog that is overdue, and of all that was missed just now."""
    missed = [row.error_message or "" for row in settled.missed]
    late = stands.what if stands.overdue else " ".join(missed)
    plan = f" {settled.reasons[-1]}" if settled.catch_up else ""
    return Alert(
        severity=Severity.FAILURE if stands.overdue else Severity.WARNING,
        title=f"Backup {'overdue' if stands.overdue else 'missed'}: {stands.catalog}",
        what=late + plan,
        do=DO,
        scope=Scope(stands.catalog),
        at=stands.at,
        topic=FULL,
        failures=len(missed),
    )


def watch_all(
    catalogs: Sequence[Catalog], ports: Ports, *, declared: Sequence[Catalog] | None = None
) -> Sequence[Freshness]:
    """Account for each catalog, and say how it stands; of a ledger that may only be read the latter alone.

    What is expected of catalogs that are not `declared` (default: `catalogs`) any more is ended. LedgerError when the
    ledger can not be read either.
    """
    stands = [_stands(catalog, ports) for catalog in catalogs]
    _end_vanished([catalog.catalog for catalog in (catalogs if declared is None else declared)], ports)
    _tell_unstarted(ports)
    _deliver_due(ports)
    return stands


def _end_vanished(declared: Sequence[str], ports: Ports) -> None:
    try:
        end_vanished(declared, ports)
    except LedgerError as trouble:
        logger.warning("What is expected of catalogs that are gone is not ended: %s", trouble)


def _tell_unstarted(ports: Ports) -> None:
    try:
        tell_unstarted(ports)
    except LedgerError as trouble:
        logger.warning("Whether the runs that people asked for have begun is not known: %s", trouble)


def _deliver_due(ports: Ports) -> None:
    """Alerts that did not reach people are tried again here too: Dagster's daemon may be down."""
    try:
        tell_unreached(ports)
        deliver(ports, within=_DELIVERING)
    except LedgerError as trouble:
        logger.warning("Alerts that did not reach people could not be tried again: %s", trouble)


def look_at_all(catalogs: Sequence[Catalog], ports: Ports) -> Sequence[Freshness]:
    """How each catalog stands, only read."""
    return [look(catalog, ports.ledger, ports.clock()) for catalog in catalogs]


def _stands(catalog: Catalog, ports: Ports) -> Freshness:
    try:
        return account(catalog, ports).freshness
    except LedgerError as trouble:
        stands = look(catalog, ports.ledger, ports.clock())
        logger.warning("What was due for %s is not written down: %s", catalog.catalog, trouble)
        return stands


def second_ages(catalogs: Sequence[Catalog], store: str, ledger: Ledger, now: datetime) -> Sequence[CopyAge]:
    """The newest good copy of each catalog in the store at a URL; LedgerError when the ledger can not be read.

    A catalog that waits for its first backup is promised no copy either.
    """
    return [_age(catalog, store, ledger, now) for catalog in catalogs]


def _age(catalog: Catalog, store: str, ledger: Ledger, now: datetime) -> CopyAge:
    copies = ledger.copies.list(scope=Scope(catalog.catalog), store=store, status=CopyStatus.GOOD)
    promised = bool(copies) or look(catalog, ledger, now).state is not DueState.WAITING
    return copy_age(catalog, store, copies, now, promised=promised)


@dataclass(frozen=True)
class Places:
    """Where backups go: the URL of the first store, and that of the second, None where there is none."""

    first: str
    second: str | None = None


_NOT_GOOD = sorted(set(Status) - GOOD)
_YOUNG = "There is none before backups are two days apart."


def counted_rows(ledger: Ledger, *, scope: Scope | None, now: datetime, days: int) -> Sequence[Attempt]:
    """The rows that statistics are made of, newest first: what is there, and what was tried in the last `days`.

    What is over and gone is not read, however much there is of it.
    """
    there = ledger.list(scope=scope, status=sorted(GOOD))
    tried = ledger.list(scope=scope, status=_NOT_GOOD, since=now - timedelta(days=days))
    rows = {row.backup_id: row for row in (*tried, *there)}
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


def prometheus_text(metrics: Sequence[Metric]) -> str:
    """The metrics as Prometheus reads them, with `# HELP` and `# TYPE`."""
    registry = prometheus_client.CollectorRegistry()
    registry.register(cast("registries.Collector", _Ready(metrics)))
    return prometheus_client.generate_latest(registry).decode()


class _Ready:
    """Metrics whose values are known already."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[metrics_core.Metric]:
        """One family a metric."""
        kinds = {"gauge": metrics_core.GaugeMetricFamily, "counter": metrics_core.CounterMetricFamily}
        for metric in self._metrics:
            family = kinds[metric.kind](metric.name, metric.help, labels=metric.labels)
            for sample in metric.samples:
                family.add_metric([sample.labels[label] for label in metric.labels], sample.value)
            yield family
