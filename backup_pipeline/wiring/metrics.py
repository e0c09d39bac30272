"""The metrics of an installation: what its ledger knows, and how its catalogs stand."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from backup_pipeline.core.catalog import Catalog
from backup_pipeline.core.errors import CatalogError
from backup_pipeline.core.metrics import Metric
from backup_pipeline.core.ports import Ledger
from backup_pipeline.operations.stats import Places, all_metrics
from backup_pipeline.settings import Settings
from backup_pipeline.wiring.addresses import store_url
from backup_pipeline.wiring.second_store import open_second
from backup_pipeline.wiring.watching import watched

logger = logging.getLogger(__name__)


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
