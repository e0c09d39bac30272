"""Running a backup in this process, through Dagster: its run, events and materializations are those of the UI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

import dagster as dg

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import BackupError, RefusedError
from backup_pipeline.core.ports import Progress
from backup_pipeline.core.runs import USER_TAG
from backup_pipeline.core.schedule import is_late
from backup_pipeline.core.scope import Actor
from backup_pipeline.lazy import settle
from backup_pipeline.orchestration.backup import assets_of, full_backup_job, tables_only_job
from backup_pipeline.orchestration.due import dated_catalog
from backup_pipeline.orchestration.internals import (
    ErrorSource,
    InMemoryJob,
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
    execute_run,
)
from backup_pipeline.orchestration.keys import (
    EARLIEST,
    OWNER_TAG,
    bundle_key,
    bundle_op,
    daily_partitions,
    full_job,
    owner_tag,
    person,
    table_key,
    tables_job,
    tables_op,
)
from backup_pipeline.orchestration.read import resources_of
from backup_pipeline.orchestration.resources import EXIT_CODE, WHAT_TO_DO, installed, watcher
from backup_pipeline.settings import Settings
from backup_pipeline.wiring.addresses import declared_catalogs, utc_now
from backup_pipeline.wiring.ports import this_owner


@dataclass(frozen=True)
class RunOrder:
    """A backup to run: every table of the catalog, or `tables`; for which date, why, by whom; `now` by the ledger."""

    catalog: Catalog
    tables: tuple[str, ...]
    day: date
    reason: str
    actor: Actor
    late: bool = False
    now: datetime | None = None


@dataclass(frozen=True)
class RunResult:
    """How the run ended. `error`, `what_to_do` and `exit_code` are those of the first step that failed."""

    run_id: str
    success: bool
    error: str = ""
    what_to_do: str = ""
    exit_code: int = 0


def run_backup(
    order: RunOrder, settings: Settings, progress: Progress, instance: dg.DagsterInstance | None = None
) -> RunResult:
    """Run the backup now, in this process; `progress` watches it. The instance is by default that of DAGSTER_HOME.

    KeyboardInterrupt (Ctrl-C) stops the SQL at once, ends the run and its ledger row as canceled, and comes out.
    RefusedError, before anything ran, for a date that no run can have: one that lies ahead, or before the catalog's.
    """
    order = replace(order, catalog=dated_catalog(order.catalog, settings.dagster_home))
    _refuse_impossible_date(order)
    job = _job(order, settings)
    token, by = watcher.set(progress), person.set(order.actor)
    try:
        with nullcontext(instance) if instance else dg.DagsterInstance.get() as instance:
            run = instance.create_run_for_job(
                job,
                run_config=_run_config(order),
                asset_selection=_assets(order),
                tags=_tags(order, job),
                remote_job_origin=_origin(job, settings),
            )
            settle()
            result = execute_run(InMemoryJob(job), run, instance)
            if _interrupted(result.all_events):
                instance.report_run_canceled(result.dagster_run, message="Stopped by hand.")
                raise KeyboardInterrupt
    finally:
        watcher.reset(token)
        person.reset(by)
    if result.success:
        return RunResult(result.run_id, success=True)
    return _failed(result.run_id, result.all_events)


def _job(order: RunOrder, settings: Settings) -> dg.JobDefinition:
    """The job of the order as its code location has it: the UI compares, and warns of a run of another.

    Chosen tables are the job of tables: the bundle's asset stands for everything, and is fresh by nothing less. A job
    of Dagster has the resources of all its definitions, so those of the other catalogs belong to it.
    """
    catalog = order.catalog
    names = {catalog.catalog}
    with suppress(BackupError):  # a mistake in another catalog stops no backup of this one
        names |= set(declared_catalogs(settings))
    resource = installed(settings)
    definitions = dg.Definitions(
        assets=assets_of(catalog, in_s3=resource.in_s3),
        jobs=[tables_only_job(catalog) if order.tables else full_backup_job(catalog)],
        resources=resources_of(dict.fromkeys(sorted(names), resource)),
    )
    return definitions.resolve_job_def(tables_job(catalog) if order.tables else full_job(catalog))


_REPOSITORY = "__repository__"
"""What Dagster calls the definitions of a code location."""


def _origin(job: dg.JobDefinition, settings: Settings) -> RemoteJobOrigin:
    """Where the UI finds the job of a run: without it, it shows the run under no job, and runs it again with a warning.

    By name alone: who serves the code location differs from one start of the UI to the next.
    """
    location = RegisteredCodeLocationOrigin(settings.code_location)
    return RemoteRepositoryOrigin(location, _REPOSITORY).get_job_origin(job.name)


def _assets(order: RunOrder) -> Set[dg.AssetKey]:
    tables = frozenset(table_key(order.catalog, table) for table in order.tables or order.catalog.tables)
    return tables if order.tables else tables | {bundle_key(order.catalog)}


def _refuse_impossible_date(order: RunOrder) -> None:
    catalog = order.catalog
    if daily_partitions(catalog).has_partition_key(order.day.isoformat()):
        return
    is_late(order.day, now=order.now or utc_now(), timezone=catalog.timezone, grace=timedelta(), late=True)
    first = catalog.start_date or EARLIEST
    message = f"The partition {order.day} lies before the first one of catalog {catalog.catalog}, {first}."
    raise RefusedError(message, do="Run a later date, or set an earlier `start_date` in the catalog.")


def _run_config(order: RunOrder) -> Mapping[str, object]:
    config = {"reason": order.reason, "late": order.late}
    steps = [tables_op(order.catalog)] if order.tables else [tables_op(order.catalog), bundle_op(order.catalog)]
    return {
        "ops": {step: {"config": config} for step in steps},
        "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
    }


def _tags(order: RunOrder, job: dg.JobDefinition) -> dict[str, str]:
    partition = job.get_tags_for_partition_key(order.day.isoformat(), selected_asset_keys=_assets(order))
    return {**job.run_tags, **partition, OWNER_TAG: owner_tag(this_owner()), USER_TAG: str(order.actor)}


def _interrupted(events: Sequence[dg.DagsterEvent]) -> bool:
    return any(e.is_step_failure and e.step_failure_data.error_source is ErrorSource.INTERRUPT for e in events)


def _failed(run_id: str, events: Sequence[dg.DagsterEvent]) -> RunResult:
    for event in events:
        if not event.is_step_failure:
            continue
        data = event.step_failure_data
        metadata = data.user_failure_data.metadata if data.user_failure_data else {}
        error = data.user_failure_data.description if data.user_failure_data else data.error_display_string
        code = metadata[EXIT_CODE].value if EXIT_CODE in metadata else 1
        what_to_do = metadata[WHAT_TO_DO].value if WHAT_TO_DO in metadata else ""
        exit_code = code if isinstance(code, int) else 1
        return RunResult(run_id, success=False, error=error or "", what_to_do=str(what_to_do), exit_code=exit_code)
    return RunResult(run_id, success=False, error="The run failed before its first step.", exit_code=1)
