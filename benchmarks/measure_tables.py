"""The section `tables`: ours beside the peers, on four tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.bench import BOTH, Bench, ours, say
from benchmarks.run import Contestant, Course, compete
from benchmarks.tables import TABLES, create_table, drop_table
from benchmarks.values import CONNECTORX, DLT, DUCKDB, LIMIT, PANDAS, PG_DUMP, PSQL, SLING, Race

_SCRIPTS = Path(__file__).parent / "contestants"
# name in the report, its script, what it writes, its package (None: comes with PostgreSQL), whether it runs only once
_PEERS: Sequence[tuple[str, str, str, str | None, bool]] = (
    (PSQL, "psql_copy", "CSV", None, False),
    (PG_DUMP, "pg_dump", "dump", None, False),
    (LIMIT, "copy_limit", "nothing: the limit", None, False),
    (DUCKDB, "duckdb_two_scans", BOTH, "duckdb", False),
    (CONNECTORX, "connectorx_parquet", "Parquet", "connectorx", False),
    (DLT, "dlt_parquet", "Parquet", "dlt", False),
    (SLING, "sling_csv", "CSV", "sling", True),
    (PANDAS, "pandas_chunks", BOTH, "pandas", True),
)


def measure_tables(bench: Bench, names: Sequence[str]) -> Iterator[Race]:
    """A race for each table."""
    url = bench.database("bench")
    for name in names:
        course = Course(url, name, create_table(url, TABLES[name], bench.rows))
        say(f"{name}: {course.rows:,} rows")
        field = [ours(course), *peers(course, bench)]
        timings, absent = compete(field, bench.arena)
        drop_table(url, name)
        yield Race(name, bench.facts, timings, {**not_run(bench), **absent})


def peers(course: Course, bench: Bench) -> Iterator[Contestant]:
    """Every other tool that is here; the slow ones if they are asked for."""
    for name, script, writes, package, is_slow in _PEERS:
        if package not in bench.peers.absent and (bench.slow or not is_slow):
            command = (str(bench.peers.python), "-B", str(_SCRIPTS / f"{script}.py"))
            yield Contestant(name, command, writes, course, slow=is_slow)


def not_run(bench: Bench) -> dict[str, str]:
    """The other tools that do not compete, and why."""
    absent = bench.peers.absent
    missing = {name: absent[package] for name, _, _, package, _ in _PEERS if package and package in absent}
    slow = {name: "not asked for (`--slow`)" for name, _, _, _, is_slow in _PEERS if is_slow and not bench.slow}
    return {**slow, **missing}
