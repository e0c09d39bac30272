"""Runs contestants against each other: alternating, several rounds, each in a process of its own; the median counts."""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from backup_pipeline.core.text import redact
from benchmarks.values import Timing


@dataclass(frozen=True)
class Course:
    """What is exported: the URL of a database, a table or several with commas between them, the rows of all of them.

    `label` is what messages call it (default: the tables).
    """

    url: str
    table: str
    rows: int
    label: str = ""

    @property
    def name(self) -> str:
        """For messages."""
        return self.label or self.table


@dataclass(frozen=True)
class Contestant:
    """A program to time: its name, the command before `URL TABLE FOLDER`, the files it writes, and its course.

    A peer that fails or takes longer than `limit_s` is absent; of ours that is an error. `slow` ones run once.
    """

    name: str
    command: Sequence[str]
    writes: str
    course: Course
    peer: bool = True
    slow: bool = False
    limit_s: float = 600


@dataclass(frozen=True)
class Arena:
    """Where they compete: how many rounds, a folder for their files, the psql they may use, and the server's first
    process, whose CPU is counted with theirs (None: nobody's is)."""

    rounds: int
    folder: Path
    psql: Path
    postmaster: int | None = None


@dataclass(frozen=True)
class Lap:
    """One contestant once: seconds, the largest peak (MiB), CPU seconds of it and the server, MiB of its files."""

    seconds: float
    peak_mib: float
    cpu_s: float | None = None
    written_mib: float | None = None


class ContestantError(Exception):
    """A contestant did not export its table; the text says why."""


def compete(contestants: Sequence[Contestant], arena: Arena) -> tuple[tuple[Timing, ...], Mapping[str, str]]:
    """Time every contestant, in turn: the timings, and why some have none. ContestantError when one of ours fails."""
    measured: dict[str, list[Lap]] = {contestant.name: [] for contestant in contestants}
    absent: dict[str, str] = {}
    for number in range(arena.rounds):
        for contestant in contestants:
            if contestant.name in absent or (contestant.slow and number):
                continue
            try:
                measured[contestant.name].append(run_once(contestant, arena))
            except ContestantError as error:
                if not contestant.peer:
                    raise
                absent[contestant.name] = str(error)
    timings = (
        timing(contestant, measured[contestant.name]) for contestant in contestants if contestant.name not in absent
    )
    return tuple(timings), absent


def timing(contestant: Contestant, laps: Sequence[Lap]) -> Timing:
    """The medians, and the largest peak; at least one lap."""
    seconds = [lap.seconds for lap in laps]
    return Timing(
        who=contestant.name,
        writes=contestant.writes,
        rows=contestant.course.rows,
        median=round(statistics.median(seconds), 3),
        fastest=round(min(seconds), 3),
        slowest=round(max(seconds), 3),
        peak_mib=round(max(lap.peak_mib for lap in laps), 1),
        rounds=len(laps),
        cpu_s=_median(lap.cpu_s for lap in laps),
        written_mib=_median(lap.written_mib for lap in laps),
    )


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(statistics.median(known), 3) if known else None


def run_once(contestant: Contestant, arena: Arena) -> Lap:
    """One export. ContestantError when it fails, takes too long, or exports other rows."""
    shutil.rmtree(arena.folder, ignore_errors=True)
    arena.folder.mkdir(parents=True)
    course = contestant.course
    command = [*contestant.command, course.url, course.table, str(arena.folder)]
    before = server_seconds(arena.postmaster)
    try:
        output = _bounded(command, contestant, {"BENCH_PSQL": str(arena.psql)})
        result = _result(output)
        written = sum(file.stat().st_size for file in arena.folder.rglob("*") if file.is_file())
    except ContestantError as error:
        reason = redact(str(error), urlsplit(course.url).password or "")
        raise ContestantError(f"{contestant.name} on {course.name}: {reason}") from None
    finally:
        shutil.rmtree(arena.folder, ignore_errors=True)
    if result["rows"] not in (None, course.rows):
        raise ContestantError(f"{contestant.name} exported {result['rows']} of the {course.rows} rows of {course.name}")
    lap = Lap(result["seconds"], result["peak_mib"], _cpu(result, before, arena.postmaster), written / 2**20)
    cpu = "" if lap.cpu_s is None else f" {lap.cpu_s:8.2f} s of CPU"
    print(f"  {contestant.name:34} {lap.seconds:8.2f} s{cpu} {lap.peak_mib:7.0f} MiB", file=sys.stderr, flush=True)
    return lap


def _cpu(result: Mapping[str, float], before: float, postmaster: int | None) -> float | None:
    """The contestant's own CPU with what the server's rose by; None when either is not known."""
    if postmaster is None or "cpu_s" not in result:
        return None
    time.sleep(0.3)  # a session of the server ends a moment after its client, and only then counts
    return result["cpu_s"] + server_seconds(postmaster) - before


def server_seconds(postmaster: int | None) -> float:
    """The CPU of a server and of all its sessions, those that have ended too; 0 without a server."""
    if postmaster is None:
        return 0.0
    seconds = 0.0
    first = psutil.Process(postmaster)
    for process in (first, *first.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:  # it ended just now: its parent has its seconds
            continue
        seconds += times.user + times.system + times.children_user + times.children_system
    return seconds


def _result(output: str) -> Any:
    try:
        return json.loads(output.strip().rpartition("\n")[2])
    except ValueError:
        raise ContestantError(f"it did not print its seconds, but {output[-200:]!r}") from None


def _bounded(command: Sequence[str], contestant: Contestant, more: Mapping[str, str]) -> str:
    """What the command printed; its whole process group is ended when it takes too long, psql and pg_dump included."""
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **more},
        start_new_session=True,
    ) as process:
        try:
            output, complained = process.communicate(timeout=contestant.limit_s)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)  # it is not reaped yet, so the group is still its own
            if isinstance(error, subprocess.TimeoutExpired):
                raise ContestantError(f"it took longer than {contestant.limit_s:g} s") from None
            raise
    if process.returncode:
        lines = [line.strip() for line in complained.splitlines() if line.strip()]
        raise ContestantError(_last(lines, contestant) or f"it ended with code {process.returncode}")
    return output


def _last(lines: Sequence[str], contestant: Contestant) -> str:
    """Of a peer the last line, for the report; of ours more, for whoever looks for the cause."""
    # SQLAlchemy ends with where to read on, which says nothing of what happened.
    telling = [line for line in lines if not line.startswith("(Background on this error")]
    return telling[-1][:300] if contestant.peer and telling else "\n".join(lines[-20:])
