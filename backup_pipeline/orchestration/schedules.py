"""The schedule of a catalog: daily, in its own timezone, for the date that has just begun; and when schedules tick."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TypedDict
from zoneinfo import ZoneInfo

import dagster as dg

from backup_pipeline.core.catalog import Catalog
from backup_pipeline.core.cron import is_due, scheduler_lines
from backup_pipeline.core.due import start_deadline
from backup_pipeline.core.ports import Clock
from backup_pipeline.orchestration.config import DUE_TAG
from backup_pipeline.orchestration.keys import full_job
from backup_pipeline.orchestration.overdue import OVERDUE
from backup_pipeline.wiring.clock import utc_now


class Ticks(TypedDict):
    """When Dagster is to ask a schedule, as the arguments of `dg.schedule`."""

    cron_schedule: str | Sequence[str]
    execution_timezone: str


def ticks_of(catalog: Catalog, cron: str) -> Ticks:
    """Ticks at every due time of `cron` in the catalog's timezone, and where clocks change at some others.

    Dagster has an own view of what a change of clocks does to a line; `tick_of` tells a due time from the others.
    """
    lines, timezone = scheduler_lines(cron, catalog.timezone)
    return {"cron_schedule": lines[0] if len(lines) == 1 else lines, "execution_timezone": timezone}


def tick_of(context: dg.ScheduleEvaluationContext, catalog: Catalog, cron: str) -> datetime | dg.SkipReason:
    """The tick in UTC when it is a due time of `cron`, else why nothing is launched."""
    at = context.scheduled_execution_time.astimezone(UTC)
    if is_due(cron, catalog.timezone, at):
        return at
    here = at.astimezone(ZoneInfo(catalog.timezone))
    return dg.SkipReason(f"Not due: it is {here:%H:%M} in {catalog.timezone}, and the schedule there is `{cron}`.")


def daily_schedule(catalog: Catalog, cron: str, clock: Clock = utc_now) -> dg.ScheduleDefinition:
    """Launch the full backup by `cron` in the catalog's timezone, on by default; the partition is the tick's date."""

    @dg.schedule(
        name=f"{catalog.catalog}_daily",
        **ticks_of(catalog, cron),
        job_name=full_job(catalog),
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Full backup of {catalog.title or catalog.catalog} ({cron}, {catalog.timezone}).",
    )
    def daily(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        """The tick arrives in UTC, where midnight in Dhaka still is the day before.

        One that comes too late (the daemon was down) launches nothing: its date may be over, and `backup_overdue`
        counts it as missed and launches the one run that makes up for all of them.
        """
        due = tick_of(context, catalog, cron)
        if isinstance(due, dg.SkipReason):
            return due
        if clock() > start_deadline(catalog, due):
            return dg.SkipReason(f"It was due {due:%Y-%m-%d %H:%M} UTC: too late now, `{OVERDUE}` sees to it.")
        tick = due.astimezone(ZoneInfo(catalog.timezone))
        return dg.RunRequest(
            partition_key=tick.date().isoformat(),
            run_key=f"{catalog.catalog} {tick.isoformat()}",
            tags={DUE_TAG: due.isoformat()},
        )

    return daily
