"""Parquet files read back: what is wrong with one, rows for PostgreSQL's COPY, Arrow tables, pandas DataFrames."""

from __future__ import annotations

import ctypes
import io
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from datetime import date
from enum import IntEnum
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from backup_pipeline.core.errors import UsageError, VerificationError
from backup_pipeline.core.manifest import ColumnEntry, FileEntry, TableEntry
from backup_pipeline.core.plans import DAYS_BEFORE_2000, US_BEFORE_2000
from backup_pipeline.core.restore.columns import JSONB
from backup_pipeline.formats.parquet import arrow_type
from backup_pipeline.formats.sheet import far_texts, is_far
from backup_pipeline.lazy import lazily
from backup_pipeline.native import library

if TYPE_CHECKING:
    import polars as pl

with lazily():
    import duckdb
    import pandas as pd  # takes longer to load than most tables to read


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


_Limits = tuple[object, object]


_TAIL = 8
"""What a file ends with: the size of its footer, and the format's name."""


_ENDS = (b"PAR1", b"PARE")


_MOST_FOOTER = 64 << 20


_MOST_GROUP = 3 << 30
"""A group ends with the row that reaches 64 MB, and a row of PostgreSQL has at most 1 GB on the wire."""


def parquet_problems(path: Path, file: FileEntry, table: TableEntry) -> Iterator[str]:
    """What is wrong with the file at `path`, said of it: its schema, its rows, a column of one of its row groups.

    One row group is held in memory at a time; nothing is read of a file that claims to need more than any of ours.
    """
    try:
        with path.open("rb") as content:
            problem = too_large(content)
        if problem is not None:
            yield problem
            return
        with pq.ParquetFile(path) as opened:
            yield from schema_problems(opened.schema_arrow, table.columns)
            rows = yield from _group_problems(opened)
    except (pa.ArrowException, OSError) as error:
        yield f"can not be decoded: {error}"
        return
    if rows != file.rows:
        yield f"holds {rows:,} rows; the manifest says {file.rows:,}."


