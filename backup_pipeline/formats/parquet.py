"""The exact copy of a table as Parquet files: the raw columns in their own types, byte for byte the same every time."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from backup_pipeline.core.errors import BackupError
from backup_pipeline.core.layout import parquet_name
from backup_pipeline.core.manifest import FORMAT_VERSION, FileEntry
from backup_pipeline.core.plans import PlannedColumn, TablePlan
from backup_pipeline.formats.streams import HashingFile

_TYPES: dict[str, pa.DataType] = {
    str(t): t
    for t in (
        pa.bool_(),
        pa.int16(),
        pa.int32(),
        pa.int64(),
        pa.float32(),
        pa.float64(),
        pa.string(),
        pa.binary(),
        pa.date32(),
        pa.time64("us"),
        pa.timestamp("us"),
        pa.timestamp("us", "UTC"),
    )
} | {"uuid": pa.uuid()}
_DECIMAL = re.compile(r"decimal128\((\d+), (\d+)\)")


def arrow_type(name: str) -> pa.DataType:
    """The type that core's plans call `name`; ValueError for a name it does not know."""
    if match := _DECIMAL.fullmatch(name):
        return pa.decimal128(int(match[1]), int(match[2]))
    if name not in _TYPES:
        message = f"{name!r} is no Arrow type of a backup. There are: {', '.join(_TYPES)}, decimal128(p, s)."
        raise ValueError(message)
    return _TYPES[name]


def arrow_schema(plan: TablePlan) -> pa.Schema:
    """The schema of the plan's Parquet files.

    Each field's metadata has `pg_type`; the schema's has `relation`, `key` (a JSON list of names, empty without a
    key) and `format_version`. BackupError for a table without columns: Parquet can not hold rows of nothing.
    """
    if not plan.columns:
        message = f"Table {plan.name} has no columns to export."
        raise BackupError(message, do="Exclude it in the catalog, with that as the reason.")
    metadata = {
        "relation": plan.relation.full_name,
        "key": json.dumps(list(plan.key), ensure_ascii=False),
        "format_version": FORMAT_VERSION,
    }
    return pa.schema([_field(column) for column in plan.columns], metadata)


def _field(planned: PlannedColumn) -> pa.Field:
    column = planned.column
    return pa.field(column.name, arrow_type(planned.arrow_type), column.nullable, {"pg_type": column.pg_type})


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
        size = _bytes_of(table)
        if self._rows + table.num_rows < self._limit.rows and self._bytes + size < self._limit.bytes:
            self._waiting += [table] if table.num_rows else []
            self._rows += table.num_rows
            self._bytes += size
            return
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


def _bytes_of(table: pa.Table) -> int:
    """The sum of `_row_bytes`."""
    size = 0
    for column in table.columns:
        width = _width(column.type)
        if width is None:
            size += sum(int(ends[-1]) - int(ends[0]) for ends in map(_ends, column.chunks))
        else:
            size += width * table.num_rows
    return size


def _row_bytes(table: pa.Table) -> npt.NDArray[np.int64]:
    """How many bytes each row takes in Arrow, NULL or not: a fixed part, and its texts."""
    sizes = np.zeros(table.num_rows, dtype=np.int64)
    for column in table.columns:
        width = _width(column.type)
        sizes += np.concatenate([np.diff(_ends(chunk)) for chunk in column.chunks]) if width is None else width
    return sizes


def _width(kind: pa.DataType) -> int | None:
    """The bytes of a value of this type; None for texts and bytes, each of which has its own length."""
    return None if pa.types.is_string(kind) or pa.types.is_binary(kind) else (kind.bit_width + 7) // 8


def _ends(texts: pa.Array) -> npt.NDArray[np.int32]:
    """Where the first text begins in the array's bytes, and where each of them ends; a NULL has none.

    Read off the offsets: `pc.fill_null` has pyarrow load pandas, which took a fifth of a small export's CPU.
    """
    if not len(texts):
        return np.zeros(1, np.int32)
    return np.frombuffer(texts.buffers()[1], np.int32)[texts.offset : texts.offset + len(texts) + 1]


