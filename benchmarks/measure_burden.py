"""The section `burden`: what an application on the same server feels while we export."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg

from backup_pipeline.postgres.programs import find_binaries
from benchmarks.bench import Bench, say
from benchmarks.pgbench import Felt, felt
from benchmarks.tables import TABLES, create_table
from benchmarks.values import Burden, Load

WORKERS = (0, 1, 2, 4)
CLIENTS, THREADS, SCALE = 4, 2, 10
_PREPARED_WITHIN_S = 300


@dataclass(frozen=True)
class Round:
    """What pgbench felt, and what was done meanwhile: rows a second that were exported."""

    felt: Felt
    exported_per_s: float


def measure_burden(bench: Bench) -> Burden:
    """pgbench for some seconds without and beside an export with 1, 2 and 4 workers, in turn, several rounds.

    SettingsError when there is no pgbench, neither in the wheel of the embedded server nor in the system's folders.
    """
    pgbench = find_binaries(needs=("pgbench",)).tool("pgbench")
    url = bench.database("bench_burden")
    for number in range(max(WORKERS)):
        create_table(url, replace(TABLES["bench_bigint"], name=f"bench_part_{number}"), max(bench.rows // 6, 1))
    prepare_pgbench(pgbench, url)
    rounds: Mapping[int, list[Round]] = {workers: [] for workers in WORKERS}
    for _ in range(bench.arena.rounds):
        for workers, results in rounds.items():
            results.append(_once(bench, pgbench, url, workers))
    return Burden(
        bench.facts, _how(pgbench, bench), tuple(load(workers, results) for workers, results in rounds.items())
    )


def load(workers: int, rounds: Sequence[Round]) -> Load:
    """The medians; at least one round."""
    return Load(
        workers=workers,
        tps=round(statistics.median(measured.felt.tps for measured in rounds), 1),
        latency_ms=round(statistics.median(measured.felt.latency_ms for measured in rounds), 3),
        p95_ms=round(statistics.median(measured.felt.p95_ms for measured in rounds), 3),
        exported_per_s=round(statistics.median(measured.exported_per_s for measured in rounds)),
        rounds=len(rounds),
    )


def prepare_pgbench(pgbench: Path, url: str) -> None:
    """Make its tables."""
    _run([str(pgbench), "-i", "-q", "-s", str(SCALE), url], _PREPARED_WITHIN_S)


def _once(bench: Bench, pgbench: Path, url: str, workers: int) -> Round:
    folder = bench.folder / "exporting"
    command = [sys.executable, "-m", "benchmarks.contestants.exporting", url, str(folder), str(workers)]
    try:
        measured = measure_once(bench, pgbench, url, command if workers else ())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    say(
        f"  {workers} workers: {measured.felt.tps:8.0f} tps {measured.felt.latency_ms:7.2f} ms"
        f" {measured.exported_per_s:9.0f} rows/s"
    )
    return measured


def measure_once(bench: Bench, pgbench: Path, url: str, beside: Sequence[str]) -> Round:
    """pgbench for some seconds, beside a command where there is one.

    That prints a line once it is at work, and at the end, which is when it is sent a line, a number: so many a second.
    """
    with psycopg.connect(url, autocommit=True) as session:
        session.execute("CHECKPOINT")
    logs = bench.folder / "pgbench"
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir()
    words = ("-c", CLIENTS, "-j", THREADS, "-T", bench.seconds, "--log", f"--log-prefix={logs}/log")
    with _beside(beside) as done:
        summary = _run([str(pgbench), *map(str, words), url], bench.seconds + _PREPARED_WITHIN_S)
    return Round(felt(summary, [path.read_text() for path in logs.iterdir()]), done.per_s)


@dataclass
class _Done:
    per_s: float = 0.0


@contextmanager
def _beside(command: Sequence[str]) -> Iterator[_Done]:
    """It runs for as long as this lasts, from when it is at work; what it did is known at the end."""
    done = _Done()
    if not command:
        yield done
        return
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        if process.stdout is None or not process.stdout.readline().strip():
            message = "what was to run beside pgbench did not begin; what it printed stands above"
            raise RuntimeError(message)
        yield done
        printed, _ = process.communicate("stop\n", timeout=120)
        if process.returncode:
            message = f"what ran beside pgbench ended with code {process.returncode}; what it printed stands above"
            raise RuntimeError(message)
        done.per_s = float(printed)
    finally:
        process.kill()
        process.wait()


def _run(command: Sequence[str], limit_s: float) -> str:
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=limit_s)
    return done.stdout


def _how(pgbench: Path, bench: Bench) -> str:
    version = _run([str(pgbench), "--version"], 30).strip()
    load = f"{version}, its TPC-B-like script, scale {SCALE}, {CLIENTS} clients on {THREADS} threads"
    tables = f"{max(WORKERS)} tables of {max(bench.rows // 6, 1):,} rows"
    return f"{load}, {bench.seconds} s a round; the export reads {tables} again and again, a table a worker"
