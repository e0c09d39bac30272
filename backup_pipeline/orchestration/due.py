"""The days of a catalog in Dagster, and what is due: partitions, refused backfills, the schedule, what was missed."""

import json
import logging
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict
from zoneinfo import ZoneInfo

import dagster as dg

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.due import start_deadline
from backup_pipeline.core.errors import BackupError, RefusedError, in_our_words
from backup_pipeline.core.ports import Clock
from backup_pipeline.core.schedule import is_due, is_late, local_date, scheduler_lines
from backup_pipeline.operations.health import Account, account, end_vanished
from backup_pipeline.operations.run_requests import tell_unstarted
from backup_pipeline.orchestration.keys import (
    CATCH_UP_TAG,
    DUE_TAG,
    REFUSED_TAG,
    Automation,
    bundle_key,
    bundle_op,
    daily_partitions,
    full_job,
    table_key,
    tables_job,
    tables_op,
)
from backup_pipeline.orchestration.resources import Backups, told_as_failure, with_backups
from backup_pipeline.wiring.addresses import utc_now

if TYPE_CHECKING:
    from backup_pipeline.orchestration.internals import PartitionBackfill, UnresolvedAssetJobDefinition


logger = logging.getLogger(__name__)

FIRST_DAYS = "backup_pipeline_first_days.json"
"""The note of an installation, in DAGSTER_HOME: the day of each catalog's first backup."""


def dated(catalogs: Mapping[str, Catalog], home: Path | None) -> Mapping[str, Catalog]:
    """The catalogs with the day at which their partitions begin: their own `start_date`, else what `home` has noted."""
    return {name: dated_catalog(catalog, home) for name, catalog in catalogs.items()}


def dated_catalog(catalog: Catalog, home: Path | None) -> Catalog:
    """As `dated`, of one catalog."""
    if catalog.start_date is not None or home is None:
        return catalog
    return catalog.model_copy(update={"start_date": _noted(home).get(catalog.catalog)})


def note_first_days(catalogs: Collection[Catalog], home: Path | None, now: datetime) -> None:
    """Note in `home`, DAGSTER_HOME, the first day of each catalog that says none: of its oldest partition, or today.

    Once: from then on nothing but that file is read, and at no time the ledger. Where Dagster's storage can not be
    read, or the file not be written, partitions begin at `EARLIEST`: days are shown that never had a backup, none is
    hidden that had.
    """
    noted = _noted(home) if home else {}
    unknown = [each for each in catalogs if each.start_date is None and each.catalog not in noted]
    if home is None or not unknown:
        return
    partial = home / f".{FIRST_DAYS}.{os.getpid()}"
    try:
        with dg.DagsterInstance.get() as instance:
            first = {each.catalog: min([*_materialized(each, instance), _today(each, now)]) for each in unknown}
        partial.write_text(json.dumps({**noted, **first}, indent=1), encoding="utf-8")
        partial.replace(home / FIRST_DAYS)
    except Exception as error:  # noqa: BLE001  # whatever ails the storage: definitions load all the same
        names = ", ".join(each.catalog for each in unknown)
        logger.warning("The first day of %s is not noted in %s: %s", names, home, in_our_words(error))


