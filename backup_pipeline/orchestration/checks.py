"""The checks of tables and bundles in Dagster: what they are, and what came of them."""

from collections.abc import Iterator

import dagster as dg

from backup_pipeline.core.anomalies import ANOMALY, KEY_UNIQUE, READABLE, ROW_COUNT, SHRINKAGE, TableCheck
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import BackupError
from backup_pipeline.core.manifest import StoredManifest
from backup_pipeline.orchestration.keys import bundle_key, table_key

_TABLE_CHECKS = {
    ROW_COUNT: "As many rows written, to Parquet and to CSV, as `count(*)` finds in the same snapshot.",
    KEY_UNIQUE: "Each key stands once.",
    SHRINKAGE: "Not far fewer rows than in the last good backup (ratio and floor of the catalog).",
    ANOMALY: "Rows, bytes, columns and keys are as in the good backups before; if not, the last good one is held.",
}

_BUNDLE_CHECKS = {
    READABLE: "The bundle was read back from the store; size and SHA-256 are those that were written.",
    ANOMALY: "No table is new or gone, and references lead where they did; if not, the last good backup is held.",
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
    return [
        dg.AssetCheckSpec(name, asset=bundle_key(catalog), description=description)
        for name, description in _BUNDLE_CHECKS.items()
    ]


def bundle_check_results(manifest: StoredManifest) -> Iterator[dg.AssetCheckResult]:
    """The outcome of the bundle's checks, once it is in the store."""
    bundle, unusual = manifest.bundle, manifest.anomalies
    read = f"{bundle.bytes:,} bytes read back; SHA-256 {bundle.sha256}."
    yield dg.AssetCheckResult(check_name=READABLE, passed=True, description=read)
    yield dg.AssetCheckResult(
        check_name=ANOMALY,
        passed=not unusual,
        severity=dg.AssetCheckSeverity.WARN,
        description=" ".join(anomaly.message for anomaly in unusual)
        or "No table is new or gone; references lead where they did.",
        metadata={f"orphans of {reference}": rows for reference, rows in manifest.orphans.items()},
    )


def check_results(key: dg.AssetKey, checks: tuple[TableCheck, ...]) -> Iterator[dg.AssetCheckResult]:
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
