"""What changed of which business, read in a snapshot: by the transaction ids of a row and of the rows on its path.

Why this is exact stands in docs/businesses.md. Conditions are on row versions alone, so what they find does not depend
on what an application writes into its columns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import psycopg
import pyarrow as pa

from backup_pipeline.core.businesses.paths import Registry
from backup_pipeline.core.businesses.ticks import SHARED_KEY, SourcePosition
from backup_pipeline.core.catalog.businesses import Businesses, Condition
from backup_pipeline.core.manifest import SnapshotEntry
from backup_pipeline.core.plans import TEXT, LookUp, RowOrder, SheetColumn, SheetPlan, TablePlan, type_name
from backup_pipeline.core.ports.ticks import BUSINESS_FIELD, KEY_FIELD, BusinessTable, RegisteredBusiness
from backup_pipeline.core.relations import Column, Relation, RelationKind
from backup_pipeline.postgres.copy_stream import CopyForm, Expected
from backup_pipeline.postgres.errors import query_error
from backup_pipeline.postgres.page_sql import ROW, Field, look_up_sql, own_column, printed, source_sql, wire_of
from backup_pipeline.postgres.pages import TableReading, guard, read_pages, run
from backup_pipeline.postgres.session import Worker, identifier, literal, relation_sql

_AS_ARRAY = 50_000
"""Keys, or places of rows, in a statement: of more, what finds them stands there in their place."""
_SAMPLED_FROM = 64 << 20
"""Bytes of a table from which on a sample is looked at before places are collected: the server holds 32 for each."""
_SAMPLE = 1
"""Percent of the blocks."""
_BATCH = 4 << 20
_ROUND = 1 << 32
"""Transaction ids in a round; a row has the low half of a full one."""
_POSITION = """
SELECT pg_snapshot_xmin(s)::text AS xmin, pg_snapshot_xmax(s)::text AS next_xid, pg_is_in_recovery() AS standby,
       (SELECT system_identifier FROM pg_control_system()) AS system,
       (SELECT oid::int8 FROM pg_database WHERE datname = current_database()) AS database,
       CASE WHEN pg_is_in_recovery() THEN (SELECT timeline_id::text FROM pg_control_checkpoint())
            ELSE substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END AS timeline
FROM pg_current_snapshot() AS s"""
# Everything that says what a row is or looks like: of the relations and their partitions the columns with their types,
# of all types the labels and attributes, of views the definition.
_DEFINED = """
WITH RECURSIVE parts AS (
    SELECT c.oid, c.oid AS top FROM pg_class c WHERE c.oid = ANY(ARRAY[{relations}]::regclass[])
    UNION ALL SELECT i.inhrelid, p.top FROM parts p JOIN pg_inherits i ON i.inhparent = p.oid
    JOIN pg_class c ON c.oid = i.inhrelid AND c.relispartition)
