"""Export: the tables of one run, read from one snapshot, each filed as the partition of its date."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from backup_pipeline.core.anomalies import TableCheck, anomaly_check, judge_table, key_unique, row_count, shrinkage
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.content.masking import masked_row
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
from backup_pipeline.core.manifest import CheckEntry, FileEntry, PartitionRecord, TableEntry, read_partition, seal
from backup_pipeline.core.manifest.entry import (
    COUNTED,
    NotHeld,
    not_held,
    not_held_entry,
    other_sequence,
    rows_of,
    table_entry,
    uncertain,
)
from backup_pipeline.core.names import local_name
from backup_pipeline.core.planning import plan_catalog
from backup_pipeline.core.plans import CatalogPlan, NotNativeError, TablePlan
from backup_pipeline.core.ports import (
    PageWritten,
    Ports,
    Snapshot,
    StageStarted,
    Store,
    TableFinished,
    TablesPlanned,
    TableStarted,
    TableWriter,
    Waiting,
)
from backup_pipeline.core.relations import Database, Relation
from backup_pipeline.core.schedule import check_difference
from backup_pipeline.operations.attempts import Work
from backup_pipeline.operations.content import RowContents

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)


SampleRow = Mapping[str, str | None]
"""Some columns of a row, as text that is cut."""


@dataclass(frozen=True)
class TableResult:
    """What became of one table: its partition and its checks, or the error.

    `plan` is how it was read; `sample` rows of it for whoever looks on, where the catalog wants that. With `more` the
    next one follows at once: who does something for many at a time waits for it.
    """

    table: str
    partition: PartitionRecord | None
    checks: tuple[TableCheck, ...] = ()
    error: BackupError | None = None
    plan: TablePlan | None = None
    sample: tuple[SampleRow, ...] = ()
    more: bool = False


@dataclass(frozen=True)
class SourceView:
    """What one snapshot shows: how its tables are read, what is not held, and the SHA-256 of its definitions.

    `note` is to be said of each of its tables.
    """

    snapshot: Snapshot
    plan: CatalogPlan
    not_held: tuple[NotHeld, ...]
    schema_sha256: str
    note: str = ""


_RESTARTS = 3
_FEW = 64 << 10
"""Bytes of a table that is empty, or so small that a guess of no rows is none to speak of. A view has none at all."""
_HOPELESS = (SnapshotLostError, SnapshotOutdatedError)
"""What the same snapshot can not get over, however often the table is read again."""
_SECOND_LOCK_S = 5
_SECOND = "read from a second snapshot of the run: it was truncated, rewritten or redefined after the first was taken"


def export_tables(work: Work) -> Generator[TableResult]:
    """Export the request's tables side by side from one snapshot; their results in the order in which they end.

    A table whose rows that snapshot does not show any more is exported from a second one; one that fails does not stop
    the others. Closing the iterator early, or an exception in whoever consumes it, cancels every running query at once.
    Raises what makes the whole run void: SourceError, SnapshotLostError, LeaseLostError, CatalogError for a column that
    looks like a secret, ClockError for a source whose clock is wrong.
    """
    ports = work.ports
    ports.progress.tell(StageStarted("snapshot"))
    outdated: dict[str, BackupError] = {}
    with ports.source.snapshot(ports.progress) as snapshot:
        _check_clock(snapshot, ports)
        for result in _export_view(snapshot, work):
            if isinstance(result.error, SnapshotOutdatedError):
                outdated[result.table] = result.error
            else:
                yield result
        if outdated:
            yield from _again(outdated, work)


def _export_view(snapshot: Snapshot, work: Work, note: str = "") -> Iterator[TableResult]:
    """The tables as `snapshot` shows them: the biggest first, so that the last one to end is a small one."""
    view = _look(snapshot, work, note)
    for table in work.request.tables:
        if table in view.plan.failed:
            yield _failed(table, view.plan.failed[table], work)
    plans = [view.plan.tables[table] for table in work.request.tables if table in view.plan.tables]
    plans.sort(key=lambda plan: plan.relation.total_bytes, reverse=True)
    if not note:  # a second snapshot reads again what is planned already
        work.ports.progress.tell(TablesPlanned(len(work.request.tables), _estimated(plans)))
    pool = ThreadPoolExecutor(max_workers=work.ports.workers, thread_name_prefix="export")
    try:
        futures = {pool.submit(export_table, plan, view, work): plan.name for plan in plans}
        left = set(futures)
        while left:
            ended, left = wait(left, return_when=FIRST_COMPLETED)
            others, left = wait(left, timeout=_TOGETHER_S)
            # What is for later goes first, so that the last of a group is handed on.
            group = sorted(ended | others, key=_is_for_later, reverse=True)
            for number, future in enumerate(group, 1):
                yield replace(_result(futures[future], future, work), more=number < len(group))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        snapshot.cancel()
        pool.shutdown(wait=True)


_TOGETHER_S = 1.0
"""How long a table that has ended waits for others: what is done for each is done for many small ones together."""


def _is_for_later(future: Future[TableResult]) -> bool:
    """Whether the table is left for a second snapshot."""
    return isinstance(future.exception(), SnapshotOutdatedError)


def _estimated(plans: Sequence[TablePlan]) -> int | None:
    """The rows that the database guesses for all of them; None where it has no guess for one that may hold many."""
    relations = [plan.relation for plan in plans]
    unknown = any(not each.estimated_rows and (not each.total_bytes or each.total_bytes > _FEW) for each in relations)
    return None if unknown else sum(each.estimated_rows for each in relations)


def export_table(plan: TablePlan, view: SourceView, work: Work) -> TableResult:
    """Export one table and publish its partition; a failed blocking check is an error, and publishes nothing."""
    ports, started = work.ports, work.ports.clock()
    plan = replace(plan, notes=(*plan.notes, view.note)) if view.note else plan
    ports.progress.tell(TableStarted(plan.name, plan.relation.estimated_rows, plan.sheet.name))
    plan, files, sample, contents = _write_files(plan, view.snapshot, work)
    checks = _checks(plan, files, view.snapshot, work)
    for check in checks:
        if check.blocking and not check.passed:
            raise BackupError(check.message, do="Run the table again. If it repeats, report it: no rows may be lost.")
    read_for = _seconds(started, ports)
    table = table_entry(plan, files, checks, view.snapshot.entry, exported_by=work.attempt.backup_id, seconds=read_for)
    table, more = contents.described(table)
    table, unusual = _with_anomalies(table, work)
    partition = _partition(table, plan, view, work)
    publish_partition(partition, work)
    ports.progress.tell(TableFinished(table.name, table.sheet, table.row_count, table.bytes, _seconds(started, ports)))
    return TableResult(table.name, partition, (*checks, *more, unusual), plan=plan, sample=sample)


def publish_partition(partition: PartitionRecord, work: Work) -> None:
    """Put the partition's files into the store, check them there, and make the partition visible.

    Its record stays in the work folder too: who bundles the files that lie there, takes nobody else's word for them.
    """
    table, store = partition.table, work.ports.store
    folder, place = work.folder / table.name, PartitionPlace(partition.scope, table.name, partition.partition_date)
    _clear(place, store)
    for file in (file.stored for file in table.files):
        stored = store.put_file(place.file(file.name), folder / file.name)
        if stored.size != file.bytes:
            message = f"{store.url}/{stored.key} has {stored.size} bytes in the store; {file.bytes} were written."
            raise VerificationError(message, do="Run the table again; if it repeats, look at the store.")
    document = seal(partition)
    (folder / PARTITION_NAME).write_bytes(document)
    store.put(place.record, [document])


_no_deletion: set[str] = set()
_no_deletion_guard = Lock()
"""The stores of which it was already said that nothing may be deleted there."""


def _clear(place: PartitionPlace, store: Store) -> None:
    """Delete the partition that is there, where that is allowed.

    A writer without the right to delete writes over its files instead, the record last: until then the old record
    names bytes that are not there any more, which whoever reads them notices by their SHA-256.
    """
    try:
        store.delete([place.record])
        store.delete([object_.key for object_ in store.list(place.prefix)])
    except StoreDeniedError as error:
        with _no_deletion_guard:
            if store.url not in _no_deletion:
                logger.warning("Nothing may be deleted in %s, so partitions are written over in place.", store.url)
                _no_deletion.add(store.url)
        logger.debug("%s", error.what)


def load_partition(place: PartitionPlace, store: Store, spool: Path | None = None) -> PartitionRecord:
    """The record of a partition, from this run's own `spool` where it is there, else from the store.

    NotFoundError when the table has none for that date; VerificationError for that of another partition.
    """
    own = spool / place.table / PARTITION_NAME if spool is not None else None
    if own is not None and own.is_file():
        return read_partition(own.read_bytes(), str(own))
    try:
        data = store.get(place.record)
    except NotFoundError as error:
        message = f"Table {place.table} has no partition for {place.day} in {store.url}."
        raise NotFoundError(message, do=f"Materialize the table {place.table} for that date.") from error
    record = read_partition(data, f"{store.url}/{place.record}")
    described = (record.scope, record.table.name, record.partition_date)
    if described != (place.scope, place.table, place.day):
        message = f"{store.url}/{place.record} describes another partition: {', '.join(map(str, described))}."
        raise VerificationError(message, do=f"Materialize the table {place.table} again for that date.")
    return record


def _look(snapshot: Snapshot, work: Work, note: str) -> SourceView:
    """How the snapshot's tables are to be read; its definitions go into the store first."""
    catalog, database = work.request.catalog, snapshot.database()
    plan = plan_catalog(catalog, database)
    missing = find_not_held(catalog, database, snapshot)
    work.ports.progress.tell(StageStarted("schema"))
    schema = snapshot.schema_sql().encode()
    work.ports.store.put(schema_key(work.attempt.scope, work.request.day), [schema])
    return SourceView(snapshot, plan, missing, hashlib.sha256(schema).hexdigest(), note)


