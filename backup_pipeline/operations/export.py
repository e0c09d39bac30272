"""Export: the tables of one run, read from one snapshot, each filed as the partition of its date."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

from backup_pipeline.core.anomaly_history import History
from backup_pipeline.core.catalog import Catalog
from backup_pipeline.core.errors import BackupError, CanceledError, LeaseLostError, SnapshotLostError
from backup_pipeline.core.layout import schema_key
from backup_pipeline.core.not_held import NotHeld
from backup_pipeline.core.planning import plan_catalog
from backup_pipeline.core.plans import CatalogPlan, TablePlan
from backup_pipeline.core.ports import Ports, Snapshot
from backup_pipeline.core.progress import StageStarted, TableFinished
from backup_pipeline.operations.export_table import TableJob, export_table
from backup_pipeline.operations.not_held import find_not_held
from backup_pipeline.operations.results import TableResult


@dataclass(frozen=True)
class ExportRequest:
    """Which tables of a catalog to export, for which date, on behalf of which backup.

    `spool` is a folder for files in the making; `before` has each table's row count in the last good backup,
    `history` what was usual before. `schema_sha256` is known once the schema is read.
    """

    backup_id: str
    catalog: Catalog
    tables: tuple[str, ...]
    day: date
    late: bool
    spool: Path
    workers: int
    before: Mapping[str, int]
    history: History = field(default_factory=History)
    schema_sha256: str | None = None


def export_tables(request: ExportRequest, ports: Ports) -> Generator[TableResult]:
    """Export the tables side by side from one snapshot; their results in the order in which they end.

    A table that fails does not stop the others. Closing the iterator early, or an exception in whoever consumes it,
    cancels every running query at once. Raises what makes the whole run void: SourceError, SnapshotLostError,
    LeaseLostError, CatalogError for a column that looks like a secret.
    """
    ports.progress.tell(StageStarted("snapshot"))
    with ports.source.snapshot() as snapshot:
        database = snapshot.database()
        plan = plan_catalog(request.catalog, database)
        missing = find_not_held(request.catalog, database, snapshot)
        key = schema_key(request.catalog.catalog, request.day)
        schema = snapshot.schema_sql().encode()
        ports.store.put(key, [schema])
        request = replace(request, schema_sha256=hashlib.sha256(schema).hexdigest())
        for table in request.tables:
            if table in plan.failed:
                yield _failed(request, ports, table, plan.failed[table])
        ready = [plan.tables[table] for table in request.tables if table in plan.tables]
        jobs = [_job(request, plan, table, missing) for table in ready]
        yield from _side_by_side(request, ports, snapshot, jobs)


def _side_by_side(
    request: ExportRequest, ports: Ports, snapshot: Snapshot, tables: list[TableJob]
) -> Iterator[TableResult]:
    """Biggest table first, so that the last one to end is a small one."""
    tables.sort(key=lambda job: job.plan.relation.total_bytes, reverse=True)
    pool = ThreadPoolExecutor(max_workers=request.workers, thread_name_prefix="export")
    try:
        jobs = {pool.submit(export_table, job, snapshot, ports): job.plan.name for job in tables}
        for future in as_completed(jobs):
            yield _result(request, ports, jobs[future], future)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        snapshot.cancel()
        pool.shutdown(wait=True)


def _job(request: ExportRequest, plan: CatalogPlan, table: TablePlan, missing: tuple[NotHeld, ...]) -> TableJob:
    return TableJob(
        backup_id=request.backup_id,
        catalog=request.catalog,
        plan=table,
        day=request.day,
        late=request.late,
        directory=request.spool / table.name,
        before=request.before.get(table.name),
        history=request.history,
        unlisted=plan.unlisted,
        excluded=plan.excluded,
        schema_sha256=request.schema_sha256,
        sequences=plan.sequences,
        not_held=missing,
    )


def _result(request: ExportRequest, ports: Ports, table: str, future: Future[TableResult]) -> TableResult:
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, CanceledError | SnapshotLostError | LeaseLostError) or not isinstance(error, Exception):
        raise error
    known = error if isinstance(error, BackupError) else BackupError(f"{type(error).__name__}: {error}")
    known.__cause__ = error if known is not error else known.__cause__
    return _failed(request, ports, table, known)


def _failed(request: ExportRequest, ports: Ports, table: str, error: BackupError) -> TableResult:
    sheet = request.catalog.sheet_of(table)
    ports.progress.tell(TableFinished(table, sheet, 0, 0, 0.0, error.what))
    return TableResult(table, None, error=error)
