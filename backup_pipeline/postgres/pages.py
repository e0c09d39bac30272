"""Pages of one table: each row once, in bounded memory, going on in the same snapshot when a connection is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
import pyarrow as pa

from backup_pipeline.core.errors import BackupError, SnapshotOutdatedError, SourceError, SourceUnavailableError
from backup_pipeline.core.plans import NotNativeError, Order, TablePlan
from backup_pipeline.core.ports import Page
from backup_pipeline.core.relations import RelationKind
from backup_pipeline.postgres.copy_stream import Expected, Form, UnfitValueError
from backup_pipeline.postgres.endpoint import Endpoint
from backup_pipeline.postgres.errors import connection_lost, query_error
from backup_pipeline.postgres.page_sql import Field, Stretch, fields_of, key_fields, key_text, page_sql, probe_sql
from backup_pipeline.postgres.session import literal, relation_sql
from backup_pipeline.postgres.since import changes_sql, definitions_sql, file_sql, kept_sql
from backup_pipeline.postgres.walks import PageSize, Walk, walk_of
from backup_pipeline.postgres.worker import Worker, Workers

_RETRIES = 3
# A lock keeps DDL off a table, but not new partitions off a partitioned one, nor off what a view reads.
_MAY_GROW = {RelationKind.PARTITIONED, RelationKind.VIEW}


@dataclass(frozen=True)
class Reading:
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
    def asked(self) -> tuple[Field, ...]:
        """Everything that is selected."""
        return (*self.fields, *self.hidden)

    @property
    def forms(self) -> list[Form]:
        """How they come."""
        return [field.wire.form for field in self.asked]

    @property
    def sql(self) -> str:
        return page_sql(self.plan, self.asked, self.stretch)


def read_pages(plan: TablePlan, reading: Reading) -> Iterator[Page]:
    """The pages of `plan`'s table, as `Snapshot.read` promises them."""
    fields, hidden = fields_of(plan), key_fields(plan) if plan.order is Order.KEY else ()
    walk = walk_of(plan, reading.size, _blocks(plan, reading))
    expected = Expected.of_any(len(fields) + len(hidden))
    files = set[int]()
    losses = 0
    while (stretch := walk.next()) is not None:
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
        _refuse(plan, reading, [one for one in changes if not _kept(one, lambda sql: run(reading, sql, doing))])


def run(reading: Reading, sql: str, doing: str) -> list[dict[str, object]]:
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


