"""Pages of one table: each row once, in bounded memory, going on in the same snapshot when a connection is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

import psycopg
import pyarrow as pa

from backup_pipeline.core.errors import BackupError, SnapshotOutdatedError, SourceError, SourceUnavailableError
from backup_pipeline.core.plans import NotNativeError, RowOrder, TablePlan
from backup_pipeline.core.ports import Page
from backup_pipeline.core.relations import RelationKind
from backup_pipeline.postgres.connection import Endpoint
from backup_pipeline.postgres.copy_stream import CopyForm, Expected, UnfitValueError
from backup_pipeline.postgres.errors import connection_lost, query_error
from backup_pipeline.postgres.introspect import changes_sql, definitions_sql, file_sql, kept_sql
from backup_pipeline.postgres.page_sql import (
    Field,
    Stretch,
    after_key,
    between_blocks,
    fields_of,
    key_fields,
    key_text,
    order_by_key,
    page_sql,
    probe_sql,
)
from backup_pipeline.postgres.session import Worker, Workers, literal, relation_sql

_GROWTH = 8
# Between two queries the server waits for us: one is for many pages.
_PAGES_OF_A_QUERY = 16
# A usual number, for the first range. The server's estimate would be better, and would change with every ANALYZE.
_ROWS_A_BLOCK = 64


@dataclass(frozen=True)
class PageSize:
    """How large pages get: bytes of Arrow data aimed at; rows of the first query, and the most rows of any."""

    page_bytes: int
    first_rows: int
    most_rows: int


class Walk(Protocol):
    """The way through one table."""

    def next(self) -> Stretch | None:
        """The stretch to read now: after a lost connection the rest of the one under way; None at the end."""

    def took(self, rows: int, size: int, key: tuple[str, ...]) -> None:
        """A page of the stretch was handed out: its rows, bytes, and the key of its last row."""

    def finished(self) -> None:
        """The stretch has no more rows."""

    @property
    def resumable(self) -> bool:
        """Whether `next` would go on exactly behind the last page that was handed out."""


def walk_of(plan: TablePlan, size: PageSize, blocks: int | None) -> Walk:
    """The walk that the plan's order asks for. `blocks` is the relation's size; None: ranges of blocks are no use."""
    if plan.order is RowOrder.KEY:
        return KeyWalk(plan, size, size.first_rows)
    step = max(1, size.first_rows // _ROWS_A_BLOCK)
    if plan.blocks is not None and blocks is not None:
        stop = plan.blocks.stop
        return BlockWalk(size, blocks if stop is None else stop, step, start=plan.blocks.start, last=stop)
    if plan.order is RowOrder.CTID and blocks is not None:
        return BlockWalk(size, blocks, step)
    return ScanWalk()


@dataclass
class _Measure:
    """Bytes a unit (a row, a block) took so far."""

    units: int = 0
    size: int = 0

    def add(self, units: int, size: int) -> None:
        self.units += units
        self.size += size

    def units_for(self, wanted: int, now: int) -> int:
        """How many units make `wanted` bytes; at most some times as many as now, for what comes may differ."""
        enough = wanted * self.units // self.size if self.size else now * _GROWTH
        return max(1, min(enough, now * _GROWTH))


@dataclass
class KeyWalk:
    """Pages follow each other by an enforced unique key, several to a query."""

    plan: TablePlan
    size: PageSize
    rows: int
    after: tuple[str, ...] = ()
    taken: int = 0
    measured: _Measure = field(default_factory=_Measure)
    ended: bool = False

    def next(self) -> Stretch | None:
        """The rows behind the last key, as many as this stretch still lacks."""
        if self.ended:
            return None
        where = after_key(self.plan, self.after) if self.after else ""
        return Stretch(where, order_by_key(self.plan), self.rows - self.taken)

    def took(self, rows: int, size: int, key: tuple[str, ...]) -> None:
        """Go on behind `key`."""
        self.after = key
        self.taken += rows
        self.measured.add(rows, size)

    def finished(self) -> None:
        """Fewer rows than asked for means that there are no more."""
        self.ended = self.taken < self.rows
        wanted = self.size.page_bytes * _PAGES_OF_A_QUERY
        self.rows = min(self.measured.units_for(wanted, self.rows), self.size.most_rows)
        self.taken = 0

    @property
    def resumable(self) -> bool:
        """A key says exactly where to go on."""
        return True


@dataclass
class BlockWalk:
    """Ranges of blocks on disk, up to `blocks`, many pages each; the last one ends at `last`, or is open-ended."""

    size: PageSize
    blocks: int
    step: int
    start: int = 0
    last: int | None = None
    bytes_taken: int = 0
    taken: int = 0
    measured: _Measure = field(default_factory=_Measure)
    ended: bool = False

    def next(self) -> Stretch | None:
        """The next range of blocks, or what is left of the one under way."""
        return None if self.ended else Stretch(between_blocks(self.start, self._stop()), skip=self.taken)

    def took(self, rows: int, size: int, key: tuple[str, ...]) -> None:
        """Note how many bytes this range holds, and how many of its rows need not come again."""
        del key
        self.bytes_taken += size
        self.taken += rows

    def finished(self) -> None:
        """Go on with the following blocks."""
        stop = self._stop()
        self.measured.add(self.step, self.bytes_taken)
        self.ended, self.start = stop == self.last, stop or self.blocks
        self.bytes_taken = self.taken = 0
        self.step = self.measured.units_for(self.size.page_bytes * _PAGES_OF_A_QUERY, self.step)

    def _stop(self) -> int | None:
        stop = self.start + self.step
        return stop if stop < self.blocks else self.last

    @property
    def resumable(self) -> bool:
        """Rows of one snapshot come in the order in which they lie, every time: those that came are left out."""
        return True


@dataclass
class ScanWalk:
    """Everything in one pass."""

    rows: int = 0
    ended: bool = False

    def next(self) -> Stretch | None:
        """The whole table, once."""
        return None if self.ended else Stretch()

    def took(self, rows: int, size: int, key: tuple[str, ...]) -> None:
        """Note that rows were handed out."""
        del size, key
        self.rows += rows

    def finished(self) -> None:
        """One pass is all."""
        self.ended = True

    @property
    def resumable(self) -> bool:
        """Only while nothing was handed out."""
        return self.rows == 0


_RETRIES = 3
# A lock keeps DDL off a table, but not new partitions off a partitioned one, nor off what a view reads.
_MAY_GROW = {RelationKind.PARTITIONED, RelationKind.VIEW}


@dataclass(frozen=True)
class TableReading:
    """What reading a table takes: the workers, sizes, whether the server reads ctid ranges quickly (14 and newer).

    `now` gives the rows of a query in a new transaction, outside the snapshot.
    """

    workers: Workers
    now: Callable[[str], list[dict[str, Any]]]
    endpoint: Endpoint
    size: PageSize
    ranges_of_blocks: bool


@dataclass(frozen=True)
class _Query:
    """One stretch as it is asked for. `fields` are handed out; `hidden` ones carry key values."""

    plan: TablePlan
    fields: tuple[Field, ...]
    hidden: tuple[Field, ...]
    stretch: Stretch
    expected: Expected

    @property
    def selected(self) -> tuple[Field, ...]:
        """Everything that is selected."""
        return (*self.fields, *self.hidden)

    @property
    def forms(self) -> list[CopyForm]:
        """How they come."""
        return [field.wire.form for field in self.selected]

    @property
    def sql(self) -> str:
        return page_sql(self.plan, self.selected, self.stretch)


def guard(worker: Worker, plan: TablePlan, reading: TableReading) -> None:
    """Lock what `plan` reads in the worker's transaction; SnapshotOutdatedError when DDL changed it meanwhile."""
    _lock(worker, _Query(plan, fields_of(plan), (), Stretch(), Expected.of_any(1)), reading)


