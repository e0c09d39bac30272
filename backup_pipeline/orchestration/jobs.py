"""The jobs of a catalog."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg

from backup_pipeline.core.catalog import Catalog
from backup_pipeline.orchestration.backups import full_backup_job, tables_only_job
from backup_pipeline.orchestration.drills import drill_job
from backup_pipeline.orchestration.prune import prune_job
from backup_pipeline.orchestration.restores import restore_job

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition


def jobs_of(catalog: Catalog) -> Sequence[dg.JobDefinition | UnresolvedAssetJobDefinition]:
    """Every job of a catalog."""
    backups = [full_backup_job(catalog), tables_only_job(catalog)]
    return [*backups, restore_job(catalog), drill_job(catalog), prune_job(catalog)]
