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

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backup_pipeline.formats.csv_lines import Cells, Form
from backup_pipeline.formats.formulas import harmless

_HEX = np.frombuffer(bytes(range(256)).hex().encode(), dtype=np.uint16)
"""Byte -> its two hexadecimal digits, as one number: one look-up a byte."""
_UUID_BYTES = 16
_UUID_GROUPS = ((0, 0, 8), (9, 8, 4), (14, 12, 4), (19, 16, 4), (24, 20, 12))
"""The groups of digits between the dashes: place in the text, place among the digits, length."""


def to_cells(values: pa.Array, timezone: str) -> Cells:
    """`values` as cells to be printed as described above; dates beyond year 32767 need `far_dates` instead."""
    kind = values.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return text_cells(harmless(values))
    return (
        _times(values, timezone)
        or _numbers(values)
        or _bytes(values)
        or text_cells(values.cast(pa.string()), Form.BARE)
    )


def text_cells(texts: pa.Array, form: Form = Form.TEXT) -> Cells:
    """Texts as they are: no sign is added but quotes, and not even those if `form` is BARE."""
    return Cells(form, texts, width=8 if pa.types.is_large_string(texts.type) else 4)


def _times(values: pa.Array, timezone: str) -> Cells | None:
    if pa.types.is_timestamp(values.type):
        return Cells(Form.TIMESTAMP, local_time(values, timezone).cast(pa.timestamp("us")))
    if pa.types.is_time(values.type):
        return Cells(Form.TIME, values.cast(pa.time64("us")))
    return Cells(Form.DATE, values) if pa.types.is_date32(values.type) else None


def _numbers(values: pa.Array) -> Cells | None:
    kind = values.type
    if pa.types.is_signed_integer(kind):
        return Cells(Form.INTEGER, values, width=kind.bit_width // 8)
    if pa.types.is_decimal128(kind) and kind.scale >= 0:
        return Cells(Form.DECIMAL, values, scale=kind.scale)
    return Cells(Form.BOOL, values) if pa.types.is_boolean(kind) else None


def _bytes(values: pa.Array) -> Cells | None:
    plain = values.storage if isinstance(values.type, pa.UuidType) else values
    if pa.types.is_fixed_size_binary(plain.type) and plain.type.byte_width == _UUID_BYTES:
        return Cells(Form.UUID, plain)
    return text_cells(_hexadecimal(plain)) if pa.types.is_binary(plain.type) else None


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
