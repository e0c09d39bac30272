"""Export: the tables of one run, read from one snapshot, each filed as the partition of its date."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

from backup_pipeline.core.anomaly_history import History
from backup_pipeline.core.catalog import Catalog
from backup_pipeline.core.clocks import check_difference
from backup_pipeline.core.errors import (
    BackupError,
    CanceledError,
    LeaseLostError,
    SnapshotLostError,
    SnapshotOutdatedError,
    SourceError,
)
from backup_pipeline.core.layout import schema_key
from backup_pipeline.core.not_held import NotHeld
from backup_pipeline.core.planning import plan_catalog
from backup_pipeline.core.plans import CatalogPlan, TablePlan
from backup_pipeline.core.ports import Ports, Snapshot
from backup_pipeline.core.progress import StageStarted, TableFinished, Waiting
from backup_pipeline.core.unforeseen import in_our_words
from backup_pipeline.operations.export_table import TableJob, export_table
from backup_pipeline.operations.not_held import find_not_held
from backup_pipeline.operations.results import TableResult

logger = logging.getLogger(__name__)

_SECOND_LOCK_S = 5
_SECOND = "read from a second snapshot of the run: it was truncated, rewritten or redefined after the first was taken"


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

    A table whose rows that snapshot does not show any more is exported from a second one; one that fails does not stop
    the others. Closing the iterator early, or an exception in whoever consumes it, cancels every running query at once.
    Raises what makes the whole run void: SourceError, SnapshotLostError, LeaseLostError, CatalogError for a column that
    looks like a secret, ClockError for a source whose clock is wrong.
    """
    ports.progress.tell(StageStarted("snapshot"))
    outdated: dict[str, BackupError] = {}
    with ports.source.snapshot(ports.progress) as snapshot:
        _check_clock(snapshot, ports)
        for result in _export(request, ports, snapshot):
            if isinstance(result.error, SnapshotOutdatedError):
                outdated[result.table] = result.error
            else:
                yield result
        if outdated:
            yield from _again(request, ports, outdated)


def _again(request: ExportRequest, ports: Ports, outdated: Mapping[str, BackupError]) -> Iterator[TableResult]:
    """Export tables that were changed after the snapshot from a new one, once; the backup is then a mixed one.

    The older snapshot is still open: the locks of its readers keep the other tables as the new schema has them. Who
    waits for these locks, to change such a table, keeps us waiting too, in vain: therefore not for long.
    """
    names = ", ".join(outdated)
    ports.progress.tell(Waiting(f"Changed after the snapshot was taken, and read again from a new one: {names}."))
    rest = dict(outdated)
    try:
        with ports.source.snapshot(ports.progress, lock_timeout_s=_SECOND_LOCK_S) as snapshot:
            for result in _export(replace(request, tables=tuple(outdated)), ports, snapshot, note=_SECOND):
                if isinstance(result.error, SnapshotOutdatedError):
                    continue
                del rest[result.table]
                yield result
    except SourceError as refused:
        logger.warning("Tables are not read again: %s", refused)
    for table, error in rest.items():
        yield _failed(request, ports, table, error)


def _export(request: ExportRequest, ports: Ports, snapshot: Snapshot, note: str = "") -> Iterator[TableResult]:
    """The definitions, then the tables, as `snapshot` shows them; `note` is to be said of each of them."""
    database = snapshot.database()
    plan = plan_catalog(request.catalog, database)
    missing = find_not_held(request.catalog, database, snapshot)
    schema = snapshot.schema_sql().encode()
    ports.store.put(schema_key(request.catalog.catalog, request.day), [schema])
    request = replace(request, schema_sha256=hashlib.sha256(schema).hexdigest())
    for table in request.tables:
        if table in plan.failed:
            yield _failed(request, ports, table, plan.failed[table])
    ready = [plan.tables[table] for table in request.tables if table in plan.tables]
    noted = [replace(table, notes=(*table.notes, note)) if note else table for table in ready]
    yield from _side_by_side(request, ports, snapshot, [_job(request, plan, table, missing) for table in noted])


def _check_clock(snapshot: Snapshot, ports: Ports) -> None:
    """The ledger's clock gives a backup its date, the source's its instant: they must agree which day it is."""
    sentence = check_difference("the source", snapshot.entry.taken_at - ports.clock(), "the ledger")
    if sentence is not None:
        logger.warning("%s Snapshot times are the source's, dates the ledger's.", sentence)


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
    known = error if isinstance(error, BackupError) else BackupError(in_our_words(error))
    known.__cause__ = error if known is not error else known.__cause__
    if isinstance(known, SnapshotOutdatedError):
        return TableResult(table, None, error=known)  # it may be read again
    return _failed(request, ports, table, known)


def _failed(request: ExportRequest, ports: Ports, table: str, error: BackupError) -> TableResult:
    sheet = request.catalog.sheet_of(table)
    ports.progress.tell(TableFinished(table, sheet, 0, 0, 0.0, error.what))
    return TableResult(table, None, error=error)
