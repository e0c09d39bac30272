"""The assets of a catalog as Dagster shows them: what each is, and what a backup says of it."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from urllib.parse import unquote, urlsplit

import dagster as dg

from backup_pipeline.core.catalog.model import BUNDLE, Catalog
from backup_pipeline.core.content import communication_metrics
from backup_pipeline.core.errors import LedgerError
from backup_pipeline.core.layout import BackupPlace, PartitionPlace
from backup_pipeline.core.manifest import ColumnEntry, StoredManifest, TableEntry
from backup_pipeline.core.ports import Ledger
from backup_pipeline.core.relations import Relation
from backup_pipeline.core.schedule import due_times
from backup_pipeline.core.scope import Scope
from backup_pipeline.operations.browse import calendar_of
from backup_pipeline.operations.export import TableResult
from backup_pipeline.operations.health import catalog_statistics, counted_rows
from backup_pipeline.orchestration.internals import (
    AssetCheckEvaluationTargetMaterializationData as TargetMaterialization,
)
from backup_pipeline.orchestration.keys import (
    Execute,
    PlacedCatalog,
    bundle_key,
    daily_partitions,
    source_key,
    table_key,
)
from backup_pipeline.orchestration.read import of_table
from backup_pipeline.presentation.backup import summary_document
from backup_pipeline.presentation.health import calendar_document, statistics_document
from backup_pipeline.presentation.markdown import bullets, markdown


def placed(
    catalog: Catalog,
    described: Callable[[dg.AssetSpec, str], dg.AssetSpec],
    execute: Execute | None = None,
    *,
    in_s3: bool = False,
) -> PlacedCatalog:
    """The catalog as it stands in a project of somebody's.

    `described` gets the spec of each asset with its table (or `bundle`), and may change what it likes of it, its key
    too; what is upstream in the catalog stays upstream by its new key.
    """
    own = [*table_specs(catalog), bundle_spec(catalog, in_s3=in_s3)]
    specs = dict(zip((*catalog.tables, BUNDLE), own, strict=True))
    changed = {name: described(spec, name) for name, spec in specs.items()}
    keys = {spec.key: changed[name].key for name, spec in specs.items()}
    moved = {
        name: spec.replace_attributes(deps=[keys.get(dep.asset_key, dep) for dep in spec.deps])
        for name, spec in changed.items()
    }
    return PlacedCatalog.of(catalog, moved, execute)


def placed_specs(catalog: Catalog, specs: Sequence[dg.AssetSpec]) -> Sequence[dg.AssetSpec]:
    """`specs` as whoever has placed the catalog in a project of his describes them."""
    if not isinstance(catalog, PlacedCatalog):
        return specs
    known = {spec.key: spec for spec in catalog.specs.values()}
    return [known.get(spec.key, spec) for spec in specs]


def source_specs(catalog: Catalog) -> list[dg.AssetSpec]:
    """What the tables are read from: assets that nothing here makes. Each backup observes them, with their comments.

    None where somebody's project has put an asset of its own upstream of the table instead.
    """
    tables = placed_specs(catalog, table_specs(catalog))
    wanted = {dep.asset_key for spec in tables for dep in spec.deps}
    sources = {source_key(catalog, table): table for table in catalog.tables if source_key(catalog, table) in wanted}
    return [
        dg.AssetSpec(
            key,
            description=_source_description(catalog, table),
            group_name=f"{catalog.catalog}_source",
            kinds={"postgres", "view" if catalog.tables[table].kind else "table"},
            owners=list(catalog.owners),
            tags={"catalog": catalog.catalog},
            metadata={"dagster/table_name": ".".join(catalog.relation_of(table))},
        )
        for key, table in sources.items()
    ]


def table_specs(catalog: Catalog) -> list[dg.AssetSpec]:
    """An asset per table."""
    return [of_table(_table_spec(catalog, table), catalog.catalog, table) for table in catalog.tables]


def _table_spec(catalog: Catalog, table: str) -> dg.AssetSpec:
    return dg.AssetSpec(
        table_key(catalog, table),
        deps=[source_key(catalog, table)],
        description=_description(catalog, table),
        group_name=catalog.catalog,
        kinds={"postgres", "parquet", "csv"},
        owners=list(catalog.owners),
        partitions_def=daily_partitions(catalog),
        tags={"catalog": catalog.catalog},
    )


def bundle_spec(catalog: Catalog, *, in_s3: bool) -> dg.AssetSpec:
    """The asset of the bundle, downstream of every table."""
    return dg.AssetSpec(
        bundle_key(catalog),
        deps=[table_key(catalog, table) for table in catalog.tables],
        description=(
            f"{catalog.title or catalog.catalog}: every table of a date as one ZIP with its manifest, in the store, "
            "checked there, and a row in `backup_logs`."
        ),
        group_name=catalog.catalog,
        kinds={"s3", "zip"} if in_s3 else {"zip"},
        owners=list(catalog.owners),
        partitions_def=daily_partitions(catalog),
        tags={"catalog": catalog.catalog},
        freshness_policy=freshness_policy(catalog),
    )


def _source_description(catalog: Catalog, table: str) -> str:
    schema, name = catalog.relation_of(table)
    text = _sentence(catalog.tables[table].description)
    where = f"`{schema}.{name}` in the database."
    return f"{text}\n\n{where}" if text else where


def _description(catalog: Catalog, table: str) -> str:
    spec = catalog.tables[table]
    schema, name = catalog.relation_of(table)
    text = _sentence(spec.description) or f"The table {table}."
    return f"{text}\n\nRead from `{schema}.{name}` into Parquet and the sheet *{catalog.sheet_of(table)}*."


def _sentence(text: str | None) -> str:
    """The catalog of assets shows a description on one line: what follows would run into it."""
    ended = (text or "").rstrip()
    return ended if not ended or ended.endswith((".", "!", "?", "।", ":")) else f"{ended}."


_DAY_MINUTES = 24 * 60
_A_WHILE = timedelta(days=400)
"""So long that a schedule shows its longest pause."""


def freshness_policy(catalog: Catalog) -> dg.FreshnessPolicy | None:
    """A bundle is fresh when there is one since the last due time whose grace is over; None without a schedule.

    A schedule of one time a day is told as a deadline; any other as the age that its longest pause allows.
    """
    if catalog.schedule is None:
        return None
    grace = timedelta(minutes=max(catalog.grace_minutes, 1))
    minute, hour, *days = catalog.schedule.split()
    if minute.isdecimal() and hour.isdecimal():
        late, deadline = divmod(int(hour) * 60 + int(minute) + int(grace.total_seconds()) // 60, _DAY_MINUTES)
        if not late or days == ["*", "*", "*"]:
            line = " ".join([str(deadline % 60), str(deadline // 60), *days])
            return dg.FreshnessPolicy.cron(line, grace, catalog.timezone)
    return _as_age(catalog.schedule, catalog.timezone, grace)


def _as_age(schedule: str, timezone: str, grace: timedelta) -> dg.FreshnessPolicy | None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    dues = due_times(schedule, timezone, after=start, until=start + _A_WHILE)
    longest = max((later - earlier for earlier, later in pairwise(dues)), default=None)
    return dg.FreshnessPolicy.time_window(fail_window=longest + grace) if longest else None


logger = logging.getLogger(__name__)

Metadata = Mapping[str, dg.MetadataValue[Any] | dg.TableSchema | int | float | str]
MANIFEST_FILE = "manifest_file"
"""What the materialization of a bundle has, and no other."""


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
        **communication_metrics([table]).numbers,
        **({"invalid_rows": table.validation.invalid} if table.validation else {}),
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
            **({"comment": relation.comment} if relation.comment else {}),
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
        MANIFEST_FILE: _path(f"{store_url}/{place.manifest}"),
        "log": dg.MetadataValue.url(log_url),
        "sha256": manifest.bundle.sha256,
        "manifest": dg.MetadataValue.md(markdown(summary_document(manifest))),
        "contents": _contents(manifest),
        **communication_metrics(manifest.tables).numbers,
        **_invalid_rows(manifest),
    }


def _invalid_rows(manifest: StoredManifest) -> Mapping[str, int]:
    """How many rows of customers' data break a rule; nothing where none are judged."""
    judged = [table.validation.invalid for table in manifest.tables if table.validation is not None]
    return {"invalid_rows": sum(judged)} if judged else {}


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


