"""What a run of Dagster says about itself: who asked for it, which assets it is for."""

from __future__ import annotations

from collections.abc import Set
from contextvars import ContextVar
from datetime import datetime

import dagster as dg

from backup_pipeline.core.catalog import Catalog
from backup_pipeline.core.due import FULL, SCHEDULE
from backup_pipeline.operations.attempts import Request
from backup_pipeline.orchestration.config import (
    CATCH_UP,
    CATCH_UP_TAG,
    DUE_TAG,
    SCOPE_TAG,
    SELECTED,
    BackupConfig,
    refuse_variables,
)
from backup_pipeline.orchestration.failures import told_as_failure
from backup_pipeline.orchestration.keys import bundle_key, table_key
from backup_pipeline.settings import Settings

_SCHEDULE_TAG = "dagster/schedule_name"


person: ContextVar[str | None] = ContextVar("person", default=None)
"""Who runs the runs of this process by hand; the command line sets it, and nothing of a run's own can."""


def actor_of(run: dg.DagsterRun) -> str:
    """Who makes a run: the person at the command line, else `schedule`, `catch-up` or `dagster`.

    Dagster asks nobody who he is, so its tags and run config name nobody: whoever launches a run can write both.
    """
    by_hand = person.get()
    if by_hand is not None:
        return by_hand
    if CATCH_UP_TAG in run.tags:
        return CATCH_UP
    return SCHEDULE if _SCHEDULE_TAG in run.tags else "dagster"


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


def request_of(context: dg.AssetExecutionContext, config: BackupConfig, catalog: Catalog, *, reads: bool) -> Request:
    """The run as a request; `reads` says whether this step reads the source. A Failure where config asks too much."""
    with told_as_failure(context.log):
        refuse_variables(context.run.run_config)
    tags = context.run.tags
    with_bundle = bundle_key(catalog) in run_assets(context)
    kind = "tables" if not with_bundle else "selective" if tags.get(SCOPE_TAG) == SELECTED else "full"
    return Request(
        catalog=catalog,
        kind=kind,
        tables=bundle_tables(context, catalog) if with_bundle else _tables_among(run_assets(context), catalog),
        day=context.partition_time_window.start.date(),
        type="automatic" if _SCHEDULE_TAG in tags or CATCH_UP_TAG in tags else "manual",
        created_by=actor_of(context.run),
        reason=config.reason,
        late=config.late,
        reads=reads,
        run_id=context.run.run_id,
        run_url=run_url(context.run.run_id),
        due_at=datetime.fromisoformat(tags[DUE_TAG]) if DUE_TAG in tags and kind == FULL else None,
    )


def run_url(run_id: str) -> str:
    """The page of a run in the Dagster UI."""
    return f"{Settings().dagster_url.rstrip('/')}/runs/{run_id}"
