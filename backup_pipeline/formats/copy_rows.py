"""A Parquet file as rows for PostgreSQL's COPY: binary, or CSV with an empty cell without quotes for NULL."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from enum import IntEnum
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from backup_pipeline.core.errors import VerificationError
from backup_pipeline.core.plans import DAYS_BEFORE_2000, US_BEFORE_2000
from backup_pipeline.core.restore.columns import JSONB
from backup_pipeline.formats.csv_rows import far_texts, is_far
from backup_pipeline.native.library import library

_LENGTH, _FIELDS = 4, 2


class BinaryKind(IntEnum):
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
    room += sum(array.nbytes for array, kind in zip(arrays, kinds, strict=True) if kind >= BinaryKind.VARYING)
    out = pa.allocate_buffer(room, resizable=True)
    table = (_Column * len(arrays))(*(_column(*each) for each in zip(arrays, kinds, strict=True)))
    size = library().write_rows(table, len(arrays), rows.num_rows, out.address)
    return bytes(memoryview(out)[:size])


def _kind(arrow: pa.DataType, pg_type: str) -> BinaryKind:
    if pa.types.is_decimal128(arrow):
        return BinaryKind.NUMERIC
    if pa.types.is_string(arrow) or pa.types.is_binary(arrow):
        return BinaryKind.JSONB if pg_type == JSONB else BinaryKind.VARYING
    if pa.types.is_fixed_size_binary(arrow):
        return BinaryKind.BYTES16
    if pa.types.is_boolean(arrow):
        return BinaryKind.BIT
    return {16: BinaryKind.INT16, 32: BinaryKind.INT32, 64: BinaryKind.INT64}[arrow.bit_width]


def _column(array: pa.Array, kind: BinaryKind) -> _Column:
    valid, values, *data = (0 if buffer is None else buffer.address for buffer in array.buffers())
    return _Column(
        kind=kind,
        shift=_shift(array.type),
        scale=array.type.scale if kind is BinaryKind.NUMERIC else 0,
        first=array.offset,
        valid=valid if array.null_count else 0,
        values=values,
        bytes=data[0] if data else 0,
    )


def _shift(arrow: pa.DataType) -> int:
    if pa.types.is_date32(arrow):
        return -DAYS_BEFORE_2000
    return -US_BEFORE_2000 if pa.types.is_timestamp(arrow) else 0


_ROWS = 16_384
_HEX = np.frombuffer(b"".join(b"%02x" % byte for byte in range(256)), dtype="S2")
_UUID_BYTES = 16
_DASHES = (8, 12, 16, 20)
_LARGE = pa.large_string()
_NO_BYTES = np.empty(0, dtype=np.uint8)


def copy_rows(file: Path, columns: Sequence[str], binary: Sequence[str] | None = None) -> Iterator[bytes]:
    """The rows of the Parquet file at `file` as CSV without a header, `columns` in this order; in flat memory.

    With `binary`, the columns' types in the target: in the server's binary form, without header and trailer.
    VerificationError when it can not be read, or lacks a column.
    """
    try:
        with pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(batch_size=_ROWS, columns=list(columns)):
                rows = batch.select(list(columns))
                yield csv_of(rows) if binary is None else binary_rows(rows, binary)
    except (pa.ArrowException, KeyError, OSError) as error:
        message = f"{file.name} can not be read as Parquet: {error}"
        raise VerificationError(
            message, do="Use another backup; `backup-pipeline verify` says what is damaged."
        ) from error


def csv_of(batch: pa.RecordBatch) -> bytes:
    """The rows of `batch` as lines of CSV: texts in quotes, so that an empty one is not NULL."""
    columns = [copy_texts(column) for column in batch.columns]
    sink = pa.BufferOutputStream()
    options = pacsv.WriteOptions(include_header=False, quoting_style="needed")
    shown = pa.RecordBatch.from_arrays(columns, names=[str(n) for n in range(len(columns))])
    pacsv.write_csv(shown, sink, options)
    return bytes(sink.getvalue())


def copy_texts(values: pa.Array) -> pa.Array:
    """`values` in a type whose CSV form PostgreSQL reads back exactly."""
    if isinstance(values.type, pa.UuidType):
        return _uuids(values.storage)
    if pa.types.is_binary(values.type):
        return _hexadecimal(values)
    if pa.types.is_temporal(values.type):
        return _times(values)
    return values


def _times(values: pa.Array) -> pa.Array:
    """Dates and times; as text where they lie beyond Arrow's own calendar, and instants with `+00`.

    Arrow would look up the rules of the zone UTC for each instant, which takes thirty times as long.
    """
    far = is_far(values)
    instants = pa.types.is_timestamp(values.type) and values.type.tz is not None
    if far is None and not instants:
        return values
    local = values.cast(pa.timestamp("us")) if instants else values
    texts = pc.cast(local if far is None else pc.if_else(far, pa.scalar(None, local.type), local), pa.string())
    if far is not None:
        texts = pc.if_else(far, far_texts(values, "UTC", fractions=True), texts)
    return pc.binary_join_element_wise(texts, "+00", "") if instants else texts


def _hexadecimal(values: pa.Array) -> pa.Array:
    """Bytes as PostgreSQL prints them: a backslash, an x, and two digits a byte."""
    start, stop = values.offset, values.offset + len(values)
    offsets = np.frombuffer(values.buffers()[1], dtype=np.int32)[start : stop + 1].astype(np.int64)
    data = values.buffers()[2]
    held = np.frombuffer(data, dtype=np.uint8)[offsets[0] : offsets[-1]] if data is not None else _NO_BYTES
    ends = pa.py_buffer(((offsets - offsets[0]) * 2).tobytes())
    digits = pa.Array.from_buffers(_LARGE, len(values), [None, ends, pa.py_buffer(_HEX[held].tobytes())])
    texts = pc.binary_join_element_wise(pa.scalar("\\x", _LARGE), digits, pa.scalar("", _LARGE))
    return pc.if_else(values.is_valid(), texts, pa.scalar(None, _LARGE))


def _uuids(values: pa.Array) -> pa.Array:
    """UUIDs of 16 bytes in their canonical text."""
    count, start = len(values), values.offset * _UUID_BYTES
    held = np.frombuffer(values.buffers()[1], dtype=np.uint8)[start : start + count * _UUID_BYTES]
    digits = np.frombuffer(_HEX[held].tobytes(), dtype=np.uint8).reshape(count, 2 * _UUID_BYTES)
    cells = np.insert(digits, _DASHES, ord("-"), axis=1)
    ends = pa.py_buffer((np.arange(count + 1, dtype=np.int32) * cells.shape[1]).tobytes())
    texts = pa.Array.from_buffers(pa.string(), count, [None, ends, pa.py_buffer(cells.tobytes())])
    return pc.if_else(values.is_valid(), texts, pa.scalar(None, pa.string()))
