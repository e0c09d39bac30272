"""How a column travels: the SQL expression that is asked for, and in which form what comes becomes an Arrow array."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from backup_pipeline.core.arrow_types import TEXT
from backup_pipeline.core.epochs import DAYS_BEFORE_2000, US_BEFORE_2000, US_PER_DAY
from backup_pipeline.core.relations import Column
from backup_pipeline.core.secrets import MASK
from backup_pipeline.postgres.copy_stream import Form, Storage
from backup_pipeline.postgres.session import literal

_FORMS: dict[str, Form] = {
    TEXT: Form(Storage.VARYING, pa.string(), frozenset({"text", "varchar", "bpchar", "name"})),
    "bool": Form(Storage.BIT, pa.bool_(), frozenset({"bool"})),
    "int16": Form(Storage.INT16, pa.int16(), frozenset({"int2"})),
    "int32": Form(Storage.INT32, pa.int32(), frozenset({"int4"})),
    "int64": Form(Storage.INT64, pa.int64(), frozenset({"int8"})),
    "float": Form(Storage.INT32, pa.float32(), frozenset({"float4"})),
    "double": Form(Storage.INT64, pa.float64(), frozenset({"float8"})),
    "binary": Form(Storage.VARYING, pa.binary(), frozenset({"bytea"})),
    "uuid": Form(Storage.BYTES16, pa.uuid(), frozenset({"uuid"})),
    "date32[day]": Form(Storage.INT32, pa.date32(), frozenset({"date"}), DAYS_BEFORE_2000),
    "time64[us]": Form(Storage.INT64, pa.time64("us"), frozenset({"time"})),
    "timestamp[us]": Form(Storage.INT64, pa.timestamp("us"), frozenset({"timestamp"}), US_BEFORE_2000),
    "timestamp[us, tz=UTC]": Form(
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
    """One column's way: `ask` wraps the value `{x}` in SQL, which comes in `form`.

    `unfit` is an SQL condition on `{x}` that finds the values the form can not hold; empty when it holds all.
    """

    ask: str
    form: Form
    unfit: str = ""
    bounds: Bounds | None = None

    def overflows(self, array: pa.Array) -> bool:
        """Whether a value of an arrived array lies outside the bounds."""
        if self.bounds is None or array.null_count == len(array):
            return False
        counts = array.view(pa.int32() if pa.types.is_date32(array.type) else pa.int64())
        found = pc.min_max(counts)
        return bool(found["min"].as_py() < self.bounds.least or found["max"].as_py() > self.bounds.greatest)


def wire_of(column: Column, arrow_type: str) -> Wire:
    """The way of `column` into `arrow_type` (a string of core's `arrow_types`)."""
    if match := _DECIMAL.fullmatch(arrow_type):
        target = pa.decimal128(int(match[1]), int(match[2]))
        return Wire("{x}", Form(Storage.NUMERIC, target, frozenset({"numeric"})), _NOT_A_NUMBER)
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
