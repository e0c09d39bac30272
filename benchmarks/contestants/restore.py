"""What the contestants of a restore share: a new, empty database for each, and whether the rows are in it then."""

from __future__ import annotations

import sys
from collections.abc import Callable
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from benchmarks.contestants.clock import measured


def restored(work: Callable[[], object], url: str, table: str, rows: int, *, key: bool = True) -> None:
    """Time `work`, which restores `table` into the database at `url`, made anew before; then look what is there."""

    def restoring() -> int:
        work()
        return rows

    make_database(url)
    measured(restoring)
    found, keyed = look(url, table)
    if (found, keyed) != (rows, key):
        sys.exit(f"{found} rows are there, {'with' if keyed else 'without'} a key; {rows} were to be restored")


def make_database(url: str) -> None:
    """Make the database at `url` anew, empty, with the server at rest."""
    parts = urlsplit(url)
    name = sql.Identifier(parts.path.removeprefix("/"))
    with psycopg.connect(parts._replace(path="/postgres").geturl(), autocommit=True) as session:
        session.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
        session.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(name))
        session.execute("CHECKPOINT")


def look(url: str, table: str) -> tuple[int, bool]:
    """How many rows the table has, and whether it has a primary key."""
    with psycopg.connect(url) as session:
        count = session.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))).fetchone()
        keys = "SELECT count(*) FROM pg_constraint WHERE contype = 'p' AND conrelid = %s::regclass"
        key = session.execute(keys, (f'"{table}"',)).fetchone()
    return (int(count[0]) if count else 0), bool(key and key[0])
