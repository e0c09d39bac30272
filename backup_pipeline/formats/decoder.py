"""A backup's files compared with each other, in DuckDB: sheets, references, fingerprints (the port `Decoder`)."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

import duckdb
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from backup_pipeline.core.comparison import Follow, NotComparableError, Orphans, Pointing, SheetTask, Shown
from backup_pipeline.core.drill.objects import Fingerprint
from backup_pipeline.core.errors import BackupError, DiskFullError
from backup_pipeline.core.manifest import FileEntry, TableEntry
from backup_pipeline.formats.parquet import arrow_type
from backup_pipeline.formats.sheet import csv_header, csv_rows
from backup_pipeline.formats.streams import ByteReader, use_jemalloc
from backup_pipeline.formats.tables import parquet_problems

_MEMORY = "256MB"
_THREADS = 2
_EXAMPLES = 3


@contextmanager
def open_duck(spool: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database in memory that puts into `spool` what is too much for it; its errors come as BackupErrors."""
    with _explained(spool), _connected(spool) as database:
        yield database


def _connected(spool: Path) -> duckdb.DuckDBPyConnection:
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": _MEMORY,
        "threads": str(_THREADS),
        "temp_directory": str(spool / "duckdb"),
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
    }
    database = duckdb.connect(config=config)
    database.execute("SET TimeZone = 'UTC'")
    return database


@contextmanager
def _explained(spool: Path) -> Iterator[None]:
    try:
        yield
    except duckdb.Error as error:
        detail = " ".join(str(error).split())
        if isinstance(error, duckdb.OutOfMemoryException) or "space" in detail.lower():
            message = f"There is no room in {spool} to compare the backup's tables: {detail}"
            raise DiskFullError(message, do="Make room there, or set BACKUP_WORK_DIR to a larger disk.") from error
        message = f"The backup's tables can not be compared: {detail}"
        raise BackupError(message, do="Verify the backup at level 1, and report this.") from error


def look_up_sql(task: SheetTask) -> str:
    """A query of the looked-up columns of a sheet, `c0`, `c1`, …, a row for each row of the table, in its order."""
    shown = [column for column in task.columns if column.hops]
    wanted = ", ".join(f"({_value_sql(task, column)}) AS c{number}" for number, column in enumerate(shown))
    keys = dict.fromkeys(name for column in shown for name in column.hops[0].from_columns)
    carried = ", ".join(f"{column_sql(name)} AS {_key(name)}" for name in keys)
    rows = f"SELECT row_number() OVER () AS n, {carried} FROM {columns_sql(task.parquet[task.table.name], 'r')}"  # noqa: S608
    return f"SELECT {wanted} FROM ({rows}) AS t ORDER BY n"  # noqa: S608


def orphans(
    database: duckdb.DuckDBPyConnection, pointing: Pointing, rows: Sequence[Path], targets: Sequence[Path]
) -> Orphans:
    """The rows whose reference leads to none of `targets`; a reference that is NULL in part leads nowhere by right."""
    pairs = [*zip(pointing.columns, pointing.target_columns, strict=True)]
    given = " AND ".join(f"r.{column_sql(mine)} IS NOT NULL" for mine, _ in pairs)
    equal = " AND ".join(f"p.{column_sql(theirs)} = r.{column_sql(mine)}" for mine, theirs in pairs)
    there = f"SELECT 1 FROM {columns_sql(targets, 'p')} WHERE {equal}"  # noqa: S608
    lost = f"FROM {columns_sql(rows, 'r')} WHERE {given} AND NOT EXISTS ({there})"
    counted = database.execute(f"SELECT count(*) {lost}").fetchone()
    count = counted[0] if counted else 0
    if not count:
        return Orphans(0, ())
    keys = ", ".join(f"r.{column_sql(mine)}::VARCHAR" for mine, _ in pairs)
    some = database.execute(f"SELECT DISTINCT {keys} {lost} ORDER BY ALL LIMIT {_EXAMPLES}").fetchall()
    keys = ", ".join(column_sql(theirs) for _, theirs in pairs)
    distinct = f"SELECT DISTINCT {keys} FROM {columns_sql(targets, 'p')}"  # noqa: S608
    different = database.execute(f"SELECT count(*) FROM ({distinct})").fetchone()  # noqa: S608
    examples = tuple(tuple(str(value) for value in key) for key in some)
    return Orphans(int(count), examples, different[0] if different else 0)


def _value_sql(task: SheetTask, shown: Shown) -> str:
    """The looked-up value as a scalar subquery, as the export's own; a second row for one key is an error there too."""
    source, where = "", ""
    for number, hop in enumerate(shown.hops):
        files = columns_sql(task.parquet[hop.table], f"s{number}")
        pairs = zip(hop.columns, hop.from_columns, strict=True)
        equal = " AND ".join(f"s{number}.{column_sql(theirs)} = {_hop_column(number, mine)}" for theirs, mine in pairs)
        source, where = (f"{source} JOIN {files} ON {equal}", where) if number else (files, equal)
    value = f"s{len(shown.hops) - 1}.{column_sql(shown.column)}"
    if shown.joined:
        value = f"string_agg({value}::VARCHAR, '; ' ORDER BY {value}::VARCHAR)"
    return f"SELECT {value} FROM {source} WHERE {where}"  # noqa: S608


