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
from typing import TYPE_CHECKING, Protocol

from backup_pipeline.core.anomalies import TableCheck, anomaly_check, judge_table, key_unique, row_count, shrinkage
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.content.masking import masked_row
from backup_pipeline.core.errors import (
    BackupError,
    CanceledError,
    LeaseLostError,
    SnapshotLostError,
    SnapshotOutdatedError,
    SourceError,
    StoreDeniedError,
    VerificationError,
    in_our_words,
)
from backup_pipeline.core.keys import encryption_entry
from backup_pipeline.core.layout import PARTITION_NAME, PartitionPlace, schema_key
from backup_pipeline.core.manifest import CheckEntry, FileEntry, PartitionRecord, StoredFile, TableEntry, seal
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
    StoredObject,
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


class Together(Protocol):
    """How the tables of one view are read by more than the threads of this process."""

    def __call__(self, plans: Sequence[TablePlan], view: SourceView, work: Work) -> Iterator[TableResult]:
        """What became of each table, as they end; what makes all of it void is raised."""


def export_tables(work: Work, together: Together | None = None) -> Generator[TableResult]:
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
        for result in _export_view(snapshot, work, together):
            if isinstance(result.error, SnapshotOutdatedError):
                outdated[result.table] = result.error
            else:
                yield result
        if outdated:
            yield from _again(outdated, work)


def _export_view(
    snapshot: Snapshot, work: Work, together: Together | None = None, note: str = ""
) -> Iterator[TableResult]:
    """The tables as `snapshot` shows them: the biggest first, so that the last one to end is a small one."""
    view = _look(snapshot, work, note)
    for table in work.request.tables:
        if table in view.plan.failed:
            yield failed_table(table, view.plan.failed[table], work)
    plans = [view.plan.tables[table] for table in work.request.tables if table in view.plan.tables]
    plans.sort(key=lambda plan: plan.relation.total_bytes, reverse=True)
    if not note:  # a second snapshot reads again what is planned already
        work.ports.progress.tell(TablesPlanned(len(work.request.tables), _estimated(plans)))
    if together is not None:
        yield from together(plans, view, work)
        return
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
    started = work.ports.clock()
    result = read_table(plan, view, work)
    assert result.partition is not None  # noqa: S101  # else it was raised
    publish_partition(result.partition, work)
    tell_finished(result.partition.table, started, work)
    return result


def read_table(plan: TablePlan, view: SourceView, work: Work) -> TableResult:
    """Read one table into files of the work folder; nothing is published. A failed blocking check is an error."""
    started = work.ports.clock()
    plan = replace(plan, notes=(*plan.notes, view.note)) if view.note else plan
    work.ports.progress.tell(TableStarted(plan.name, plan.relation.estimated_rows, plan.sheet.name))
    plan, written = write_files(plan, view.snapshot, work)
    return judge_table_read(plan, written, view.snapshot.count(plan), view, work, started)


def judge_table_read(  # all that is known of a table
    plan: TablePlan, written: TableFiles, counted: int, view: SourceView, work: Work, started: datetime
) -> TableResult:
    """The table whose files are `written`, after its checks: `counted` are its rows by `count(*)`."""
    checks = _checks(plan, written.files, counted, view.snapshot, work)
    for check in checks:
        if check.blocking and not check.passed:
            raise BackupError(check.message, do="Run the table again. If it repeats, report it: no rows may be lost.")
    read_for, by = _seconds(started, work.ports), work.attempt.backup_id
    table = table_entry(plan, written.files, checks, view.snapshot.entry, exported_by=by, seconds=read_for)
    table, more = written.contents.described(table)
    table, unusual = _with_anomalies(table, work)
    partition = _partition(table, plan, view, work)
    return TableResult(table.name, partition, (*checks, *more, unusual), plan=plan, sample=written.sample)


def tell_finished(table: TableEntry, started: datetime, work: Work) -> None:
    """Whoever watches hears that a table has ended well."""
    seconds = _seconds(started, work.ports)
    work.ports.progress.tell(TableFinished(table.name, table.sheet, table.row_count, table.bytes, seconds))


def publish_partition(partition: PartitionRecord, work: Work, *, stored: bool = False) -> None:
    """Put the partition's files into the store, check them there, and make the partition visible.

    With `stored` the files are there. The record stays in the work folder too: who bundles the files that lie there,
    takes nobody else's word for them.
    """
    table, store = partition.table, work.ports.store
    folder, place = work.folder / table.name, PartitionPlace(partition.scope, table.name, partition.partition_date)
    if not stored:
        clear_partition(place, store)
        for file in (file.stored for file in table.files):
            check_stored(store.put_file(place.file(file.name), folder / file.name), file, store)
    document = seal(partition)
    folder.mkdir(parents=True, mode=0o700, exist_ok=True)
    (folder / PARTITION_NAME).write_bytes(document)
    store.put(place.record, [document])


