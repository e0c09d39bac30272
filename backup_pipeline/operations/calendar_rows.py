"""The calendar of a catalog, from the ledger's rows."""

from __future__ import annotations

from datetime import datetime, timedelta

from backup_pipeline.core.calendar_days import Calendar, calendar
from backup_pipeline.core.catalog import Catalog
from backup_pipeline.core.dates import day_end, local_date
from backup_pipeline.core.ports import Ledger

MONTH = 30
"""Days that a calendar shows where nobody asks for more."""


def calendar_of(catalog: Catalog, ledger: Ledger, now: datetime, *, days: int = MONTH) -> Calendar:
    """The last `days` days of `catalog`. LedgerError when the ledger can not be read."""
    first = local_date(now, catalog.timezone) - timedelta(days=days)
    rows = ledger.dues.since(catalog.catalog, day_end(first, catalog.timezone))
    return calendar(catalog, rows, now, days=days)
