"""A Parquet file as rows for PostgreSQL's COPY: binary, or CSV with an empty cell without quotes for NULL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from backup_pipeline.core.errors import VerificationError
from backup_pipeline.formats.binary_rows import binary_rows
from backup_pipeline.formats.far_dates import far_texts, is_far

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
