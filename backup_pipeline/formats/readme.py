"""The README.txt inside a bundle: what it is, how to open it, how to check it, how to recover without this program."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from backup_pipeline.core.errors import BackupError
from backup_pipeline.core.manifest import Manifest
from backup_pipeline.core.plans import type_name
from backup_pipeline.core.restore import Name, PlainColumn, PlainTable
from backup_pipeline.core.restore.recovery import Lines, RecoveredSequence, RecoveredTable, Recovery, recovery
from backup_pipeline.core.text import full_name_sql, name_sql, text_sql, visible

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
        yield from _create_table_lines(table)
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


def _create_table_lines(table: RecoveredTable) -> Iterator[str]:
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


def _set(state: RecoveredSequence) -> str:
    sequence = text_sql(_regclass(state.sequence))
    if state.last_value is not None or state.table is None:
        return f"SELECT setval({sequence}, {state.last_value}, {'true' if state.is_called else 'false'});"
    largest = f"max({name_sql(state.column)})"
    return f"SELECT setval({sequence}, {largest}) FROM {full_name_sql(state.table)} HAVING {largest} IS NOT NULL;"  # noqa: S608


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


FENCE = "-" * 64
"""The line before and after commands, which begin in its column, so that they can be copied as they stand."""
_OPEN = """\
THE SHEETS (for people)
  sheets/ holds one CSV file for each table. Excel, LibreOffice and Google Sheets open them with a double click:
  UTF-8, one line of titles, times in {timezone}. A text that a spreadsheet would run as a formula begins with an
  apostrophe. Excel shows only 15 digits of a number; the Parquet files have them all.

THE DATA (exact)
  parquet/ holds the same tables, exact and typed. Unpack this file, then for example:
    duckdb -c "SELECT * FROM 'parquet/{table}/*.parquet' LIMIT 10"
    python3 -c "import pyarrow.parquet as pq; print(pq.read_table('parquet/{table}').slice(0, 10))"
"""
_CHECK = """\
IS IT WHOLE?
  manifest.json lists the SHA-256 of every file under "entries". In the unpacked folder:
{fence}
python3 - <<'END'
import hashlib, json
for path, stated in json.load(open("manifest.json", encoding="utf-8"))["entries"].items():
    seen = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            seen.update(chunk)
    print("ok" if seen.hexdigest() == stated else "DAMAGED", path)
END
{fence}
"""
_RECOVER = """\
RECOVERING WITHOUT THE PROGRAM THAT MADE THIS
  You need psql, duckdb (the command-line program of DuckDB) and a shell, in the unpacked folder, and a server of
  PostgreSQL {major} or later. Copy what stands between the lines, from the top to the bottom.

  1. Say where PostgreSQL is (export PGHOST, PGPORT, PGUSER, PGPASSWORD), and make an empty database. Where schema.sql
     has extensions or event triggers the user has to be a superuser; else the owner of the database will do.
{fence}
export PGDATABASE=recovered
createdb --template=template0 --encoding=UTF8
{fence}

  2. Make text files for psql in {folder}/. They take some times the room of parquet/; delete the folder afterwards.
     DuckDB takes the columns by their place, in the order of manifest.json.
{fence}
{unpack}
{fence}

  3. Make the tables, load the rows, make keys and foreign keys, set the sequences: all of it, or nothing. psql says
     COPY and the rows of each table, and RECOVERED at the end; without that word, nothing was made:
{order}
{fence}
{load}
{fence}

  4. Let the planner know the tables.
{fence}
psql -X -q -c ANALYZE
{fence}

  Owners and privileges (GRANT) are not in a backup: make them again as your application does.
"""
_BY_HAND = """\
RECOVERING WITHOUT THE PROGRAM THAT MADE THIS
  schema.sql has the definitions, parquet/ the rows, and manifest.json the foreign keys and where the sequences stood.
  No commands are given here, because schema.sql could not be taken apart: {why}
