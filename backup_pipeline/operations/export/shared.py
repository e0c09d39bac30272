"""One snapshot read by several runs: its tables, and ranges of its large ones, are shards of the backup.

The first run holds the snapshot open, says what there is to be read, reads itself, and puts the ranges of a table
together; the others join the snapshot. What they read goes through the store, what came of it through the ledger: they
may be on other hosts.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from backup_pipeline.core import errors
from backup_pipeline.core.anomalies import TableCheck
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import (
    BackupError,
    CanceledError,
    ExportFailedError,
    LeaseLostError,
    LedgerError,
    RefusedError,
    SnapshotLostError,
    SnapshotOutdatedError,
    SourceUnavailableError,
    StoreError,
    StoreUnavailableError,
    in_our_words,
)
from backup_pipeline.core.keys import recipients_of
from backup_pipeline.core.layout import PARTITION_NAME, PartitionPlace
from backup_pipeline.core.ledger import Attempt, Shard, ShardStatus, Status
from backup_pipeline.core.manifest import FileEntry, PartitionRecord
from backup_pipeline.core.manifest.entry import rows_of
from backup_pipeline.core.planning import Part, divide
from backup_pipeline.core.plans import BlockRange, NotNativeError, TablePlan
from backup_pipeline.core.ports import Formats, Ports, Snapshot, TableStarted
from backup_pipeline.core.text import redact
from backup_pipeline.operations.anomalies import CHEAP_ROWS, load_history
from backup_pipeline.operations.attempts import Request, Work
from backup_pipeline.operations.browse import load_partition
from backup_pipeline.operations.content import RowContents
from backup_pipeline.operations.export import (
    SourceView,
    TableFiles,
    TableResult,
    check_stored,
    clear_partition,
    failed_table,
    folder_of,
    judge_table_read,
    publish_partition,
    read_table,
    tell_finished,
    view_of,
    write_files,
)
from backup_pipeline.operations.leases import guarded, guest_lease_of
from backup_pipeline.operations.shards import (
    Crew,
    Held,
    ShardLostError,
    Taking,
    gave_up,
    joined,
    made_by,
    perform,
    watched,
)

logger = logging.getLogger(__name__)

_VOID = (CanceledError, SnapshotLostError, LeaseLostError, ShardLostError)
"""What is no error of one table: all the work ends, or is somebody else's."""


def export_shared(plans: Sequence[TablePlan], view: SourceView, work: Work, crew: Crew) -> Iterator[TableResult]:
    """The tables, read by this run and by those of `crew`; what became of each, as they end.

    Raises what makes all of it void, as `export_tables` does. Then, and when the iterator is closed early, the others
    end too, and what ranges of tables have left in the store is removed.
    """
    backup_id, shards = work.attempt.backup_id, work.ports.ledger.shards
    gathering = _Gathering({plan.name: plan for plan in plans}, view, work)
    offered = shards.offer(backup_id, list(gathering.details(divide(plans, work.request.catalog.runs))))
    crew.launch(min(work.request.catalog.runs, len(offered)) - 1)
    taking = Taking(
        backup_id,
        lambda held: _do(held, view, work, keeps=True),
        work.ports,
        work.request.run_id,
        work.ports.workers,
        stays=True,
    )
    whole = False
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="shards")
    performing = pool.submit(perform, taking)
    try:
        with closing(watched(backup_id, crew, work.ports, lambda: _raise(taking))) as ended:
            for shard in ended:
                results = list(gathering.results(shard))
                for number, result in enumerate(results, 1):
                    yield replace(result, more=number < len(results))
        whole = True
    finally:
        taking.stopping.set()
        if not whole:
            view.snapshot.cancel()
        crew.stop()
        pool.shutdown(wait=True)
        performing.cancel()
        _end(work, whole=whole)


def _raise(taking: Taking) -> None:
    if taking.failure is not None:
        raise taking.failure


def _end(work: Work, *, whole: bool) -> None:
    """Nothing is left of the shards; of a work that did not come to its end, nothing of its ranges in the store."""
    try:
        if whole:
            work.ports.ledger.shards.close(work.attempt.backup_id)
        else:
            discard(work.attempt, work.ports)
    except (LedgerError, StoreError, LeaseLostError) as trouble:
        logger.warning("What runs have left of %s is not removed: %s", work.attempt.backup_id, trouble)


