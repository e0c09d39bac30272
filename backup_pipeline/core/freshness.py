"""Is the newest good backup as new as its catalog's schedule promises?"""

from __future__ import annotations

from datetime import datetime, timedelta

from backup_pipeline.core.catalog import Catalog
from backup_pipeline.core.cron import last_due
from backup_pipeline.core.errors import StaleError


def staleness(catalog: Catalog, newest: datetime, now: datetime) -> StaleError | None:
    """The error of a catalog whose `newest` good backup (when it began) is older than its schedule allows, else None.

    A backup is due at each time of the schedule, and `grace_minutes` later it must have come. A catalog without a
    schedule promises nothing.
    """
    if catalog.schedule is None:
        return None
    grace = timedelta(minutes=catalog.grace_minutes)
    due = last_due(catalog.schedule, catalog.timezone, now - grace)
    if due is None or newest >= due:
        return None
    message = (
        f"The newest good backup of catalog {catalog.catalog} began {newest:%Y-%m-%d %H:%M} UTC, but one was due "
        f"{due:%Y-%m-%d %H:%M} UTC (schedule {catalog.schedule!r} in {catalog.timezone}, "
        f"{catalog.grace_minutes} minutes of grace)."
    )
    return StaleError(message, do="Run `backup-pipeline backup`; `backup-pipeline list` shows what was tried.")