def check_stored(stored: StoredObject, file: StoredFile, store: Store) -> None:
    """VerificationError unless a file lies in the store as it was written."""
    if stored.size != file.bytes:
        message = f"{store.url}/{stored.key} has {stored.size} bytes in the store; {file.bytes} were written."
        raise VerificationError(message, do="Run the table again; if it repeats, look at the store.")


_no_deletion: set[str] = set()
_no_deletion_guard = Lock()
"""The stores of which it was already said that nothing may be deleted there."""


def clear_partition(place: PartitionPlace, store: Store) -> None:
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


def _look(snapshot: Snapshot, work: Work, note: str) -> SourceView:
    """How the snapshot's tables are to be read; its definitions go into the store first."""
    view = view_of(snapshot, work.request.catalog, note=note)
    work.ports.progress.tell(StageStarted("schema"))
    schema = snapshot.schema_sql().encode()
    work.ports.store.put(schema_key(work.attempt.scope, work.request.day), [schema])
    return replace(view, schema_sha256=hashlib.sha256(schema).hexdigest())


def view_of(snapshot: Snapshot, catalog: Catalog, schema_sha256: str = "", note: str = "") -> SourceView:
    """How the snapshot's tables are to be read; the same for whoever looks at the same snapshot."""
    database = snapshot.database()
    plan = plan_catalog(catalog, database)
    return SourceView(snapshot, plan, find_not_held(catalog, database, snapshot), schema_sha256, note)


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
            for result in _export_view(snapshot, again, note=_SECOND):
                if isinstance(result.error, SnapshotOutdatedError):
                    continue
                del rest[result.table]
                yield result
    except SourceError as refusal:
        logger.warning("Tables are not read again: %s", refusal)
    for table, error in rest.items():
        yield failed_table(table, error, work)


@dataclass(frozen=True)
class TableFiles:
    """The files of a table, or of a range of it, in the work folder; what was seen while they were written."""

    files: tuple[FileEntry, ...]
    sample: tuple[SampleRow, ...]
    contents: RowContents


def folder_of(plan: TablePlan, work: Work) -> Path:
    """Where the files of a table, or of a range of it, are made."""
    if plan.blocks is None:
        return work.folder / plan.name
    return work.folder / ".ranges" / f"{plan.name}.{plan.blocks.number}"


def write_files(plan: TablePlan, snapshot: Snapshot, work: Work) -> tuple[TablePlan, TableFiles]:
    """Write the table's files; begin again when a value wants its column as text, or when the connection was lost.

    Of a range NotNativeError comes out: the columns of all ranges of a table are the same.
    """
    restarts = 0
    while True:
        try:
            return plan, _write_once(plan, snapshot, work)
        except NotNativeError as error:
            if plan.blocks is not None:
                raise
            plan = plan.as_text(error.column, error.value)
        except BackupError as error:
            restarts += 1
            if not error.transient or isinstance(error, _HOPELESS) or restarts >= _RESTARTS:
                raise
        work.ports.progress.tell(TableStarted(plan.name, plan.relation.estimated_rows, plan.sheet.name))


def _write_once(plan: TablePlan, snapshot: Snapshot, work: Work) -> TableFiles:
    folder = folder_of(plan, work)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    writer: TableWriter = work.ports.formats.writer(plan, folder, work.request.catalog.timezone)
    left, sample = _sample_rows(plan, work), list[SampleRow]()
    sensitive = work.request.catalog.tables[plan.name].sensitive
    contents = RowContents(work.request.catalog, plan, snapshot.entry.taken_at.date())
    try:
        for page in snapshot.read(plan):
            work.still()
            writer.write(page.rows)
            contents.add(page.rows)
            if len(sample) < left:
                sample += _sampled(plan, page.rows, left - len(sample), sensitive)
            work.ports.progress.tell(PageWritten(plan.name, page.rows.num_rows, writer.bytes_written))
        return TableFiles(writer.close(), tuple(sample), contents)
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


def _checks(
    plan: TablePlan, files: tuple[FileEntry, ...], counted: int, snapshot: Snapshot, work: Work
) -> tuple[TableCheck, ...]:
    """The CSV must hold as many rows as the Parquet, and both as many as the snapshot."""
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
    return failed_table(table, known, work)


def failed_table(table: str, error: BackupError, work: Work) -> TableResult:
    """The table has failed; whoever watches hears of it."""
    sheet = work.request.catalog.sheet_of(table)
    work.ports.progress.tell(TableFinished(table, sheet, 0, 0, 0.0, error.what))
    return TableResult(table, None, error=error)