SELECT coalesce(string_agg(line, E'\\n' ORDER BY line COLLATE "C"), '') AS text FROM (
    SELECT format('%s %s %s %s %s %s', p.top, a.attrelid, a.attnum, a.attname, a.atttypid, a.atttypmod) AS line
    FROM parts p JOIN pg_attribute a ON a.attrelid = p.oid WHERE a.attnum > 0 AND NOT a.attisdropped
    UNION ALL SELECT format('enum %s %s %s', enumtypid, enumsortorder, enumlabel) FROM pg_enum
    UNION ALL SELECT format('type %s %s %s %s %s', a.attrelid, a.attnum, a.attname, a.atttypid, a.atttypmod)
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid AND c.relkind = 'c' WHERE NOT a.attisdropped
    UNION ALL SELECT format('view %s %s', p.oid, pg_get_viewdef(p.oid)) FROM parts p JOIN pg_class c ON c.oid = p.oid
    WHERE c.relkind IN ('v', 'm')
) AS lines"""


class PostgresBusinessRows:
    """The port `BusinessRows` over the workers of a snapshot."""

    def __init__(self, reading: TableReading, entry: SnapshotEntry) -> None:
        self._reading = reading
        self._entry = entry
        self._led: dict[str, dict[str, object]] = {}
        self._young: dict[tuple[object, ...], Sequence[str]] = {}
        """By relation, key, path from there and window the keys of the candidates."""

    def position(self) -> SourcePosition:
        """Where the snapshot stands: also on a standby, whose ids and identity are those of its primary."""
        (row,) = run(self._reading, _POSITION, "looking at the snapshot")
        role = "standby" if row["standby"] else "primary"
        high, _, low = self._entry.lsn.partition("/")
        return SourcePosition(
            xmin=int(str(row["xmin"])),
            next_xid=int(str(row["next_xid"])),
            lsn=(int(high, 16) << 32) + int(low, 16),
            source=f"{row['system']}/{row['timeline']}/{row['database']}/{role}",
            taken_at=self._entry.taken_at,
        )

    def fingerprint(self, relations: Sequence[Relation]) -> str:
        """The SHA-256 of their definitions."""
        names = ", ".join(literal(relation_sql(relation.id)) for relation in relations)
        (row,) = run(self._reading, _DEFINED.format(relations=names), "reading definitions")
        return hashlib.sha256(str(row["text"]).encode()).hexdigest()

    def registered(self, registry: Registry, declared: Businesses) -> Sequence[RegisteredBusiness]:
        """The rows of the registry, by key."""
        name = registry.relation.column(declared.name) if declared.name else None
        title = printed(name).format(x=own_column(name.name)) if name else "''"
        key = printed(registry.key).format(x=own_column(registry.key.name))
        active = " AND ".join(_condition(each, registry.relation) for each in declared.conditions) or "true"
        sql = f"SELECT {key} AS key, {title} AS name, ({active}) IS TRUE AS active FROM {source_sql(registry.relation)}"  # noqa: S608
        rows = run(self._reading, sql, f"reading {registry.relation.full_name}")
        businesses = [RegisteredBusiness(str(r["key"]), str(r["name"] or ""), active=bool(r["active"])) for r in rows]
        return sorted(businesses, key=lambda each: each.key)

    def candidates(self, table: BusinessTable, xmin: int) -> tuple[int, Iterator[pa.RecordBatch]]:
        """One scan counts the rows and notes where the candidates are, which are then read in their places.

        Of many, and of the partitions of a table, places are not noted: that is a scan to count, and one that looks.
        """
        condition = self._changed(table, xmin)
        if table.plan.relation.kind is RelationKind.TABLE and self._few(table, condition):
            counted, batches = self._scan(table, condition)
            if batches is not None:
                if table.tracked:
                    keys = [key for batch in batches for key in batch.column("key").to_pylist()]
                    self._young[table.plan.relation.id, table.plan.key, table.path.steps, xmin] = keys
                return counted, iter(batches)
        else:
            counted = self.count(table)
        return counted, self._narrow(table, _narrow_sql(table, condition))

    def _few(self, table: BusinessTable, condition: str) -> bool:
        """Whether so few rows seem to be candidates that their places are collected. Nothing but cost depends on it."""
        if table.plan.relation.total_bytes < _SAMPLED_FROM:
            return True
        sample = f"{source_sql(table.plan.relation)} TABLESAMPLE SYSTEM ({_SAMPLE})"
        (row,) = self._ask(table, f"SELECT count(*) AS n FROM {sample} WHERE {condition}")  # noqa: S608
        return int(str(row["n"])) * 100 // _SAMPLE <= _AS_ARRAY

    def _scan(self, table: BusinessTable, condition: str) -> tuple[int, Sequence[pa.RecordBatch] | None]:
        """The rows, counted, and the candidates; None where they are too many.

        In one transaction: its lock on the table keeps every row in its place until it was read.
        """
        places = f"SELECT count(*) AS n, array_agg({ROW}.ctid) FILTER (WHERE {condition}) AS p"
        few = f"CASE WHEN cardinality(p) <= {_AS_ARRAY} THEN p::text END"
        scan = f"{places} FROM {source_sql(table.plan.relation)}"
        sql = f"SELECT n, p IS NULL AS nobody, {few} AS places FROM ({scan}) AS s"  # noqa: S608
        with self._asking(table) as worker:
            (row,) = worker.rows(sql)
            counted = int(str(row["n"]))
            if row["nobody"] or row["places"] is None:
                return counted, [] if row["nobody"] else None
            where = f"{ROW}.ctid = ANY({literal(str(row['places']))}::tid[])"
            return counted, list(_batches(worker, _narrow_sql(table, where)))

    def keys(self, table: BusinessTable, businesses: Collection[str] | None) -> Iterator[pa.RecordBatch]:
        """By a join along the path."""
        business, source = _joined(table, businesses)
        return self._narrow(table, f"SELECT {business}, {_key(table)}, {_version()} FROM {source}")  # noqa: S608

    def count(self, table: BusinessTable) -> int:
        """By `count(*)`."""
        (row,) = self._ask(table, f"SELECT count(*) AS n FROM {source_sql(table.plan.relation)}")  # noqa: S608
        return int(str(row["n"]))

    def counts(self, table: BusinessTable, businesses: Collection[str] | None = None) -> Mapping[str, tuple[int, str]]:
        """By a join along the path."""
        business, source = _joined(table, businesses)
        mark = "''" if table.versioned else f"coalesce(sum(hashtextextended({ROW}::text, 0)::numeric)::text, '')"
        group, text = business, "k"
        if table.path.column.base_type in _PRINTED_ALIKE:
            group, text = _joined_value(table), f"coalesce({printed(table.path.column).format(x='k')}, '')"
        groups = f"SELECT {group} AS k, count(*) AS n, {mark} AS mark FROM {source} GROUP BY 1"  # noqa: S608
        rows = self._ask(table, f"SELECT {text} AS business, n, mark FROM ({groups}) AS g")  # noqa: S608
        return {
            SHARED_KEY if row["business"] is None else str(row["business"]): (int(str(row["n"])), str(row["mark"]))
            for row in rows
        }

    def rows_of(self, table: BusinessTable, businesses: Collection[str]) -> Iterator[pa.Table]:
        """By a join along the path: one scan for all of them, or an index, as the planner reckons."""
        value = _joined_value(table)
        where = _among(value, table.path.column, sorted(businesses))
        return self._rows(table, where, _join(table), printed(table.path.column).format(x=value))

    def rows_with(self, table: BusinessTable, keys: Sequence[str], xmin: int) -> Iterator[pa.Table]:
        """By their keys through the index; of many, or keys of odd types, by what made them candidates."""
        columns = [table.plan.relation.column(name) for name in table.plan.key]
        if len(keys) > _AS_ARRAY or len(columns) != 1 or columns[0] is None or not columns[0].builtin:
            where = self._changed(table, xmin)
        else:
            where = _among(own_column(columns[0].name), columns[0], keys)
        return self._rows(table, where, "", _business(table))

    def _rows(self, table: BusinessTable, where: str, joined: str, business: str) -> Iterator[pa.Table]:
        plan = replace(table.plan, order=RowOrder.SCAN)
        extra = [Field(BUSINESS_FIELD, business, _TEXT_WIRE)]
        extra += [Field(KEY_FIELD, _key(table), _TEXT_WIRE)] if table.tracked else []
        for page in read_pages(plan, self._reading, only=where, joined=joined, extra=tuple(extra)):
            yield page.rows

    def _changed(self, table: BusinessTable, xmin: int) -> str:
        """The condition of candidates: a young row, or one that leads to a young row on its path."""
        below = self._below(table, 0, xmin)
        return f"({_young(ROW, xmin)}{f' OR {below}' if below else ''})"

    def _below(self, table: BusinessTable, number: int, xmin: int) -> str:
        """The condition that the row before this step leads to a young one; empty behind the last step.

        Where that is a table whose candidates were found already, as its own path says, theirs are the keys. Only rows
        of that very relation are among those, and foreign keys refer to no others.
        """
        path = table.path
        if number == len(path.steps):
            return ""
        step, alias, last = path.steps[number], f'"s{number}"', f'"s{number - 1}"' if number else ROW
        before = f"{last}.{identifier(step.from_columns[0])}"
        young_keys = self._young.get((step.relation, step.columns, path.steps[number + 1 :], xmin))
        if young_keys is not None and path.enforced and path.keys[number].builtin:
            return _any(before, path.keys[number], _array(young_keys)) if young_keys else "false"
        below = self._below(table, number + 1, xmin)
        own = _young(alias, xmin) + (f" OR {below}" if below else "")
        key = f"{alias}.{identifier(step.columns[0])}"
        young = f"SELECT {key} AS k FROM {relation_sql(step.relation)} AS {alias} WHERE {own}"  # noqa: S608
        return self._leads_to(table, before, path.keys[number], young)

    def _leads_to(self, table: BusinessTable, column: str, key: Column, young: str) -> str:
        """The condition that `column` is among the keys that `young` gives: they stand in it as an array.

        A subquery in their place is planned badly: nothing tells the planner how few they are. Of very many it is none.
        """
        sql = f"SELECT array_agg(k)::text AS keys, count(*) AS n FROM ({young} LIMIT {_AS_ARRAY + 1}) AS f"  # noqa: S608
        if sql not in self._led:  # tables with the same path ask the same of its relations
            (self._led[sql],) = self._ask(table, sql)
        row = self._led[sql]
        if not row["n"]:
            return "false"
        if int(str(row["n"])) > _AS_ARRAY or not key.builtin:
            return f"{column} IN ({young})"
        return _any(column, key, str(row["keys"]))

    def _ask(self, table: BusinessTable, sql: str) -> list[dict[str, object]]:
        """The few rows of a query about the table."""
        with self._asking(table) as worker:
            return worker.rows(sql)

    def _narrow(self, table: BusinessTable, sql: str) -> Iterator[pa.RecordBatch]:
        with self._asking(table) as worker:
            yield from _batches(worker, sql)

    @contextmanager
    def _asking(self, table: BusinessTable) -> Iterator[Worker]:
        """A worker for queries about the table, whose definition is guarded as that of a table that is read."""
        try:
            with self._reading.workers.lend() as worker:
                guard(worker, _guarded(table), self._reading)
                yield worker
        except psycopg.Error as error:
            self._reading.workers.check()
            doing = f"looking for changes of {table.plan.relation.full_name}"
            raise query_error(error, self._reading.endpoint, doing) from error


_INT = Column("int8", "bigint", "int8", builtin=True)
_TEXT_WIRE = wire_of(Column("text", "text", "text", builtin=True), TEXT)


_PRINTED_ALIKE = {"int2", "int4", "int8", "uuid"}
"""Types whose values are equal where their texts are: they are grouped as they are, and printed then."""


def _batches(worker: Worker, sql: str) -> Iterator[pa.RecordBatch]:
    """Rows of three columns as Arrow; `business` is empty where there is none."""
    forms: list[CopyForm] = [_TEXT_WIRE.form, _TEXT_WIRE.form, wire_of(_INT, "int64").form]
    for batch in worker.batches(sql, forms, _BATCH, Expected.of_any(3)):
        yield batch.rename_columns(["business", "key", "version"])


def _guarded(table: BusinessTable) -> TablePlan:
    """A plan that reads no more than the table and its path: their definitions are what is guarded."""
    if not table.path.steps:
        return replace(table.plan, sheet=SheetPlan(table.plan.sheet.name, ()))
    look_up = LookUp(table.path.steps, table.path.column, TEXT)
    column = SheetColumn("business", BUSINESS_FIELD, table.path.column.pg_type, look_up)
    return replace(table.plan, sheet=SheetPlan(table.plan.sheet.name, (column,)))


def _young(alias: str, xmin: int) -> str:
    """Whether a row version was written by a transaction from `xmin` on.

    `age` counts back from now, around the end of the ids: what is that old or younger is found, and what is older by a
    whole round is found too. A comparison of the ids as numbers would lose rows after each round.
    """
    # As a subquery it is worked out once, and not once for each row.
    return f"age({alias}.xmin) <= (SELECT age('{xmin % _ROUND}'::xid))"


def _version() -> str:
    return f"{ROW}.xmin::text::int8"


def _type(column: Column) -> str:
    return type_name(column.pg_type).sql()


def _business(table: BusinessTable) -> str:
    """The business of the row being read, as text; NULL without."""
    if not table.path.steps:
        return printed(table.path.column).format(x=own_column(table.path.column.name))
    return printed(table.path.column).format(x=look_up_sql(LookUp(table.path.steps, table.path.column, TEXT)))


def _key(table: BusinessTable) -> str:
    """The key of the row being read, as text: of several columns a JSON array of their texts."""
    columns = [column for name in table.plan.key if (column := table.plan.relation.column(name))]
    texts = [printed(column).format(x=own_column(column.name)) for column in columns]
    if not table.tracked:
        return "''"
    return texts[0] if len(texts) == 1 else f"jsonb_build_array({', '.join(texts)})::text"


def _narrow_sql(table: BusinessTable, where: str) -> str:
    columns = f"coalesce({_business(table)}, ''), {_key(table)}, {_version()}"
    return f"SELECT {columns} FROM {source_sql(table.plan.relation)} WHERE {where}"  # noqa: S608


def _joined(table: BusinessTable, businesses: Collection[str] | None) -> tuple[str, str]:
    """The business of a row, and what to read from so that it is found by a join: for when many rows are looked up.

    Those of these businesses alone, unless it is None.
    """
    source = source_sql(table.plan.relation) + _join(table)
    if businesses is not None:
        source += f" WHERE {_among(_joined_value(table), table.path.column, sorted(businesses))}"
    return f"coalesce({printed(table.path.column).format(x=_joined_value(table))}, '')", source


def _join(table: BusinessTable) -> str:
    """The relations of the path, joined to a row."""
    joined, last = "", ROW
    for number, step in enumerate(table.path.steps):
        alias = f'"s{number}"'
        equal = f"{alias}.{identifier(step.columns[0])} = {last}.{identifier(step.from_columns[0])}"
        joined, last = f"{joined} LEFT JOIN {relation_sql(step.relation)} AS {alias} ON {equal}", alias
    return joined


def _joined_value(table: BusinessTable) -> str:
    """The key of a row's business, in what `_joined` reads from."""
    end = f'"s{len(table.path.steps) - 1}"' if table.path.steps else ROW
    return f"{end}.{identifier(table.path.column.name)}"


