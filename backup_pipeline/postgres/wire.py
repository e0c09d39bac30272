"""How a column travels: the SQL expression that is asked for, and how what ADBC gives becomes the planned Arrow type.

Decoding numeric in the client costs as much as everything else together, so a numeric of up to 18 digits is scaled to a
bigint by the server, and its bytes are taken as a decimal128.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from backup_pipeline.core.arrow_types import TEXT
from backup_pipeline.core.relations import Column
from backup_pipeline.core.secrets import MASK
from backup_pipeline.postgres.session import literal

_TYPES: dict[str, pa.DataType] = {
    TEXT: pa.string(),
    "bool": pa.bool_(),
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "binary": pa.binary(),
    "uuid": pa.uuid(),
    "date32[day]": pa.date32(),
    "time64[us]": pa.time64("us"),
    "timestamp[us]": pa.timestamp("us"),
    "timestamp[us, tz=UTC]": pa.timestamp("us", tz="UTC"),
}
_DECIMAL = re.compile(r"decimal128\((\d+), (\d+)\)")
_DIGITS_OF_INT64 = 18
_TEXT_AS_IT_IS = {"text", "varchar", "bpchar", "name"}
_US_PER_DAY = 86_400_000_000


@dataclass(frozen=True)
class Bounds:
    """The least and the greatest value (as the Arrow type counts) that people's programs can hold, and SQL for others.

    What lies outside are infinities, which ADBC passes on as some far away instant, years before 1 or after 9999, which
    neither pandas nor Python's datetime has, and the time 24:00, which Arrow has not.
    """

    least: int
    greatest: int
    unfit: str


_YEARS = "NOT ({{x}} >= '0001-01-01'::{t} AND {{x}} < '10000-01-01'::{t})"
_TIMESTAMPS = (-62_135_596_800_000_000, 253_402_300_799_999_999)
_BOUNDS: dict[str, Bounds] = {
    "date32[day]": Bounds(-719_162, 2_932_896, _YEARS.format(t="date")),
    "time64[us]": Bounds(0, _US_PER_DAY - 1, "{x} = '24:00'::time"),
    "timestamp[us]": Bounds(*_TIMESTAMPS, _YEARS.format(t="timestamp")),
    "timestamp[us, tz=UTC]": Bounds(*_TIMESTAMPS, _YEARS.format(t="timestamptz")),
}
_NOT_A_NUMBER = "{x} = 'NaN'::numeric"


@dataclass(frozen=True)
class Wire:
    """One column's way: `ask` wraps the value `{x}` in SQL, `arrive` turns what comes into an array of `type`.

    `unfit` is an SQL condition on `{x}` that finds the values `type` can not hold; empty when it holds all.
    """

    ask: str
    type: pa.DataType
    arrive: Callable[[pa.Array], pa.Array]
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
    target = arrow_data_type(arrow_type)
    if pa.types.is_decimal128(target):
        return _numeric(target)
    if arrow_type == TEXT:
        direct = column.builtin and column.base_type in _TEXT_AS_IT_IS
        return Wire("{x}" if direct else "{x}::text", target, _same)
    if column.base_type == "oid":
        return Wire("{x}::int8", target, _same)
    bounds = _BOUNDS.get(arrow_type)
    return Wire("{x}", target, _same, bounds.unfit if bounds else "", bounds)


def masked_wire() -> Wire:
    """The way of a masked column: whether there is a value is asked, the value itself never."""
    # num_nonnulls, because a composite value with a null inside IS NOT NULL is false.
    return Wire(f"CASE num_nonnulls({{x}}) WHEN 1 THEN {literal(MASK)}::text END", pa.string(), _same)


def arrow_data_type(arrow_type: str) -> pa.DataType:
    """The pyarrow type that core writes as `arrow_type`."""
    match = _DECIMAL.fullmatch(arrow_type)
    return pa.decimal128(int(match[1]), int(match[2])) if match else _TYPES[arrow_type]


def _numeric(target: pa.Decimal128Type) -> Wire:
    if target.precision > _DIGITS_OF_INT64:
        return Wire("{x}::text", target, lambda digits: digits.cast(target), _NOT_A_NUMBER)
    factor = 10**target.scale
    ask = f"({{x}} * {factor})::int8" if target.scale else "{x}::int8"
    # 19 digits hold every bigint; then the same 16 bytes a value, read with the scale: nothing is computed.
    return Wire(ask, target, lambda scaled: scaled.cast(pa.decimal128(19, 0)).view(target), _NOT_A_NUMBER)


def _same(array: pa.Array) -> pa.Array:
    return array