def find_not_held(catalog: Catalog, database: Database, snapshot: Snapshot) -> tuple[NotHeld, ...]:
    """The list of `core.manifest.entry`. What can not be counted, a locked table for one, is said without a number.

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


def _check_clock(snapshot: Snapshot, ports: Ports) -> None:
    """The ledger's clock gives a backup its date, the source's its instant: they must agree which day it is."""
    sentence = check_difference("the source", snapshot.entry.taken_at - ports.clock(), "the ledger")
    if sentence is not None:
        logger.warning("%s Snapshot times are the source's, dates the ledger's.", sentence)


def _again(outdated: Mapping[str, BackupError], work: Work) -> Iterator[TableResult]:
    """Export tables that were changed after the snapshot from a new one, once; the backup is then a mixed one.

    The older snapshot is still open: the locks of its readers keep the other tables as the new schema has them. Who
    waits for these locks, to change such a table, keeps us waiting too, in vain: therefore not for long.
    """
    ports, names = work.ports, ", ".join(outdated)
    ports.progress.tell(Waiting(f"Changed after the snapshot was taken, and read again from a new one: {names}."))
    rest = dict(outdated)
    again = replace(work, request=replace(work.request, tables=tuple(outdated)))
    try:
        with ports.source.snapshot(ports.progress, lock_timeout_s=_SECOND_LOCK_S) as snapshot:
            for result in _export_view(snapshot, again, _SECOND):
                if isinstance(result.error, SnapshotOutdatedError):
                    continue
                del rest[result.table]
                yield result
    except SourceError as refusal:
        logger.warning("Tables are not read again: %s", refusal)
    for table, error in rest.items():
        yield _failed(table, error, work)


Written = tuple[tuple[FileEntry, ...], tuple[SampleRow, ...], RowContents]


def _write_files(plan: TablePlan, snapshot: Snapshot, work: Work) -> tuple[TablePlan, *Written]:
    """Write the table's files; begin again when a value wants its column as text, or when the connection was lost."""
    restarts = 0
    while True:
        try:
            return plan, *_write_once(plan, snapshot, work)
        except NotNativeError as error:
            plan = plan.as_text(error.column, error.value)
        except BackupError as error:
            restarts += 1
            if not error.transient or isinstance(error, _HOPELESS) or restarts >= _RESTARTS:
                raise
        work.ports.progress.tell(TableStarted(plan.name, plan.relation.estimated_rows, plan.sheet.name))


