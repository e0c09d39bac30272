"""What the watchers work with: the catalogs that are watched, the ledger, and whom to tell. Nothing else need be up."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta

from backup_pipeline.catalogs import load_catalogs, named_catalog
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.due import Freshness
from backup_pipeline.core.errors import CatalogError, LedgerError
from backup_pipeline.core.metrics import Metric
from backup_pipeline.core.ports import Ledger, Ports
from backup_pipeline.operations.alerting import deliver, tell_unheard
from backup_pipeline.operations.due import account, end_vanished, look
from backup_pipeline.operations.stats import Places, all_metrics
from backup_pipeline.settings import Settings
from backup_pipeline.wiring.addresses import store_url
from backup_pipeline.wiring.stores import open_second

logger = logging.getLogger(__name__)

_DELIVERING = timedelta(seconds=5)
"""Whoever watches has an answer to give."""


def watched(settings: Settings, names: Sequence[str] = ()) -> Sequence[Catalog]:
    """The catalogs of that name, all without any; NotFoundError for one that is not there."""
    found = load_catalogs(settings.catalogs)
    return [named_catalog(name, found, settings.catalogs) for name in names] if names else list(found.values())


def watch_all(
    catalogs: Sequence[Catalog], ports: Ports, *, declared: Sequence[Catalog] | None = None
) -> Sequence[Freshness]:
    """Account for each catalog, and say how it stands; of a ledger that may only be read the latter alone.

    What is expected of catalogs that are not `declared` (default: `catalogs`) any more is ended. LedgerError when the
    ledger can not be read either.
    """
    stands = [_stands(catalog, ports) for catalog in catalogs]
    _end_vanished([one.catalog for one in (catalogs if declared is None else declared)], ports)
    _deliver_due(ports)
    return stands


def _end_vanished(declared: Sequence[str], ports: Ports) -> None:
    try:
        end_vanished(declared, ports)
    except LedgerError as trouble:
        logger.warning("What is expected of catalogs that are gone is not ended: %s", trouble)


def _deliver_due(ports: Ports) -> None:
    """Alerts that did not reach people are tried again here too: Dagster's daemon may be down."""
    try:
        tell_unheard(ports)
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


def metrics_now(settings: Settings, ledger: Ledger) -> Sequence[Metric]:
    """Every metric; LedgerError when the ledger can not be read. A malformed catalog costs what is said of catalogs."""
    second = open_second(settings)
    places = Places(store_url(settings), second.url if second else None)
    return all_metrics(ledger, places, _catalogs(settings), ledger.now())


def _catalogs(settings: Settings) -> Sequence[Catalog]:
    try:
        return watched(settings)
    except CatalogError as trouble:
        logger.warning("How the catalogs stand is not among the metrics: %s", trouble)
        return ()