def _hop_column(hop: int, column: str) -> str:
    """A column of the row that a hop starts from: the table's own, or that of the hop before."""
    return f"s{hop - 1}.{column_sql(column)}" if hop else f"t.{_key(column)}"


def files_sql(paths: Sequence[Path]) -> str:
    """These Parquet files, to select from under the names that DuckDB gives their columns."""
    listed = ", ".join(_text(str(path)) for path in paths)
    return f"read_parquet([{listed}], hive_partitioning = false)"


def columns_sql(paths: Sequence[Path], alias: str) -> str:
    """These Parquet files as `alias`, to select from; each column is called as `column_sql` says."""
    names = ", ".join(column_sql(name) for name in pq.read_schema(paths[0]).names)
    return f"{files_sql(paths)} AS {alias}({names})"


def column_sql(name: str) -> str:
    """A column of `columns_sql`: to DuckDB, names that differ only by capital letters are one name."""
    return f"c_{name.encode().hex()}"


def _key(name: str) -> str:
    return f"k_{name.encode().hex()}"


def name_sql(name: str) -> str:
    """A name in quotes."""
    return '"' + name.replace('"', '""') + '"'


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


class RowStream:
    """The rows of `tables`, in order; holds one of them at a time."""

    def __init__(self, tables: Iterator[pa.Table]) -> None:
        self._tables = tables
        self._held: pa.Table | None = None

    def take(self, rows: int, most: int) -> Iterator[pa.Table]:
        """The next `rows` rows, at most `at_once` of them at a time; fewer when there are no more."""
        while rows > 0 and self._fill():
            part = self._next(min(rows, most))
            rows -= part.num_rows
            yield part

    def take_table(self, rows: int) -> pa.Table | None:
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
        compared = there.take_table(table.num_rows)
        if compared is None or compared.num_rows < table.num_rows:
            return f"has {before + (compared.num_rows if compared else 0):,} rows; the manifest says {expected:,}."
        for index, number in enumerate(known):
            if (row := _first_difference(wanted[index], compared.column(index))) is not None:
                title = task.columns[number].title
                return f"differs from the Parquet files in row {before + row + 1:,}, column {title!r}."
        before += table.num_rows
    return None if there.take_table(1) is None else f"has more than the {expected:,} rows of the manifest."


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
    return next(row for row, (expected, other) in pairs if expected != other)


_PIECE = 1 << 20
_ROWS = 8192
"""Compared at a time; in a batch that differs, the record is then looked for one by one."""

_ROWS_COLUMN = "rows"
"""Besides the columns that can be made anew: rows without any column could not be counted."""


class Comparison:
    """The port `SheetComparison`: takes the table's rows, and its look-ups, from the files of `task` as it goes."""

    def __init__(self, task: SheetTask, database: duckdb.DuckDBPyConnection | None) -> None:
        """Of a sheet without look-ups no `database` is asked."""
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
        offset = _first_sheet_difference(batch, content, timezone)
        if offset is not None:
            return f"differs from the Parquet files in row {before + _row_of_byte(batch, offset, timezone) + 1:,}."
        before += batch.num_rows
    return None if content.at_end() else f"has more than the {before:,} rows of the Parquet files."


def _first_sheet_difference(batch: pa.RecordBatch, content: ByteReader, timezone: str) -> int | None:
    """The first byte of the lines of `batch` that `content` does not have; a piece is compared at a time."""
    offset = 0
    for part in csv_rows(batch, timezone):
        lines = memoryview(part)
        for start in range(0, len(lines), _PIECE):
            expected = bytes(lines[start : start + _PIECE])
            actual = content.exactly(len(expected))
            if actual != expected:
                pairs = enumerate(zip(actual, expected, strict=False))
                equal = next(
                    (index for index, (left, right) in pairs if left != right), min(len(actual), len(expected))
                )
                return offset + start + equal
        offset += len(lines)
    return None


def _row_of_byte(batch: pa.RecordBatch, offset: int, timezone: str) -> int:
    """The row of `batch` whose line has the byte `offset`."""
    end = 0
    for row in range(batch.num_rows):
        end += sum(len(part) for part in csv_rows(batch.slice(row, 1), timezone))
        if offset < end:
            return row
    return int(batch.num_rows)


