"""Asset checks: what the operations found out, as Dagster shows it."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg

from backup_pipeline.core.catalog import Catalog
from backup_pipeline.core.checks import KEY_UNIQUE, READABLE, ROW_COUNT, SHRINKAGE, Check
from backup_pipeline.core.errors import BackupError
from backup_pipeline.orchestration.keys import bundle_key, table_key

_TABLE_CHECKS = {
    ROW_COUNT: "As many rows written, to Parquet and to CSV, as `count(*)` finds in the same snapshot.",
    KEY_UNIQUE: "Each key stands once.",
    SHRINKAGE: "Not far fewer rows than in the last good backup (ratio and floor of the catalog).",
}


def table_check_specs(catalog: Catalog) -> list[dg.AssetCheckSpec]:
    """The checks of every table."""
    return [
        dg.AssetCheckSpec(name, asset=table_key(catalog, table), description=description)
        for table in catalog.tables
        for name, description in _TABLE_CHECKS.items()
    ]


def bundle_check_specs(catalog: Catalog) -> list[dg.AssetCheckSpec]:
    """The checks of the bundle."""
    description = "The bundle was read back from the store; size and SHA-256 are those that were written."
    return [dg.AssetCheckSpec(READABLE, asset=bundle_key(catalog), description=description)]


def check_results(key: dg.AssetKey, checks: tuple[Check, ...]) -> Iterator[dg.AssetCheckResult]:
    """The outcome of a table's checks."""
    for check in checks:
        yield dg.AssetCheckResult(
            asset_key=key,
            check_name=check.name,
            passed=check.passed,
            severity=dg.AssetCheckSeverity.ERROR if check.blocking else dg.AssetCheckSeverity.WARN,
            description=check.message,
            metadata=dict(check.numbers),
        )


def failed_table_check(key: dg.AssetKey, error: BackupError) -> dg.AssetCheckResult:
    """A table that was not exported: its row count can not be right."""
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=ROW_COUNT,
        passed=False,
        severity=dg.AssetCheckSeverity.ERROR,
        description=error.what,
        metadata={"what to do": error.do or "Correct the cause, then run this table again."},
    )
