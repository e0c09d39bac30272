"""One large table read by one run, and by several runs that share its snapshot: seconds, and CPU seconds of them all.

    python -m benchmarks.measure_shared [ROWS] [ROUNDS]

One run reads one table with one connection, however many workers it has; several read it in ranges of blocks. The runs
are processes of this machine, each with one worker; what Dagster does besides is not measured. They take turns, and
the fastest round of each counts. It prints what docs/deployment.md says.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.ledger import Outcome, Status
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.core.ports import Ports
from backup_pipeline.core.schedule import local_date
from backup_pipeline.core.scope import command_line
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline.operations.attempts import Request, Work, begin
from backup_pipeline.operations.backup import export_attempt
from backup_pipeline.operations.export.shared import take_part
from backup_pipeline.operations.leases import guarded, lease_of
from backup_pipeline.settings import given_settings
from backup_pipeline.wiring.addresses import utc_now
from backup_pipeline.wiring.ports import ports_over
from benchmarks.bench import say

TABLE = """
CREATE TABLE big AS SELECT n AS id, n % 1000 AS kind, (n * 1.25)::numeric(12, 2) AS amount, md5(n::text) AS note,
    timestamptz '2024-01-01 00:00:00+00' + make_interval(secs => n) AS at FROM generate_series(1::bigint, {rows}) n;
ALTER TABLE big ADD PRIMARY KEY (id);
"""


def _catalog(runs: int) -> Catalog:
    return Catalog.model_validate({"catalog": "big", "timezone": "Asia/Dhaka", "runs": runs, "tables": {"big": None}})


def _ports(ledger: SqlLedger, source: str, folder: Path) -> Ports:
    settings = given_settings(
        home=folder, source_url=source, ledger_url=ledger_url(), store=(folder / "store").as_uri(), workers=1
    )
    return ports_over(ledger, settings, "big")


def ledger_url() -> str:
    """The ledger of the measurement, as its first process says it to the others."""
    return os.environ["SHARED_LEDGER"]


@dataclass
class Processes:
    """The other runs: a process each."""

    arguments: tuple[str, ...]
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def launch(self, count: int) -> None:
        """Start so many."""
        self.started += [subprocess.Popen([sys.executable, "-m", __spec__.name, *self.arguments]) for _ in range(count)]

    def is_over(self, run_id: str) -> bool:
        """Nobody knows more than the process table."""
        return False

    def bury(self, run_id: str) -> None:
        """Nothing to bury."""

    def stop(self) -> None:
        """They end by themselves."""


def export(runs: int, source: str, folder: Path) -> tuple[float, float]:
    """One backup's tables, read by so many runs; seconds, and CPU seconds of all of them."""
    before, began = _cpu(), time.perf_counter()
    with closing(SqlLedger(ledger_url())) as ledger:
        ports, catalog = _ports(ledger, source, folder), _catalog(runs)
        day = local_date(utc_now(), catalog.timezone)
        request = Request(catalog, Kind.FULL, ("big",), day, Trigger.MANUAL, command_line("bench"), "measured")
        attempt = begin(request, ports)
        work = Work(request, attempt, guarded(ports, lease_of(attempt, ledger)))
        crew = Processes(("guest", attempt.backup_id, str(runs), source, str(folder)))
        for result in export_attempt(work, crew if runs > 1 else None):
            if result.error:
                raise result.error
        took = time.perf_counter() - began
        ledger.end(attempt.backup_id, Outcome(status=Status.CANCELED, finished_at=ports.clock()))
        for process in crew.started:
            process.wait()
    return took, _cpu() - before


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def guest(backup_id: str, runs: str, source: str, folder: str) -> None:
    """Another run."""
    with closing(SqlLedger(ledger_url())) as ledger:
        take_part(backup_id, _catalog(int(runs)), _ports(ledger, source, Path(folder)), f"run of {os.getpid()}")


def main(rows: str = "3000000", rounds: str = "3") -> None:
    """Measure one, two and three runs."""
    with tempfile.TemporaryDirectory() as folder, EmbeddedPostgres(Path(folder) / "server") as server:
        for database in ("source", "ledger"):
            server.ensure_database(database)
        os.environ["SHARED_LEDGER"] = server.url("ledger")
        SqlLedger.create(server.url("ledger")).close()
        with psycopg.connect(server.url("source"), autocommit=True) as session:
            session.execute(TABLE.format(rows=int(rows)).encode())
            session.execute("VACUUM (ANALYZE) big")
        (Path(folder) / "home").mkdir(mode=0o700)
        best: dict[int, tuple[float, float]] = {}
        for _ in range(int(rounds)):
            for runs in (1, 2, 3):
                took = export(runs, server.url("source"), Path(folder) / "home")
                say(f"{runs} runs: {took[0]:.1f} s, {took[1]:.1f} s of CPU")
                best[runs] = min(best.get(runs, took), took)
        for runs, (seconds, cpu) in best.items():
            say(f"{int(rows):,} rows, {runs} runs: {seconds:.1f} s ({cpu:.1f} s of CPU) of {os.cpu_count()} cores")


if __name__ == "__main__":
    guest(*sys.argv[2:]) if sys.argv[1:2] == ["guest"] else main(*sys.argv[1:])
