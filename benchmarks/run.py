"""Runs contestants against each other: alternating, several rounds, each in a process of its own; the median counts."""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from backup_pipeline.core.text import redact
from benchmarks.values import Timing


@dataclass(frozen=True)
class Course:
    """What is exported: a table, how many rows it has, and the URL of its database."""

    url: str
    table: str
    rows: int


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
    """Where they compete: how many rounds, a folder for their files, and the psql they may use."""

    rounds: int
    folder: Path
    psql: Path


class ContestantError(Exception):
    """A contestant did not export its table; the text says why."""


def compete(contestants: Sequence[Contestant], arena: Arena) -> tuple[tuple[Timing, ...], Mapping[str, str]]:
    """Time every contestant, in turn: the timings, and why some have none. ContestantError when one of ours fails."""
    measured: dict[str, list[tuple[float, float]]] = {contestant.name: [] for contestant in contestants}
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


def timing(contestant: Contestant, measured: Sequence[tuple[float, float]]) -> Timing:
    """The median of the seconds, and the largest peak; at least one round."""
    seconds = [time for time, _ in measured]
    return Timing(
        who=contestant.name,
        writes=contestant.writes,
        rows=contestant.course.rows,
        median=round(statistics.median(seconds), 3),
        fastest=round(min(seconds), 3),
        slowest=round(max(seconds), 3),
        peak_mib=round(max(peak for _, peak in measured), 1),
        rounds=len(measured),
    )


def run_once(contestant: Contestant, arena: Arena) -> tuple[float, float]:
    """One export: seconds and peak MiB. ContestantError when it fails, takes too long, or exports other rows."""
    shutil.rmtree(arena.folder, ignore_errors=True)
    arena.folder.mkdir(parents=True)
    course = contestant.course
    command = [*contestant.command, course.url, course.table, str(arena.folder)]
    try:
        output = _bounded(command, contestant, {"BENCH_PSQL": str(arena.psql)})
        result = _result(output)
    except ContestantError as error:
        reason = redact(str(error), urlsplit(course.url).password or "")
        raise ContestantError(f"{contestant.name} on {course.table}: {reason}") from None
    finally:
        shutil.rmtree(arena.folder, ignore_errors=True)
    if result["rows"] not in (None, course.rows):
        raise ContestantError(
            f"{contestant.name} exported {result['rows']} of the {course.rows} rows of {course.table}"
        )
    print(
        f"  {contestant.name:34} {result['seconds']:8.2f} s {result['peak_mib']:7.0f} MiB", file=sys.stderr, flush=True
    )
    return result["seconds"], result["peak_mib"]


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
    return lines[-1][:300] if contestant.peer and lines else "\n".join(lines[-20:])