def _write_once(plan: TablePlan, snapshot: Snapshot, work: Work) -> Written:
    folder = work.folder / plan.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    writer: TableWriter = work.ports.formats.writer(plan, folder, work.request.catalog.timezone)
    left, sample = _sample_rows(plan, work), list[SampleRow]()
    sensitive = work.request.catalog.tables[plan.name].sensitive
    contents = RowContents(work.request.catalog, plan, snapshot.entry.taken_at.date())
    try:
        for page in snapshot.read(plan):
            writer.write(page.rows)
            contents.add(page.rows)
            if len(sample) < left:
                sample += _sampled(plan, page.rows, left - len(sample), sensitive)
            work.ports.progress.tell(PageWritten(plan.name, page.rows.num_rows, writer.bytes_written))
        return writer.close(), tuple(sample), contents
    except BaseException:
        writer.abort()
        raise


_CELL = 80
"""Letters of a value in a sample."""


def _sample_rows(plan: TablePlan, work: Work) -> int:
    """How many rows may be shown: none of a backup that is encrypted, whatever the catalog wants."""
    return 0 if work.ports.formats.recipients else work.request.catalog.sample_rows_of(plan.name)


def _sampled(plan: TablePlan, rows: pa.Table, most: int, sensitive: Collection[str]) -> Iterator[SampleRow]:
    """The first rows, without the columns that are masked, and as a viewer sees them: anybody opens Dagster's UI."""
    unmasked = [index for index, column in enumerate(plan.columns) if not column.masked]
    for each in rows.slice(0, most).select(unmasked).to_pylist():
        row = masked_row(each, sensitive, whole=False)
        yield {name: None if value is None else str(value)[:_CELL] for name, value in row.items()}


