"""Arrow columns as rows of PostgreSQL's binary COPY, written by a compiled loop."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from enum import IntEnum

import pyarrow as pa

from backup_pipeline.core.epochs import DAYS_BEFORE_2000, US_BEFORE_2000
from backup_pipeline.core.restore_binary import JSONB
from backup_pipeline.native.library import library

_LENGTH, _FIELDS = 4, 2


class Kind(IntEnum):
    """How a column's values lie and travel: `enum kind` of binary_rows.c."""

    BIT = 0
    INT16 = 1
    INT32 = 2
    INT64 = 3
    NUMERIC = 4
    BYTES16 = 5
    VARYING = 6
    JSONB = 7

    @property
    def most_bytes(self) -> int:
        """The bytes that a value can take besides its length; of a varying one besides its own bytes too."""
        return (1, 2, 4, 8, 8 + 2 * 11, 16, 0, 1)[self]


class _Column(ctypes.Structure):
    """`struct column` of binary_rows.c."""

    _fields_ = [(name, ctypes.c_int64) for name in ("kind", "shift", "scale", "first", "valid", "values", "bytes")]


def binary_rows(rows: pa.RecordBatch, pg_types: Sequence[str]) -> bytes:
    """The rows, without header and trailer; each column goes into one of the type beside it (see `goes_binary`)."""
    arrays = [column.storage if isinstance(column.type, pa.UuidType) else column for column in rows.columns]
    kinds = [_kind(array.type, pg_type) for array, pg_type in zip(arrays, pg_types, strict=True)]
    room = sum(kind.most_bytes + _LENGTH for kind in kinds) * rows.num_rows + _FIELDS * rows.num_rows
    room += sum(array.nbytes for array, kind in zip(arrays, kinds, strict=True) if kind >= Kind.VARYING)
    out = pa.allocate_buffer(room, resizable=True)
    table = (_Column * len(arrays))(*(_column(*each) for each in zip(arrays, kinds, strict=True)))
    size = library().write_rows(table, len(arrays), rows.num_rows, out.address)
    return bytes(memoryview(out)[:size])


def _kind(arrow: pa.DataType, pg_type: str) -> Kind:
    if pa.types.is_decimal128(arrow):
        return Kind.NUMERIC
    if pa.types.is_string(arrow) or pa.types.is_binary(arrow):
        return Kind.JSONB if pg_type == JSONB else Kind.VARYING
    if pa.types.is_fixed_size_binary(arrow):
        return Kind.BYTES16
    if pa.types.is_boolean(arrow):
        return Kind.BIT
    return {16: Kind.INT16, 32: Kind.INT32, 64: Kind.INT64}[arrow.bit_width]


def _column(array: pa.Array, kind: Kind) -> _Column:
    valid, values, *data = (0 if buffer is None else buffer.address for buffer in array.buffers())
    return _Column(
        kind=kind,
        shift=_shift(array.type),
        scale=array.type.scale if kind is Kind.NUMERIC else 0,
        first=array.offset,
        valid=valid if array.null_count else 0,
        values=values,
        bytes=data[0] if data else 0,
    )


def _shift(arrow: pa.DataType) -> int:
    if pa.types.is_date32(arrow):
        return -DAYS_BEFORE_2000
    return -US_BEFORE_2000 if pa.types.is_timestamp(arrow) else 0
