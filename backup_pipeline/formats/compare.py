"""Rows as they come, taken by so many as are wanted: two streams of the same rows can then go side by side."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import duckdb
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from backup_pipeline.core.comparison import NotComparableError, SheetTask, Shown
from backup_pipeline.core.manifest import FileEntry
from backup_pipeline.formats.csv_rows import csv_header, csv_rows
from backup_pipeline.formats.duck import look_up_sql
from backup_pipeline.formats.parquet import arrow_type
from backup_pipeline.formats.streams import ByteReader


class RowStream:
    """The rows of `tables`, in order; holds one of them at a time."""

    def __init__(self, tables: Iterator[pa.Table]) -> None:
        self._tables = tables
        self._held: pa.Table | None = None

    def take(self, rows: int, at_once: int) -> Iterator[pa.Table]:
        """The next `rows` rows, at most `at_once` of them at a time; fewer when there are no more."""
        while rows > 0 and self._fill():
            part = self._next(min(rows, at_once))
            rows -= part.num_rows
            yield part

    def take_one(self, rows: int) -> pa.Table | None:
        """The next `rows` rows as one table; None when there are no more."""
        parts = [*self.take(rows, rows)]
        return pa.concat_tables(parts) if parts else None

    def _fill(self) -> bool:
        while self._held is None or not self._held.num_rows:
            self._held = next(self._tables, None)
            if self._held is None:
                return False
        return True

    def _next(self, rows: int) -> pa.Table:
        held = self._held
        assert held is not None  # noqa: S101  # `_fill` said so
        self._held = held.slice(rows)
        return held.slice(0, rows)


def parquet_groups(paths: Sequence[Path], columns: Sequence[str]) -> Iterator[pa.Table]:
    """The row groups of Parquet files, one after the other, of these columns only."""
    for path in paths:
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                yield file.read_row_group(group, columns=list(columns))


_BLOCK = 32 << 20
"""The largest record that pyarrow's reader takes."""


def columns_difference(rows: Iterable[pa.Table], content: ByteReader, task: SheetTask, expected: int) -> str | None:
    """How the columns that can be made anew differ from `rows`, and whether there are `expected` records at all.

    A record more is read than is compared, so that nothing is left behind the last one.
    """
    known = [number for number, column in enumerate(task.columns) if column.why_not is None]
    there = RowStream(parsed(content, len(task.columns), known or [0], expected))
    before = 0
    for table in rows:
        wanted = _as_written(table, task.timezone)
        found = there.take_one(table.num_rows)
        if found is None or found.num_rows < table.num_rows:
            return f"has {before + (found.num_rows if found else 0):,} rows; the manifest says {expected:,}."
        for at, number in enumerate(known):
            if (row := _first_difference(wanted[at], found.column(at))) is not None:
                title = task.columns[number].title
                return f"differs from the Parquet files in row {before + row + 1:,}, column {title!r}."
        before += table.num_rows
    return None if there.take_one(1) is None else f"has more than the {expected:,} rows of the manifest."


def _as_written(table: pa.Table, timezone: str) -> list[pa.ChunkedArray]:
    """The cells of `table` as a reader finds them in a CSV file; its last column only sees to it that it has two."""
    batch = table.combine_chunks().to_batches()[0]
    lines = b"".join(part.to_pybytes() for part in csv_rows(batch, timezone))
    names = [f"f{number}" for number in range(batch.num_columns)]
    read = pacsv.read_csv(io.BytesIO(lines), _reading(), _PARSING, _converting(names, names))
    return list(read.columns)


def parsed(content: ByteReader, width: int, wanted: Sequence[int], rows: int) -> Iterator[pa.Table]:
    """The records of the file behind its titles, of the columns `wanted`; of what is no CSV the first ones.

    NotComparableError for a record that is too large to be read.
    """
    names = [f"f{number}" for number in range(width)]
    options = _converting(names, [names[number] for number in wanted])
    source: BinaryIO = io.BufferedReader(content, 1 << 20)
    if not rows and not source.peek(1):  # type: ignore[attr-defined]
        return
    try:
        for batch in pacsv.open_csv(source, _reading(), _PARSING, options):
            yield pa.Table.from_batches([batch])
    except pa.ArrowInvalid as error:
        if "straddling" in str(error):
            message = f"a record is larger than {_BLOCK:,} bytes"
            raise NotComparableError(message) from error
        return  # what is no CSV has too few rows


_PARSING = pacsv.ParseOptions(newlines_in_values=True)


def _reading() -> pacsv.ReadOptions:
    return pacsv.ReadOptions(autogenerate_column_names=True, block_size=_BLOCK, use_threads=False)


def _converting(names: Sequence[str], wanted: Sequence[str]) -> pacsv.ConvertOptions:
    """Every cell as a text; NULL where there is nothing, not even quotes."""
    return pacsv.ConvertOptions(
        column_types={name: pa.string() for name in names},
        include_columns=list(wanted),
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )


