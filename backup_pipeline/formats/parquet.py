"""The exact copy of a table as Parquet files: the raw columns in their own types, byte for byte the same every time."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from backup_pipeline.core.errors import BackupError
from backup_pipeline.core.layout import parquet_name
from backup_pipeline.core.manifest import FileEntry
from backup_pipeline.core.plans import TablePlan
from backup_pipeline.formats.arrow_schema import arrow_schema
from backup_pipeline.formats.hashing_file import HashingFile
from backup_pipeline.formats.parts_writer import PartsWriter
from backup_pipeline.formats.row_groups import GroupLimit, RowGroups

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
        group_limit: GroupLimit = GroupLimit(),  # noqa: B008  a frozen value
    ) -> None:
        super().__init__(directory)
        self._table = plan.name
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
            self._part = self._open(self._schema.empty_table())
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
        file = self._new_file(parquet_name(len(self._files)))
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