def too_large(file: BinaryIO) -> str | None:
    """Why a Parquet file is not opened: its footer, or a row group as the footer has it, would take all memory.

    ArrowException, or an OSError, when it is no Parquet file at all.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - _TAIL, 0))
    tail = file.read(_TAIL)
    footer = int.from_bytes(tail[:4], "little") if tail.endswith(_ENDS) else 0  # what is cut off has none
    if footer > _MOST_FOOTER:
        return f"has a footer of {footer:,} bytes, more than the {_MOST_FOOTER:,} that are read."
    metadata = pq.read_metadata(file)
    groups = (metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
    largest = max(groups, default=0)
    if largest > _MOST_GROUP:
        return f"has a row group of {largest:,} bytes, more than the {_MOST_GROUP:,} that are read."
    return None


def schema_problems(schema: pa.Schema, columns: tuple[ColumnEntry, ...]) -> Iterator[str]:
    """How the schema of a file differs from the columns that were written."""
    wanted = [column.name for column in columns]
    if schema.names != wanted:
        yield f"has the columns {', '.join(schema.names)}; the manifest says {', '.join(wanted)}."
        return
    for field, column in zip(schema, columns, strict=True):
        pg_type = (field.metadata or {}).get(b"pg_type", b"").decode(errors="replace")
        for what, actual, expected in (
            ("Arrow type", field.type, arrow_type(column.arrow_type)),
            ("PostgreSQL type", pg_type, column.pg_type),
            ("nullability", field.nullable, column.nullable),
        ):
            if actual != expected:
                yield f"has column {column.name} with the {what} {actual}; the manifest says {expected}."


def _group_problems(opened: pq.ParquetFile) -> Generator[str, None, int]:
    """What is wrong with the row groups; in the end, how many rows were decoded."""
    rows = 0
    for number in range(opened.num_row_groups):
        group, footer = opened.read_row_group(number), opened.metadata.row_group(number)
        rows += group.num_rows
        if group.num_rows != footer.num_rows:
            yield f"has {group.num_rows:,} rows in row group {number}; its footer says {footer.num_rows:,}."
        for index, name in enumerate(group.column_names):
            for problem in _column_problems(group.column(index), footer.column(index).statistics):
                yield f"{problem} (column {name}, row group {number})"
    return rows


def _column_problems(values: pa.ChunkedArray, statistics: pq.Statistics | None) -> Iterator[str]:
    if statistics is None:
        return
    if statistics.has_null_count and statistics.null_count != values.null_count:
        yield f"holds {values.null_count:,} nulls; its footer says {statistics.null_count:,}."
    if statistics.has_min_max and (limits := _limits(values)) and limits != _footer_limits(statistics, values.type):
        yield "holds other least and greatest values than its footer says."


def _limits(values: pa.ChunkedArray) -> _Limits | None:
    """The least and the greatest value, in the form that `_said_limits` gives; None when there is no value.

    Not a number stands outside the order, in files and here.
    """
    extremes = pc.min_max(_ordered(values))
    least, greatest = extremes["min"].as_py(), extremes["max"].as_py()
    return None if least is None or least != least else (least, greatest)  # NaN differs from itself


def _ordered(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """`values` as the numbers or bytes that lie in the file: no date is too far away then, and UUIDs have an order."""
    kind = values.type
    if isinstance(kind, pa.UuidType):
        return pa.chunked_array([chunk.storage.cast(pa.binary()) for chunk in values.chunks], pa.binary())
    if pa.types.is_date32(kind):
        return values.cast(pa.int32())
    if pa.types.is_timestamp(kind) or pa.types.is_time64(kind):
        return values.cast(pa.int64())
    return values.cast(pa.binary()) if pa.types.is_string(kind) else values


def _footer_limits(statistics: pq.Statistics, kind: pa.DataType) -> _Limits:
    return (statistics.min, statistics.max) if pa.types.is_decimal(kind) else (statistics.min_raw, statistics.max_raw)


_DO = "Read another date, or a backup's bundle; `backup-pipeline verify` says whether that is sound."


def read_rows(files: Iterable[tuple[FileEntry, bytes]], table: TableEntry, where: str) -> pa.Table:
    """The rows of `files`, one after the other, in the columns and types of `table`; `where` they lie.

    VerificationError when a file is no Parquet, or has other columns, types or numbers of rows than were written.
    """
    parts = [_part(file, data, table, f"{where}{file.name}") for file, data in files]
    count = sum(part.num_rows for part in parts)
    if not parts or count != table.row_count:
        raise _unfit(where, f"holds {len(parts)} files with {count:,} rows; its record says {table.row_count:,}.")
    return pa.concat_tables(parts)


def _part(file: FileEntry, data: bytes, table: TableEntry, where: str) -> pa.Table:
    try:
        if problem := too_large(io.BytesIO(data)):
            raise _unfit(where, problem)
        with pq.ParquetFile(pa.BufferReader(data)) as opened:
            if problem := next(schema_problems(opened.schema_arrow, table.columns), None):
                raise _unfit(where, problem)
            rows = opened.read()
    except (pa.ArrowException, OSError) as error:
        raise _unfit(where, f"can not be decoded: {error}") from error
    if rows.num_rows != file.rows:
        raise _unfit(where, f"holds {rows.num_rows:,} rows; its record says {file.rows:,}.")
    return rows


def _unfit(where: str, problem: str) -> VerificationError:
    return VerificationError(f"{where} {problem}", do=_DO)


_DAY_US = 86_400_000_000
_FIRST_DAY, _LAST_DAY = ((day - date(1970, 1, 1)).days for day in (date.min, date.max))


def as_pandas(rows: pa.Table) -> pd.DataFrame:
    """The rows as a DataFrame that loses nothing: every column keeps its Arrow type.

    So integers may be NULL, decimals are `decimal.Decimal`, instants have their zone, and NULL is neither NaN nor an
    empty text. Two kinds of columns come as text: UUIDs, which pandas can not sort, group or join by, and dates or
    times with one of a year that Python has not (after 9999), which could not even be printed. `attrs` are the
    metadata of the schema.
    """
    columns = [_for_pandas(column) for column in rows.columns]
    shown = pa.Table.from_arrays(columns, names=rows.column_names)
    frame: pd.DataFrame = shown.to_pandas(types_mapper=pd.ArrowDtype, ignore_metadata=True)
    frame.attrs = {name.decode(): value.decode() for name, value in (rows.schema.metadata or {}).items()}
    return frame


def as_relation(rows: pa.Table, timezone: str) -> duckdb.DuckDBPyRelation:
    """The rows as a relation of a DuckDB database in memory whose times are shown in `timezone`."""
    database = duckdb.connect(config={"python_enable_replacements": "false", "autoinstall_known_extensions": "false"})
    database.execute(f"SET TimeZone = '{timezone}'")
    return database.from_arrow(rows)


def as_polars(rows: pa.Table) -> pl.DataFrame:
    """The rows as a DataFrame of polars; UUIDs, and times that Python has not, as text. UsageError without polars."""
    try:
        polars = import_module("polars")
    except ModuleNotFoundError as error:
        message = "polars is not installed."
        raise UsageError(message, do="Install it (pip install polars), or ask for a pandas.DataFrame.") from error
    columns = [_for_pandas(column) for column in rows.columns]
    frame: pl.DataFrame = polars.from_arrow(pa.Table.from_arrays(columns, names=rows.column_names))
    return frame


def _for_pandas(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not isinstance(column.type, pa.UuidType) and not any(map(_is_beyond_python, column.chunks)):
        return column
    return pa.chunked_array([pc.cast(copy_texts(chunk), pa.string()) for chunk in column.chunks], pa.string())


def _is_beyond_python(values: pa.Array) -> bool:
    """Whether one of them is a date or time outside the years 1 to 9999."""
    if pa.types.is_timestamp(values.type):
        number, first, last = pa.int64(), _FIRST_DAY * _DAY_US, (_LAST_DAY + 1) * _DAY_US - 1
    elif pa.types.is_date32(values.type):
        number, first, last = pa.int32(), _FIRST_DAY, _LAST_DAY
    else:
        return False
    limits = pc.min_max(values.view(number))
    return limits["min"].is_valid and not first <= limits["min"].as_py() <= limits["max"].as_py() <= last
