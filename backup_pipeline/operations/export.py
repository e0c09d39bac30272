"""Export: the tables of one run, read from one snapshot, each filed as the partition of its date."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from threading import Lock

from backup_pipeline.core.anomalies import (
    History,
    TableCheck,
    anomaly_check,
    judge_table,
    key_unique,
    row_count,
    shrinkage,
)
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import (
    BackupError,
    CanceledError,
    LeaseLostError,
    NotFoundError,
    SnapshotLostError,
    SnapshotOutdatedError,
    SourceError,
    StoreDeniedError,
    VerificationError,
    in_our_words,
)
from backup_pipeline.core.keys import encryption_entry
from backup_pipeline.core.layout import PARTITION_NAME, PartitionPlace, schema_key
from backup_pipeline.core.manifest import CheckEntry, FileEntry, PartitionRecord, read_partition, seal
from backup_pipeline.core.manifest.entry import not_held_entry, other_sequence, rows_of, table_entry
from backup_pipeline.core.names import local_name
from backup_pipeline.core.not_held import COUNTED, NotHeld, not_held, uncertain
from backup_pipeline.core.planning import plan_catalog
from backup_pipeline.core.plans import CatalogPlan, NotNativeError, TablePlan
from backup_pipeline.core.ports import Ports, Snapshot, Store, TableWriter
from backup_pipeline.core.ports.people import PageWritten, StageStarted, TableFinished, TableStarted, Waiting
from backup_pipeline.core.relations import Database, DatabaseSequence, Relation
from backup_pipeline.core.schedule import check_difference


def find_not_held(catalog: Catalog, database: Database, snapshot: Snapshot) -> tuple[NotHeld, ...]:
    """The list of `core.not_held`. What can not be counted, a locked table for one, is said without a number.

    SnapshotLostError when the snapshot is gone.
    """
    rows: dict[tuple[str, str], int | None] = {}
    left = COUNTED
    for relation in uncertain(catalog, database):
        rows[relation.id] = counted = _count(relation, left, snapshot) if left > 0 else None
        left -= counted if counted is not None else left
    return not_held(catalog, database, rows)


def _count(relation: Relation, most: int, snapshot: Snapshot) -> int | None:
    """The rows, when they are no more than `most`."""
    try:
        return snapshot.count_up_to(relation, most)
    except SnapshotLostError:
        raise
    except BackupError:
        return None


@dataclass(frozen=True)
class TableResult:
    """What became of one table: its partition and its checks, or the error."""

    table: str
    partition: PartitionRecord | None
    checks: tuple[TableCheck, ...] = ()
    error: BackupError | None = None


logger = logging.getLogger(__name__)

_told: set[str] = set()
_telling = Lock()


def publish_partition(place: PartitionPlace, partition: PartitionRecord, directory: Path, store: Store) -> None:
    """Put the partition's files from `directory` into the store, check them there, and make the partition visible.

    Its record stays in `directory` too: who bundles the files that lie there, takes nobody else's word for them.
    """
    _clear(place, store)
    for file in (file.stored for file in partition.table.files):
        stored = store.put_file(place.file(file.name), directory / file.name)
        if stored.size != file.bytes:
            message = f"{store.url}/{stored.key} has {stored.size} bytes in the store; {file.bytes} were written."
            raise VerificationError(message, do="Run the table again; if it repeats, look at the store.")
    document = seal(partition)
    (directory / PARTITION_NAME).write_bytes(document)
    store.put(place.record, [document])


def _clear(place: PartitionPlace, store: Store) -> None:
    """Delete the partition that is there, where that is allowed.

    A writer without the right to delete writes over its files instead, the record last: until then the old record
    names bytes that are not there any more, which whoever reads them notices by their SHA-256.
    """
    try:
        store.delete([place.record])
        store.delete([found.key for found in store.list(place.prefix)])
    except StoreDeniedError as error:
        _tell_once(store.url)
        logger.debug("%s", error.what)


def _tell_once(url: str) -> None:
    with _telling:
        if url not in _told:
            logger.warning("Nothing may be deleted in %s, so partitions are written over in place.", url)
            _told.add(url)


def load_partition(place: PartitionPlace, store: Store, spool: Path | None = None) -> PartitionRecord:
    """The record of a partition, from this run's own `spool` where it is there, else from the store.

    NotFoundError when the table has none for that date; VerificationError for that of another partition.
    """
    mine = spool / place.table / PARTITION_NAME if spool is not None else None
    if mine is not None and mine.is_file():
        return read_partition(mine.read_bytes(), str(mine))
    try:
        data = store.get(place.record)
    except NotFoundError as error:
        message = f"Table {place.table} has no partition for {place.day} in {store.url}."
        raise NotFoundError(message, do=f"Materialize the table {place.table} for that date.") from error
    record = read_partition(data, f"{store.url}/{place.record}")
    said = (record.catalog, record.table.name, record.partition_date)
    if said != (place.catalog, place.table, place.day):
        message = f"{store.url}/{place.record} describes another partition: {', '.join(str(part) for part in said)}."
        raise VerificationError(message, do=f"Materialize the table {place.table} again for that date.")
    return record


_RESTARTS = 3
_HOPELESS = (SnapshotLostError, SnapshotOutdatedError)
"""What the same snapshot can not get over, however often the table is read again."""


@dataclass(frozen=True)
class TableJob:
    """One table to export: how to read it, for which date, where its files are made (`directory`), what to compare."""

    backup_id: str
    catalog: Catalog
    plan: TablePlan
    day: date
    late: bool
    directory: Path
    before: int | None
    unlisted: tuple[str, ...]
    excluded: Mapping[str, str]
    sequences: tuple[DatabaseSequence, ...] = ()
    not_held: tuple[NotHeld, ...] = ()
    history: History = field(default_factory=History)
    schema_sha256: str | None = None

    @property
    def place(self) -> PartitionPlace:
        """Where its partition lies in the store."""
        return PartitionPlace(self.catalog.catalog, self.plan.name, self.day)


def export_table(job: TableJob, snapshot: Snapshot, ports: Ports) -> TableResult:
    """Export one table and publish its partition; a failed blocking check is an error, and publishes nothing."""
    started = ports.clock()
    ports.progress.tell(TableStarted(job.plan.name, job.plan.relation.estimated_rows, job.plan.sheet.name))
    plan, files = _write_files(job, snapshot, ports)
    checks = _checks(job, plan, files, snapshot)
    for check in checks:
        if check.blocking and not check.passed:
            raise BackupError(check.message, do="Run the table again. If it repeats, report it: no rows may be lost.")
    record = _record(job, plan, files, checks, snapshot, _seconds(started, ports))
    encryption = encryption_entry(ports.formats.recipients)
    partition, unusual = _judged(job, record.model_copy(update={"encryption": encryption}))
    publish_partition(job.place, partition, job.directory, ports.store)
    entry = partition.table
    ports.progress.tell(TableFinished(entry.name, entry.sheet, entry.row_count, entry.bytes, _seconds(started, ports)))
    return TableResult(plan.name, partition, (*checks, unusual))


def _write_files(job: TableJob, snapshot: Snapshot, ports: Ports) -> tuple[TablePlan, tuple[FileEntry, ...]]:
    """Write the table's files; begin again when a value wants its column as text, or when the connection was lost."""
    plan = job.plan
    restarts = 0
    while True:
        try:
            return plan, _write_once(job, plan, snapshot, ports)
        except NotNativeError as error:
            plan = plan.as_text(error.column, error.value)
        except BackupError as error:
            restarts += 1
            if not error.transient or isinstance(error, _HOPELESS) or restarts >= _RESTARTS:
                raise
        ports.progress.tell(TableStarted(plan.name, plan.relation.estimated_rows, plan.sheet.name))