def discard(attempt: Attempt, ports: Ports) -> None:
    """Remove what an attempt that has failed left of ranges in the store, and forget its shards: who does them stops.

    Nothing is removed where somebody else writes the catalog by now: his own files have the same names.
    """
    shards = ports.ledger.shards.list(attempt.backup_id)
    ports.ledger.shards.close(attempt.backup_id)
    tables = {shard.detail["tables"][0] for shard in shards if shard.detail["blocks"] is not None}
    lease = ports.ledger.leases.get(attempt.scope) if tables else None
    if lease is not None and lease.claim.holder != attempt.backup_id:
        return
    for table in sorted(tables):
        place = PartitionPlace(attempt.scope, table, attempt.partition_date)
        if ports.store.head(place.record) is None:
            clear_partition(place, ports.store)


@dataclass
class _Ranges:
    """A table that is read in ranges: what came of each so far, and which columns are to be text in all of them."""

    blocks: Sequence[BlockRange]
    texts: tuple[tuple[str, str], ...] = ()
    results: dict[int, Mapping[str, Any]] = field(default_factory=dict)


class _Gathering:
    """What the run that holds the snapshot makes of what all of them report."""

    def __init__(self, plans: Mapping[str, TablePlan], view: SourceView, work: Work) -> None:
        self._plans, self._view, self._work = plans, view, work
        self._started = work.ports.clock()
        self._split: dict[str, _Ranges] = {}
        passage = work.ports.formats.passage()
        self._formats: Formats = passage[0] if passage else work.ports.formats
        self._passage: str | None = passage[1] if passage else None

    def details(self, parts: Sequence[Part]) -> Iterator[Mapping[str, Any]]:
        """What each shard is. A table that is to be read in ranges is not visible from here on, until it is whole."""
        for part in parts:
            plan = self._plans[part.tables[0]]
            try:
                blocks = self._view.snapshot.ranges(plan, part.ranges) if part.ranges > 1 else ()
            except _VOID:
                raise
            except BackupError as error:  # locked, or dropped: who reads it will say so
                logger.info("Table %s is not divided: %s", plan.name, error)
                blocks = ()
            if not blocks:
                yield self._detail(part.tables)
                continue
            clear_partition(self._place(plan.name), self._work.ports.store)
            self._work.ports.progress.tell(TableStarted(plan.name, plan.relation.estimated_rows, plan.sheet.name))
            self._split[plan.name] = _Ranges(blocks)
            yield from self._of_ranges(plan.name)

    def results(self, shard: Shard) -> Iterator[TableResult]:
        """What became of the tables that have ended with a shard."""
        result, tables = shard.result or {}, shard.detail["tables"]
        if why := gave_up(shard):
            error = BackupError(f"{why}.", do="See the logs of these runs, and run the backup again.")
            result = {"error": _error_document(error)}
        if shard.detail["blocks"] is not None:
            yield from self._range(tables[0], shard, result)
            return
        of_table = {table: result if "error" in result else result["tables"][table] for table in tables}
        # What is for later goes first, so that the last of them is handed on.
        for table in sorted(tables, key=lambda table: _is_for_later(of_table[table]), reverse=True):
            yield self._table(table, of_table[table])

    def _table(self, table: str, result: Mapping[str, Any]) -> TableResult:
        if _is_for_later(result):
            return TableResult(table, None, error=_read_error(result["error"]))
        if "error" in result:
            return failed_table(table, _read_error(result["error"]), self._work)
        try:
            partition = self._partition(table, result["record"])
        except BackupError as error:
            return failed_table(table, error, self._work)
        checks = tuple(TableCheck(**check) for check in result["checks"])
        return TableResult(table, partition, checks, plan=self._plans[table], sample=tuple(result["sample"]))

    def _partition(self, table: str, record: str) -> PartitionRecord:
        """The record of a table that some run has published, as that run has handed it over.

        Not as it lies in the store: others may write there, and what is encrypted can not be read here.
        """
        work, place = self._work, self._place(table)
        own = work.folder / table / PARTITION_NAME
        if own.is_file():
            return load_partition(place, work.ports.store, work.folder)
        document = self._formats.revealed(record, f"The record of table {table}")
        own.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
        own.write_bytes(document)
        partition = load_partition(place, work.ports.store, work.folder)
        self._fetch(partition)
        tell_finished(partition.table, self._started, work)
        return partition

    def _fetch(self, partition: PartitionRecord) -> None:
        """The exact rows of a table whose references will be counted, which is done where they lie on this machine.

        The bundle takes them from there, too, unless they are encrypted.
        """
        store, place = self._work.ports.store, self._place(partition.table.name)
        folder = self._work.folder / partition.table.name
        if partition.table.row_count > CHEAP_ROWS:
            return
        for file in partition.table.files:
            if file.format != "parquet":
                continue
            key = place.file(file.stored.name)
            chunks = store.stream(key)
            if file.encrypted is not None:
                chunks = self._formats.decrypted(chunks, f"{store.url}/{key}", recipients_of(partition))
            with (folder / file.name).open("wb") as target:
                target.writelines(chunks)

    def _range(self, table: str, shard: Shard, result: Mapping[str, Any]) -> Iterator[TableResult]:
        ranges, number = self._split.get(table), shard.detail["blocks"]["number"]
        if ranges is None or [*map(list, ranges.texts)] != shard.detail["texts"]:
            return  # the table has failed, or begun anew, meanwhile
        if "error" in result:
            del self._split[table]
            self._withdraw(table)
            yield self._table(table, result)
        elif "text" in result:
            column, value = result["text"]
            self._withdraw(table)
            self._split[table] = _Ranges(ranges.blocks, (*ranges.texts, (column, value)))
            self._work.ports.ledger.shards.offer(shard.work, list(self._of_ranges(table)))
        else:
            ranges.results[number] = result
            if len(ranges.results) == len(ranges.blocks):
                yield self._assembled(table, self._split.pop(table))

    def _withdraw(self, table: str) -> None:
        """Nobody reads ranges of the table any more, and nothing of them stays."""
        shards = self._work.ports.ledger.shards
        of_table = [s for s in shards.list(self._work.attempt.backup_id) if s.detail["tables"] == [table]]
        open_ = [s.number for s in of_table if s.status is not ShardStatus.DONE]
        shards.withdraw(self._work.attempt.backup_id, open_)
        clear_partition(self._place(table), self._work.ports.store)

    def _assembled(self, table: str, ranges: _Ranges) -> TableResult:
        """The table of all its ranges, made visible."""
        work, view = self._work, self._view
        plan = _with_texts(self._plans[table], ranges.texts)
        plan = replace(plan, notes=(*plan.notes, view.note)) if view.note else plan
        results = [ranges.results[blocks.number] for blocks in ranges.blocks]
        contents = RowContents(work.request.catalog, plan, view.snapshot.entry.taken_at.date())
        for result in results:
            contents.merge(result["contents"])
        every = [FileEntry.model_validate(file) for result in results for file in result["files"]]
        files = tuple(sorted(_with_rows(every), key=lambda file: (file.format != "parquet", file.name)))
        sample = tuple(row for result in results for row in result["sample"])
        written = TableFiles(files, sample[: work.request.catalog.sample_rows_of(table)], contents)
        counted = sum(result["counted"] for result in results)
        try:
            whole = judge_table_read(plan, written, counted, view, work, self._started)
            assert whole.partition is not None  # noqa: S101  # else it was raised
            self._remove_others(table, whole.partition)
            publish_partition(whole.partition, work, stored=True)
            self._fetch(whole.partition)
        except _VOID:
            raise
        except BackupError as error:
            return failed_table(table, error, work)
        tell_finished(whole.partition.table, self._started, work)
        return whole

    def _remove_others(self, table: str, partition: PartitionRecord) -> None:
        """What ranges that were given up have left beside the files of the table."""
        store, place = self._work.ports.store, self._place(table)
        ours = {place.file(file.stored.name) for file in partition.table.files}
        with suppress(StoreError):
            store.delete([other.key for other in store.list(place.prefix) if other.key not in ours])

    def _of_ranges(self, table: str) -> Iterator[Mapping[str, Any]]:
        ranges = self._split[table]
        return (self._detail((table,), asdict(blocks), ranges.texts) for blocks in ranges.blocks)

    def _detail(
        self, tables: Sequence[str], blocks: Mapping[str, Any] | None = None, texts: Sequence[tuple[str, str]] = ()
    ) -> Mapping[str, Any]:
        return {
            "tables": list(tables),
            "blocks": blocks,
            "texts": [list(text) for text in texts],
            "passage": self._passage,
            "snapshot": self._view.snapshot.entry.model_dump(mode="json"),
            "schema_sha256": self._view.schema_sha256,
            "made_by": made_by(self._work.request.catalog),
        }

    def _place(self, table: str) -> PartitionPlace:
        return PartitionPlace(self._work.attempt.scope, table, self._work.attempt.partition_date)


