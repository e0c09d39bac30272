"""The partitions of a catalog: one a day, by the date in the catalog's timezone."""

from __future__ import annotations

import dagster as dg

from backup_pipeline.core.catalog import Catalog


def daily_partitions(catalog: Catalog) -> dg.DailyPartitionsDefinition:
    """Every date from the catalog's start to today, today included: `end_offset=1` opens it at 00:00."""
    return dg.DailyPartitionsDefinition(start_date=catalog.start_date, timezone=catalog.timezone, end_offset=1)
