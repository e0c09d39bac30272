"""The port `Decoder`: the files of format version 1, decoded and compared."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from backup_pipeline.core.comparison import Follow, Orphans, Pointing, SheetTask
from backup_pipeline.core.drill.objects import Fingerprint
from backup_pipeline.core.manifest import ColumnEntry, FileEntry, TableEntry
from backup_pipeline.formats.compare import Comparison, parsed
from backup_pipeline.formats.csv_rows import csv_header
from backup_pipeline.formats.duck import files_sql, name_sql, open_duck, orphans
from backup_pipeline.formats.parquet import arrow_type
from backup_pipeline.formats.streams import ByteReader, use_jemalloc

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
        for what, there, said in (
            ("Arrow type", field.type, arrow_type(column.arrow_type)),
            ("PostgreSQL type", pg_type, column.pg_type),
            ("nullability", field.nullable, column.nullable),
        ):
            if there != said:
                yield f"has column {column.name} with the {what} {there}; the manifest says {said}."


def _group_problems(opened: pq.ParquetFile) -> Generator[str, None, int]:
    """What is wrong with the row groups; in the end, how many rows were decoded."""
    rows = 0
    for number in range(opened.num_row_groups):
        group, footer = opened.read_row_group(number), opened.metadata.row_group(number)
        rows += group.num_rows
        if group.num_rows != footer.num_rows:
            yield f"has {group.num_rows:,} rows in row group {number}; its footer says {footer.num_rows:,}."
        for at, name in enumerate(group.column_names):
            for problem in _column_problems(group.column(at), footer.column(at).statistics):
                yield f"{problem} (column {name}, row group {number})"
    return rows


def _column_problems(values: pa.ChunkedArray, said: pq.Statistics | None) -> Iterator[str]:
    if said is None:
        return
    if said.has_null_count and said.null_count != values.null_count:
        yield f"holds {values.null_count:,} nulls; its footer says {said.null_count:,}."
    if said.has_min_max and (limits := _limits(values)) and limits != _said_limits(said, values.type):
        yield "holds other least and greatest values than its footer says."


def _limits(values: pa.ChunkedArray) -> _Limits | None:
    """The least and the greatest value, in the form that `_said_limits` gives; None when there is no value.

    Not a number stands outside the order, in files and here.
    """
    found = pc.min_max(_ordered(values))
    least, greatest = found["min"].as_py(), found["max"].as_py()
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


def _said_limits(said: pq.Statistics, kind: pa.DataType) -> _Limits:
    return (said.min, said.max) if pa.types.is_decimal(kind) else (said.min_raw, said.max_raw)


_FLOATS = {"FLOAT", "DOUBLE"}
_SALT = "'another'"
_NOTHING = Fingerprint(0, 0, 0)


class FileFingerprints:
    """The port `Fingerprints`; what does not fit into memory goes into files under `spool`."""

    def __init__(self, spool: Path) -> None:
        self._spool = spool

    def of_parquet(self, files: Sequence[Path], columns: Sequence[str]) -> Fingerprint:
        """Of the values of `columns` in all rows of these Parquet files. NULL is a value of its own."""
        with open_duck(self._spool) as database:
            source = files_sql(files)
            described = database.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()  # noqa: S608
            # By place: to DuckDB, names that differ only by capital letters are one name.
            names = pq.read_schema(files[0]).names
            return _fingerprint(database, [_value(*described[names.index(name)][:2]) for name in columns], source)

    def of_sheets(self, files: Sequence[Iterator[bytes]], titles: Sequence[str], wanted: Sequence[str]) -> Fingerprint:
        """Of the cells under the titles `wanted` in all records of these CSV files, which have `titles`."""
        found = _NOTHING
        for content in files:
            part = self._of_sheet(content, titles, [titles.index(title) for title in wanted])
            found = Fingerprint(found.rows + part.rows, found.total + part.total, found.folded ^ part.folded)
        return found

    def _of_sheet(self, content: Iterator[bytes], titles: Sequence[str], wanted: Sequence[int]) -> Fingerprint:
        reader, header = ByteReader(content), csv_header(titles)
        if reader.exactly(len(header)) != header:
            return _NOTHING
        schema = pa.schema([(f"f{number}", pa.string()) for number in wanted])
        records = _batches(parsed(reader, len(titles), wanted, 0))
        with open_duck(self._spool) as database:
            database.register("sheet", pa.RecordBatchReader.from_batches(schema, records))
            return _fingerprint(database, [name_sql(name) for name in schema.names], "sheet")


def _batches(tables: Iterable[pa.Table]) -> Iterator[pa.RecordBatch]:
    for table in tables:
        yield from table.to_batches()


def _fingerprint(database: duckdb.DuckDBPyConnection, values: Sequence[str], source: str) -> Fingerprint:
    row = ", ".join(values) or "0"
    sums = f"count(*), coalesce(sum(hash({row})), 0), coalesce(bit_xor(hash({_SALT}, {row})), 0)"
    found = database.execute(f"SELECT {sums} FROM {source}").fetchone()  # noqa: S608
    rows, total, folded = found or (0, 0, 0)
    return Fingerprint(int(rows), int(total), int(folded))


def _value(name: str, kind: str) -> str:
    """Floats by their text: to a hash, 0 and -0 are one value."""
    return f"{name_sql(name)}::VARCHAR" if kind in _FLOATS else name_sql(name)


class FileDecoder:
    """Decodes a backup's files; what does not fit into memory goes into files under `spool`."""

    def __init__(self, spool: Path) -> None:
        """Choose the allocator, for the whole process."""
        use_jemalloc()
        self._spool = spool

    def parquet_problems(self, path: Path, file: FileEntry, table: TableEntry) -> Iterator[str]:
        """What is wrong with the Parquet file at `path`, decoded in full and compared with the manifest's entries."""
        return parquet_problems(path, file, table)

    @contextmanager
    def compare_sheet(self, task: SheetTask) -> Iterator[Comparison]:
        """Begin to make the sheet anew."""
        with open_duck(self._spool) as database:
            yield Comparison(task, database)

    def orphans(self, pointing: Pointing, rows: Sequence[Path], targets: Sequence[Path]) -> Orphans:
        """The rows of `rows` whose reference leads to none of the rows of `targets`."""
        with self.follower() as follow:
            return follow(pointing, rows, targets)

    @contextmanager
    def follower(self) -> Iterator[Follow]:
        """What `orphans` does, for many references in turn."""
        with open_duck(self._spool) as database:
            yield partial(orphans, database)
