"""Some columns of a CSV file compared with the rows they were written from, where others can not be made anew."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

import pyarrow as pa
import pyarrow.csv as pacsv

from backup_pipeline.core.decoding import NotComparableError, SheetTask
from backup_pipeline.formats.byte_reader import ByteReader
from backup_pipeline.formats.csv_rows import csv_rows
from backup_pipeline.formats.row_stream import RowStream

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
