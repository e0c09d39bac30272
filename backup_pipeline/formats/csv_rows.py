"""Rows as CSV bytes (RFC 4180, CRLF): a pure function of the rows, whatever page they came in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from backup_pipeline.formats.cells import text_cells, to_cells
from backup_pipeline.formats.csv_lines import Cells, csv_lines
from backup_pipeline.formats.far_dates import far_texts, is_far
from backup_pipeline.formats.formulas import harmless

BOM = b"\xef\xbb\xbf"
"""Without it Excel takes the file for its regional encoding, and Bangla for noise."""
EOL = "\r\n"
_LINE_FEED = ord("\n")
_PIECE = 1 << 20


def csv_header(titles: Iterable[str]) -> bytes:
    """The byte order mark and the line of titles."""
    return BOM + (",".join(csv_title(title) for title in titles) + EOL).encode()


def csv_title(title: str) -> str:
    """`title` as a cell: harmless, and quoted where it must be."""
    text: str = harmless(pa.array([title], pa.string()))[0].as_py()
    return '"' + text.replace('"', '""') + '"' if not text or set(text) & set('",\r\n') else text


def csv_rows(batch: pa.RecordBatch, timezone: str) -> Iterator[pa.Buffer]:
    """The lines of `batch`. Texts are quoted, other values are not; NULL is nothing, an empty text is `""`.

    In a sheet of one column NULL is `""` as well: an empty line would be skipped by readers, and a row lost.
    """
    for start, stop, far in _stretches(batch):
        part = batch.slice(start, stop - start)
        if batch.num_columns:
            # A line of one column that is NULL would be empty, and skipped by readers: a row lost.
            yield csv_lines([_cells(c, timezone, far=far) for c in part.columns], null_text=batch.num_columns == 1)
        else:
            yield pa.py_buffer(EOL.encode() * part.num_rows)


def records(lines: Sequence[pa.Buffer], batch: pa.RecordBatch) -> int:
    """How many records the lines of `batch` are, counted in their bytes: line feeds, less those inside its texts."""
    ends = sum(_count(np.frombuffer(part, np.uint8)) for part in lines)
    return ends if ends == batch.num_rows else ends - sum(_line_feeds(column) for column in batch.columns)


def _count(data: npt.NDArray[np.uint8]) -> int:
    """The line feeds in `data`, a piece at a time: the comparison takes as much room as what it compares."""
    pieces = (data[start : start + _PIECE] for start in range(0, len(data), _PIECE))
    return sum(int(np.count_nonzero(piece == _LINE_FEED)) for piece in pieces)


def _line_feeds(column: pa.Array) -> int:
    return pc.sum(pc.count_substring(column, "\n")).as_py() or 0 if pa.types.is_string(column.type) else 0


def _cells(column: pa.Array, timezone: str, *, far: bool) -> Cells:
    if far and is_far(column) is not None:
        return text_cells(far_texts(column, timezone))
    return to_cells(column, timezone)


def _stretches(batch: pa.RecordBatch) -> Iterator[tuple[int, int, bool]]:
    """`batch` as stretches (start, stop, whether they have far dates).

    A row with a far date is rendered alone: its texts, and their quotes, must not depend on its neighbours.
    """
    masks = [mask for column in batch.columns if (mask := is_far(column)) is not None]
    start = 0
    for row in sorted({row for mask in masks for row in pc.indices_nonzero(mask).to_pylist()}):
        if row > start:
            yield start, row, False
        yield row, row + 1, True
        start = row + 1
    if start < batch.num_rows:
        yield start, batch.num_rows, False
