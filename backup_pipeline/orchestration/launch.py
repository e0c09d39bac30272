"""Running a backup in this process, through Dagster: its run, events and materializations are those of the UI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

import dagster as dg

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import RefusedError
from backup_pipeline.core.ports import Progress
from backup_pipeline.core.schedule import is_late
from backup_pipeline.core.scope import Actor
from backup_pipeline.orchestration.backup import full_backup_definitions
from backup_pipeline.orchestration.days import dated_catalog
from backup_pipeline.orchestration.failures import EXIT_CODE, WHAT_TO_DO
from backup_pipeline.orchestration.internals import ErrorSource
from backup_pipeline.orchestration.keys import (
    EARLIEST,
    OWNER_TAG,
    SCOPE_TAG,
    SELECTED,
    USER_TAG,
    bundle_key,
    bundle_op,
    daily_partitions,
    full_job,
    owner_tag,
    person,
    table_key,
    tables_op,
)
from backup_pipeline.orchestration.resources import watcher
from backup_pipeline.settings import Settings
from backup_pipeline.wiring.addresses import utc_now
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


def run_backup(order: RunOrder, settings: Settings, progress: Progress) -> RunResult:
    """Run the backup now, in this process; `progress` watches it. The instance is that of DAGSTER_HOME.

    KeyboardInterrupt (Ctrl-C) stops the SQL at once, ends the run and its ledger row as canceled, and comes out.
    RefusedError, before anything ran, for a date that no run can have: one that lies ahead, or before the catalog's.
    """
    order = replace(order, catalog=dated_catalog(order.catalog, settings.dagster_home))
    catalog = order.catalog
    _refuse_impossible_date(order)
    job = full_backup_definitions(catalog, settings).resolve_job_def(full_job(catalog))
    chosen = order.tables or tuple(catalog.tables)
    token, by = watcher.set(progress), person.set(order.actor)
    try:
        with dg.DagsterInstance.get() as instance:
            result = job.execute_in_process(
                run_config=_run_config(order),
                instance=instance,
                partition_key=order.day.isoformat(),
                asset_selection=[*(table_key(catalog, table) for table in chosen), bundle_key(catalog)],
                tags=_tags(order),
                raise_on_error=False,
            )
            if _interrupted(result.all_events):
                instance.report_run_canceled(result.dagster_run, message="Stopped by hand.")
                raise KeyboardInterrupt
    finally:
        watcher.reset(token)
        person.reset(by)
    if result.success:
        return RunResult(result.run_id, success=True)
    return _failed(result.run_id, result.all_events)


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
    return {
        "ops": {tables_op(order.catalog): {"config": config}, bundle_op(order.catalog): {"config": config}},
        "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
    }


def _tags(order: RunOrder) -> dict[str, str]:
    tags = {OWNER_TAG: owner_tag(this_owner()), USER_TAG: str(order.actor)}
    return {**tags, SCOPE_TAG: SELECTED} if order.tables else tags


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
