"""The names under which Dagster knows a catalog's things."""

from __future__ import annotations

from collections.abc import Set
from contextvars import ContextVar
from datetime import datetime

import dagster as dg

from backup_pipeline.core.actor import CATCH_UP, DAGSTER, SCHEDULE, Actor
from backup_pipeline.core.catalog.model import BUNDLE, Catalog
from backup_pipeline.core.due import FULL
from backup_pipeline.core.ledger import Owner
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.operations.attempts import Request
from backup_pipeline.orchestration.config import (
    CATCH_UP_TAG,
    DUE_TAG,
    SCOPE_TAG,
    SELECTED,
    BackupConfig,
    refuse_variables,
)
from backup_pipeline.orchestration.failures import told_as_failure
from backup_pipeline.orchestration.resources import BackupResource


def table_key(catalog: Catalog, table: str) -> dg.AssetKey:
    """The asset of a table."""
    return dg.AssetKey([catalog.catalog, table])


def bundle_key(catalog: Catalog) -> dg.AssetKey:
    """The asset of the bundle."""
    return dg.AssetKey([catalog.catalog, BUNDLE])


def tables_op(catalog: Catalog) -> str:
    """The step that exports the tables; its config is under this name."""
    return f"{catalog.catalog}_tables"


def bundle_op(catalog: Catalog) -> str:
    """The step that makes the bundle."""
    return f"{catalog.catalog}_bundle"


def full_job(catalog: Catalog) -> str:
    """The job that exports every table and bundles them."""
    return f"{catalog.catalog}_full_backup"


def restore_op(catalog: Catalog) -> str:
    """The step that restores."""
    return f"{catalog.catalog}_restored"


def restore_job_name(catalog: Catalog) -> str:
    """The job that restores a backup, or tables of it."""
    return f"{catalog.catalog}_restore"


def drill_op(catalog: Catalog) -> str:
    """The step that drills."""
    return f"{catalog.catalog}_drilled"


def drill_job_name(catalog: Catalog) -> str:
    """The job that restores a backup into a scratch database and compares."""
    return f"{catalog.catalog}_drill"


def prune_op(catalog: Catalog) -> str:
    """The step that removes old backups."""
    return f"{catalog.catalog}_pruned"


def prune_job_name(catalog: Catalog) -> str:
    """The job that removes old backups."""
    return f"{catalog.catalog}_prune"


def tables_job(catalog: Catalog) -> str:
    """The job that exports tables only."""
    return f"{catalog.catalog}_tables_only"


OWNER_TAG = ".dagster/backup_pipeline_owner"
"""Dagster hides tags that begin like this from the lists of runs."""


def owner_tag(owner: Owner) -> str:
    """The owner as a tag's value."""
    return f"{owner.host} {owner.pid} {owner.started}"


def read_owner_tag(value: str) -> Owner | None:
    """The owner that `value` names, or None."""
    words = value.split()
    if len(words) != 3:
        return None
    host, pid, started = words
    return Owner(host, int(pid), float(started))


def daily_partitions(catalog: Catalog) -> dg.DailyPartitionsDefinition:
    """Every date from the catalog's start to today, today included: `end_offset=1` opens it at 00:00."""
    return dg.DailyPartitionsDefinition(start_date=catalog.start_date, timezone=catalog.timezone, end_offset=1)


_SCHEDULE_TAG = "dagster/schedule_name"


person: ContextVar[Actor | None] = ContextVar("person", default=None)
"""Who runs the runs of this process by hand; the command line sets it, and nothing of a run's own can."""


def actor_of(run: dg.DagsterRun) -> Actor:
    """Who makes a run: the person at the command line, else `schedule`, `catch-up` or `dagster`.

    Dagster asks nobody who he is, so its tags and run config name nobody: whoever launches a run can write both.
    """
    by_hand = person.get()
    if by_hand is not None:
        return by_hand
    if CATCH_UP_TAG in run.tags:
        return CATCH_UP
    return SCHEDULE if _SCHEDULE_TAG in run.tags else DAGSTER


def run_assets(context: dg.AssetExecutionContext) -> Set[dg.AssetKey]:
    """The assets that the whole run is for, not only this step."""
    return set(context.run.asset_selection or context.job_def.asset_layer.executable_asset_keys)


def bundle_tables(context: dg.AssetExecutionContext, catalog: Catalog) -> tuple[str, ...]:
    """The tables that the run's bundle holds: all, or those of the run when it says so.

    A re-execution may be for the failed tables alone; its bundle holds what the run that it goes back to was for.
    """
    if context.run.tags.get(SCOPE_TAG) != SELECTED:
        return tuple(catalog.tables)
    root = context.instance.get_run_by_id(context.run.root_run_id) if context.run.root_run_id else None
    return _tables_among((root and root.asset_selection) or run_assets(context), catalog)


def _tables_among(keys: Set[dg.AssetKey], catalog: Catalog) -> tuple[str, ...]:
    return tuple(table for table in catalog.tables if table_key(catalog, table) in keys)


def request_of(
    context: dg.AssetExecutionContext, config: BackupConfig, catalog: Catalog, backups: BackupResource, *, reads: bool
) -> Request:
    """The run as a request; `reads` says whether this step reads the source. A Failure where config asks too much."""
    with told_as_failure(context.log):
        refuse_variables(context.run.run_config)
    tags = context.run.tags
    with_bundle = bundle_key(catalog) in run_assets(context)
    kind = Kind.TABLES if not with_bundle else Kind.SELECTIVE if tags.get(SCOPE_TAG) == SELECTED else Kind.FULL
    return Request(
        catalog=catalog,
        kind=kind,
        tables=bundle_tables(context, catalog) if with_bundle else _tables_among(run_assets(context), catalog),
        day=context.partition_time_window.start.date(),
        type=Trigger.AUTOMATIC if _SCHEDULE_TAG in tags or CATCH_UP_TAG in tags else Trigger.MANUAL,
        actor=actor_of(context.run),
        reason=config.reason,
        late=config.late,
        reads=reads,
        run_id=context.run.run_id,
        run_url=backups.run_url(context.run.run_id),
        due_at=datetime.fromisoformat(tags[DUE_TAG]) if DUE_TAG in tags and kind == FULL else None,
    )
