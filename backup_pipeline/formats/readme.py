"""The README.txt inside a bundle: what it is, how to open it, how to check it, how to recover without this program."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

from backup_pipeline.core.errors import BackupError
from backup_pipeline.core.manifest import Manifest
from backup_pipeline.core.recovery import recovery
from backup_pipeline.core.visible import visible
from backup_pipeline.formats.recovery import FOLDER, load_lines, unpack_lines

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
        yield _filled(_OPEN, timezone=manifest.timezone, table=largest.name)
    yield _filled(_CHECK, fence=FENCE)
    if manifest.tables:
        try:
            yield from _recover(manifest, schema)
        except (ValueError, BackupError) as error:  # a backup is worth more than these commands
            yield _filled(_BY_HAND, why=visible(str(error)))


def _recover(manifest: Manifest, schema: str) -> Iterator[str]:
    found = recovery(manifest, schema)
    yield _filled(
        _RECOVER,
        major=manifest.snapshot.server_version.partition(".")[0],
        fence=FENCE,
        folder=FOLDER,
        order=_wrapped(f"{table.entry.name} {table.entry.row_count}" for table in found.tables),
        unpack="\n".join(unpack_lines(found)),
        load="\n".join(load_lines(found)),
    )
    if found.lacking:
        yield "\n".join(["NOT AS IT WAS, ONCE RECOVERED", *_items(found.lacking), ""])


def _filled(text: str, **values: str) -> str:
    """`text` with each `{name}` replaced; other braces stay."""
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def _wrapped(items: Iterable[str]) -> str:
    return textwrap.fill(", ".join(items), 116, initial_indent="     ", subsequent_indent="     ")


def _items(lines: Iterable[str]) -> Iterator[str]:
    return (f"  {visible(line)}" for line in lines)


def _left_out(manifest: Manifest) -> str:
    excluded = [f"  {visible(entry.table)}: {visible(entry.reason)}" for entry in manifest.excluded]
    unlisted = [f"  {visible(name)}: nobody has decided about it yet" for name in manifest.unlisted]
    return "\n".join(["NOT IN THIS BACKUP", *excluded, *unlisted, ""]) if excluded or unlisted else ""


def _time(instant: datetime, zone: ZoneInfo) -> str:
    return f"{instant.astimezone(zone):%Y-%m-%d %H:%M:%S} {zone.key}"
