"""The calendar of the last month, as metadata of the bundle."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime

import dagster as dg

from backup_pipeline.core.calendar_days import as_markdown
from backup_pipeline.core.catalog import Catalog
from backup_pipeline.core.errors import LedgerError
from backup_pipeline.core.ports import Ledger
from backup_pipeline.operations.calendar_rows import calendar_of

logger = logging.getLogger(__name__)


def calendar_metadata(catalog: Catalog, ledger: Ledger, now: datetime) -> Mapping[str, dg.MarkdownMetadataValue]:
    """Each table and day as a table; nothing when the ledger can not be read: the backup is there all the same."""
    try:
        return {"calendar": dg.MetadataValue.md(as_markdown(calendar_of(catalog, ledger, now)))}
    except LedgerError as error:
        logger.warning("There is no calendar of %s: %s", catalog.catalog, error)
        return {}