def _write_once(job: TableJob, plan: TablePlan, snapshot: Snapshot, ports: Ports) -> tuple[FileEntry, ...]:
    shutil.rmtree(job.directory, ignore_errors=True)
    job.directory.mkdir(parents=True, mode=0o700)
    writer: TableWriter = ports.formats.writer(plan, job.directory, job.catalog.timezone)
    try:
        for page in snapshot.read(plan):
            writer.write(page.rows)
            ports.progress.tell(PageWritten(plan.name, page.rows.num_rows, writer.bytes_written))
        return writer.close()
    except BaseException:
        writer.abort()
        raise


def _checks(job: TableJob, plan: TablePlan, files: tuple[FileEntry, ...], snapshot: Snapshot) -> tuple[TableCheck, ...]:
    """The CSV must hold as many rows as the Parquet, and both as many as the snapshot."""
    counted = snapshot.count(plan)
    written, shown = (rows_of(files, kind) for kind in ("parquet", "csv"))
    return (
        row_count(written if written != counted else shown, counted),
        key_unique(plan.key, snapshot.duplicate_keys(plan)),
        shrinkage(written, job.before, job.catalog.shrinkage_of(plan.name)),
    )


def _record(
    job: TableJob,
    plan: TablePlan,
    files: tuple[FileEntry, ...],
    checks: tuple[TableCheck, ...],
    snapshot: Snapshot,
    seconds: float,
) -> PartitionRecord:
    file, taken = plan.sheet.file, snapshot.entry
    return PartitionRecord(
        catalog=job.catalog.catalog,
        partition_date=job.day,
        late=job.late,
        sheet_file=local_name(file, taken.taken_at, job.catalog.timezone) if file else None,
        unlisted=job.unlisted,
        excluded=job.excluded,
        schema_sha256=job.schema_sha256,
        sequences=tuple(other_sequence(found) for found in job.sequences),
        not_held=tuple(not_held_entry(found) for found in job.not_held),
        table=table_entry(plan, files, checks, taken, exported_by=job.backup_id, seconds=seconds),
    )


def _judged(job: TableJob, partition: PartitionRecord) -> tuple[PartitionRecord, TableCheck]:
    """The record with what is unusual about the table, and the check that tells it."""
    table, rule = partition.table, job.catalog.anomalies_of(job.plan.name)
    past = job.history.of(table.name, rule.trailing)
    found = judge_table(table, past, rule)
    check = anomaly_check(found, past)
    told = CheckEntry(name=check.name, passed=check.passed, message=check.message)
    entry = table.model_copy(update={"anomalies": found, "checks": (*table.checks, told)})
    return partition.model_copy(update={"table": entry}), check


def _seconds(started: datetime, ports: Ports) -> float:
    return (ports.clock() - started).total_seconds()


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
