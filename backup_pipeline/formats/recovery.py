"""The commands of a bundle's README that recover it with psql and DuckDB: shell and SQL that a person can copy.

What the backup's database named is data in them: DuckDB reads columns by their place in the file and never sees their
names; psql gets every name quoted and in one line (see core's `sql_text`), the rows as they stand in the text files,
and the lines of schema.sql where it takes no commands of its own, so that none of them can run a program.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from backup_pipeline.core.recovery import Lines, RecoveredSequence, RecoveredTable, Recovery
from backup_pipeline.core.restoring import Name, PlainColumn, PlainTable
from backup_pipeline.core.sql_text import full_name_sql, name_sql, text_sql
from backup_pipeline.core.type_names import type_name

FOLDER = "recovered"
_WIDTH = 116
# COPY's text format: no value can be taken for the end of a line, of a cell or of the file.
_ESCAPE = r"""CREATE MACRO pg(t) AS
  replace(replace(replace(replace(t, '\', '\\'), chr(10), '\n'), chr(13), '\r'), chr(9), '\t');"""
_FORMAT = r"(FORMAT csv, HEADER false, DELIMITER E'\t', QUOTE '', ESCAPE '', NULLSTR '\N')"
_SETTINGS = """\
BEGIN;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SET search_path = '';
SET check_function_bodies = off;
SET client_min_messages = warning;"""
# psql knows \restrict since August 2025; what it guards against was looked for when the backup was made, too.
_GUARD = """\
guard=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \\n')
psql --help=commands | grep -q restrict || guard="""
_CLOSED = r"""if [ "$guard" ]; then printf '\\restrict %s\n' "$guard"; fi"""
_OPENED = r"""if [ "$guard" ]; then printf '\\unrestrict %s\n' "$guard"; fi"""
_END_OF_ROWS = r"printf '%s\n' '\.'"


def unpack_lines(plan: Recovery) -> Iterator[str]:
    """The shell commands that turn the Parquet files into text for COPY."""
    yield f"mkdir -p {FOLDER}"
    yield from ("duckdb -bail <<'END'", "SET TimeZone = 'UTC';", _ESCAPE)
    for table in plan.tables:
        yield from _export(table)
    yield "END"


def load_lines(plan: Recovery) -> Iterator[str]:
    """The shell commands that make everything in one transaction, or nothing: its end comes when all else has come."""
    yield from (*_GUARD.splitlines(), "(set +e", "cat <<'END'", *_SETTINGS.splitlines())
    if plan.search_path:
        yield f"SET search_path = pg_catalog, {', '.join(name_sql(name) for name in plan.search_path)};"
    yield "END"
    yield from _lines_of_schema(plan.before)
    yield "cat <<'END'"
    for table in plan.tables:
        yield from _made(table)
    yield "END"
    for table in plan.tables:
        yield from _filled(table)
    yield from _lines_of_schema(plan.after)
    yield "cat <<'END'"
    yield from (_key(table.plain) for table in plan.tables if table.plain and table.plain.key)
    yield from (f"REFRESH MATERIALIZED VIEW {full_name_sql(view)};" for view in plan.refreshed)
    yield "\\o /dev/null"
    yield from (_set(sequence) for sequence in plan.sequences)
    yield from ("\\o", "COMMIT;", "SELECT 'RECOVERED';", "END")
    yield ") | psql -X -q -A -t -v ON_ERROR_STOP=1 -f -"


def _lines_of_schema(ranges: Sequence[Lines]) -> Iterator[str]:
    shown = " ".join(f"-e '{first},{last}p'" for first, last in ranges)
    if shown:
        yield from (_CLOSED, f"sed -n {shown} schema.sql", _OPENED)


def _export(table: RecoveredTable) -> Iterator[str]:
    """A file's columns by their place: DuckDB takes names that differ in case alone for the same."""
    places = {column.name: (f"c{place}", column.arrow_type) for place, column in enumerate(table.entry.columns, 1)}
    yield "COPY (SELECT"
    yield from _wrapped(_value(*places[column.name]) for column in table.columns)
    yield f"FROM read_parquet('parquet/{table.entry.name}/*.parquet', hive_partitioning = false) AS t("
    yield from _wrapped(place for place, _ in places.values())
    yield f")) TO '{_file(table)}' {_FORMAT};"


def _value(column: str, arrow_type: str) -> str:
    if arrow_type == "binary":
        return rf"'\\x' || lower(hex({column}))"
    return f"pg({column})" if arrow_type == "string" else column


def _filled(table: RecoveredTable) -> Iterator[str]:
    """COPY, the rows behind it, and an error unless as many came as the backup has."""
    columns = ", ".join(name_sql(column.target) for column in table.columns)
    yield from ("cat <<'END'", "\\set QUIET off")
    yield f"COPY {full_name_sql(table.target)} ({columns}) FROM STDIN;"
    yield from ("END", f"cat {_file(table)}", _END_OF_ROWS, "cat <<'END'", "\\set QUIET on")
    message = f"'%s rows of {table.entry.name} came, where the backup has {table.entry.row_count}'"
    yield f"SELECT CASE WHEN :ROW_COUNT <> {table.entry.row_count} THEN"
    yield from (f"  format({message}, :ROW_COUNT)::int END \\g /dev/null", "END")


def _made(table: RecoveredTable) -> Iterator[str]:
    target = full_name_sql(table.target)
    if table.plain is not None:
        schema = table.plain.target[0]
        if schema != "public":
            yield f"CREATE SCHEMA IF NOT EXISTS {name_sql(schema)};"
        yield f"CREATE TABLE {target} ("
        yield from _wrapped(_column(column) for column in table.plain.columns)
        yield ");"
    for column in table.relaxed:
        yield f"ALTER TABLE {target} ALTER COLUMN {name_sql(column)} DROP NOT NULL;"


def _column(column: PlainColumn) -> str:
    return f"{name_sql(column.name)} {type_name(column.pg_type).sql()}{' NOT NULL' if column.not_null else ''}"


def _key(plain: PlainTable) -> str:
    return f"ALTER TABLE {full_name_sql(plain.target)} ADD PRIMARY KEY ({', '.join(map(name_sql, plain.key))});"


def _set(one: RecoveredSequence) -> str:
    sequence = text_sql(_regclass(one.sequence))
    if one.last_value is not None or one.table is None:
        return f"SELECT setval({sequence}, {one.last_value}, {'true' if one.is_called else 'false'});"
    largest = f"max({name_sql(one.column)})"
    return f"SELECT setval({sequence}, {largest}) FROM {full_name_sql(one.table)} HAVING {largest} IS NOT NULL;"  # noqa: S608


def _file(table: RecoveredTable) -> str:
    return f"{FOLDER}/{table.entry.name}.tsv"


def _wrapped(items: Iterable[str]) -> Iterator[str]:
    """The items with commas between them, in lines that are not too long."""
    line = ""
    for item in items:
        if line and len(line) + len(item) > _WIDTH:
            yield f"  {line},"
            line = ""
        line = f"{line}, {item}" if line else item
    yield f"  {line}"


def _regclass(name: Name) -> str:
    """The text that names a relation; it knows quotes, but not the escapes of `name_sql`."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in name)
