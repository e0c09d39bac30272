"""The backup of a catalog in Dagster: an asset a table, exported in one step, the bundle, checks, and jobs."""

import logging
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from backup_pipeline.core.anomalies import ANOMALY, KEY_UNIQUE, READABLE, ROW_COUNT, SHRINKAGE, TableCheck
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import BackupError, ExportFailedError, LedgerError
from backup_pipeline.core.layout import BackupPlace, PartitionPlace
from backup_pipeline.core.manifest import ColumnEntry, StoredManifest, TableEntry
from backup_pipeline.core.ports import Ledger
from backup_pipeline.core.scope import Scope
from backup_pipeline.operations.attempts import Request
from backup_pipeline.operations.backup import bundle_attempt, end_tables, export_attempt
from backup_pipeline.operations.browse import calendar_of
from backup_pipeline.operations.export import TableResult
from backup_pipeline.operations.stats import catalog_statistics, counted_rows
from backup_pipeline.orchestration.failures import attempt_of, refuse_checks_alone
from backup_pipeline.orchestration.keys import (
    CATALOG_TAG,
    BackupConfig,
    bundle_key,
    bundle_op,
    daily_partitions,
    full_job,
    request_of,
    table_key,
    tables_job,
    tables_op,
)
from backup_pipeline.orchestration.resources import BackupResource, s3_resource
from backup_pipeline.presentation.backup import summary_document
from backup_pipeline.presentation.markdown import bullets, markdown
from backup_pipeline.presentation.statistics import calendar_document, statistics_document
from backup_pipeline.settings import Settings

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

logger = logging.getLogger(__name__)

_Event = dg.MaterializeResult[None] | dg.AssetCheckResult


def tables_asset(catalog: Catalog) -> dg.AssetsDefinition:
    """The multi-asset that exports any subset of the catalog's tables from one snapshot."""

    @dg.multi_asset(
        name=tables_op(catalog),
        specs=table_specs(catalog),
        check_specs=table_check_specs(catalog),
        can_subset=True,
        pool=f"source_{catalog.catalog}",
    )
    def export(context: dg.AssetExecutionContext, config: BackupConfig, backups: BackupResource) -> Iterator[_Event]:
        refuse_checks_alone(context)
        yield from backups.whole(_export(context, request_of(context, config, catalog, backups, reads=True), backups))

    return export


def _export(context: dg.AssetExecutionContext, request: Request, backups: BackupResource) -> Generator[_Event]:
    """Events for each table as it ends; an error naming every failed table at the end.

    A step that does not yield an asset and does not raise is a success to Dagster, so what came is counted.
    """
    selected = {key.path[-1] for key in context.selected_asset_keys}
    tables = tuple(table for table in request.catalog.tables if table in selected)
    failed = {table: BackupError("it was not exported, and no error came.", do="Report this.") for table in tables}
    with (
        backups.open(request.catalog) as ports,
        attempt_of(request, ports, context.log) as work,
        closing(export_attempt(replace(work, request=replace(request, tables=tables)))) as results,
    ):
        for result in results:
            key = table_key(request.catalog, result.table)
            if result.error is None:
                del failed[result.table]
                yield _materialization(key, result, ports.store.url)
                continue
            failed[result.table] = result.error
            context.log.error("Table %s failed: %s", result.table, result.error)
            yield failed_table_check(key, result.error)
        if failed:
            raise ExportFailedError(failed, len(tables))
        if request.kind == "tables":
            end_tables(work)


def _materialization(key: dg.AssetKey, result: TableResult, store_url: str) -> dg.MaterializeResult[None]:
    checksums = [file.sha256 for file in result.partition.table.files] if result.partition else []
    return dg.MaterializeResult(
        asset_key=key,
        metadata=table_metadata(result, store_url),
        check_results=list(check_results(key, result.checks)),
        data_version=dg.DataVersion(checksums[0][:32]) if checksums else None,
    )


