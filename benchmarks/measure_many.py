"""The section `many`: a database of many tables of ten rows, where what is done for each table is all that counts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
from psycopg import sql

from benchmarks.bench import BOTH, Bench, say
from benchmarks.contestants.many import table_names
from benchmarks.run import Contestant, Course, compete, run_once
from benchmarks.values import DRILL, LARGE, PG_DUMP, VERIFY, WHOLE, Race

ROWS = 10
TIMES = 3
"""So many times the tables, to see whether each costs the same."""
_AT_ONCE = 100
"""Tables made in one transaction: each holds a lock until its end."""
_WHAT = {
    WHOLE: ("backup", f"{BOTH}, bundle"),
    VERIFY: ("verify", "–"),
    DRILL: ("drill", "–"),
    PG_DUMP: ("pg_dump", "dump"),
}


def measure_many(bench: Bench, tables: int) -> Iterator[Race]:
    """Backup, verification and drill of so many tables, and pg_dump of them, in turn, in CPU seconds; then once the
    same of three times as many.

    One backup goes before and is not counted: it sets up the ledger and Dagster's storage.
    """
    yield _race(bench, "many", tables)
    once = replace(bench, arena=replace(bench.arena, rounds=1))
    yield _race(once, "many" + LARGE, tables * TIMES)


def _race(bench: Bench, name: str, tables: int) -> Race:
    url = bench.database(f"bench_{name}")
    bench.make_storage()
    create_many(url, tables)
    course = Course(url, str(tables), tables * ROWS)
    field = [_contestant(bench, bench.folder / f"home-{name}", who, course) for who in _WHAT]
    say(f"{name}: {tables:,} tables; the first run is not counted")
    run_once(field[0], bench.arena)
    say(f"{name}: the rounds, in CPU seconds")
    timings, absent = compete(field, bench.arena)
    return Race(name, bench.facts, timings, absent)


def create_many(url: str, tables: int, rows: int = ROWS) -> None:
    """Tables of so many rows of four columns, with a key."""
    with psycopg.connect(url, autocommit=True) as session:
        names = table_names(tables)
        for first in range(0, tables, _AT_ONCE):
            with session.transaction():
                for name in names[first : first + _AT_ONCE]:
                    statement = (
                        "CREATE TABLE {} AS SELECT i AS id, 'name ' || i AS name, (i * 1.5)::numeric(12, 2) AS amount,"
                        " timestamptz '2024-01-01 00:00:00+00' + make_interval(hours => i::int) AS created_at"
                        " FROM generate_series(1::bigint, {}) AS i"
                    )
                    table = sql.Identifier(name)
                    session.execute(sql.SQL(statement).format(table, sql.Literal(rows)))
                    session.execute(sql.SQL("ALTER TABLE {} ADD PRIMARY KEY (id)").format(table))
        session.execute("VACUUM (ANALYZE)")


def _contestant(bench: Bench, home: Path, who: str, course: Course) -> Contestant:
    what, writes = _WHAT[who]
    postmaster = str(bench.server.connection.pid)
    command = (sys.executable, "-m", "benchmarks.contestants.many", what, str(home), postmaster)
    return Contestant(who, command, writes, course, peer=who == PG_DUMP, limit_s=3600)
