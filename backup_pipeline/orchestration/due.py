"""The sensor that accounts for what is due: notes what was missed, alerts, and launches one run to make up for it."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypedDict
from zoneinfo import ZoneInfo

import dagster as dg

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.due import start_deadline
from backup_pipeline.core.errors import BackupError
from backup_pipeline.core.ports import Clock
from backup_pipeline.core.schedule import is_due, local_date, scheduler_lines
from backup_pipeline.operations.due import Account, account, end_vanished
from backup_pipeline.orchestration.keys import (
    CATCH_UP_TAG,
    DUE_TAG,
    Automation,
    bundle_op,
    daily_partitions,
    full_job,
    tables_op,
)
from backup_pipeline.orchestration.resources import Backups, with_backups
from backup_pipeline.wiring.addresses import utc_now

if TYPE_CHECKING:
    from backup_pipeline.orchestration.internals import UnresolvedAssetJobDefinition


OVERDUE = "backup_overdue"
_EVERY_S = 60
_UNDER_WAY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
_KEYS = {False: "catch-up", True: "try again"}


def overdue_sensor(
    catalogs: Mapping[str, Catalog],
    jobs: "Sequence[dg.JobDefinition | UnresolvedAssetJobDefinition]",
    automation: Automation,
) -> dg.SensorDefinition:
    """One sensor for all catalogs; `jobs` are their full backups, which it may launch."""

    @dg.sensor(
        name=automation.named(OVERDUE),
        jobs=jobs,
        default_status=automation.sensor,
        minimum_interval_seconds=_EVERY_S,
        description="Notes each backup that was due and did not come, alerts, and launches one run to make up for it.",
    )
    @with_backups(*catalogs, each=True)
    def backup_overdue(
        context: dg.SensorEvaluationContext, backups: Backups
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        """What goes wrong with one catalog is told, and keeps none of the others from being looked at."""
        messages, launched = [], False
        for catalog in catalogs.values():
            try:
                with backups.open(catalog) as ports:
                    state = account(catalog, ports)
            except BackupError as error:
                messages.append(f"{catalog.catalog}: not known. {error.what}")
                continue
            messages += [state.freshness.what, *state.settlement.reasons]
            for request in _catch_up(catalog, state, context.instance):
                launched = True
                yield request
        messages += _ended(catalogs, backups)
        if not launched:  # Dagster takes either of the two
            yield dg.SkipReason(" ".join(messages))

    return backup_overdue


def _ended(catalogs: Mapping[str, Catalog], backups: Backups) -> Sequence[str]:
    try:
        with backups.open(next(iter(catalogs.values()))) as ports:
            return [row.error_message or "" for row in end_vanished(list(catalogs), ports)]
    except BackupError as error:
        return [f"Whether a catalog vanished is not known. {error.what}"]


def _catch_up(catalog: Catalog, state: Account, instance: dg.DagsterInstance) -> Iterator[dg.RunRequest]:
    """The one run for all that was missed, or for one that failed, for the date that it is now.

    Dagster launches a run key once.
    """
    due = state.settlement.catch_up
    day = local_date(state.freshness.at, catalog.timezone).isoformat()
    if due is None or _is_under_way(catalog, instance) or not daily_partitions(catalog).has_partition_key(day):
        return
    reason = f"{_why(state)}, with the rows of now."
    config = {"reason": reason}
    yield dg.RunRequest(
        job_name=full_job(catalog),
        partition_key=day,
        run_key=f"{_KEYS[state.settlement.failed is not None]} {catalog.catalog} {due.astimezone(UTC).isoformat()}",
        tags={CATCH_UP_TAG: due.astimezone(UTC).isoformat()},
        run_config={"ops": {tables_op(catalog): {"config": config}, bundle_op(catalog): {"config": config}}},
    )


def _is_under_way(catalog: Catalog, instance: dg.DagsterInstance) -> bool:
    """Whether a run waits or runs that is a full backup, such as one that a schedule has queued."""
    runs = dg.RunsFilter(job_name=full_job(catalog), statuses=_UNDER_WAY)
    return instance.get_runs_count(runs) > 0


def _why(state: Account) -> str:
    if state.settlement.failed is not None:
        return f"Tries again after {state.settlement.failed.backup_id} failed"
    return f"Makes up for {_missed(state.freshness.missed)}"


def _missed(dues: Sequence[datetime]) -> str:
    """`2 missed backups, due 2026-11-20 18:00 to 2026-11-21 18:00 UTC`."""
    if len(dues) == 1:
        return f"the missed backup that was due {dues[0]:%Y-%m-%d %H:%M} UTC"
    return f"{len(dues)} missed backups, due {dues[0]:%Y-%m-%d %H:%M} to {dues[-1]:%Y-%m-%d %H:%M} UTC"


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
    local = at.astimezone(ZoneInfo(catalog.timezone))
    return dg.SkipReason(f"Not due: it is {local:%H:%M} in {catalog.timezone}, and the schedule there is `{cron}`.")


def care_schedule(
    catalog: Catalog, cron: str, automation: Automation, *, name: str, job: str, work: str, description: str
) -> dg.ScheduleDefinition:
    """Launch `job` by `cron` in the catalog's timezone; its run keys name `work`.

    For what takes care of the backups that are there: a tick that comes late still does, as they are then.
    """

    @dg.schedule(
        name=name,
        **ticks_of(catalog, cron),
        job_name=job,
        default_status=automation.schedule,
        description=description,
    )
    def care(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        due = tick_of(context, catalog, cron)
        if isinstance(due, dg.SkipReason):
            return due
        tick = due.astimezone(ZoneInfo(catalog.timezone))
        return dg.RunRequest(run_key=f"{catalog.catalog} {work} {tick.isoformat()}")

    return care


def daily_schedule(
    catalog: Catalog, cron: str, automation: Automation, clock: Clock = utc_now
) -> dg.ScheduleDefinition:
    """Launch the full backup by `cron` in the catalog's timezone; the partition is the tick's date."""

    @dg.schedule(
        name=f"{catalog.catalog}_daily",
        **ticks_of(catalog, cron),
        job_name=full_job(catalog),
        default_status=automation.schedule,
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
