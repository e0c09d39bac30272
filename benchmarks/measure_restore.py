"""The section `restore`: one table out of a bundle, beside pg_restore of the same table out of a custom-format dump."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from backup_pipeline.postgres.programs import find_binaries
from benchmarks.bench import Bench, say
from benchmarks.contestants.restore_ours import CATALOG
from benchmarks.contestants.whole import back_up
from benchmarks.run import Contestant, Course, compete
from benchmarks.tables import TABLES, create_table
from benchmarks.values import OURS, PG_RESTORE, PG_RESTORE_JOBS, PG_RESTORE_TABLE, Race

_TABLE, _OTHER = "bench_bigint", "bench_narrow"


def measure_restore(bench: Bench) -> Race:
    """Ours and pg_restore in turn, each into a database made for it; backup and dump hold a second table too."""
    source = bench.database("bench_restore_source")
    bench.make_storage()
    say(f"restore: making {bench.rows:,} rows, their backup and their dump")
    rows = create_table(source, TABLES[_TABLE], bench.rows)
    create_table(source, TABLES[_OTHER], bench.rows)
    home, store, dump = bench.folder / "home-restore", bench.folder / "restore", bench.folder / "bench.dump"
    store.mkdir()
    back_up(home, source, CATALOG, store, tables=(_TABLE, _OTHER))
    programs = find_binaries(needs=("pg_dump", "pg_restore"))
    subprocess.run([str(programs.tool("pg_dump")), "-Fc", "-f", str(dump), "-d", source], check=True)
    course = Course(bench.server.url("bench_restored"), _TABLE, rows)
    say("restore: the rounds")
    timings, absent = compete(
        [_ours(home, store, course), *_peers(programs.tool("pg_restore"), dump, course)], bench.arena
    )
    note = _note(int((home / "fetched").read_text()), store, dump)
    return Race("restore", replace(bench.facts, note=note), timings, absent)


def _ours(home: Path, store: Path, course: Course) -> Contestant:
    command = (sys.executable, "-m", "benchmarks.contestants.restore_ours", str(home), str(store), str(course.rows))
    return Contestant(OURS, command, "table, key, statistics", course, peer=False, limit_s=3600)


def _peers(program: Path, dump: Path, course: Course) -> Iterator[Contestant]:
    script = (sys.executable, "-m", "benchmarks.contestants.restore_pg", str(program), str(dump))
    for name, jobs, key in ((PG_RESTORE, "1", "1"), (PG_RESTORE_JOBS, "2", "1"), (PG_RESTORE_TABLE, "1", "0")):
        writes = "table, key" if key == "1" else "table without its key"
        yield Contestant(name, (*script, jobs, key, str(course.rows)), writes, course, limit_s=3600)


def _note(fetched: int, store: Path, dump: Path) -> str:
    bundles = sum(path.stat().st_size for path in store.rglob("*.zip"))
    return (
        f"Ours read {fetched / 2**20:.1f} MiB from the store, of a bundle of {bundles / 2**20:.1f} MiB;"
        f" the dump has {dump.stat().st_size / 2**20:.1f} MiB."
    )
