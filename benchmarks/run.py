"""Runs contestants against each other: alternating, several rounds, each in a process of its own; the median counts."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Contestant:
    """A program to time: its name in the report, and the command before `URL TABLE FOLDER`."""

    name: str
    command: Sequence[str]


@dataclass(frozen=True)
class Timing:
    """The median, fastest and slowest of the rounds (seconds), and the largest peak memory (MiB)."""

    median: float
    fastest: float
    slowest: float
    peak_mib: float


@dataclass(frozen=True)
class Arena:
    """Where they compete: the database, how many rounds, a folder for their files, and the psql they may use."""

    url: str
    rounds: int
    folder: Path
    psql: Path


def compete(contestants: Sequence[Contestant], table: str, arena: Arena) -> Mapping[str, Timing]:
    """Time every contestant on `table`, in turn; RuntimeError with its last words when one fails."""
    times: dict[str, list[tuple[float, float]]] = {contestant.name: [] for contestant in contestants}
    for _ in range(arena.rounds):
        for contestant in contestants:
            times[contestant.name].append(_once(contestant, table, arena))
    return {name: _timing(found) for name, found in times.items()}


def _once(contestant: Contestant, table: str, arena: Arena) -> tuple[float, float]:
    shutil.rmtree(arena.folder, ignore_errors=True)
    arena.folder.mkdir(parents=True)
    command = [*contestant.command, arena.url, table, str(arena.folder)]
    environment = {**os.environ, "BENCH_PSQL": str(arena.psql)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    shutil.rmtree(arena.folder, ignore_errors=True)
    if done.returncode:
        message = f"{contestant.name} failed on {table}:\n{done.stderr[-2000:]}"
        raise RuntimeError(message)
    result = json.loads(done.stdout.strip().splitlines()[-1])
    return result["seconds"], result["peak_mib"]


def _timing(found: Sequence[tuple[float, float]]) -> Timing:
    seconds = [time for time, _ in found]
    return Timing(statistics.median(seconds), min(seconds), max(seconds), max(peak for _, peak in found))
