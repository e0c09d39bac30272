"""The statistics of a catalog, as metadata of the bundle."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime

import dagster as dg

from backup_pipeline.core.catalog import Catalog
from backup_pipeline.core.errors import LedgerError
from backup_pipeline.core.ports import Ledger
from backup_pipeline.core.statistics_text import markdown
from backup_pipeline.operations.stats import catalog_statistics, counted_rows

logger = logging.getLogger(__name__)

_DAYS = 90


def statistics_metadata(catalog: Catalog, ledger: Ledger, now: datetime) -> Mapping[str, dg.MarkdownMetadataValue]:
    """Totals, growth and forecast as tables; nothing when the ledger can not be read: the backup is there anyway."""
    try:
        rows = counted_rows(ledger, catalog=catalog.catalog, now=now, days=_DAYS)
    except LedgerError as error:
        logger.warning("There are no statistics of %s: %s", catalog.catalog, error)
        return {}
    found = catalog_statistics(rows, catalog.catalog, catalog, now=now, days=_DAYS)
    return {"statistics": dg.MetadataValue.md(markdown(found))}