def read_pages(
    plan: TablePlan, reading: TableReading, *, only: str = "", joined: str = "", extra: tuple[Field, ...] = ()
) -> Iterator[Page]:
    """The pages of `plan`'s table, as `Snapshot.read` promises them.

    With `only`, a condition on the row and on what is `joined` to it, those rows alone, in one pass; `extra` fields
    come behind the plan's own.
    """
    fields, hidden = (*fields_of(plan), *extra), key_fields(plan) if plan.order is RowOrder.KEY else ()
    walk = walk_of(plan, reading.size, _blocks(plan, reading))
    expected = Expected.of_any(len(fields) + len(hidden))
    files = {plan.blocks.file} if plan.blocks else set[int]()
    losses = 0
    while (stretch := walk.next()) is not None:
        stretch = replace(stretch, where=only, joined=joined) if only else stretch
        query = _Query(plan, fields, hidden, stretch, expected)
        try:
            with reading.workers.lend() as worker:
                for page in _stretch(worker, query, walk, reading, files):
                    losses = 0
                    yield page
        except UnfitValueError as error:
            raise _unfit(query, error.number, reading) from None
        except psycopg.Error as error:
            losses += 1
            _go_on_or_raise(error, query, walk, reading, losses)
    if plan.relation.kind in _MAY_GROW:
        doing = f"reading {plan.relation.full_name}"
        changes = run(reading, changes_sql(plan), doing)
        kept = partial(_kept, rows=lambda sql: run(reading, sql, doing))
        _refuse(plan, reading, [change for change in changes if not kept(change)])


