"""The schedule of a catalog: daily, in its own timezone, for the date that has just begun."""

from zoneinfo import ZoneInfo

import dagster as dg

from backup_pipeline.core.catalog import Catalog
from backup_pipeline.orchestration.keys import full_job


def daily_schedule(catalog: Catalog, cron: str) -> dg.ScheduleDefinition:
    """Launch the full backup by `cron` in the catalog's timezone, on by default; the partition is the tick's date."""

    @dg.schedule(
        name=f"{catalog.catalog}_daily",
        cron_schedule=cron,
        execution_timezone=catalog.timezone,
        job_name=full_job(catalog),
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Full backup of {catalog.title or catalog.catalog} ({cron}, {catalog.timezone}).",
    )
    def daily(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        """The tick arrives in UTC, where midnight in Dhaka still is the day before."""
        tick = context.scheduled_execution_time.astimezone(ZoneInfo(catalog.timezone))
        return dg.RunRequest(partition_key=tick.date().isoformat(), run_key=f"{catalog.catalog} {tick.isoformat()}")

    return daily
