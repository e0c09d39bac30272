r"""Columns as a spreadsheet reader wants to see them: what each Arrow type looks like in a cell.

timestamptz     2026-11-21 00:00:00 in the catalog's timezone; fractions of a second are cut
timestamp       the same form, as it is
date, time      2026-11-21, 13:45:00
numeric         plain digits, never with an exponent
float           the shortest form that reads back to the same value; nan, inf, -inf
bool            true, false
uuid            canonical text
bytea           \x and hexadecimal digits
text            as it is, harmless (see `formulas`)
NULL            nothing, not even quotes; an empty text is ""
"""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backup_pipeline.formats.formulas import harmless

_PLAIN_SCALE = 6
"""Arrow writes smaller decimals with an exponent: 1E-7."""
_HEX = np.frombuffer(bytes(range(256)).hex().encode(), dtype=np.uint16)
"""Byte -> its two hexadecimal digits, as one number: one look-up a byte."""
_UUID_BYTES = 16
_UUID_GROUPS = ((0, 0, 8), (9, 8, 4), (14, 12, 4), (19, 16, 4), (24, 20, 12))
"""The groups of digits between the dashes: place in the text, place among the digits, length."""


def to_cells(values: pa.Array, timezone: str) -> pa.Array:
    """`values` as an array that pyarrow's CSV writer prints as described above.

    Timestamps and dates are left native for speed; those beyond year 32767 need `far_dates`.
    """
    kind = values.type
    if pa.types.is_timestamp(kind):
        return _seconds(local_time(values, timezone))
    if pa.types.is_time(kind):
        return values.cast(pa.time32("s"), safe=False)
    if pa.types.is_decimal(kind) and kind.scale > _PLAIN_SCALE:
        return pa.array([_plain(value) for value in values.to_pylist()], pa.string())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return harmless(values)
    return bytes_as_text(values)


def bytes_as_text(values: pa.Array) -> pa.Array:
    """UUIDs in canonical form, bytea in hexadecimal; other values as they are."""
    if isinstance(values.type, pa.UuidType):
        return _uuids(values.storage)
    if pa.types.is_fixed_size_binary(values.type) and values.type.byte_width == _UUID_BYTES:
        return _uuids(values)
    return _hexadecimal(values) if pa.types.is_binary(values.type) else values


def local_time(values: pa.Array, timezone: str) -> pa.Array:
    """The wall clock of `timezone` at these instants; timestamps without a timezone as they are."""
    if values.type.tz is None:
        return values
    return pc.local_timestamp(values.cast(pa.timestamp(values.type.unit, timezone)))


def _seconds(values: pa.Array) -> pa.Array:
    """Floored, not cut: before 1970 a cut would round up."""
    return pc.floor_temporal(values, unit="second").cast(pa.timestamp("s"))


def _plain(value: Decimal | None) -> str | None:
    return None if value is None else f"{value:f}"


def _uuids(values: pa.FixedSizeBinaryArray) -> pa.StringArray:
    count = len(values)
    raw = np.frombuffer(values.buffers()[1] or b"", np.uint8)
    raw = raw[values.offset * _UUID_BYTES : (values.offset + count) * _UUID_BYTES]
    text = np.full((count, 36), ord("-"), dtype=np.uint8)
    digits = _HEX[raw].view(np.uint8).reshape(count, 32)
    for place, first, length in _UUID_GROUPS:
        text[:, place : place + length] = digits[:, first : first + length]
    ends = np.arange(0, (count + 1) * 36, 36, dtype=np.int32)
    return _where_valid(values, pa.StringArray.from_buffers(count, pa.py_buffer(ends), pa.py_buffer(text)))


def _hexadecimal(values: pa.BinaryArray) -> pa.LargeStringArray:
    """Large strings: the digits take twice the room of the bytes, which can be more than a string array holds."""
    _, offsets, data = values.buffers()
    ends = np.frombuffer(offsets or b"", np.int32)[values.offset : values.offset + len(values) + 1].astype(np.int64)
    if not len(values) or data is None:
        return values.cast(pa.string()).cast(pa.large_string())
    digits = _HEX[np.frombuffer(data, np.uint8)[ends[0] : ends[-1]]].view(np.uint8)
    bare = pa.LargeStringArray.from_buffers(len(values), pa.py_buffer((ends - ends[0]) * 2), pa.py_buffer(digits))
    prefix = pa.scalar("\\x", pa.large_string())
    return _where_valid(values, pc.binary_join_element_wise(prefix, bare, pa.scalar("", pa.large_string())))


def _where_valid(values: pa.Array, texts: pa.Array) -> pa.Array:
    return texts if not values.null_count else pc.if_else(values.is_valid(), texts, None)
