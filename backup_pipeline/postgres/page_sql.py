"""The SQL of a page: what is selected, from where, and which stretch of the table. Every name in it is quoted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, time
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc

from backup_pipeline.core.plans import DAYS_BEFORE_2000, TEXT, US_BEFORE_2000, US_PER_DAY, LookUp, TablePlan
from backup_pipeline.core.relations import Column, Relation, RelationKind
from backup_pipeline.core.text import MASK
from backup_pipeline.postgres.copy_stream import CopyForm, Storage
from backup_pipeline.postgres.session import identifier, literal, relation_sql

_FORMS: dict[str, CopyForm] = {
    TEXT: CopyForm(Storage.VARYING, pa.string(), frozenset({"text", "varchar", "bpchar", "name"})),
    "bool": CopyForm(Storage.BIT, pa.bool_(), frozenset({"bool"})),
    "int16": CopyForm(Storage.INT16, pa.int16(), frozenset({"int2"})),
    "int32": CopyForm(Storage.INT32, pa.int32(), frozenset({"int4"})),
    "int64": CopyForm(Storage.INT64, pa.int64(), frozenset({"int8"})),
    "float": CopyForm(Storage.INT32, pa.float32(), frozenset({"float4"})),
    "double": CopyForm(Storage.INT64, pa.float64(), frozenset({"float8"})),
    "binary": CopyForm(Storage.VARYING, pa.binary(), frozenset({"bytea"})),
    "uuid": CopyForm(Storage.BYTES16, pa.uuid(), frozenset({"uuid"})),
    "date32[day]": CopyForm(Storage.INT32, pa.date32(), frozenset({"date"}), DAYS_BEFORE_2000),
    "time64[us]": CopyForm(Storage.INT64, pa.time64("us"), frozenset({"time"})),
    "timestamp[us]": CopyForm(Storage.INT64, pa.timestamp("us"), frozenset({"timestamp"}), US_BEFORE_2000),
    "timestamp[us, tz=UTC]": CopyForm(
        Storage.INT64, pa.timestamp("us", tz="UTC"), frozenset({"timestamptz"}), US_BEFORE_2000
    ),
}
_OUTPUTS = {"enum_out", "record_out", "array_out", "range_out", "multirange_out", "format"}
_DECIMAL = re.compile(r"decimal128\((\d+), (\d+)\)")


@dataclass(frozen=True)
class Bounds:
    """The least and the greatest value (as the Arrow type counts) that people's programs can hold, and SQL for others.

    What lies outside are infinities, which come as some far away instant, years before 1 or after 9999, which
    neither pandas nor Python's datetime has, and the time 24:00, which Arrow has not.
    """

    least: int
    greatest: int
    unfit: str


_YEARS = "NOT ({{x}} >= '0001-01-01'::{t} AND {{x}} < '10000-01-01'::{t})"
_TIMESTAMPS = (-62_135_596_800_000_000, 253_402_300_799_999_999)
_BOUNDS: dict[str, Bounds] = {
    "date32[day]": Bounds(-719_162, 2_932_896, _YEARS.format(t="date")),
    "time64[us]": Bounds(0, US_PER_DAY - 1, "{x} = '24:00'::time"),
    "timestamp[us]": Bounds(*_TIMESTAMPS, _YEARS.format(t="timestamp")),
    "timestamp[us, tz=UTC]": Bounds(*_TIMESTAMPS, _YEARS.format(t="timestamptz")),
}
_NOT_A_NUMBER = "{x} = 'NaN'::numeric"


@dataclass(frozen=True)
class Wire:
    """One column's way: `select` wraps the value `{x}` in SQL, which comes in `form`.

    `unfit` is an SQL condition on `{x}` that finds the values the form can not hold; empty when it holds all.
    """

    select: str
    form: CopyForm
    unfit: str = ""
    bounds: Bounds | None = None

    def overflows(self, array: pa.Array) -> bool:
        """Whether a value of an arrived array lies outside the bounds."""
        if self.bounds is None or array.null_count == len(array):
            return False
        counts = array.view(pa.int32() if pa.types.is_date32(array.type) else pa.int64())
        extremes = pc.min_max(counts)
        return bool(extremes["min"].as_py() < self.bounds.least or extremes["max"].as_py() > self.bounds.greatest)


def wire_of(column: Column, arrow_type: str) -> Wire:
    """The way of `column` into `arrow_type` (a name of core's plans)."""
    if match := _DECIMAL.fullmatch(arrow_type):
        target = pa.decimal128(int(match[1]), int(match[2]))
        return Wire("{x}", CopyForm(Storage.NUMERIC, target, frozenset({"numeric"})), _NOT_A_NUMBER)
    form = _FORMS[arrow_type]
    if arrow_type == TEXT:
        direct = column.builtin and column.base_type in form.pg_types
        return Wire("{x}" if direct else printed(column), form)
    if column.base_type == "oid":
        return Wire("{x}::int8", form)
    bounds = _BOUNDS.get(arrow_type)
    return Wire("{x}", form, bounds.unfit if bounds else "", bounds)


def printed(column: Column) -> str:
    """SQL of the value `{x}` as PostgreSQL's own output function prints it.

    Not by a cast: whoever owns an enum, a composite or a range may say which function casts it to text, and that would
    run with the rights of the backup role. Types of PostgreSQL's own and of extensions belong to superusers.
    """
    if column.builtin or column.output not in _OUTPUTS:
        return "{x}::text"
    if column.output == "format":
        return "CASE num_nonnulls({x}) WHEN 1 THEN pg_catalog.format('%s', {x}) END"
    return f"pg_catalog.textin(pg_catalog.{column.output}({{x}}))"


def masked_wire() -> Wire:
    """The way of a masked column: whether there is a value is asked, the value itself never."""
    # num_nonnulls, because a composite value with a null inside IS NOT NULL is false.
    return Wire(f"CASE num_nonnulls({{x}}) WHEN 1 THEN {literal(MASK)}::text END", _FORMS[TEXT])


ROW = '"t"'


@dataclass(frozen=True)
class Field:
    """A column of a page: its name, the SQL of its value in PostgreSQL's own type, and how it travels."""

    name: str
    value: str
    wire: Wire

    @property
    def selected(self) -> str:
        """What stands in the select list."""
        return self.wire.select.format(x=self.value)


@dataclass(frozen=True)
class Stretch:
    """The part of a table that one query reads. Empty texts and no limit: all of it, in whatever order it comes.

    `joined` are further relations that its condition and its fields may name; each row has one partner there at most.
    The first `skip` rows are read, and left out.
    """

    where: str = ""
    order_by: str = ""
    limit: int | None = None
    joined: str = ""
    skip: int = 0

    def of(self, source: str) -> str:
        """The FROM clause and what follows it."""
        where = f" WHERE {self.where}" if self.where else ""
        order_by = f" ORDER BY {self.order_by}" if self.order_by else ""
        limit = f" LIMIT {self.limit}" if self.limit is not None else ""
        return f"FROM {source}{self.joined}{where}{order_by}{limit}"


def fields_of(plan: TablePlan) -> tuple[Field, ...]:
    """The fields of the plan's columns, then those of its look-ups."""
    own = [
        Field(c.name, own_column(c.name), masked_wire() if c.masked else wire_of(c.column, c.arrow_type))
        for c in plan.columns
    ]
    look_ups = [
        Field(sheet.field, look_up_sql(sheet.look_up), wire_of(sheet.look_up.column, sheet.look_up.arrow_type))
        for sheet in plan.look_ups
        if sheet.look_up
    ]
    return (*own, *look_ups)


def key_fields(plan: TablePlan) -> tuple[Field, ...]:
    """Fields that a keyset page must carry besides, because a key column is excluded or masked. Never handed out."""
    carried = {column.name for column in plan.columns if not column.masked}
    columns = [column for name in plan.key if name not in carried and (column := plan.relation.column(name))]
    return tuple(Field(f"key {c.name}", own_column(c.name), wire_of(c, "string")) for c in columns)


def page_sql(plan: TablePlan, fields: Sequence[Field], stretch: Stretch) -> str:
    """The query of one stretch; its columns are named by their position."""
    selected = ", ".join(f"{field.selected} AS c{number}" for number, field in enumerate(fields))
    return f"SELECT {selected} {stretch.of(source_sql(plan.relation))}"


def probe_sql(plan: TablePlan, field: Field, stretch: Stretch) -> str:
    """A query for one value in the stretch that the field's Arrow type can not hold, as text `v`."""
    inner = f"SELECT {field.value} AS x {stretch.of(source_sql(plan.relation))}"
    return f"SELECT x::text AS v FROM ({inner}) AS p WHERE {field.wire.unfit.format(x='x')} LIMIT 1"  # noqa: S608


def source_sql(relation: Relation) -> str:
    """The relation to read from, as `t`. ONLY: rows of a table that inherits from this one are that table's."""
    only = "ONLY " if relation.kind is RelationKind.TABLE else ""
    return f"{only}{relation_sql(relation.id)} AS {ROW}"


def own_column(name: str) -> str:
    """A column of the row being read."""
    return f"{ROW}.{identifier(name)}"


def order_by_key(plan: TablePlan) -> str:
    """The key columns, ascending, each by its own collation, as its index has them."""
    return ", ".join(own_column(name) for name in plan.key)


def after_key(plan: TablePlan, values: Sequence[str]) -> str:
    """The condition of the rows behind the key `values` (in PostgreSQL's text form): a row comparison."""
    left = ", ".join(own_column(name) for name in plan.key)
    columns = [plan.relation.column(name) for name in plan.key]
    right = ", ".join(
        f"{literal(value)}::pg_catalog.{identifier(column.base_type)}"
        for column, value in zip(columns, values, strict=True)
        if column
    )
    return f"({left}) > ({right})"


def key_text(value: object) -> str:
    """A key value from Arrow in a text form that PostgreSQL reads back as exactly the same value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    if isinstance(value, date | time):  # datetime is a date; microseconds, and the offset of UTC, are printed
        return value.isoformat()
    if isinstance(value, UUID | str | int):
        return str(value)
    return format(value, "f") if hasattr(value, "as_tuple") else repr(value)  # Decimal, without an exponent; float


def between_blocks(start: int, stop: int | None) -> str:
    """The condition of the rows in the blocks from `start` up to, not including, `stop`; None: to the end."""
    last = f" AND {ROW}.ctid < '({stop},0)'::tid" if stop is not None else ""
    return f"{ROW}.ctid >= '({start},0)'::tid{last}"


def look_up_sql(look_up: LookUp) -> str:
    """The looked-up value as a scalar subquery on the row being read; several values are joined with `; `."""
    aliases = [f'"s{number}"' for number in range(len(look_up.steps))]
    froms = []
    for number, (step, alias) in enumerate(zip(look_up.steps, aliases, strict=True)):
        before = aliases[number - 1] if number else ROW
        pairs = zip(step.columns, step.from_columns, strict=True)
        equal = " AND ".join(f"{alias}.{identifier(c)} = {before}.{identifier(f)}" for c, f in pairs)
        froms.append((f"{relation_sql(step.relation)} AS {alias}", equal))
    source = " JOIN ".join([froms[0][0], *(f"{name} ON {equal}" for name, equal in froms[1:])])
    value = f"{aliases[-1]}.{identifier(look_up.column.name)}"
    if look_up.joined:
        text = printed(look_up.column).format(x=value)
        value = f"""string_agg({text}, '; ' ORDER BY {text} COLLATE "C")"""
    return f"(SELECT {value} FROM {source} WHERE {froms[0][1]})"  # noqa: S608
