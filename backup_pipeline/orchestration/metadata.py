"""What the materializations of tables and bundles show in Dagster."""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import unquote, urlsplit

import dagster as dg

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import LedgerError
from backup_pipeline.core.layout import BackupPlace, PartitionPlace
from backup_pipeline.core.manifest import ColumnEntry, StoredManifest, TableEntry
from backup_pipeline.core.ports import Ledger
from backup_pipeline.core.relations import Relation
from backup_pipeline.core.scope import Scope
from backup_pipeline.operations.browse import calendar_of
from backup_pipeline.operations.export import TableResult
from backup_pipeline.operations.stats import catalog_statistics, counted_rows
from backup_pipeline.orchestration.keys import source_key
from backup_pipeline.presentation.backup import summary_document
from backup_pipeline.presentation.markdown import bullets, markdown
from backup_pipeline.presentation.statistics import calendar_document, statistics_document

logger = logging.getLogger(__name__)

Metadata = Mapping[str, dg.MetadataValue[Any] | dg.TableSchema | int | float | str]


def table_metadata(result: TableResult, store_url: str) -> Metadata:
    """What a table's materialization shows; the numbers are plotted over the dates, each once.

    Rows only where the catalog wants a sample: whoever may open Dagster's UI may not therefore read the customers, and
    its event log is in no retention.
    """
    if result.partition is None or result.plan is None:
        message = f"table {result.table} was not exported: nothing to show"
        raise ValueError(message)
    table, comments = result.partition.table, _comments(result.plan.relation)
    place = PartitionPlace(result.partition.scope, table.name, result.partition.partition_date)
    return {
        **_files(table, place, store_url),
        **_notes("notes", table.notes),
        **_sample(result),
        "dagster/row_count": table.row_count,
        "dagster/size_bytes": table.bytes,
        "dagster/column_schema": _column_schema(table, comments),
        "dagster/table_name": table.relation,
        "dagster/uri": f"{store_url}/{place.prefix}",
        "parquet_bytes": _bytes(table, "parquet"),
        "csv_bytes": _bytes(table, "csv"),
        "seconds": table.seconds,
        "rows_per_second": round(table.row_count / table.seconds, 1) if table.seconds else 0.0,
        "snapshot_at": dg.MetadataValue.timestamp(table.snapshot.taken_at),
        "snapshot_id": table.snapshot.id,
        "backup_id": table.exported_by,
        "late": result.partition.late,
        "sheet": table.sheet,
    }


def source_observation(catalog: Catalog, result: TableResult) -> dg.AssetObservation | None:
    """What a backup saw of the relation that a table is read from: columns and comments; nothing of a failed table."""
    if result.plan is None:
        return None
    relation = result.plan.relation
    columns = [
        dg.TableColumn(
            column.name,
            column.pg_type,
            column.comment or None,
            dg.TableColumnConstraints(nullable=column.nullable, unique=(column.name,) == relation.primary_key),
        )
        for column in relation.columns
    ]
    return dg.AssetObservation(
        source_key(catalog, result.table),
        description=relation.comment or None,
        metadata={
            "dagster/column_schema": dg.TableSchema(columns=columns),
            "comment": relation.comment,
            "estimated_rows": relation.estimated_rows,
            "total_bytes": relation.total_bytes,
        },
    )


def bundle_metadata(manifest: StoredManifest, store_url: str, log_url: str) -> Metadata:
    """What the bundle's materialization shows; `log_url` is where the log of its run is."""
    place = BackupPlace(manifest.scope, manifest.partition_date, manifest.backup_id)
    return {
        **_notes("warnings", manifest.warnings),
        "dagster/row_count": manifest.totals.rows,
        "dagster/size_bytes": manifest.bundle.bytes,
        "dagster/uri": f"{store_url}/{place.bundle(manifest.bundle_name)}",
        "tables": manifest.totals.tables,
        "seconds": round((manifest.finished_at - manifest.started_at).total_seconds(), 3),
        "backup_id": manifest.backup_id,
        "consistent": manifest.consistent,
        "late": manifest.late,
        "snapshot_at": dg.MetadataValue.timestamp(manifest.snapshot.taken_at),
        "bundle": _path(f"{store_url}/{place.bundle(manifest.bundle_name)}"),
        "manifest_file": _path(f"{store_url}/{place.manifest}"),
        "log": dg.MetadataValue.url(log_url),
        "sha256": manifest.bundle.sha256,
        "manifest": dg.MetadataValue.md(markdown(summary_document(manifest))),
        "contents": _contents(manifest),
    }


def _bytes(table: TableEntry, kind: str) -> int:
    return sum(file.bytes for file in table.files if file.format == kind)


def _files(table: TableEntry, place: PartitionPlace, store_url: str) -> Metadata:
    """A path for each kind of file: the first of it, the others lie beside."""
    first = {file.format: file.stored.name for file in reversed(table.files)}
    return {f"{kind}_file": _path(f"{store_url}/{place.file(name)}") for kind, name in sorted(first.items())}


def _path(url: str) -> dg.PathMetadataValue:
    """For copying: of a directory as the system names it, of S3 as its URL."""
    return dg.MetadataValue.path(unquote(urlsplit(url).path) if url.startswith("file:") else url)


def _notes(name: str, notes: Sequence[str]) -> Metadata:
    return {name: dg.MetadataValue.md(bullets(notes))} if notes else {}


def _sample(result: TableResult) -> Metadata:
    if not result.sample:
        return {}
    return {"sample": dg.MetadataValue.table([dg.TableRecord(dict(row)) for row in result.sample])}


def _comments(relation: Relation) -> Mapping[str, str]:
    return {column.name: column.comment for column in relation.columns if column.comment}


def _column_schema(table: TableEntry, comments: Mapping[str, str]) -> dg.TableSchema:
    return dg.TableSchema(columns=[_column(column, table.key, comments.get(column.name)) for column in table.columns])


def _column(column: ColumnEntry, key: tuple[str, ...], comment: str | None) -> dg.TableColumn:
    tags = {"key": ""} if column.name in key else {}
    stored = "masked as [ENCRYPTED]" if column.masked else f"Arrow: {column.arrow_type}"
    return dg.TableColumn(
        name=column.name,
        type=column.pg_type,
        description=f"{comment} ({stored})" if comment else stored,
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
