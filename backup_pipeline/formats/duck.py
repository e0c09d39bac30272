"""DuckDB over a backup's Parquet files: look-ups made anew, and references that lead nowhere, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from backup_pipeline.core.comparison import Orphans, Pointing, SheetTask, Shown
from backup_pipeline.core.errors import BackupError, DiskFullError

_MEMORY = "256MB"
_THREADS = 2
_EXAMPLES = 3


@contextmanager
def open_duck(spool: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database in memory that puts into `spool` what is too much for it; its errors come as BackupErrors."""
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": _MEMORY,
        "threads": str(_THREADS),
        "temp_directory": str(spool / "duckdb"),
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
    }
    try:
        with duckdb.connect(config=config) as database:
            database.execute("SET TimeZone = 'UTC'")
            yield database
    except duckdb.Error as error:
        said = " ".join(str(error).split())
        if isinstance(error, duckdb.OutOfMemoryException) or "space" in said.lower():
            message = f"There is no room in {spool} to compare the backup's tables: {said}"
            raise DiskFullError(message, do="Make room there, or set BACKUP_WORK_DIR to a larger disk.") from error
        message = f"The backup's tables can not be compared: {said}"
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
    found = counted[0] if counted else 0
    if not found:
        return Orphans(0, ())
    keys = ", ".join(f"r.{column_sql(mine)}::VARCHAR" for mine, _ in pairs)
    some = database.execute(f"SELECT DISTINCT {keys} {lost} ORDER BY ALL LIMIT {_EXAMPLES}").fetchall()
    keys = ", ".join(column_sql(theirs) for _, theirs in pairs)
    distinct = f"SELECT DISTINCT {keys} FROM {columns_sql(targets, 'p')}"  # noqa: S608
    different = database.execute(f"SELECT count(*) FROM ({distinct})").fetchone()  # noqa: S608
    examples = tuple(tuple(str(value) for value in key) for key in some)
    return Orphans(int(found), examples, different[0] if different else 0)


def _value_sql(task: SheetTask, shown: Shown) -> str:
    """The looked-up value as a scalar subquery, as the export's own; a second row for one key is an error there too."""
    source, where = "", ""
    for number, hop in enumerate(shown.hops):
        files = columns_sql(task.parquet[hop.table], f"s{number}")
        pairs = zip(hop.columns, hop.from_columns, strict=True)
        equal = " AND ".join(f"s{number}.{column_sql(theirs)} = {_at(number, mine)}" for theirs, mine in pairs)
        source, where = (f"{source} JOIN {files} ON {equal}", where) if number else (files, equal)
    value = f"s{len(shown.hops) - 1}.{column_sql(shown.column)}"
    if shown.joined:
        value = f"string_agg({value}::VARCHAR, '; ' ORDER BY {value}::VARCHAR)"
    return f"SELECT {value} FROM {source} WHERE {where}"  # noqa: S608


def _at(hop: int, column: str) -> str:
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
