"""The report of a benchmark run, as Markdown with a bar for each contestant."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from benchmarks.run import Timing

_BAR = 40


def write_report(
    path: Path,
    results: Mapping[str, tuple[int, Mapping[str, Timing]]],
    absent: Mapping[str, str],
    *,
    machine: str,
    command: str,
) -> None:
    """Write the report to `path`."""
    lines = [
        "# Measurements",
        "",
        f"{machine}, {os.cpu_count()} cores. Command: `python -m benchmarks {command}`.".replace(" `.", "`."),
        "Each contestant runs in a process of its own, in turn; imports are not counted; the median counts.",
        "",
    ]
    for table, (rows, timings) in results.items():
        lines += [f"## {table}, {rows:,} rows", "", *_table(timings), "", "```", *_bars(timings), "```", ""]
    lines += [f"- {name} is absent: {why}" for name, why in absent.items()]
    path.write_text("\n".join(lines) + "\n")


def _table(timings: Mapping[str, Timing]) -> list[str]:
    ours = next(iter(timings.values())).median
    rows = ["| who | median s | fastest – slowest | against ours | peak MiB |", "|---|---:|---:|---:|---:|"]
    return rows + [
        f"| {name} | {t.median:.2f} | {t.fastest:.2f} – {t.slowest:.2f} | {t.median / ours:.2f} × | {t.peak_mib:.0f} |"
        for name, t in timings.items()
    ]


def _bars(timings: Mapping[str, Timing]) -> list[str]:
    longest = max(timing.median for timing in timings.values())
    width = max(map(len, timings))
    return [
        f"{name:{width}} {'█' * max(round(_BAR * timing.median / longest), 1)} {timing.median:.2f} s"
        for name, timing in timings.items()
    ]
