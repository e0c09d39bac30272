"""The section `whole`: the command `backup-pipeline backup` from start to exit, beside the bare export of its table."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.bench import Bench, ours, say, whole
from benchmarks.run import Contestant, Course, compete, run_once
from benchmarks.tables import TABLES, create_empty, create_table, drop_table
from benchmarks.values import BARE, DAGSTER, EMPTY, LARGE, Race

TIMES = 4
"""The larger table, of the rows of the other."""


def measure_whole(bench: Bench) -> Iterator[Race]:
    """Two races. Bare export, whole backup, that of a database whose one table is empty, and Dagster alone, in turn;
    then bare export and whole backup of four times the rows.

    One whole run of each goes before and is not counted: it sets up the ledger and Dagster's storage, once for all.
    """
    bench.make_storage()
    table, empty = TABLES["bench_bigint"], bench.database("bench_empty")
    course = _filled(bench, "bench_whole", bench.rows)
    nothing = Course(empty, "bench_nothing", create_empty(empty, "bench_nothing", table))
    wholes = [whole(_home(bench, course), course), whole(_home(bench, nothing), nothing, EMPTY)]
    yield _race(bench, "whole", course, wholes, [_dagster(bench.folder, nothing)])
    drop_table(course.url, course.table)
    large = _filled(bench, "bench_whole", bench.rows * TIMES)
    yield _race(bench, "whole" + LARGE, large, [whole(_home(bench, large), large)])
    drop_table(large.url, large.table)


def _home(bench: Bench, course: Course) -> Path:
    return bench.folder / f"home-{course.table}"


def _filled(bench: Bench, database: str, rows: int) -> Course:
    url, table = bench.database(database), TABLES["bench_bigint"]
    return Course(url, table.name, create_table(url, table, rows))


def _race(
    bench: Bench, name: str, course: Course, wholes: Sequence[Contestant], others: Sequence[Contestant] = ()
) -> Race:
    say(f"{name}: {course.rows:,} rows; the first runs are not counted")
    for contestant in wholes:
        run_once(contestant, bench.arena)
    say(f"{name}: the rounds")
    timings, absent = compete([ours(course, BARE), *wholes, *others], bench.arena)
    return Race(name, bench.facts, timings, absent)


def _dagster(folder: Path, course: Course) -> Contestant:
    command = (sys.executable, "-m", "benchmarks.contestants.dagster_alone", str(folder / "home-dagster"))
    return Contestant(DAGSTER, command, "two empty assets", course, peer=False, limit_s=600)
