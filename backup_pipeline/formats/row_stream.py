"""Rows as they come, taken by so many as are wanted: two streams of the same rows can then go side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


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