def _noted(home: Path) -> Mapping[str, str]:
    """What the installation has noted; nothing where it can not be read, or is no note."""
    try:
        days = json.loads((home / FIRST_DAYS).read_text(encoding="utf-8"))
        return {str(name): date.fromisoformat(day).isoformat() for name, day in days.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        logger.warning("The first days in %s can not be read: %s", home / FIRST_DAYS, error)
        return {}


def _materialized(catalog: Catalog, instance: dg.DagsterInstance) -> Iterator[str]:
    """The oldest partition of each asset that has any: they shall not vanish."""
    for key in (bundle_key(catalog), *(table_key(catalog, table) for table in catalog.tables)):
        if partitions := instance.get_materialized_partitions(key):
            yield min(partitions)


def _today(catalog: Catalog, now: datetime) -> str:
    return local_date(now, catalog.timezone).isoformat()


_BACKFILL_TAG = "dagster/backfill"


def refuse_days(context: dg.AssetExecutionContext, catalog: Catalog, now: datetime, *, late: bool) -> None:
    """A Failure for a run of several days, and for one of a backfill whose day is over.

    Nothing is begun, no row is written, and nobody is alerted: who launched it sees it. An instance with our storage
    takes no such backfill (`refuse_backfill`); this is for any other.
    """
    days = [date.fromisoformat(name) for name in context.partition_keys]
    with told_as_failure(context.log):
        try:
            _check_days(days, catalog, now, backfill=_BACKFILL_TAG in context.run.tags, late=late)
        except RefusedError:
            context.instance.add_run_tags(context.run.run_id, {REFUSED_TAG: "true"})
            raise


def _check_days(days: Sequence[date], catalog: Catalog, now: datetime, *, backfill: bool, late: bool) -> None:
    if len(days) > 1:
        message = f"This run is for {len(days)} days, {days[0]} to {days[-1]}: a backup is of one."
        raise RefusedError(message, do=f"Materialize {_today(catalog, now)} alone. Nothing was done.")
    if backfill:
        grace = timedelta(minutes=catalog.grace_minutes)
        is_late(days[0], now=now, timezone=catalog.timezone, grace=grace, late=late)


def refuse_backfill(wish: "PartitionBackfill", catalogs: Collection[Catalog], now: datetime) -> None:
    """RefusedError for a backfill that would read tables for a day whose run would be refused; nothing has run then.

    A bundle alone reads no source, so any day will do; a config that says `late` is a person's own decision.
    """
    for catalog in catalogs:
        over = [day for day in _days(wish, catalog) if _is_over(day, catalog, wish, now)]
        if not over:
            continue
        today = _today(catalog, now)
        which = str(over[0]) if len(over) == 1 else f"{len(over)} days, {over[0]} to {over[-1]},"
        are = "is" if len(over) == 1 else "are"
        message = (
            f"Nothing was run: of this backfill {which} {are} over (it is {today} in {catalog.timezone}), and a backup "
            "reads the rows of now. A day that was missed can not be made up for."
        )
        do = f"Materialize {today} alone. To file today's rows under a day that is over, run it with `late: true`."
        raise RefusedError(message, do=do)


def _days(wish: "PartitionBackfill", catalog: Catalog) -> Sequence[date]:
    """The days for which the backfill reads tables of the catalog, in order."""
    tables = {table_key(catalog, table) for table in catalog.tables}
    names: set[str] = set()
    if wish.asset_backfill_data is not None:
        for key, subset in wish.asset_backfill_data.target_subset.partitions_subsets_by_asset_key.items():
            names |= set(subset.get_partition_keys()) if key in tables else set()
    elif wish.job_name in {full_job(catalog), tables_job(catalog)}:
        chosen = wish.asset_selection
        names |= set(wish.partition_names or ()) if not chosen or tables.intersection(chosen) else set()
    return sorted(day for name in names if (day := _as_date(name)))


def _as_date(name: str) -> date | None:
    """None for a partition of somebody else's job, which has the name of ours."""
    try:
        return date.fromisoformat(name)
    except ValueError:
        return None


def _is_over(day: date, catalog: Catalog, wish: "PartitionBackfill", now: datetime) -> bool:
    """Whether a run of `day` would be refused."""
    step = ((wish.run_config or {}).get("ops") or {}).get(tables_op(catalog)) or {}
    late = (step.get("config") or {}).get("late") is True
    try:
        is_late(day, now=now, timezone=catalog.timezone, grace=timedelta(minutes=catalog.grace_minutes), late=late)
    except RefusedError:
        return True
    return False


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
            tell_unstarted(ports)
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
