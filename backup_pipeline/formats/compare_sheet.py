"""A sheet made anew from Parquet files and compared with the CSV files of the backup, record by record."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import duckdb
import pyarrow as pa

from backup_pipeline.core.decoding import SheetTask, Shown
from backup_pipeline.core.manifest import FileEntry
from backup_pipeline.formats.arrow_schema import arrow_type
from backup_pipeline.formats.byte_reader import ByteReader
from backup_pipeline.formats.compare_columns import columns_difference
from backup_pipeline.formats.csv_rows import csv_header, csv_rows
from backup_pipeline.formats.duck import look_up_sql
from backup_pipeline.formats.row_stream import RowStream, parquet_groups

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
        at = _first_difference(batch, content, timezone)
        if at is not None:
            return f"differs from the Parquet files in row {before + _row_at(batch, at, timezone) + 1:,}."
        before += batch.num_rows
    return None if content.at_end() else f"has more than the {before:,} rows of the Parquet files."


def _first_difference(batch: pa.RecordBatch, content: ByteReader, timezone: str) -> int | None:
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