def _with_texts(plan: TablePlan, texts: Sequence[Sequence[str]]) -> TablePlan:
    for column, value in texts:
        plan = plan.as_text(column, value)
    return plan


def _with_rows(files: Sequence[FileEntry]) -> Iterator[FileEntry]:
    """The files without empty ones; of a format that has no other, the first."""
    for kind in ("parquet", "csv"):
        own = [file for file in files if file.format == kind]
        yield from [file for file in own if file.rows] or own[:1]


def _do(held: Held, view: SourceView, work: Work, *, keeps: bool) -> Mapping[str, Any]:
    """Do a shard; what came of it, as JSON. `keeps` says whether the files of whole tables stay in the work folder."""
    work, passage = replace(work, still=held.check), held.shard.detail["passage"]
    if passage is not None and not keeps:  # who holds the snapshot counts what only he would see otherwise
        formats = work.ports.formats.also_to(passage)
        work = replace(work, ports=replace(work.ports, formats=formats))
    if held.shard.detail["blocks"] is not None:
        return _do_range(held, view, work, keeps=keeps)
    return {"tables": {name: _do_table(name, held, view, work, keeps=keeps) for name in held.shard.detail["tables"]}}


def _do_table(name: str, held: Held, view: SourceView, work: Work, *, keeps: bool) -> Mapping[str, Any]:
    folder, started = work.folder / name, work.ports.clock()
    try:
        result = read_table(view.plan.tables[name], view, work)
        assert result.partition is not None  # noqa: S101  # else it was raised
        held.check(ask=True)
        publish_partition(result.partition, work)
        tell_finished(result.partition.table, started, work)
        record = work.ports.formats.concealed((folder / PARTITION_NAME).read_bytes())
        return {"record": record, "checks": [*map(asdict, result.checks)], "sample": [*map(dict, result.sample)]}
    except Exception as error:  # noqa: BLE001  # an error of this table, told by the run that holds the snapshot
        return {"error": _error_document(error, keeps=keeps)}
    finally:
        if not keeps:
            shutil.rmtree(folder, ignore_errors=True)


