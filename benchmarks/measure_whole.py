"""The section `whole`: the command `backup-pipeline backup` from start to exit, beside the bare export of its table."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.bench import BOTH, Bench, ours, say
from benchmarks.run import Contestant, Course, compete, run_once
from benchmarks.tables import TABLES, create_empty, create_table
from benchmarks.values import BARE, DAGSTER, EMPTY, WHOLE, Race


def measure_whole(bench: Bench) -> Race:
    """Bare export, whole backup, whole backup of a database whose one table is empty, and Dagster alone, in turn.

    One whole run of each goes before and is not counted: it sets up the ledger and Dagster's storage, once for all.
    """
    table = TABLES["bench_bigint"]
    full, empty = bench.database("bench_whole"), bench.database("bench_empty")
    for database in ("bench_ledger", "bench_dagster"):
        bench.database(database)
    course = Course(full, table.name, create_table(full, table, bench.rows))
    nothing = Course(empty, "bench_nothing", create_empty(empty, "bench_nothing", table))
    wholes = [_whole(bench.folder, WHOLE, course), _whole(bench.folder, EMPTY, nothing)]
    say(f"whole: {course.rows:,} rows; the first runs are not counted")
    for contestant in wholes:
        run_once(contestant, bench.arena)
    say("whole: the rounds")
    timings, absent = compete([ours(course, BARE), *wholes, _dagster(bench.folder, nothing)], bench.arena)
    return Race("whole", bench.facts, timings, absent)


def _dagster(folder: Path, course: Course) -> Contestant:
    command = (sys.executable, "-m", "benchmarks.contestants.dagster_alone", str(folder / "home-dagster"))
    return Contestant(DAGSTER, command, "two empty assets", course, peer=False, limit_s=600)


def _whole(folder: Path, name: str, course: Course) -> Contestant:
    home = folder / f"home-{course.table}"
    command = (sys.executable, "-m", "benchmarks.contestants.whole", str(home))
    return Contestant(name, command, f"{BOTH}, bundle", course, peer=False, limit_s=3600)