def run(reading: TableReading, sql: str, doing: str) -> list[dict[str, object]]:
    """The few rows of a query in the snapshot, tried again when its connection is lost; `doing` is for the error."""
    losses = 0
    while True:
        try:
            with reading.workers.lend() as worker:
                return worker.rows(sql)
        except psycopg.Error as error:
            reading.workers.check()
            losses += 1
            if losses > _RETRIES or not connection_lost(error):
                raise query_error(error, reading.endpoint, doing) from error


def _stretch(worker: Worker, query: _Query, walk: Walk, reading: TableReading, files: set[int]) -> Iterator[Page]:
    started = time.perf_counter()
    _lock(worker, query, reading)
    _same_file(worker, query.plan, reading, files)
    skip = query.stretch.skip
    for batch in worker.batches(query.sql, query.forms, reading.size.page_bytes, query.expected):
        before, skip = min(skip, batch.num_rows), max(skip - batch.num_rows, 0)
        if before == batch.num_rows:
            continue
        rows = pa.Table.from_batches([_arrived(batch, query)]).slice(before)
        # The walk moves on before the page leaves: whoever reads on, or gives up, finds it behind this page.
        walk.took(rows.num_rows, rows.nbytes, _last_key(rows, query))
        yield Page(rows.select(range(len(query.fields))), time.perf_counter() - started)
        started = time.perf_counter()
    walk.finished()


def _lock(worker: Worker, query: _Query, reading: TableReading) -> None:
    """Lock what the query reads, and refuse what DDL changed since the snapshot: it would look empty, or half so.

    From here on the lock (ACCESS SHARE, like any SELECT's) keeps DDL out.
    """
    source = page_sql(query.plan, query.selected, Stretch(limit=0, joined=query.stretch.joined))
    if source in worker.locked:
        return
    types = worker.types(source)
    changes = worker.rows(changes_sql(query.plan))
    _refuse(query.plan, reading, [change for change in changes if not _kept(change, worker.rows)])
    _refuse(query.plan, reading, _redefined(worker, query.plan, reading))
    for column, pg_type in zip(query.selected, types, strict=True):
        if pg_type not in column.wire.form.pg_types:
            relation = query.plan.relation.full_name
            message = f"Column {column.name} of {relation} comes as {pg_type or 'another type'} than was planned."
            raise SourceError(message, do="Its type was changed while it was read: run it again.")
    worker.locked.add(source)