"""


def readme_text(manifest: Manifest, schema: str) -> str:
    """The text for `manifest` and its `schema` (DDL); its examples name the largest table of the backup."""
    parts = (_head(manifest), _tables(manifest), *_how(manifest, schema), _left_out(manifest))
    return "\n".join(part for part in parts if part)


def _head(manifest: Manifest) -> str:
    zone, database = ZoneInfo(manifest.timezone), visible(manifest.snapshot.database)
    lines = [
        f"BACKUP OF {visible(manifest.title or manifest.catalog).upper()}",
        f"  Backup id    {manifest.backup_id}",
        f"  Shows        the database {database} as of {_time(manifest.snapshot.taken_at, zone)}",
        f"  Made         {_time(manifest.finished_at, zone)}, {manifest.type}, by {visible(manifest.created_by)}",
        f"  Holds        {manifest.totals.rows:,} rows in {manifest.totals.tables} tables",
    ]
    lines += [f"  Reason       {visible(manifest.reason)}"] if manifest.reason else []
    if not manifest.consistent:
        lines.append("  CAUTION      The tables show different instants: see each table's snapshot in manifest.json.")
    if manifest.late:
        lines.append(f"  LATE         Made after {manifest.partition_date} had ended; it shows the instant above.")
    return "\n".join([*lines, *(f"  Warning      {visible(warning)}" for warning in manifest.warnings), ""])


def _tables(manifest: Manifest) -> str:
    shown = [(visible(table.sheet), table.row_count, visible(table.relation)) for table in manifest.tables]
    width = max((len(sheet) for sheet, _, _ in shown), default=0)
    lines = (f"  {sheet:{width}}  {rows:>13,} rows  {relation}" for sheet, rows, relation in shown)
    return "\n".join(["TABLES", *lines, ""])


def _how(manifest: Manifest, schema: str) -> Iterator[str]:
    if manifest.tables:
        largest = max(manifest.tables, key=lambda table: table.row_count)
        yield _filled_text(_OPEN, timezone=manifest.timezone, table=largest.name)
    yield _filled_text(_CHECK, fence=FENCE)
    if manifest.tables:
        try:
            yield from _recover(manifest, schema)
        except (ValueError, BackupError) as error:  # a backup is worth more than these commands
            yield _filled_text(_BY_HAND, why=visible(str(error)))


def _recover(manifest: Manifest, schema: str) -> Iterator[str]:
    plan = recovery(manifest, schema)
    yield _filled_text(
        _RECOVER,
        major=manifest.snapshot.server_version.partition(".")[0],
        fence=FENCE,
        folder=FOLDER,
        order=_wrapped_text(f"{table.entry.name} {table.entry.row_count}" for table in plan.tables),
        unpack="\n".join(unpack_lines(plan)),
        load="\n".join(load_lines(plan)),
    )
    if plan.lacking:
        yield "\n".join(["NOT AS IT WAS, ONCE RECOVERED", *_items(plan.lacking), ""])


def _filled_text(text: str, **values: str) -> str:
    """`text` with each `{name}` replaced; other braces stay."""
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def _wrapped_text(items: Iterable[str]) -> str:
    return textwrap.fill(", ".join(items), 116, initial_indent="     ", subsequent_indent="     ")


def _items(lines: Iterable[str]) -> Iterator[str]:
    return (f"  {visible(line)}" for line in lines)


def _left_out(manifest: Manifest) -> str:
    excluded = [f"  {visible(entry.table)}: {visible(entry.reason)}" for entry in manifest.excluded]
    unlisted = [f"  {visible(name)}: nobody has decided about it yet" for name in manifest.unlisted]
    return "\n".join(["NOT IN THIS BACKUP", *excluded, *unlisted, ""]) if excluded or unlisted else ""


def _time(instant: datetime, zone: ZoneInfo) -> str:
    return f"{instant.astimezone(zone):%Y-%m-%d %H:%M:%S} {zone.key}"


_TEXT = """\
THIS BACKUP IS ENCRYPTED
  Every file whose name ends in .age is encrypted, one by one, in the age format (https://age-encryption.org/v1).
  It can be read with the private key of any one of these recipients, and without none:
{recipients}

DECRYPTING IT WITHOUT THE PROGRAM THAT MADE IT
  You need age (Debian, Ubuntu: apt install age; macOS: brew install age), gunzip and a shell. Unpack the ZIP into a
  folder of its own, open a shell in that folder, and say where the file with the private key is:
    KEY=/path/to/key.txt

  One file alone, for example:
    age -d -i "$KEY" -o part-00000.parquet parquet/<table>/part-00000.parquet.age

  Everything, into the new folder `decrypted`. Copy what stands between the lines.
{fence}
find . -name '*.age' | while IFS= read -r file; do
  plain="decrypted/${file%.age}"
  mkdir -p "$(dirname "$plain")"
  age -d -i "$KEY" -o "$plain" "$file" || exit
done
find decrypted -name '*.csv.gz' -exec gunzip {} +
{fence}

  Then go on in that folder: decrypted/README.txt says what the backup holds, and how to check and to recover it.
  Whatever you decrypt is as confidential as the database: remove it when you are done.
"""


def age_readme(recipients: Sequence[str]) -> str:
    """The text, naming the recipients; it tells nothing else of the backup."""
    listed = "\n".join(f"    {name}" for name in recipients)
    return _TEXT.replace("{recipients}", listed).replace("{fence}", FENCE)
