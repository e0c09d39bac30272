"""The names under which Dagster knows a catalog's things."""

from __future__ import annotations

import dagster as dg

from backup_pipeline.core.catalog import BUNDLE, Catalog


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
