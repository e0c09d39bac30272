"""The tables that are measured: made on the server, the same rows every time."""

from __future__ import annotations

from dataclasses import dataclass, replace

import psycopg
from psycopg import sql

_MIXED = """
    {key}, md5('u' || i)::uuid AS reference, (i * 7919) % 1000003 AS quantity,
    (((i * 104729) % 100000000)::numeric / 100)::numeric(12, 2) AS amount,
    CASE i % 4 WHEN 0 THEN 'active' WHEN 1 THEN 'suspended' WHEN 2 THEN 'closed' ELSE 'new' END AS status,
    timestamptz '2024-01-01 00:00:00+00' + make_interval(secs => (i * 37) % 90000000) AS created_at,
    'Customer ' || i AS name, 'House ' || i % 500 || ', Road ' || i % 40 || ', Dhaka' AS address,
    md5('note' || i) AS note
"""


@dataclass(frozen=True)
class BenchTable:
    """A table to measure: its name, the SELECT list over `i` that makes it, its key, its share of the rows."""

    name: str
    columns: str
    key: str = "id"
    share: float = 1.0


def wide_columns() -> str:
    """Sixty columns: integers, amounts, texts and times in turn."""
    kinds = (
        "((i * {n}) % 1000003)::int AS c{n}",
        "((i * {n}) % 100000)::numeric(10, 2) / 100 AS c{n}",
        "'text ' || (i * {n}) % 9973 AS c{n}",
        "timestamptz '2024-01-01 00:00:00+00' + make_interval(secs => (i * {n}) % 9000000) AS c{n}",
    )
    return ", ".join(["i AS id", *(kinds[n % len(kinds)].format(n=n) for n in range(2, 61))])


TABLES = {
    table.name: table
    for table in (
        BenchTable("bench_bigint", _MIXED.format(key="i AS id")),
        BenchTable("bench_uuid", _MIXED.format(key="md5('k' || i)::uuid AS id")),
        BenchTable("bench_wide", wide_columns(), share=0.1),
        BenchTable("bench_narrow", "i AS id, ((i * 31) % 1000)::int AS a, ((i * 17) % 77)::int AS b"),
    )
}


def create_table(url: str, table: BenchTable, rows: int) -> int:
    """Create and fill `table` with its share of `rows`; how many rows it has."""
    count = max(int(rows * table.share), 1)
    with psycopg.connect(url, autocommit=True) as connection:
        name = sql.Identifier(table.name)
        statement = "CREATE TABLE {} AS SELECT " + table.columns + " FROM generate_series(1::bigint, {}) AS i"
        connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(name))
        connection.execute(sql.SQL(statement).format(name, sql.Literal(count)))
        connection.execute(sql.SQL("ALTER TABLE {} ADD PRIMARY KEY ({})").format(name, sql.Identifier(table.key)))
        connection.execute(sql.SQL("VACUUM (ANALYZE, FREEZE) {}").format(name))
        connection.execute("CHECKPOINT")
    return count


def create_empty(url: str, name: str, like: BenchTable) -> int:
    """Create the table `name` with the columns and the key of `like` and no row; returns 0."""
    create_table(url, replace(like, name=name), 1)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("TRUNCATE {}").format(sql.Identifier(name)))
    return 0


def drop_table(url: str, name: str) -> None:
    """Drop the table, and give its room back to the disk at once."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(name)))
        connection.execute("CHECKPOINT")
