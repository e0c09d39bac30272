"""The schedule of a catalog: daily, in its own timezone, for the date that has just begun."""

from datetime import UTC
from zoneinfo import ZoneInfo

import dagster as dg

from backup_pipeline.core.catalog import Catalog
from backup_pipeline.core.due import start_deadline
from backup_pipeline.core.ports import Clock
from backup_pipeline.orchestration.config import DUE_TAG
from backup_pipeline.orchestration.keys import full_job
from backup_pipeline.orchestration.overdue import OVERDUE
from backup_pipeline.wiring.clock import utc_now


def daily_schedule(catalog: Catalog, cron: str, clock: Clock = utc_now) -> dg.ScheduleDefinition:
    """Launch the full backup by `cron` in the catalog's timezone, on by default; the partition is the tick's date."""

    @dg.schedule(
        name=f"{catalog.catalog}_daily",
        cron_schedule=cron,
        execution_timezone=catalog.timezone,
        job_name=full_job(catalog),
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Full backup of {catalog.title or catalog.catalog} ({cron}, {catalog.timezone}).",
    )
    def daily(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        """The tick arrives in UTC, where midnight in Dhaka still is the day before.

        One that comes too late (the daemon was down) launches nothing: its date may be over, and `backup_overdue`
        counts it as missed and launches the one run that makes up for all of them.
        """
        due = context.scheduled_execution_time.astimezone(UTC)
        if clock() > start_deadline(catalog, due):
            return dg.SkipReason(f"It was due {due:%Y-%m-%d %H:%M} UTC: too late now, `{OVERDUE}` sees to it.")
        tick = due.astimezone(ZoneInfo(catalog.timezone))
        return dg.RunRequest(
            partition_key=tick.date().isoformat(),
            run_key=f"{catalog.catalog} {tick.isoformat()}",
            tags={DUE_TAG: due.isoformat()},
        )

    return daily