def bundle_asset(catalog: Catalog) -> dg.AssetsDefinition:
    """The asset that bundles the newest partitions of a date, stores them with a manifest, and ends the ledger row."""

    # Without can_subset Dagster refuses a run that names the asset but not its check.
    @dg.multi_asset(
        name=bundle_op(catalog),
        specs=[bundle_spec(catalog)],
        check_specs=bundle_check_specs(catalog),
        can_subset=True,
    )
    def bundle(
        context: dg.AssetExecutionContext, config: BackupConfig, backups: BackupResource
    ) -> Iterator[dg.MaterializeResult[None]]:
        refuse_checks_alone(context)
        request = request_of(context, config, catalog, backups, reads=False)
        with backups.open(catalog) as ports, attempt_of(request, ports, context.log) as work:
            manifest = bundle_attempt(work)
            for warning in manifest.warnings:
                context.log.warning(warning)
            yield dg.MaterializeResult(
                asset_key=bundle_key(catalog),
                metadata={
                    **bundle_metadata(manifest, ports.store.url),
                    **calendar_metadata(catalog, ports.ledger, ports.clock()),
                    **statistics_metadata(catalog, ports.ledger, ports.clock()),
                },
                check_results=list(bundle_check_results(manifest)),
                data_version=dg.DataVersion(manifest.bundle.sha256[:32]),
            )

    return bundle


def backup_definitions(catalog: Catalog, settings: Settings) -> dg.Definitions:
    """The catalog's assets and the job of its full backup, without schedules, sensors and other jobs."""
    return dg.Definitions(assets=assets_of(catalog), jobs=[full_backup_job(catalog)], resources=resources(settings))


def assets_of(catalog: Catalog) -> Sequence[dg.AssetsDefinition]:
    """The tables and the bundle."""
    return [tables_asset(catalog), bundle_asset(catalog)]


def resources(settings: Settings) -> dict[str, BackupResource]:
    """What assets, jobs and sensors ask for by name."""
    return {"backups": BackupResource(s3=s3_resource(settings), settings=settings)}


def full_backup_job(catalog: Catalog) -> "UnresolvedAssetJobDefinition":
    """Every table from one snapshot, then the bundle."""
    keys = [*(table_key(catalog, table) for table in catalog.tables), bundle_key(catalog)]
    return dg.define_asset_job(
        full_job(catalog),
        selection=dg.AssetSelection.assets(*keys),
        description=f"The full backup of {catalog.title or catalog.catalog}: every table, the bundle, the ledger row.",
        tags={CATALOG_TAG: catalog.catalog},
        executor_def=dg.in_process_executor,
    )


def tables_only_job(catalog: Catalog) -> "UnresolvedAssetJobDefinition":
    """Tables without a bundle: choose one or several in the launchpad's asset selection to rerun just those."""
    return dg.define_asset_job(
        tables_job(catalog),
        selection=dg.AssetSelection.assets(*(table_key(catalog, table) for table in catalog.tables)),
        description="Export tables again, one or several (asset selection), without a bundle.",
        tags={CATALOG_TAG: catalog.catalog},
        executor_def=dg.in_process_executor,
    )


def table_specs(catalog: Catalog) -> list[dg.AssetSpec]:
    """An asset per table."""
    return [
        dg.AssetSpec(
            table_key(catalog, table),
            description=_description(catalog, table),
            group_name=catalog.catalog,
            kinds={"postgres", "parquet", "csv"},
            owners=list(catalog.owners),
            partitions_def=daily_partitions(catalog),
            tags={"catalog": catalog.catalog},
        )
        for table in catalog.tables
    ]


def bundle_spec(catalog: Catalog) -> dg.AssetSpec:
    """The asset of the bundle, downstream of every table."""
    return dg.AssetSpec(
        bundle_key(catalog),
        deps=[table_key(catalog, table) for table in catalog.tables],
        description=(
            f"{catalog.title or catalog.catalog}: every table of a date as one ZIP with its manifest, in the store, "
            "checked there, and a row in `backup_logs`."
        ),
        group_name=catalog.catalog,
        kinds={"s3", "zip"},
        owners=list(catalog.owners),
        partitions_def=daily_partitions(catalog),
        tags={"catalog": catalog.catalog},
    )


def _description(catalog: Catalog, table: str) -> str:
    spec = catalog.tables[table]
    schema, name = catalog.relation_of(table)
    text = spec.description or f"The table {table}."
    return f"{text}\n\nRead from `{schema}.{name}` into Parquet and the sheet *{catalog.sheet_of(table)}*."


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


Metadata = Mapping[str, dg.MetadataValue[Any] | dg.TableSchema | int | float | str]