def _first_difference(wanted: pa.ChunkedArray, there: pa.ChunkedArray) -> int | None:
    if wanted.equals(there):
        return None
    pairs = enumerate(zip(wanted.to_pylist(), there.to_pylist(), strict=True))
    return next(row for row, (one, other) in pairs if one != other)


_PIECE = 1 << 20
_ROWS = 8192
"""Compared at a time; in a batch that differs, the record is then looked for one by one."""

_ROWS_COLUMN = "rows"
"""Besides the columns that can be made anew: rows without any column could not be counted."""


class Comparison:
    """The port `SheetComparison`: takes the table's rows, and its look-ups, from the files of `task` as it goes."""

    def __init__(self, task: SheetTask, database: duckdb.DuckDBPyConnection) -> None:
        self._task = task
        self._rows = RowStream(_sheet_rows(task, database))
        self._whole = all(column.why_not is None for column in task.columns)

    def difference(self, file: FileEntry, chunks: Iterator[bytes]) -> str | None:
        """How the CSV file differs from what the Parquet files give; None when it does not."""
        content = ByteReader(chunks)
        header = csv_header(column.title for column in self._task.columns)
        if content.exactly(len(header)) != header:
            return "does not begin with the titles that the manifest names."
        rows = self._rows.take(file.rows, _ROWS)
        if self._whole:
            shown = (rows_of.drop_columns([_ROWS_COLUMN]) for rows_of in rows)
            return _bytes_difference(shown, content, self._task.timezone)
        return columns_difference(rows, content, self._task, file.rows)


def _bytes_difference(rows: Iterable[pa.Table], content: ByteReader, timezone: str) -> str | None:
    """The first record that is not, byte for byte, what `rows` give."""
    before = 0
    for table in rows:
        batch = table.combine_chunks().to_batches()[0]
        at = _first_sheet_difference(batch, content, timezone)
        if at is not None:
            return f"differs from the Parquet files in row {before + _row_at(batch, at, timezone) + 1:,}."
        before += batch.num_rows
    return None if content.at_end() else f"has more than the {before:,} rows of the Parquet files."


def _first_sheet_difference(batch: pa.RecordBatch, content: ByteReader, timezone: str) -> int | None:
    """The first byte of the lines of `batch` that `content` does not have; a piece is compared at a time."""
    at = 0
    for part in csv_rows(batch, timezone):
        lines = memoryview(part)
        for start in range(0, len(lines), _PIECE):
            wanted = bytes(lines[start : start + _PIECE])
            there = content.exactly(len(wanted))
            if there != wanted:
                pairs = enumerate(zip(there, wanted, strict=False))
                same = next((place for place, (one, other) in pairs if one != other), min(len(there), len(wanted)))
                return at + start + same
        at += len(lines)
    return None


def _row_at(batch: pa.RecordBatch, at: int, timezone: str) -> int:
    """The row of `batch` in whose line the byte `at` is."""
    end = 0
    for row in range(batch.num_rows):
        end += sum(len(part) for part in csv_rows(batch.slice(row, 1), timezone))
        if at < end:
            return row
    return int(batch.num_rows)


def _sheet_rows(task: SheetTask, database: duckdb.DuckDBPyConnection) -> Iterator[pa.Table]:
    """The rows of the sheet, without the columns that can not be made anew."""
    shown = [column for column in task.columns if column.why_not is None]
    own = [column.column for column in shown if not column.hops]
    found = RowStream(_looked_up(task, [column for column in shown if column.hops], database))
    for batch in parquet_groups(task.parquet[task.table.name], list(dict.fromkeys(own))):
        looked = found.take_one(batch.num_rows) if len(own) < len(shown) else None
        yield _joined(batch, looked, shown)


def _joined(batch: pa.Table, looked: pa.Table | None, shown: Sequence[Shown]) -> pa.Table:
    found = iter(looked.columns if looked is not None else ())
    columns = [next(found) if column.hops else batch[column.column] for column in shown]
    names = [f"c{number}" for number in range(len(columns))]
    return pa.table([*columns, pa.nulls(batch.num_rows, pa.string())], names=[*names, _ROWS_COLUMN])


def _looked_up(task: SheetTask, shown: Sequence[Shown], database: duckdb.DuckDBPyConnection) -> Iterator[pa.Table]:
    if not shown:
        return
    for batch in database.sql(look_up_sql(task)).to_arrow_reader(_ROWS):
        columns = [_as_exported(batch.column(at), column) for at, column in enumerate(shown)]
        yield pa.table(columns, names=[f"c{at}" for at in range(len(columns))])


def _as_exported(values: pa.Array, shown: Shown) -> pa.Array:
    """Looked-up values in the type they had when their cells were written; a UUID's cell is that of its text."""
    if shown.joined or shown.arrow_type == "uuid":
        return values
    return values.cast(arrow_type(shown.arrow_type))