def _sheet_rows(task: SheetTask, database: duckdb.DuckDBPyConnection | None) -> Iterator[pa.Table]:
    """The rows of the sheet, without the columns that can not be made anew."""
    shown = [column for column in task.columns if column.why_not is None]
    own = [column.column for column in shown if not column.hops]
    look_ups = RowStream(_looked_up(task, [column for column in shown if column.hops], database))
    for batch in parquet_groups(task.parquet[task.table.name], list(dict.fromkeys(own))):
        values = look_ups.take_table(batch.num_rows) if len(own) < len(shown) else None
        yield _joined(batch, values, shown)


def _joined(batch: pa.Table, values: pa.Table | None, shown: Sequence[Shown]) -> pa.Table:
    look_ups = iter(values.columns if values is not None else ())
    columns = [next(look_ups) if column.hops else batch[column.column] for column in shown]
    names = [f"c{number}" for number in range(len(columns))]
    return pa.table([*columns, pa.nulls(batch.num_rows, pa.string())], names=[*names, _ROWS_COLUMN])


def _looked_up(
    task: SheetTask, shown: Sequence[Shown], database: duckdb.DuckDBPyConnection | None
) -> Iterator[pa.Table]:
    if not shown or database is None:
        return
    for batch in database.sql(look_up_sql(task)).to_arrow_reader(_ROWS):
        columns = [_as_exported(batch.column(index), column) for index, column in enumerate(shown)]
        yield pa.table(columns, names=[f"c{index}" for index in range(len(columns))])


def _as_exported(values: pa.Array, shown: Shown) -> pa.Array:
    """Looked-up values in the type they had when their cells were written; a UUID's cell is that of its text."""
    if shown.joined or shown.arrow_type == "uuid":
        return values
    return values.cast(arrow_type(shown.arrow_type))


_FLOATS = {"FLOAT", "DOUBLE"}
_SALT = "'another'"
_NOTHING = Fingerprint(0, 0, 0)


class FileFingerprints:
    """The port `Fingerprints`; what does not fit into memory goes into files under `spool`.

    One database for all of them: to open it takes longer than to look at a small table.
    """

    def __init__(self, spool: Path) -> None:
        self._spool = spool
        self._database: duckdb.DuckDBPyConnection | None = None

    def close(self) -> None:
        """Close the database, if anything was looked at."""
        if self._database is not None:
            self._database.close()
            self._database = None

    @contextmanager
    def _opened(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with _explained(self._spool):
            if self._database is None:
                self._database = _connected(self._spool)
            yield self._database

    def of_parquet(self, files: Sequence[Path], columns: Sequence[str]) -> Fingerprint:
        """Of the values of `columns` in all rows of these Parquet files. NULL is a value of its own."""
        with self._opened() as database:
            source = files_sql(files)
            described = database.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()  # noqa: S608
            # By place: to DuckDB, names that differ only by capital letters are one name.
            names = pq.read_schema(files[0]).names
            return _fingerprint(database, [_value(*described[names.index(name)][:2]) for name in columns], source)

    def of_sheets(self, files: Sequence[Iterator[bytes]], titles: Sequence[str], wanted: Sequence[str]) -> Fingerprint:
        """Of the cells under the titles `wanted` in all records of these CSV files, which have `titles`."""
        total = _NOTHING
        for content in files:
            fingerprint = self._of_sheet(content, titles, [titles.index(title) for title in wanted])
            total = Fingerprint(
                total.rows + fingerprint.rows, total.total + fingerprint.total, total.folded ^ fingerprint.folded
            )
        return total

    def _of_sheet(self, content: Iterator[bytes], titles: Sequence[str], wanted: Sequence[int]) -> Fingerprint:
        reader, header = ByteReader(content), csv_header(titles)
        if reader.exactly(len(header)) != header:
            return _NOTHING
        schema = pa.schema([(f"f{number}", pa.string()) for number in wanted])
        records = _batches(parsed(reader, len(titles), wanted, 0))
        with self._opened() as database:
            database.register("sheet", pa.RecordBatchReader.from_batches(schema, records))
            try:
                return _fingerprint(database, [name_sql(name) for name in schema.names], "sheet")
            finally:
                database.unregister("sheet")


def _batches(tables: Iterable[pa.Table]) -> Iterator[pa.RecordBatch]:
    for table in tables:
        yield from table.to_batches()


def _fingerprint(database: duckdb.DuckDBPyConnection, values: Sequence[str], source: str) -> Fingerprint:
    values_sql = ", ".join(values) or "0"
    sums = f"count(*), coalesce(sum(hash({values_sql})), 0), coalesce(bit_xor(hash({_SALT}, {values_sql})), 0)"
    answer = database.execute(f"SELECT {sums} FROM {source}").fetchall()  # noqa: S608
    ((rows, total, folded),) = answer
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
        """Begin to make the sheet anew; DuckDB is for its look-ups, and to open it takes longer than a small sheet."""
        if not any(column.hops for column in task.columns):
            yield Comparison(task, None)
            return
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