def _do_range(held: Held, view: SourceView, work: Work, *, keeps: bool) -> Mapping[str, Any]:
    detail = held.shard.detail
    blocks = BlockRange(**detail["blocks"])
    plan = _with_texts(view.plan.tables[detail["tables"][0]], detail["texts"]).of_range(blocks)
    place = PartitionPlace(work.attempt.scope, plan.name, work.attempt.partition_date)
    folder = folder_of(plan, work)
    try:
        plan, written = write_files(plan, view.snapshot, work)
        counted = view.snapshot.count(plan)
        files = [file for file in written.files if file.rows or blocks.number == 0]
        held.check(ask=True)
        for file in (file.stored for file in files):
            stored = work.ports.store.put_file(place.file(file.name), folder / file.name)
            check_stored(stored, file, work.ports.store)
    except NotNativeError as error:
        return {"text": [error.column, error.value]}
    except Exception as error:  # noqa: BLE001  # an error of this table, told by the run that holds the snapshot
        return {"error": _error_document(error, keeps=keeps)}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    try:
        held.check(ask=True)
    except ShardLostError:
        _take_back(files, place, work)
        raise
    logger.debug("Range %d of %s: %d rows.", blocks.number, plan.name, rows_of(tuple(files), "parquet"))
    return {
        "files": [file.model_dump(mode="json") for file in files],
        "counted": counted,
        "sample": [*map(dict, written.sample)],
        "contents": written.contents.state(),
    }


