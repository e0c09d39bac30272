"""Metadata that reads well in the Dagster UI; keys that start with `dagster/` have a place of their own there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from backup_pipeline.core import markdown
from backup_pipeline.core.layout import BackupPlace, PartitionPlace
from backup_pipeline.core.manifest import ColumnEntry, StoredManifest, TableEntry
from backup_pipeline.operations.results import TableResult

Metadata = Mapping[str, dg.MetadataValue[Any] | dg.TableSchema | int | float | str]


def table_metadata(result: TableResult, store_url: str) -> Metadata:
    """What a table's materialization shows; the numbers are plotted over the dates.

    No rows: whoever may open Dagster's UI may not therefore read the customers, and its event log is in no retention.
    """
    if result.partition is None:
        message = f"table {result.table} was not exported: nothing to show"
        raise ValueError(message)
    table = result.partition.table
    place = PartitionPlace(result.partition.catalog, table.name, result.partition.partition_date)
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
        "notes": dg.MetadataValue.md(markdown.bullets(table.notes)),
    }


def bundle_metadata(manifest: StoredManifest, store_url: str) -> Metadata:
    """What the bundle's materialization shows."""
    place = BackupPlace(manifest.catalog, manifest.partition_date, manifest.backup_id)
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
        "manifest": dg.MetadataValue.md(_summary(manifest)),
        "warnings": dg.MetadataValue.md(markdown.bullets(manifest.warnings)),
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


def _summary(manifest: StoredManifest) -> str:
    facts = {
        "Backup": f"`{manifest.backup_id}`",
        "Status": manifest.status,
        "Tables": f"{manifest.totals.tables}",
        "Rows": f"{manifest.totals.rows:,}",
        "Snapshot": f"{manifest.snapshot.taken_at:%F %T} UTC, LSN {manifest.snapshot.lsn}",
        "Consistent": "yes, one instant" if manifest.consistent else "no, mixed snapshots",
        "Made by": markdown.plain(f"{manifest.created_by} ({manifest.type})"),
        "Reason": markdown.plain(manifest.reason) or "none given",
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts.items())])


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