def table_metadata(result: TableResult, store_url: str) -> Metadata:
    """What a table's materialization shows; the numbers are plotted over the dates.

    No rows: whoever may open Dagster's UI may not therefore read the customers, and its event log is in no retention.
    """
    if result.partition is None:
        message = f"table {result.table} was not exported: nothing to show"
        raise ValueError(message)
    table = result.partition.table
    place = PartitionPlace(result.partition.scope, table.name, result.partition.partition_date)
    return {
        "dagster/row_count": table.row_count,
        "dagster/size_bytes": table.bytes,
        "dagster/column_schema": _column_schema(table),
        "dagster/table_name": table.relation,
        "dagster/uri": f"{store_url}/{place.prefix}",
        "rows": table.row_count,
        "parquet_bytes": _bytes(table, "parquet"),
        "csv_bytes": _bytes(table, "csv"),
        "seconds": table.seconds,
        "rows_per_second": round(table.row_count / table.seconds, 1) if table.seconds else 0.0,
        "snapshot_at": dg.MetadataValue.timestamp(table.snapshot.taken_at),
        "snapshot_id": table.snapshot.id,
        "late": result.partition.late,
        "sheet": table.sheet,
        "files": dg.MetadataValue.path(f"{store_url}/{place.prefix}"),
        "notes": dg.MetadataValue.md(bullets(table.notes)),
    }


def bundle_metadata(manifest: StoredManifest, store_url: str) -> Metadata:
    """What the bundle's materialization shows."""
    place = BackupPlace(manifest.scope, manifest.partition_date, manifest.backup_id)
    return {
        "dagster/row_count": manifest.totals.rows,
        "dagster/size_bytes": manifest.bundle.bytes,
        "dagster/uri": f"{store_url}/{place.bundle(manifest.bundle_name)}",
        "rows": manifest.totals.rows,
        "bundle_bytes": manifest.bundle.bytes,
        "tables": manifest.totals.tables,
        "seconds": round((manifest.finished_at - manifest.started_at).total_seconds(), 3),
        "backup_id": manifest.backup_id,
        "consistent": manifest.consistent,
        "late": manifest.late,
        "snapshot_at": dg.MetadataValue.timestamp(manifest.snapshot.taken_at),
        "bundle": dg.MetadataValue.path(f"{store_url}/{place.bundle(manifest.bundle_name)}"),
        "sha256": manifest.bundle.sha256,
        "manifest": dg.MetadataValue.md(markdown(summary_document(manifest))),
        "warnings": dg.MetadataValue.md(bullets(manifest.warnings)),
        "contents": _contents(manifest),
    }


def _bytes(table: TableEntry, kind: str) -> int:
    return sum(file.bytes for file in table.files if file.format == kind)


def _column_schema(table: TableEntry) -> dg.TableSchema:
    return dg.TableSchema(columns=[_column(column, table.key) for column in table.columns])


def _column(column: ColumnEntry, key: tuple[str, ...]) -> dg.TableColumn:
    tags = {"key": ""} if column.name in key else {}
    return dg.TableColumn(
        name=column.name,
        type=column.pg_type,
        description="masked as [ENCRYPTED]" if column.masked else f"Arrow: {column.arrow_type}",
        constraints=dg.TableColumnConstraints(nullable=column.nullable, unique=(column.name,) == key),
        tags=tags,
    )


def _contents(manifest: StoredManifest) -> dg.TableMetadataValue:
    records = [
        dg.TableRecord(
            {
                "table": table.name,
                "sheet": table.sheet,
                "rows": table.row_count,
                "bytes": table.bytes,
                "seconds": table.seconds,
                "parquet sha256": next(file.sha256[:12] for file in table.files if file.format == "parquet"),
            }
        )
        for table in manifest.tables
    ]
    return dg.MetadataValue.table(records)


def calendar_metadata(catalog: Catalog, ledger: Ledger, now: datetime) -> Mapping[str, dg.MarkdownMetadataValue]:
    """Each table and day as a table; nothing when the ledger can not be read: the backup is there all the same."""
    try:
        return {"calendar": dg.MetadataValue.md(markdown(calendar_document(calendar_of(catalog, ledger, now))))}
    except LedgerError as error:
        logger.warning("There is no calendar of %s: %s", catalog.catalog, error)
        return {}


_DAYS = 90
_TABLES = 30
"""Tables on a page of statistics."""


def statistics_metadata(catalog: Catalog, ledger: Ledger, now: datetime) -> Mapping[str, dg.MarkdownMetadataValue]:
    """Totals, growth and forecast as tables; nothing when the ledger can not be read: the backup is there anyway."""
    try:
        rows = counted_rows(ledger, scope=Scope(catalog.catalog), now=now, days=_DAYS)
    except LedgerError as error:
        logger.warning("There are no statistics of %s: %s", catalog.catalog, error)
        return {}
    statistics = catalog_statistics(rows, Scope(catalog.catalog), catalog, now=now, days=_DAYS)
    return {"statistics": dg.MetadataValue.md(markdown(statistics_document(statistics, most=_TABLES)))}
