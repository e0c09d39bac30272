"""The section `renderings`: a workbook and JSON of one sheet, beside bare writers of workbooks, in CPU seconds."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bench import Bench, say
from benchmarks.run import Contestant, Course, compete
from benchmarks.values import JSON, RUST_XLSX, XLSX, Race

ROWS = 250_000
_SCRIPT = Path(__file__).parent / "contestants" / "xlsx_writers.py"
_WRITERS = ((RUST_XLSX, "rustpy_xlsxwriter"), ("XlsxWriter, constant memory", "xlsxwriter"))


def measure_renderings(bench: Bench) -> Race:
    """Ours out of a sheet's CSV, those of others out of finished values."""
    course = Course("none", str(min(ROWS, bench.rows)), min(ROWS, bench.rows))
    say(f"renderings: {course.rows:,} rows, in CPU seconds")
    timings, absent = compete([*_field(bench, course)], bench.arena)
    missing = {who: bench.peers.absent[package] for who, package in _WRITERS if package in bench.peers.absent}
    return Race("renderings", bench.facts, timings, {**missing, **absent})


def _field(bench: Bench, course: Course) -> Iterator[Contestant]:
    for who, what in ((XLSX, "xlsx"), (JSON, "json")):
        command = (sys.executable, "-m", "benchmarks.contestants.rendering", what)
        yield Contestant(who, command, what, course, peer=False)
    for who, package in _WRITERS:
        if package not in bench.peers.absent:
            yield Contestant(who, (str(bench.peers.python), "-B", str(_SCRIPT), package), "xlsx", course)
