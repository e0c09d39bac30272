"""Rows on their way to the server: COPY into a table, counted by the server."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import psycopg

from backup_pipeline.core.errors import TargetError
from backup_pipeline.core.progress import PageWritten, TableStarted
from backup_pipeline.core.restore_fill import NUMBER, differs
from backup_pipeline.core.restoring import TableRestore
from backup_pipeline.postgres.restore_sql import copy_sql, fill_sql
from backup_pipeline.postgres.restore_work import Work
from backup_pipeline.postgres.session import identifier, relation_sql
from backup_pipeline.postgres.target_errors import target_error

_NUMBERS = "restore_numbers"
_TYPE = """
SELECT format_type(a.atttypid, a.atttypmod) AS pg_type FROM pg_attribute a
WHERE a.attrelid = to_regclass(%(table)s) AND a.attname = %(column)s"""
Rows = Callable[[TableRestore], Iterable[bytes]]
_DEFAULT = """
SELECT pg_get_expr(d.adbin, d.adrelid) AS expression FROM pg_attribute a
JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = to_regclass(%(table)s) AND a.attname = %(column)s"""


def load(work: Work, table: TableRestore, into: str, rows: Rows, *, freeze: bool) -> int:
    """COPY the backup's rows of `table` into the relation `into`; how many the server says it took.

    TargetError when that is not what the manifest says.
    """
    work.progress.tell(TableStarted(table.name, table.rows_in_backup))
    statement = copy_sql(into, (column.target for column in table.columns), binary=table.binary, freeze=freeze)
    try:
        with work.connection.cursor() as cursor:
            with cursor.copy(statement.encode()) as copy:
                for chunk in rows(table):
                    copy.write(chunk)
                    work.progress.tell(PageWritten(table.name, 0, len(chunk)))
            taken = cursor.rowcount
    except psycopg.Error as error:
        raise target_error(error, work.endpoint, f"loading {table.target_name}") from error
    if taken != table.rows_in_backup:
        message = f"{taken:,} rows of {table.name} were loaded; the manifest says {table.rows_in_backup:,}."
        raise TargetError(message, do="The target is as it was. Run `backup-pipeline verify`; use another backup.")
    return taken


def load_in_place(work: Work, table: TableRestore, rows: Rows, *, freeze: bool) -> int:
    """COPY straight into the target's table; values for columns that the backup has not are defaults meanwhile."""
    target = relation_sql(table.target)
    before = {column: _default(work, table, column) for column in table.filled}
    if numbered := any(NUMBER in value for value in table.filled.values()):
        work.run(f"CREATE TEMPORARY SEQUENCE {_NUMBERS}", "numbering new rows")
    for column, value in table.filled.items():
        filled = fill_sql(value, f"nextval('pg_temp.{_NUMBERS}')")
        _set_default(work, target, column, f"{filled}::{_type(work, table, column)}" if differs(value) else filled)
    taken = load(work, table, target, rows, freeze=freeze)
    for column, expression in before.items():
        _set_default(work, target, column, expression)
    if numbered:
        work.run(f"DROP SEQUENCE pg_temp.{_NUMBERS}", "numbering new rows")
    return taken


def _type(work: Work, table: TableRestore, column: str) -> str:
    """The column's type, as SQL: a text that is computed does not become it by itself."""
    [row] = work.ask(_TYPE, {"table": relation_sql(table.target), "column": column})
    return str(row["pg_type"])


def _default(work: Work, table: TableRestore, column: str) -> str | None:
    found = work.ask(_DEFAULT, {"table": relation_sql(table.target), "column": column})
    return found[0]["expression"] if found else None


def _set_default(work: Work, target: str, column: str, expression: str | None) -> None:
    how = f"SET DEFAULT {expression}" if expression is not None else "DROP DEFAULT"
    work.run(f"ALTER TABLE {target} ALTER COLUMN {identifier(column)} {how}", f"filling column {column}")
