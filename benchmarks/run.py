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


def compete(
    contestants: Sequence[Contestant], url: str, table: str, *, rounds: int, folder: Path, psql: Path
) -> Mapping[str, Timing]:
    """Time every contestant on `table`, `rounds` times each, in turn; one that fails is left out, and said so."""
    times: dict[str, list[tuple[float, float]]] = {contestant.name: [] for contestant in contestants}
    for _ in range(rounds):
        for contestant in contestants:
            times[contestant.name].append(_once(contestant, url, table, folder, psql))
    return {name: _timing(found) for name, found in times.items()}


def _once(contestant: Contestant, url: str, table: str, folder: Path, psql: Path) -> tuple[float, float]:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    environment = {**os.environ, "BENCH_PSQL": str(psql)}
    done = subprocess.run(
        [*contestant.command, url, table, str(folder)], capture_output=True, text=True, env=environment, check=False
    )
    if done.returncode:
        message = f"{contestant.name} failed on {table}:\n{done.stderr[-2000:]}"
        raise RuntimeError(message)
    shutil.rmtree(folder, ignore_errors=True)
    result = json.loads(done.stdout.strip().splitlines()[-1])
    return result["seconds"], result["peak_mib"]


def _timing(found: Sequence[tuple[float, float]]) -> Timing:
    seconds = [time for time, _ in found]
    return Timing(statistics.median(seconds), min(seconds), max(seconds), max(peak for _, peak in found))
