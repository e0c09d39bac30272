"""The section `scale`: ten times the rows. Does memory stay flat, and a row cost the same?"""

from __future__ import annotations

import shutil
from dataclasses import replace

from benchmarks.bench import Bench, ours, say
from benchmarks.run import Course, compete
from benchmarks.tables import TABLES, create_table, drop_table
from benchmarks.values import Race

TIMES = 10
_BYTES_PER_ROW = 700
"""Of disk, for a row of both tables: heap, index, the write-ahead log while they are made, Parquet and CSV."""


class NoRoomError(Exception):
    """The disk has too little room; nothing was made."""


def measure_scale(bench: Bench) -> Race:
    """Ours on `rows` and on ten times as many, in turn; NoRoomError when the disk is too small."""
    check_room(bench.rows * TIMES, shutil.disk_usage(bench.folder).free)
    url = bench.database("bench")
    courses = []
    for name, rows in (("bench_small", bench.rows), ("bench_large", bench.rows * TIMES)):
        say(f"scale: making {rows:,} rows")
        courses.append(Course(url, name, create_table(url, replace(TABLES["bench_bigint"], name=name), rows)))
    try:
        timings, absent = compete([ours(course, f"{course.rows:,} rows") for course in courses], bench.arena)
    finally:
        for course in courses:
            drop_table(url, course.table)
    return Race("scale", bench.facts, timings, absent)


def check_room(rows: int, free: int) -> None:
    """NoRoomError unless `free` bytes are enough for a table of so many rows, and its export."""
    needed = rows * _BYTES_PER_ROW
    if free < needed:
        message = f"{rows:,} rows need about {needed / 2**30:.0f} GiB of disk, and {free / 2**30:.1f} GiB are free"
        raise NoRoomError(message)
