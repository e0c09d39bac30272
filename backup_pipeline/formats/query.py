"""The port `Queries`: SQL over a backup's Parquet files in DuckDB, which can reach nothing but those files."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import count, islice
from pathlib import Path
from typing import BinaryIO

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from backup_pipeline.core.errors import BackupError, DiskFullError, RefusedError, UsageError, VerificationError
from backup_pipeline.core.manifest import TableEntry
from backup_pipeline.core.ports.files import FetchedTable, QueryRows, ResultColumn, ResultForm
from backup_pipeline.core.text import acts
from backup_pipeline.formats.bundle import finite
from backup_pipeline.formats.parquet import arrow_type
from backup_pipeline.formats.sheet import BOM, bytes_as_text, csv_header, csv_rows, far_texts
from backup_pipeline.formats.tables import schema_problems, too_large

_MEMORY = "512MB"
_MOST_THREADS = 4
_BATCH = 16_384
"""Rows that are taken from DuckDB at a time."""
_GROUP = 8
"""Batches in a row group of a Parquet file."""
_SHOWN = 300
"""Characters of DuckDB's message that are shown."""

_INTEGERS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT"}
_FLOATS = {"FLOAT", "DOUBLE"}
_OTHERS = {"BOOLEAN", "VARCHAR", "DATE", "TIME", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "BLOB"}
_CASTS = {"UTINYINT": "SMALLINT", "USMALLINT": "INTEGER", "UINTEGER": "BIGINT", "HUGEINT": "DECIMAL(38,0)"}
_NOT_PLAIN = re.compile(r"[^\x20-\x7e]")
_OFFSET = re.compile(r"([+-]\d\d)(\d\d)(\d\d)?$")


class DuckQueries:
    """The port `Queries`; a query that takes longer than `most_s` seconds is stopped, where that is given."""

    def __init__(self, most_s: float | None = None) -> None:
        self._most_s = most_s

    def names(self, sql: str) -> Collection[str]:
        """The tables that the SQL names, as it writes them."""
        with _explained(), _locked(_connected()) as database:
            _check_select(sql, database)
            return database.get_table_names(sql)

    def check(self, sql: str, tables: Sequence[TableEntry], timezone: str) -> None:
        """Whether the SQL can be run over these tables, without their rows."""
        with _explained(), _connected() as database:
            database.execute("SET TimeZone = ?", [timezone])
            for table in tables:
                fields = [pa.field(column.name, arrow_type(column.arrow_type)) for column in table.columns]
                database.register(table.name, pa.schema(fields).empty_table())
            _lock(database, ())
            database.execute(f"PREPARE checked AS {sql}\n")

    @contextmanager
    def rows(self, sql: str, tables: Sequence[FetchedTable], timezone: str, spool: Path) -> Iterator[QueryRows]:
        """Its rows, times in `timezone`; see the port."""
        with _explained(), _connected(spool) as database, _stopped_after(self._most_s, database):
            database.execute("SET TimeZone = ?", [timezone])
            for table in tables:
                _check_files(table)
                files = ", ".join(_text(str(file)) for file in table.files)
                database.execute(f"CREATE VIEW {_name(table.entry.name)} AS SELECT * FROM read_parquet([{files}])")  # noqa: S608
            _lock(database, [str(file) for table in tables for file in table.files])
            _check_select(sql, database)
            yield _DuckRows(database.sql(sql), timezone)


def _connected(spool: Path | None = None) -> duckdb.DuckDBPyConnection:
    """A database in memory that loads nothing from outside: no extension, no secret, no variable of Python."""
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": _MEMORY,
        "threads": str(min(_MOST_THREADS, os.cpu_count() or 1)),
        "temp_directory": str(spool / "spill") if spool else "",
        "python_enable_replacements": "false",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "allow_community_extensions": "false",
        "allow_persistent_secrets": "false",
    }
    return duckdb.connect(config=config)


