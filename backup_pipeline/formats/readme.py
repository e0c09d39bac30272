"""The README.txt inside a bundle: what it is, how to open it, how to check it, how to recover without this program."""

from __future__ import annotations

import re
from datetime import datetime
from zoneinfo import ZoneInfo

from backup_pipeline.core.manifest import Manifest, TableEntry

_OPEN = """\
THE SHEETS (for people)
  sheets/ holds one CSV file for each table. Excel, LibreOffice and Google Sheets open them with a double click:
  UTF-8, one line of titles, times in {timezone}. A text that a spreadsheet would run as a formula begins with an
  apostrophe. Excel shows only 15 digits of a number; the Parquet files have them all.

THE DATA (exact)
  parquet/ holds the same tables, exact and typed. Unpack this file, then for example:
    duckdb -c "SELECT * FROM 'parquet/{table}/*.parquet' LIMIT 10"
    python -c "import pyarrow.parquet as pq; print(pq.read_table('parquet/{table}').slice(0, 10))"
"""

_CHECK = """\
IS IT WHOLE?
  manifest.json lists the SHA-256 of every file under "entries". In the unpacked folder:
    python3 - <<'END'
    import hashlib, json, pathlib
    for path, stated in json.load(open("manifest.json", encoding="utf-8"))["entries"].items():
        found = hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
        print("ok" if found == stated else "DAMAGED", path)
    END
"""

_RECOVER = """\
RECOVERING WITHOUT THE PROGRAM THAT MADE THIS
  schema.sql has the definitions of the tables. With psql and DuckDB, into an empty database:
    createdb recovered
    psql -d recovered -f schema.sql
    duckdb -c "COPY (SELECT {select} FROM 'parquet/{table}/*.parquet') TO '{table}.csv' (HEADER, NULLSTR '\\N')"
    psql -d recovered -c "\\copy {relation} ({columns}) FROM '{table}.csv' (FORMAT csv, HEADER, NULL '\\N')"
  The last two for each table, those that others refer to first. DuckDB must be told how PostgreSQL writes bytea:
    SELECT * REPLACE ('\\x' || lower(hex(photo)) AS photo) FROM ...
  Leave generated columns out of the list of columns. Columns that manifest.json lists under "excluded_columns", and
  the values of masked ones, are not in this backup. In the end set each sequence to the largest value in use:
    SELECT setval(pg_get_serial_sequence('orders', 'id'), max(id)) FROM orders;
"""


def readme_text(manifest: Manifest) -> str:
    """The text for `manifest`; its examples name the largest table of the backup."""
    parts = (_head(manifest), _tables(manifest), _how(manifest), _left_out(manifest))
    return "\n".join(part for part in parts if part)


def _head(manifest: Manifest) -> str:
    zone = ZoneInfo(manifest.timezone)
    lines = [
        f"BACKUP OF {(manifest.title or manifest.catalog).upper()}",
        f"  Backup id    {manifest.backup_id}",
        f"  Shows        the database {manifest.snapshot.database} as of {_time(manifest.snapshot.taken_at, zone)}",
        f"  Made         {_time(manifest.finished_at, zone)}, {manifest.type}, by {manifest.created_by}",
        f"  Holds        {manifest.totals.rows:,} rows in {manifest.totals.tables} tables",
    ]
    lines += [f"  Reason       {manifest.reason}"] if manifest.reason else []
    if not manifest.consistent:
        lines.append("  CAUTION      The tables show different instants: see each table's snapshot in manifest.json.")
    if manifest.late:
        lines.append(f"  LATE         Made after {manifest.partition_date} had ended; it shows the instant above.")
    return "\n".join([*lines, *(f"  Warning      {warning}" for warning in manifest.warnings), ""])


def _tables(manifest: Manifest) -> str:
    width = max((len(table.sheet) for table in manifest.tables), default=0)
    lines = (f"  {table.sheet:{width}}  {table.row_count:>13,} rows  {table.relation}" for table in manifest.tables)
    return "\n".join(["TABLES", *lines, ""])


def _how(manifest: Manifest) -> str:
    if not manifest.tables:
        return _CHECK
    largest = max(manifest.tables, key=lambda table: table.row_count)
    text = "\n".join((_OPEN, _CHECK, _RECOVER))
    for key, value in _examples(largest, manifest).items():
        text = text.replace(f"{{{key}}}", value)
    return text


def _examples(table: TableEntry, manifest: Manifest) -> dict[str, str]:
    return {
        "timezone": manifest.timezone,
        "table": table.name,
        "relation": ".".join(_quoted(part) for part in table.relation.split(".", 1)),
        "select": _select(table),
        "columns": ", ".join(_quoted(column.name) for column in table.columns),
    }


def _select(table: TableEntry) -> str:
    names = [_quoted(column.name) for column in table.columns if column.arrow_type == "binary"]
    hexadecimal = ", ".join(f"'\\x' || lower(hex({name})) AS {name}" for name in names)
    return f"* REPLACE ({hexadecimal})" if names else "*"


def _quoted(name: str) -> str:
    """A name as SQL wants it, inside a shell's double quotes."""
    return name if re.fullmatch(r"[a-z_][a-z0-9_]*", name) else '\\"' + name.replace('"', '\\"\\"') + '\\"'


def _left_out(manifest: Manifest) -> str:
    excluded = [f"  {entry.table}: {entry.reason}" for entry in manifest.excluded]
    unlisted = [f"  {name}: nobody has decided about it yet" for name in manifest.unlisted]
    return "\n".join(["NOT IN THIS BACKUP", *excluded, *unlisted, ""]) if excluded or unlisted else ""


def _time(instant: datetime, zone: ZoneInfo) -> str:
    return f"{instant.astimezone(zone):%Y-%m-%d %H:%M:%S} {zone.key}"