def _checks(plan: TablePlan, files: tuple[FileEntry, ...], snapshot: Snapshot, work: Work) -> tuple[TableCheck, ...]:
    """The CSV must hold as many rows as the Parquet, and both as many as the snapshot."""
    counted = snapshot.count(plan)
    in_parquet, in_csv = (rows_of(files, kind) for kind in ("parquet", "csv"))
    return (
        row_count(in_parquet if in_parquet != counted else in_csv, counted),
        key_unique(plan.key, snapshot.duplicate_keys(plan)),
        shrinkage(in_parquet, work.before.get(plan.name), work.request.catalog.shrinkage_of(plan.name)),
    )


def _with_anomalies(table: TableEntry, work: Work) -> tuple[TableEntry, TableCheck]:
    """The entry with what is unusual about the table, and the check that tells it."""
    rule = work.request.catalog.anomalies_of(table.name)
    past = work.history.of(table.name, rule.trailing)
    anomalies = judge_table(table, past, rule)
    check = anomaly_check(anomalies, past)
    entry = CheckEntry(name=check.name, passed=check.passed, message=check.message)
    return table.model_copy(update={"anomalies": anomalies, "checks": (*table.checks, entry)}), check


def _partition(table: TableEntry, plan: TablePlan, view: SourceView, work: Work) -> PartitionRecord:
    catalog, file = work.request.catalog, plan.sheet.file
    return PartitionRecord(
        catalog=work.attempt.scope.catalog,
        business=work.attempt.scope.business,
        purpose=work.attempt.scope.purpose,
        partition_date=work.request.day,
        late=work.attempt.late,
        sheet_file=local_name(file, table.snapshot.taken_at, catalog.timezone) if file else None,
        unlisted=view.plan.unlisted,
        excluded=view.plan.excluded,
        schema_sha256=view.schema_sha256,
        sequences=tuple(map(other_sequence, view.plan.sequences)),
        not_held=tuple(map(not_held_entry, view.not_held)),
        table=table,
        encryption=encryption_entry(work.ports.formats.recipients),
    )


def _seconds(started: datetime, ports: Ports) -> float:
    return (ports.clock() - started).total_seconds()


def _result(table: str, future: Future[TableResult], work: Work) -> TableResult:
    """What became of the table; an error that makes the whole run void is raised."""
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, CanceledError | SnapshotLostError | LeaseLostError) or not isinstance(error, Exception):
        raise error
    known = error if isinstance(error, BackupError) else BackupError(in_our_words(error))
    known.__cause__ = error if known is not error else known.__cause__
    if isinstance(known, SnapshotOutdatedError):
        return TableResult(table, None, error=known)  # it may be read again
    return _failed(table, known, work)


def _failed(table: str, error: BackupError, work: Work) -> TableResult:
    sheet = work.request.catalog.sheet_of(table)
    work.ports.progress.tell(TableFinished(table, sheet, 0, 0, 0.0, error.what))
    return TableResult(table, None, error=error)