@contextmanager
def _stopped_after(seconds: float | None, database: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """BackupError when what runs in `database` takes longer."""
    if seconds is None:
        yield
        return
    timer = threading.Timer(seconds, database.interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    except duckdb.InterruptException as error:
        message = f"The query took longer than {seconds:g} s, and was stopped."
        raise BackupError(message, do="Ask for less, or give it longer: --timeout.") from error
    finally:
        timer.cancel()


def _lock(database: duckdb.DuckDBPyConnection, files: Sequence[str]) -> None:
    """From here on the SQL reaches `files` and what spills, and changes no setting."""
    if files:
        database.execute(f"SET allowed_paths = [{', '.join(map(_text, files))}]")
    database.execute("SET enable_external_access = false")
    database.execute("SET lock_configuration = true")


@contextmanager
def _locked(database: duckdb.DuckDBPyConnection) -> Iterator[duckdb.DuckDBPyConnection]:
    with database:
        _lock(database, ())
        yield database


def _check_select(sql: str, database: duckdb.DuckDBPyConnection) -> None:
    """RefusedError unless the SQL is one statement that only reads."""
    kinds = [statement.type.name for statement in database.extract_statements(sql)]
    if not kinds:
        message = "There is no SQL in the query."
        raise UsageError(message, do="Write a SELECT, such as: SELECT count(*) FROM customers")
    if kinds == ["SELECT"]:
        return
    wrong = f"this is {len(kinds)} statements" if len(kinds) > 1 else f"this is {kinds[0]}"
    message = f"A query is one SELECT; {wrong}."
    raise RefusedError(
        message, do="Ask with one SELECT. Nothing in a backup can be changed; --to FILE writes the rows."
    )


@contextmanager
def _explained() -> Iterator[None]:
    """DuckDB's errors in its own words, shortened, with what to do."""
    try:
        yield
    except duckdb.Error as error:
        raise _error(error) from error


def _error(error: duckdb.Error) -> BackupError:
    detail = " ".join(re.split(r"\n\s*LINE \d+:", str(error))[0].split())[:_SHOWN]
    if isinstance(error, duckdb.PermissionException) or "configuration has been locked" in detail:
        message = f"The query reaches for something that is not in the backup: {detail}"
        return RefusedError(message, do="Query the backup's tables alone: neither files nor settings are open to it.")
    if isinstance(error, duckdb.OutOfMemoryException | duckdb.IOException):
        if "space" in detail.lower() or "disk" in detail.lower():
            message = f"There is no room for what the query has to put aside: {detail}"
            return DiskFullError(message, do="Make room, or set BACKUP_WORK_DIR to a larger disk.")
        message = f"The query can not be finished: {detail}"
        return BackupError(message, do=f"It may take {_MEMORY} of memory: ask for fewer rows or columns at a time.")
    message = f"DuckDB does not take the query: {detail}"
    do = "Correct the SQL. Table names go without a schema, and names that DuckDB has words for in double quotes."
    return UsageError(message, do=do)


def _check_files(table: FetchedTable) -> None:
    for path in table.files:
        try:
            with path.open("rb") as content:
                problem = too_large(content)
            problem = problem or next(schema_problems(pq.read_schema(path), table.entry.columns), None)
        except (pa.ArrowException, OSError) as error:
            problem = f"can not be decoded: {error}"
        if problem:
            message = f"A Parquet file of table {table.entry.name} {problem}"
            raise VerificationError(message, do="Query another backup; `backup-pipeline verify` says what is damaged.")


class _DuckRows:
    """The port `QueryRows`: a relation, whose types that Arrow or a reader has not are text."""

    def __init__(self, relation: duckdb.DuckDBPyRelation, timezone: str) -> None:
        kinds = [str(kind) for kind in relation.types]
        self.columns = tuple(
            ResultColumn(name, number=_is_number(kind))
            for name, kind in zip(_unique(relation.columns), kinds, strict=True)
        )
        wanted = ", ".join(_plain(number, kind) for number, kind in enumerate(kinds, start=1))
        plain = all(_cast(kind) is None for kind in kinds)
        self._relation = relation if plain else relation.project(wanted)
        self._timezone = timezone

    def first(self, most: int) -> Sequence[Sequence[str | None]]:
        """The first rows as texts."""
        with suppress(StopIteration):
            batch = next(iter(self._relation.limit(most).to_arrow_table().combine_chunks().to_batches()))
            columns = [_texts(column, self._timezone) for column in batch.columns]
            return list(zip(*columns, strict=True))
        return ()

    def write(self, form: ResultForm, target: BinaryIO, *, mark: bool = False) -> int:
        """Write all rows into `target`."""
        reader = self._relation.to_arrow_reader(_BATCH)
        with reader:
            match form:
                case ResultForm.CSV:
                    return self._csv(reader, target, mark=mark)
                case ResultForm.JSON:
                    return self._json(reader, target)
                case ResultForm.PARQUET:
                    return self._parquet(reader, target)

    def _csv(self, batches: pa.RecordBatchReader, target: BinaryIO, *, mark: bool) -> int:
        header, rows = csv_header(column.name for column in self.columns), 0
        target.write(header if mark else header.removeprefix(BOM))
        for batch in batches:
            rows += batch.num_rows
            target.writelines(csv_rows(batch, self._timezone))
        return rows

    def _json(self, batches: pa.RecordBatchReader, target: BinaryIO) -> int:
        names, rows = [column.name for column in self.columns], 0
        target.write(b"[")
        for batch in batches:
            values = zip(*(_json_values(column, self._timezone) for column in batch.columns), strict=True)
            lines = (_json_line(dict(zip(names, row, strict=True))) for row in values)
            for line in lines:
                target.write(((",\n" if rows else "\n") + line).encode())
                rows += 1
        target.write(b"\n]\n")
        return rows

    def _parquet(self, batches: pa.RecordBatchReader, target: BinaryIO) -> int:
        names, rows = [column.name for column in self.columns], 0
        schema = batches.schema.empty_table().rename_columns(names).schema
        with pq.ParquetWriter(target, schema, compression="zstd") as writer:
            while group := list(islice(batches, _GROUP)):
                table = pa.Table.from_batches(group).rename_columns(names)
                rows += table.num_rows
                writer.write_table(table)
        return rows


def _cast(kind: str) -> str | None:
    """The type that a column goes out as; None when it may stay as it is."""
    if kind in _INTEGERS | _FLOATS | _OTHERS or kind.startswith("DECIMAL"):
        return None
    return _CASTS.get(kind, "VARCHAR")


def _unique(names: Sequence[str]) -> Iterator[str]:
    """The names, each once: neither JSON nor Parquet tells two columns of one name apart."""
    taken: set[str] = set()
    for name in names:
        choices = (name if not number else f"{name}_{number}" for number in count())
        yield next(choice for choice in choices if choice not in taken and not taken.add(choice))  # type: ignore[func-returns-value]


def _is_number(kind: str) -> bool:
    return kind in _INTEGERS | _FLOATS | set(_CASTS) or kind.startswith("DECIMAL")


def _plain(number: int, kind: str) -> str:
    cast = _cast(kind)
    return f"CAST(#{number} AS {cast})" if cast else f"#{number}"


def _texts(values: pa.Array, timezone: str) -> list[str | None]:
    """Cells for people: times in `timezone`, fractions of a second where there are any."""
    if pa.types.is_timestamp(values.type):
        texts = far_texts(values.cast(pa.timestamp("us", values.type.tz)), timezone, fractions=True)
        return [None if text is None else text.removesuffix(".000000") for text in texts.to_pylist()]
    if pa.types.is_date32(values.type):
        return list(far_texts(values, timezone).to_pylist())
    return [None if text is None else str(text) for text in bytes_as_text(values).cast(pa.string()).to_pylist()]


def _json_values(values: pa.Array, timezone: str) -> list[object]:
    """Numbers that JSON has as such, instants with their offset from UTC, everything else as text."""
    kind = values.type
    if pa.types.is_timestamp(kind):
        texts = far_texts(values.cast(pa.timestamp("us", kind.tz)), timezone, fractions=True, offset=True)
        return [None if text is None else _iso(text) for text in texts.to_pylist()]
    if pa.types.is_floating(kind):
        return [finite(value) for value in values.to_pylist()]
    if pa.types.is_decimal(kind) and not kind.scale:
        return [None if value is None else int(value) for value in values.to_pylist()]
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        return list(values.to_pylist())
    return list(_texts(values, timezone))


def _json_line(row: Mapping[str, object]) -> str:
    """A row as JSON in which what could act on a terminal is escaped."""
    text = json.dumps(row, ensure_ascii=False, allow_nan=False)
    return _NOT_PLAIN.sub(lambda match: json.dumps(match[0])[1:-1] if acts(match[0]) else match[0], text)


def _iso(text: str) -> str:
    spaced = _OFFSET.sub(lambda match: ":".join(filter(None, match.groups())), text)
    return spaced.replace(" ", "T").replace(".000000", "")


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