def evaluations(
    results: Sequence[dg.AssetCheckResult], context: dg.AssetExecutionContext
) -> Iterator[dg.AssetCheckEvaluation]:
    """The results of checks of what the run has just materialized; each names its asset and its check.

    Dagster's own way from a result to an evaluation looks the materialization up for each check; here one query finds
    those of all. And it leaves the partition out, so that each check stood a second time, as planned and never made.
    """
    context.log.addFilter(_is_no_missed_output)
    targets = _materialized(context) if results else {}
    for result in results:
        if result.asset_key is None or result.check_name is None:
            message = f"a check of {result.asset_key} has no asset or no name"
            raise ValueError(message)
        yield dg.AssetCheckEvaluation(
            asset_key=result.asset_key,
            check_name=result.check_name,
            passed=result.passed,
            severity=result.severity,
            description=result.description,
            metadata=result.metadata,
            target_materialization_data=targets.get(result.asset_key),
            partition=context.partition_key,
        )


def _is_no_missed_output(record: logging.LogRecord) -> bool:
    """False for Dagster's line that a check was not put out: it counts results, and these are evaluations."""
    return "did not yield or return expected outputs" not in str(record.msg)


def _materialized(context: dg.AssetExecutionContext) -> Mapping[dg.AssetKey, TargetMaterialization]:
    """What the run has materialized so far: for each asset the newest."""
    kind, run_id = dg.DagsterEventType.ASSET_MATERIALIZATION, context.run.run_id
    records: Iterable[Any]
    if hasattr(context.instance, "get_asset_event_summary_records"):  # newer Dagsters: without what each event holds
        records = context.instance.get_asset_event_summary_records(kind, run_id=run_id, ascending=True)
    else:
        records = _records_of(context.instance, run_id, kind)
    return {
        record.asset_key: TargetMaterialization(
            storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp
        )
        for record in records
        if record.asset_key is not None
    }


def _records_of(instance: dg.DagsterInstance, run_id: str, kind: dg.DagsterEventType) -> Iterator[dg.EventLogRecord]:
    page = instance.get_records_for_run(run_id, of_type=kind, ascending=True)
    while True:
        yield from page.records
        if not page.has_more:
            return
        page = instance.get_records_for_run(run_id, cursor=page.cursor, of_type=kind, ascending=True)