def _stretch(worker: Worker, query: _Query, walk: Walk, reading: Reading, files: set[int]) -> Iterator[Page]:
    started = time.perf_counter()
    _lock(worker, query, reading)
    _same_file(worker, query.plan, reading, files)
    # A little more than a page: one query's rows are one page, unless they turn out much larger than measured.
    for batch in worker.batches(query.sql, query.forms, reading.size.page_bytes * 3 // 2, query.expected):
        rows = pa.Table.from_batches([_arrived(batch, query)])
        # The walk moves on before the page leaves: whoever reads on, or gives up, finds it behind this page.
        walk.took(rows.num_rows, rows.nbytes, _last_key(rows, query))
        yield Page(rows.select(range(len(query.fields))), time.perf_counter() - started)
        started = time.perf_counter()
    walk.finished()


def _lock(worker: Worker, query: _Query, reading: Reading) -> None:
    """Lock what the query reads, and refuse what DDL changed since the snapshot: it would look empty, or half so.

    From here on the lock (ACCESS SHARE, like any SELECT's) keeps DDL out.
    """
    source = page_sql(query.plan, query.asked, Stretch(limit=0))
    if source in worker.locked:
        return
    types = worker.types(source)
    changes = worker.rows(changes_sql(query.plan))
    _refuse(query.plan, reading, [one for one in changes if not _kept(one, worker.rows)])
    _refuse(query.plan, reading, _redefined(worker, query.plan, reading))
    for field, found in zip(query.asked, types, strict=True):
        if found not in field.wire.form.pg_types:
            relation = query.plan.relation.full_name
            message = f"Column {field.name} of {relation} comes as {found or 'another type'} than was planned."
            raise SourceError(message, do="Its type was changed while it was read: run it again.")
    worker.locked.add(source)


def _kept(change: Mapping[str, object], rows: Callable[[str], Sequence[Mapping[str, object]]]) -> bool:
    """Whether a relation in new files shows the snapshot's rows all the same: after VACUUM FULL or CLUSTER."""
    return change["relation"] is not None and bool(rows(kept_sql(str(change["relation"])))[0]["kept"])


def _same_file(worker: Worker, plan: TablePlan, reading: Reading, files: set[int]) -> None:
    """Refuse to go on by place on disk in other files than those in which the table was begun (`files`)."""
    if plan.order is not Order.CTID:
        return
    files.add(int(worker.rows(file_sql(plan))[0]["file"]))
    if len(files) > 1:
        message = f"{plan.relation.full_name} was rewritten in {reading.endpoint} while it was read by place on disk."
        raise SourceUnavailableError(message, do="It is read again from its start.")


def _redefined(worker: Worker, plan: TablePlan, reading: Reading) -> list[dict[str, Any]]:
    """The views and heirs whose definition is another one now than in the snapshot."""
    sql = definitions_sql(plan)
    then = {(row["name"], row["version"]) for row in worker.rows(sql)}
    if not then and plan.relation.kind is not RelationKind.VIEW:
        return []
    now = {(row["name"], row["version"]) for row in reading.now(sql)}
    return [{"what": f"{name} was redefined"} for name in sorted({name for name, _ in then ^ now})]


def _refuse(plan: TablePlan, reading: Reading, changes: Sequence[Mapping[str, object]]) -> None:
    if changes:
        what = f"Reading {plan.relation.full_name} failed in {reading.endpoint}: "
        what += "; ".join(str(change["what"]) for change in changes)
        message = f"{what} after the snapshot was taken, which no longer shows its rows."
        raise SnapshotOutdatedError(message, do="Run it again: a new snapshot shows the table as it is now.")


def _arrived(batch: pa.RecordBatch, query: _Query) -> pa.RecordBatch:
    """A batch under its fields' names; UnfitValueError when a value lies outside its column's bounds."""
    for number, (field, array) in enumerate(zip(query.asked, batch.columns, strict=True)):
        if field.wire.overflows(array):
            raise UnfitValueError(number)
    return batch.rename_columns([field.name for field in query.asked])


def _unfit(query: _Query, number: int, reading: Reading) -> NotNativeError:
    """What to raise for a column that needs another Arrow type; the value is asked for, as text, to be shown."""
    field = query.asked[number]
    found = run(reading, probe_sql(query.plan, field, query.stretch), f"looking at {field.name}")
    return NotNativeError(field.name, str(found[0]["v"]) if found else "a value out of its range")


def _go_on_or_raise(error: BaseException, query: _Query, walk: Walk, reading: Reading, losses: int) -> None:
    """Return when the walk can simply go on with another connection; else raise what is the matter."""
    reading.workers.check()
    if connection_lost(error) and walk.resumable and losses <= _RETRIES:
        return
    failed: BackupError = query_error(error, reading.endpoint, f"reading {query.plan.relation.full_name}")
    raise failed from error


def _last_key(rows: pa.Table, query: _Query) -> tuple[str, ...]:
    if query.plan.order is not Order.KEY:
        return ()
    last = rows.num_rows - 1
    names = rows.schema.names
    hidden = {field.name for field in query.hidden}
    keys = [f"key {name}" if f"key {name}" in hidden else name for name in query.plan.key]
    return tuple(key_text(rows.column(names.index(name))[last].as_py()) for name in keys)


def _blocks(plan: TablePlan, reading: Reading) -> int | None:
    if not reading.ranges_of_blocks:
        return None
    relation = literal(relation_sql(plan.relation.id))
    sql = f"SELECT pg_relation_size({relation}::regclass) / current_setting('block_size')::int8 AS blocks"
    found: Sequence[dict[str, object]] = run(reading, sql, f"measuring {plan.relation.full_name}")
    return int(str(found[0]["blocks"]))
