"""Loading an export back into an empty table of the same definition, and the comparison of the two in SQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psycopg
import pyarrow as pa
from psycopg import sql
from psycopg.rows import tuple_row

from backup_pipeline_tests.exactness.exporting import Export, Relation

LOADED = "loaded"
BYTES = "record_send({row})"
"""A row as the server sends it: every value in its binary form, so that -0.0, 1.0 and 1.00, or padding, differ."""
TEXT = "{row}::text"
"""A row as the server prints it, for the few types that have no binary form."""

# What a reader of the files has to set, and what makes text comparable.
_SESSION = "SET TimeZone = 'UTC'; SET lc_monetary = 'C'; SET xmloption = 'content'; SET extra_float_digits = 1"
_CREATE = {
    "r": "CREATE TABLE {copy} (LIKE {original} INCLUDING ALL)",
    "p": "CREATE TABLE {copy} (LIKE {original} INCLUDING ALL)",
    "v": "CREATE TABLE {copy} AS SELECT * FROM {original} WITH NO DATA",
    "m": "CREATE TABLE {copy} AS SELECT * FROM {original} WITH NO DATA",
}
_LOADABLE = """
SELECT attname FROM pg_attribute
WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum"""
_ROW = '"the row"'  # an alias that no column has for its name
_DIFFERENCE = """
SELECT 'lost' AS what, {left} AS it
FROM (SELECT {value} FROM {a} AS {row} EXCEPT ALL SELECT {value} FROM {b} AS {row}) AS d (v)
UNION ALL
SELECT 'made up', {left}
FROM (SELECT {value} FROM {b} AS {row} EXCEPT ALL SELECT {value} FROM {a} AS {row}) AS d (v) LIMIT 6"""


def session(url: str) -> psycopg.Connection[tuple[Any, ...]]:
    """A connection with the settings under which the files' texts are read."""
    connection = psycopg.connect(url, autocommit=True, row_factory=tuple_row)
    connection.execute(_SESSION)
    return connection


def load(database: psycopg.Connection[tuple[Any, ...]], original: Relation, copy: Relation, rows: pa.Table) -> None:
    """Make `copy` with the definition of `original`, and write the rows of an export into it."""
    source, target = sql.Identifier(*original), sql.Identifier(*copy)
    kind = database.execute("SELECT relkind FROM pg_class WHERE oid = to_regclass(%s)", [source.as_string()])
    found = kind.fetchone()
    assert found is not None, original
    database.execute(f"CREATE SCHEMA IF NOT EXISTS {LOADED}")
    database.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(target))
    database.execute(sql.SQL(_CREATE[found[0]]).format(copy=target, original=source))
    copy_in(database, copy, rows)


def copy_in(database: psycopg.Connection[tuple[Any, ...]], table: Relation, rows: pa.Table) -> None:
    """Write the rows with COPY; generated columns make themselves, and COPY always overrides identity."""
    target = sql.Identifier(*table)
    names = [name for (name,) in database.execute(_LOADABLE, [target.as_string()])]
    columns = sql.SQL(", ").join(map(sql.Identifier, names))
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(target, columns)
    with database.cursor() as cursor, cursor.copy(statement) as copy:
        for row in zip(*(texts(rows.column(rows.schema.get_field_index(name))) for name in names), strict=True):
            copy.write_row(row)


def differences(
    database: psycopg.Connection[tuple[Any, ...]], one: Relation, other: Relation, row: str = BYTES
) -> Sequence[tuple[Any, ...]]:
    """Rows that stand more often in one table than in the other; the first few."""
    a, b = (_source(database, relation) for relation in (one, other))
    as_row = sql.SQL(row.format(row=_ROW))
    left = sql.SQL("left(v::text, 400)")
    return database.execute(
        sql.SQL(_DIFFERENCE).format(left=left, value=as_row, row=sql.SQL(_ROW), a=a, b=b)
    ).fetchall()


def assert_round_trip(url: str, export: Export, table: str, relation: Relation, row: str = BYTES) -> None:
    """The export of `relation`, loaded into an empty table of its definition, is what the database has."""
    copy = (LOADED, relation[1])
    with session(url) as database:
        load(database, relation, copy, export.parquet(table))
        assert differences(database, relation, copy, row) == [], relation
        count = database.execute(sql.SQL("SELECT count(*) FROM {}").format(_source(database, relation))).fetchone()
    assert count == (export.entry(table).row_count,), relation


def texts(column: pa.ChunkedArray) -> Iterator[str | None]:
    """The values of an Arrow column in a form that PostgreSQL reads; independent of how the exporter made them."""
    as_text = _as_text(column.type)
    return (None if value is None else as_text(value) for value in column.to_pylist())


def _as_text(arrow: pa.DataType) -> Callable[[Any], str]:
    if pa.types.is_binary(arrow):
        return lambda value: "\\x" + value.hex()
    if pa.types.is_floating(arrow):
        return repr
    if pa.types.is_boolean(arrow):
        return lambda value: "true" if value else "false"
    if pa.types.is_temporal(arrow):
        return lambda value: str(value.isoformat())
    return str


def _source(database: psycopg.Connection[tuple[Any, ...]], relation: Relation) -> sql.Composed:
    """The relation without the rows of tables that inherit from it; a partitioned one with its partitions."""
    name = sql.Identifier(*relation)
    found = database.execute("SELECT relkind = 'r' FROM pg_class WHERE oid = to_regclass(%s)", [name.as_string()])
    plain = found.fetchone() == (True,)
    return sql.SQL("ONLY {}").format(name) if plain else sql.SQL("{}").format(name)