def _take_back(files: Sequence[FileEntry], place: PartitionPlace, work: Work) -> None:
    """Remove what came too late, unless somebody else writes the catalog, and these very names, by now."""
    lease = work.ports.ledger.leases.get(work.attempt.scope)
    if lease is None and work.ports.store.head(place.record) is None:
        work.ports.store.delete([place.file(file.stored.name) for file in files])


_ERRORS = {
    kind.__name__: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, BackupError) and kind is not ExportFailedError
}
"""What is made of two sentences, by name."""


def _error_document(error: Exception, *, keeps: bool = True) -> Mapping[str, str]:
    """The error of one table, as JSON. What is none of one table comes out.

    So does what may be the matter with this run alone, where it is not the one that holds the snapshot: no connection
    left on the source, no way to the store. Somebody else does the shard then.
    """
    elsewhere = not keeps and isinstance(error, SourceUnavailableError | StoreUnavailableError | LedgerError)
    if isinstance(error, _VOID) or elsewhere:
        raise error
    known = error if isinstance(error, BackupError) else BackupError(in_our_words(error))
    return {"kind": type(known).__name__, "what": redact(known.what), "do": redact(known.do)}


def _read_error(document: Mapping[str, str]) -> BackupError:
    return _ERRORS.get(document["kind"], BackupError)(document["what"], do=document["do"])


def _is_for_later(result: Mapping[str, Any]) -> bool:
    """Whether the table is left for a second snapshot."""
    return "error" in result and result["error"]["kind"] == SnapshotOutdatedError.__name__


def take_part(backup_id: str, catalog: Catalog, ports: Ports, run_id: str) -> int:
    """Read shards of a backup that another run has begun, until none waits; how many were read.

    0 where the backup has ended, or nothing is left to do. Raises RefusedError for a run of another version of the
    program, or of the catalog; SnapshotLostError or LeaseLostError when the run that holds the snapshot ends before.
    """
    attempt = ports.ledger.get(backup_id)
    if attempt is None or attempt.scope.catalog != catalog.catalog:
        message = f"There is no backup {backup_id} of catalog {catalog.catalog}."
        raise RefusedError(message, do="Runs of this job are launched by a backup whose catalog says `runs`.")
    shards = ports.ledger.shards.list(backup_id)
    if attempt.status is not Status.RUNNING or not any(each.status is ShardStatus.WAITING for each in shards):
        return 0
    detail = shards[0].detail
    lease = guest_lease_of(attempt, ports.ledger)
    spool = ports.spool / backup_id / f"run-{run_id}"  # inside of the attempt's: it stays as long as that runs
    work = _guest_work(attempt, catalog, replace(guarded(ports, lease), spool=spool), run_id)
    try:
        with joined(detail, f"Backup {backup_id}", catalog, lease, work.ports) as snapshot:
            for folder in (spool.parent, spool):  # for its owner only: the files in it are plain
                folder.mkdir(parents=True, mode=0o700, exist_ok=True)
            return _taken(snapshot, detail["schema_sha256"], work)
    finally:
        shutil.rmtree(spool, ignore_errors=True)


def _guest_work(attempt: Attempt, catalog: Catalog, ports: Ports, run_id: str) -> Work:
    """The work of a run that reads a part of somebody else's attempt."""
    request = Request(
        catalog=catalog,
        kind=attempt.kind,
        tables=attempt.tables_wanted,
        day=attempt.partition_date,
        type=attempt.type,
        actor=attempt.actor,
        reason=attempt.reason,
        late=attempt.late,
        run_id=run_id,
    )
    last = ports.ledger.last_good(attempt.scope, before=attempt.created_at)
    before = last.table_counts if last else {}
    return Work(request, attempt, ports, history=load_history(attempt, ports), before=before)


def _taken(snapshot: Snapshot, schema_sha256: str, work: Work) -> int:
    view = view_of(snapshot, work.request.catalog, schema_sha256)
    run_id, threads = work.request.run_id, work.ports.workers
    taking = Taking(
        work.attempt.backup_id, lambda held: _do(held, view, work, keeps=False), work.ports, run_id, threads
    )
    perform(taking)
    return taking.done