class PartsWriter(ABC):
    """Writes pages into numbered files of `directory`, which should hold no files of the same names.

    An error in `write` or `close` removes what was written, and so does leaving its context by an exception; leaving it
    otherwise closes. After an error nothing can be written or closed any more: a table that lacks a page never looks
    whole. Not for several threads at a time.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files: list[HashingFile] = []
        self._entries: tuple[FileEntry, ...] | None = None
        self._aborted = False

    @property
    def bytes_written(self) -> int:
        """The bytes of all files so far."""
        return sum(file.bytes for file in self._files)

    def write(self, rows: pa.Table) -> None:
        """Append a page; its columns are found by name, and it may have others. BackupError when it does not fit."""
        self._must_be_open()
        if self._entries is not None:
            message = f"The files in {self._directory} are closed; a page came after the last."
            raise BackupError(message, do="Report it: pages must be written before the writer is closed.")
        try:
            self._append(rows)
        except BaseException:
            self.abort()
            raise

    def close(self) -> tuple[FileEntry, ...]:
        """Finish the files and give their entries, as counted; an empty table has one. May be called again."""
        self._must_be_open()
        if self._entries is None:
            try:
                self._entries = self._finish()
            except BaseException:
                self.abort()
                raise
        return self._entries

    def abort(self) -> None:
        """Remove everything that was written, also what is closed already."""
        self._aborted = True
        self._drop()
        for file in self._files:
            file.abort()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            self.abort()
        elif not self._aborted:
            self.close()

    @abstractmethod
    def _append(self, rows: pa.Table) -> None:
        """Write a page."""

    @abstractmethod
    def _finish(self) -> tuple[FileEntry, ...]:
        """Close what is open, or an empty file when there is none; the entries of all."""

    def _drop(self) -> None:  # noqa: B027  most have nothing of the kind
        """Let go of what hangs on the files, which are about to be removed."""

    def _new_file(self, name: str) -> HashingFile:
        self._files.append(HashingFile(self._directory / name))
        return self._files[-1]

    def _must_be_open(self) -> None:
        if self._aborted:
            message = f"The files in {self._directory} were given up; nothing more can be written to them."
            raise BackupError(message, do="Look for the error before this one, then run the table again.")


BYTES_PER_FILE = 1 << 30
_SAMPLE = 10_000
_REPEATED = 8
_GIANT = 8 << 20


class ParquetWriter(PartsWriter):
    """Writes a table's pages as `part-00000.parquet`, `part-00001.parquet`, … into `directory`.

    A new part begins after the row group with which the last one reached `bytes_per_file`, and before one with a giant
    value in a column that had none in this part. Neither parts nor row groups depend on how the rows were paged. A page
    has each column of the plan, under its name and in its type.
    """

    def __init__(
        self,
        directory: Path,
        plan: TablePlan,
        *,
        bytes_per_file: int = BYTES_PER_FILE,
        group_limit: GroupLimit = GroupLimit(),
    ) -> None:
        super().__init__(directory)
        self._table = plan.name
        self._first = plan.first_part
        self._schema = arrow_schema(plan)
        self._bytes_per_file = bytes_per_file
        self._groups = RowGroups(group_limit)
        self._part: _Part | None = None
        self._finished: list[FileEntry] = []

    def _append(self, rows: pa.Table) -> None:
        for group in self._groups.add(self._conformed(rows)):
            self._add(group)

    def _finish(self) -> tuple[FileEntry, ...]:
        for group in self._groups.rest():
            self._add(group)
        if not self._files:
            self._part = self._open(pa.Table.from_batches([], self._schema))  # empty_table() has pyarrow load pandas
        self._end_part()
        return tuple(self._finished)

    def _drop(self) -> None:
        if self._part is not None:
            self._part.drop()

    def _conformed(self, rows: pa.Table) -> pa.Table:
        try:
            columns = [rows[field.name].cast(field.type) for field in self._schema]
            return pa.Table.from_arrays(columns, schema=self._schema)
        except (KeyError, pa.ArrowException) as error:
            raise self._unfit(error) from error

    def _add(self, group: pa.Table) -> None:
        giants = giant_columns(group)
        if self._part is not None and not giants <= self._part.giants:
            self._end_part()
        self._part = self._part or self._open(group, giants)
        try:
            self._part.write(group)
        except pa.ArrowException as error:
            raise self._unfit(error) from error
        if self._part.file.bytes >= self._bytes_per_file:
            self._end_part()

    def _open(self, first: pa.Table, giants: frozenset[str] = frozenset()) -> _Part:
        file = self._new_file(parquet_name(self._first + len(self._files)))
        return _Part(file, self._schema, repeating_columns(first, giants), giants)

    def _end_part(self) -> None:
        if self._part is not None:
            self._finished.append(self._part.finish())
            self._part = None

    def _unfit(self, error: Exception) -> BackupError:
        return BackupError(
            f"A page of table {self._table} does not fit its plan: {error}",
            do="Run the table again; if it stays, report it: reader and plan disagree about a column.",
        )


class _Part:
    """One Parquet file in the making. Its `giants` are columns without least and greatest value in the footer."""

    def __init__(self, file: HashingFile, schema: pa.Schema, dictionary: list[str], giants: frozenset[str]) -> None:
        self.file = file
        self.giants = giants
        self.rows = 0
        self._footers: list[pq.FileMetaData] = []
        # zstd 1 gives files two thirds of snappy's size for a tenth more time; see the writers' benchmark.
        self.writer = pq.ParquetWriter(
            pa.PythonFile(file, mode="w"),
            schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=dictionary,
            write_statistics=[name for name in schema.names if name not in giants] if giants else True,
            metadata_collector=self._footers,
        )

    def write(self, group: pa.Table) -> None:
        """Append a row group."""
        self.writer.write_table(group, row_group_size=group.num_rows)
        self.rows += group.num_rows

    def drop(self) -> None:
        """Give it up: else pyarrow tries to complete it when it is collected, and complains about what went wrong."""
        self.writer.is_open = False

    def finish(self) -> FileEntry:
        """Close it. Its rows are those of its own footer, and must be those that were written."""
        self.writer.close()
        (footer,) = self._footers
        if footer.num_rows != self.rows:
            message = f"{self.file.path} says it has {footer.num_rows:,} rows, but {self.rows:,} were written."
            raise BackupError(message, do="Run the table again; if it stays, report it.")
        self.file.close()
        file = self.file
        return FileEntry(
            name=file.path.name,
            format="parquet",
            rows=footer.num_rows,
            bytes=file.bytes,
            sha256=file.sha256,
            crc32=file.crc32,
        )


def giant_columns(group: pa.Table) -> frozenset[str]:
    """The columns with a value of 8 MiB or more: the least and the greatest of them take six copies of each."""
    wide = (field.name for field in group.schema if pa.types.is_string(field.type) or pa.types.is_binary(field.type))
    return frozenset(name for name in wide if (pc.max(pc.binary_length(group[name])).as_py() or 0) >= _GIANT)


def repeating_columns(group: pa.Table, giants: frozenset[str] = frozenset()) -> list[str]:
    """The text columns whose values repeat so much that a dictionary pays, judged by the group's first rows.

    Elsewhere a dictionary costs time and space: it is built, found too large, and given up.
    """
    sample = group.slice(0, _SAMPLE)
    texts = [field.name for field in group.schema if pa.types.is_string(field.type) and field.name not in giants]
    return [name for name in texts if pc.count_distinct(sample[name]).as_py() * _REPEATED <= sample.num_rows]