def _kept(change: Mapping[str, object], rows: Callable[[str], Sequence[Mapping[str, object]]]) -> bool:
    """Whether a relation in new files shows the snapshot's rows all the same: after VACUUM FULL or CLUSTER."""
    return change["relation"] is not None and bool(rows(kept_sql(str(change["relation"])))[0]["kept"])


def _same_file(worker: Worker, plan: TablePlan, reading: TableReading, files: set[int]) -> None:
    """Refuse to go on by place on disk in other files than those in which the table was begun (`files`)."""
    if plan.order is not RowOrder.CTID:
        return
    files.add(int(worker.rows(file_sql(plan))[0]["file"]))
    if len(files) > 1:
        message = f"{plan.relation.full_name} was rewritten in {reading.endpoint} while it was read by place on disk."
        raise SourceUnavailableError(message, do="It is read again from its start.")


def _redefined(worker: Worker, plan: TablePlan, reading: TableReading) -> list[dict[str, Any]]:
    """The views and heirs whose definition is another one now than in the snapshot."""
    sql = definitions_sql(plan)
    then = {(row["name"], row["version"]) for row in worker.rows(sql)}
    if not then and plan.relation.kind is not RelationKind.VIEW:
        return []
    now = {(row["name"], row["version"]) for row in reading.now(sql)}
    return [{"what": f"{name} was redefined"} for name in sorted({name for name, _ in then ^ now})]


def _refuse(plan: TablePlan, reading: TableReading, changes: Sequence[Mapping[str, object]]) -> None:
    if changes:
        what = f"Reading {plan.relation.full_name} failed in {reading.endpoint}: "
        what += "; ".join(str(change["what"]) for change in changes)
        message = f"{what} after the snapshot was taken, which no longer shows its rows."
        raise SnapshotOutdatedError(message, do="Run it again: a new snapshot shows the table as it is now.")


def _arrived(batch: pa.RecordBatch, query: _Query) -> pa.RecordBatch:
    """A batch under its fields' names; UnfitValueError when a value lies outside its column's bounds."""
    for number, (column, array) in enumerate(zip(query.selected, batch.columns, strict=True)):
        if column.wire.overflows(array):
            raise UnfitValueError(number)
    return batch.rename_columns([column.name for column in query.selected])


def _unfit(query: _Query, number: int, reading: TableReading) -> NotNativeError:
    """What to raise for a column that needs another Arrow type; the value is asked for, as text, to be shown."""
    field = query.selected[number]
    rows = run(reading, probe_sql(query.plan, field, query.stretch), f"looking at {field.name}")
    return NotNativeError(field.name, str(rows[0]["v"]) if rows else "a value out of its range")


def _go_on_or_raise(error: BaseException, query: _Query, walk: Walk, reading: TableReading, losses: int) -> None:
    """Return when the walk can simply go on with another connection; else raise what is the matter."""
    reading.workers.check()
    if connection_lost(error) and walk.resumable and losses <= _RETRIES:
        return
    failed: BackupError = query_error(error, reading.endpoint, f"reading {query.plan.relation.full_name}")
    raise failed from error


def _last_key(rows: pa.Table, query: _Query) -> tuple[str, ...]:
    if query.plan.order is not RowOrder.KEY:
        return ()
    last = rows.num_rows - 1
    names = rows.schema.names
    hidden = {field.name for field in query.hidden}
    keys = [f"key {name}" if f"key {name}" in hidden else name for name in query.plan.key]
    return tuple(key_text(rows.column(names.index(name))[last].as_py()) for name in keys)


def blocks_sql(plan: TablePlan) -> str:
    """A query for the `blocks` of the plan's relation."""
    relation = literal(relation_sql(plan.relation.id))
    return f"SELECT pg_relation_size({relation}::regclass) / current_setting('block_size')::int8 AS blocks"


def _blocks(plan: TablePlan, reading: TableReading) -> int | None:
    if not reading.ranges_of_blocks:
        return None
    rows: Sequence[dict[str, object]] = run(reading, blocks_sql(plan), f"measuring {plan.relation.full_name}")
    return int(str(rows[0]["blocks"]))
