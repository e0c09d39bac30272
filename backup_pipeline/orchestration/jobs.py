"""The jobs of a catalog."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg

from backup_pipeline.core.catalog import Catalog
from backup_pipeline.orchestration.config import CATALOG_TAG
from backup_pipeline.orchestration.drills import drill_job
from backup_pipeline.orchestration.keys import bundle_key, full_job, table_key, tables_job
from backup_pipeline.orchestration.prune import prune_job
from backup_pipeline.orchestration.restores import restore_job

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition


def jobs_of(catalog: Catalog) -> Sequence[dg.JobDefinition | UnresolvedAssetJobDefinition]:
    """Every job of a catalog."""
    backups = [full_backup_job(catalog), tables_only_job(catalog)]
    return [*backups, restore_job(catalog), drill_job(catalog), prune_job(catalog)]


def full_backup_job(catalog: Catalog) -> UnresolvedAssetJobDefinition:
    """Every table from one snapshot, then the bundle."""
    keys = [*(table_key(catalog, table) for table in catalog.tables), bundle_key(catalog)]
    return dg.define_asset_job(
        full_job(catalog),
        selection=dg.AssetSelection.assets(*keys),
        description=f"The full backup of {catalog.title or catalog.catalog}: every table, the bundle, the ledger row.",
        tags={CATALOG_TAG: catalog.catalog},
        executor_def=dg.in_process_executor,
    )


def tables_only_job(catalog: Catalog) -> UnresolvedAssetJobDefinition:
    """Tables without a bundle: choose one or several in the launchpad's asset selection to rerun just those."""
    return dg.define_asset_job(
        tables_job(catalog),
        selection=dg.AssetSelection.assets(*(table_key(catalog, table) for table in catalog.tables)),
        description="Export tables again, one or several (asset selection), without a bundle.",
        tags={CATALOG_TAG: catalog.catalog},
        executor_def=dg.in_process_executor,
    )
