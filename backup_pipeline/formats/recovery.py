"""The commands of a bundle's README that recover it with psql and DuckDB: SQL that a person can copy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from backup_pipeline.core.recovery import Lines, RecoveredSequence, RecoveredTable, Recovery
from backup_pipeline.core.restoring import Name, PlainColumn, PlainTable

FOLDER = "recovered"
_WIDTH = 116
# COPY's text format: no value can be taken for the end of a line, of a cell or of the file.
_ESCAPE = r"""CREATE MACRO pg(t) AS
  replace(replace(replace(replace(t, '\', '\\'), chr(10), '\n'), chr(13), '\r'), chr(9), '\t');"""
_FORMAT = r"(FORMAT csv, HEADER false, DELIMITER E'\t', QUOTE '', ESCAPE '', NULLSTR '\N')"
_SETTINGS = """\
\\encoding UTF8
SET search_path = '';
SET check_function_bodies = off;
SET client_min_messages = warning;"""


def unpack_lines(plan: Recovery) -> Iterator[str]:
    """The shell commands that cut schema.sql in two and turn the Parquet files into text for COPY."""
    yield f"mkdir -p {FOLDER}"
    yield _cut(plan.before, "before.sql")
    yield _cut(plan.after, "after.sql")
    yield from ("duckdb -bail <<'END'", "SET TimeZone = 'UTC';", _ESCAPE)
    for table in plan.tables:
        yield from _export(table)
    yield "END"


def load_lines(plan: Recovery) -> Iterator[str]:
    """The shell commands that make everything in one transaction, or nothing."""
    yield "psql -X -q -v ON_ERROR_STOP=1 --single-transaction -f - <<'END'"
    yield from (_SETTINGS, f"\\i {FOLDER}/before.sql")
    for table in plan.tables:
        yield from _made(table)
    broken = [(_full(table.target), name) for table in plan.tables for name in _broken(table)]
    yield from (_rename(table, name, _flat(name)) for table, name in broken)
    yield "\\set QUIET off"
    yield from (_copy(table) for table in plan.tables)
    yield "\\set QUIET on"
    yield from (_rename(table, _flat(name), name) for table, name in broken)
    yield f"\\i {FOLDER}/after.sql"
    yield from (_key(table.plain) for table in plan.tables if table.plain and table.plain.key)
    yield from (f"REFRESH MATERIALIZED VIEW {_full(view)};" for view in plan.refreshed)
    yield "\\o /dev/null"
    yield from (_set(sequence) for sequence in plan.sequences)
    yield "END"


def _cut(ranges: Sequence[Lines], name: str) -> str:
    shown = " ".join(f"-e '{first},{last}p'" for first, last in ranges) or "-e ''"
    return f"sed -n {shown} schema.sql > {FOLDER}/{name}"


def _export(table: RecoveredTable) -> Iterator[str]:
    types = {column.name: column.arrow_type for column in table.entry.columns}
    yield "COPY (SELECT"
    yield from _wrapped(_value(column.name, types[column.name]) for column in table.columns)
    yield f"FROM 'parquet/{table.entry.name}/*.parquet') TO '{_file(table)}' {_FORMAT};"


def _value(column: str, arrow_type: str) -> str:
    if arrow_type == "binary":
        return rf"'\\x' || lower(hex({_name(column)}))"
    return f"pg({_name(column)})" if arrow_type == "string" else _name(column)


def _made(table: RecoveredTable) -> Iterator[str]:
    target = _full(table.target)
    if table.plain is not None:
        schema = table.plain.target[0]
        if schema != "public":
            yield f"CREATE SCHEMA IF NOT EXISTS {_name(schema)};"
        yield f"CREATE TABLE {target} ("
        yield from _wrapped(_column(column) for column in table.plain.columns)
        yield ");"
    for column in table.relaxed:
        yield f"ALTER TABLE {target} ALTER COLUMN {_name(column)} DROP NOT NULL;"


def _column(column: PlainColumn) -> str:
    return f"{_name(column.name)} {column.pg_type}{' NOT NULL' if column.not_null else ''}"


def _key(plain: PlainTable) -> str:
    return f"ALTER TABLE {_full(plain.target)} ADD PRIMARY KEY ({', '.join(map(_name, plain.key))});"


def _copy(table: RecoveredTable) -> str:
    """A psql command, which ends with its line."""
    columns = ", ".join(_name(_flat(column.target)) for column in table.columns)
    return f"\\copy {_full(table.target)} ({columns}) FROM '{_file(table)}'"


def _broken(table: RecoveredTable) -> Iterator[str]:
    """Columns with a line break in their name, which no psql command can hold: they get another meanwhile."""
    return (column.target for column in table.columns if _flat(column.target) != column.target)


def _rename(table: str, old: str, new: str) -> str:
    return f"ALTER TABLE {table} RENAME COLUMN {_name(old)} TO {_name(new)};"


def _flat(name: str) -> str:
    return " ".join(name.splitlines())


def _set(one: RecoveredSequence) -> str:
    sequence = _text(_full(one.sequence))
    if one.last_value is not None or one.table is None:
        return f"SELECT setval({sequence}, {one.last_value}, {'true' if one.is_called else 'false'});"
    largest = f"max({_name(one.column)})"
    return f"SELECT setval({sequence}, {largest}) FROM {_full(one.table)} HAVING {largest} IS NOT NULL;"  # noqa: S608


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


def _full(name: Name) -> str:
    return ".".join(map(_name, name))


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