def rows_of_businesses(table: BusinessTable, businesses: Collection[str]) -> str:
    """The condition of the rows of these businesses, from the end of the path on: there an index helps."""
    condition = _among(_joined_value(table), table.path.column, sorted(businesses))
    for number in range(len(table.path.steps) - 1, -1, -1):
        step, alias = table.path.steps[number], f'"s{number}"'
        before = f'"s{number - 1}"' if number else ROW
        keys = f"SELECT {alias}.{identifier(step.columns[0])} FROM {relation_sql(step.relation)} AS {alias}"  # noqa: S608
        condition = f"{before}.{identifier(step.from_columns[0])} IN ({keys} WHERE {condition})"
    return condition


def _any(value: str, key: Column, array: str) -> str:
    """The condition that a value is among those of an array, given as PostgreSQL's text of it."""
    return f"{value} = ANY({literal(array)}::{_type(key)}[])"


def _array(texts: Sequence[str]) -> str:
    """PostgreSQL's text of an array of these."""
    quoted = (text.replace("\\", "\\\\").replace('"', '\\"') for text in texts)
    return "{" + ",".join(f'"{text}"' for text in quoted) + "}"


def _among(value: str, column: Column, texts: Sequence[str]) -> str:
    """The condition that a value is one of these, given as texts. Types that are not built in compare as texts."""
    elements = ", ".join(literal(text) for text in texts)
    if not column.builtin:
        return f"{printed(column).format(x=value)} = ANY(ARRAY[{elements}]::text[])"
    return f"{value} = ANY(ARRAY[{elements}]::{_type(column)}[])"


def _condition(condition: Condition, relation: Relation) -> str:
    """One comparison, on the text of the column where it is one with a text."""
    column = relation.column(condition.column)
    value = own_column(condition.column)
    if condition.operator in {"is null", "is not null"}:
        return f"{value} {condition.operator.upper()}"
    if condition.operator in {"true", "false"}:
        return f"{value} IS {condition.operator.upper()}"
    text = printed(column).format(x=value) if column else value
    return f"{text} {condition.operator} {literal(condition.value or '')}"
