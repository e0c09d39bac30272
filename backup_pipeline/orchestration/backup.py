"""The backup of a catalog in Dagster: its assets, its jobs, and what they reach the world through."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.orchestration.assets import bundle_asset, tables_asset
from backup_pipeline.orchestration.config import CATALOG_TAG
from backup_pipeline.orchestration.keys import bundle_key, full_job, table_key, tables_job
from backup_pipeline.orchestration.resources import BackupResource, s3_resource
from backup_pipeline.settings import Settings

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition


def backup_definitions(catalog: Catalog, settings: Settings) -> dg.Definitions:
    """The catalog's assets and the job of its full backup, without schedules, sensors and other jobs."""
    return dg.Definitions(assets=assets_of(catalog), jobs=[full_backup_job(catalog)], resources=resources(settings))


def assets_of(catalog: Catalog) -> Sequence[dg.AssetsDefinition]:
    """The tables and the bundle."""
    return [tables_asset(catalog), bundle_asset(catalog)]


def resources(settings: Settings) -> dict[str, BackupResource]:
    """What assets, jobs and sensors ask for by name."""
    return {"backups": BackupResource(s3=s3_resource(settings), settings=settings)}


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
