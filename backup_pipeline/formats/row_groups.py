"""Pages cut anew into row groups whose limits depend on the rows alone, so that equal data gives equal files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

ROWS = 122_880
"""DuckDB reads row groups of this many rows best; more costs memory, fewer compress worse."""
BYTES = 64 << 20
"""A limit for tables with wide rows: what is held back stays small whatever the rows hold."""


@dataclass(frozen=True)
class GroupLimit:
    """A row group ends with the row that reaches `rows` or `bytes` (of Arrow data)."""

    rows: int = ROWS
    bytes: int = BYTES


class RowGroups:
    """Tables in, row groups out; what does not fill a group yet waits for the next table."""

    def __init__(self, limit: GroupLimit) -> None:
        self._limit = limit
        self._waiting: list[pa.Table] = []
        self._rows = 0
        self._bytes = 0

    def add(self, table: pa.Table) -> Iterator[pa.Table]:
        """The groups that `table` completes, each in one chunk."""
        ends = np.cumsum(_row_bytes(table))
        start, before = 0, 0
        while start < table.num_rows:
            stop = self._stop(ends, start, before)
            self._waiting.append(table.slice(start, stop - start))
            self._rows += stop - start
            self._bytes += int(ends[stop - 1]) - before
            start, before = stop, int(ends[stop - 1])
            if self._rows >= self._limit.rows or self._bytes >= self._limit.bytes:
                yield from self.rest()

    def rest(self) -> Iterator[pa.Table]:
        """The rows still waiting, as one group; nothing when there are none."""
        if self._waiting:
            # In one chunk, so that the pages' own chunks can not show in the file.
            group = pa.concat_tables(self._waiting).combine_chunks()
            self._waiting, self._rows, self._bytes = [], 0, 0
            yield group

    def _stop(self, ends: npt.NDArray[np.int64], start: int, before: int) -> int:
        """The end of what still belongs to the group at hand, of the rows from `start` on."""
        by_rows = start + self._limit.rows - self._rows
        by_bytes = int(np.searchsorted(ends, before + self._limit.bytes - self._bytes)) + 1
        return min(by_rows, by_bytes, len(ends))


def _row_bytes(table: pa.Table) -> npt.NDArray[np.int64]:
    """How many bytes each row takes in Arrow, NULL or not: a fixed part, and its texts."""
    sizes = np.zeros(table.num_rows, dtype=np.int64)
    for column in table.columns:
        if pa.types.is_string(column.type) or pa.types.is_binary(column.type):
            sizes += pc.fill_null(pc.binary_length(column), 0).to_numpy()
        else:
            sizes += (column.type.bit_width + 7) // 8
    return sizes
