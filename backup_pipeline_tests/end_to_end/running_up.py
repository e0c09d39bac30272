"""A running `up` of a test: its process, its Dagster UI, its console."""

from __future__ import annotations

import http.client
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg

from backup_pipeline.core.ledger import Attempt
from backup_pipeline.embedded import running
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline_tests.alerts.servers import free_port
from backup_pipeline_tests.end_to_end.graphql import Ui
from backup_pipeline_tests.orchestration.installation import Installation, until
from backup_pipeline_tests.servers.parents import python

UP = "from backup_pipeline.cli.app import main; sys.exit(main(sys.argv[1:]))"


@dataclass(frozen=True)
class Up:
    """What runs: the process, its UI, and where its embedded PostgreSQL lives."""

    process: subprocess.Popen[bytes]
    ui: Ui
    home: Path
    installation: Installation
    port: int
    console_port: int

    def send(self, method: str, path: str, body: str = "", **headers: str) -> tuple[int, str]:
        """Status and body of a request, with these headers alone; an underscore stands for a hyphen."""
        port = self.console_port if path.startswith(("/healthz", "/metrics")) else self.port
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body.encode() or None, named)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        finally:
            connection.close()

    def logs(self) -> Mapping[str, str]:
        return {path.stem: path.read_text() for path in (self.home / "logs").glob("*.log")}

    def processes(self, word: str) -> list[psutil.Process]:
        """Those that it started, however far down, with that word in their command."""
        found = []
        for member in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.Error):  # it ended meanwhile
                found += [member] if word in member.cmdline() else []
        return found

    @contextmanager
    def ledger(self) -> Iterator[SqlLedger]:
        server = running(self.home / "postgres")
        assert server is not None
        ledger = SqlLedger(server.url("backup_ledger"))
        try:
            yield ledger
        finally:
            ledger.close()

    def attempt(self, run_id: str) -> Attempt | None:
        with self.ledger() as ledger:
            return ledger.of_run(run_id)

    def sleeping(self) -> bool:
        query = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'"
            " AND query LIKE '%totals%' AND pid <> pg_backend_pid()"
        )
        with psycopg.connect(self.installation.source_url) as session:
            return session.execute(query).fetchone() != (0,)


def up_environment(home: Path) -> Mapping[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in {"BACKUP_LEDGER_URL", "DAGSTER_HOME"}}
    return kept | {"BACKUP_HOME": str(home), "BACKUP_STORE": (home / "store").as_uri()}


@contextmanager
def begun(installation: Installation, home: Path) -> Iterator[Up]:
    """`up`, as it has just been started."""
    port, console_port = free_port(), free_port()
    home.mkdir(exist_ok=True)
    with (home / "said.txt").open("wb") as said:
        process = subprocess.Popen(
            python(UP, "up", "--port", str(port), "--console-port", str(console_port)),
            env=up_environment(home),
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    try:
        yield Up(process, Ui(f"http://127.0.0.1:{port}"), home, installation, port, console_port)
    finally:
        end_up(process)


@contextmanager
def started(installation: Installation, home: Path) -> Iterator[Up]:
    with begun(installation, home) as up:
        until(lambda: "Ctrl-C stops" in (home / "said.txt").read_text() or up.process.poll() is not None, 120)
        assert up.process.poll() is None, (home / "said.txt").read_text()
        yield up


def end_up(process: subprocess.Popen[bytes]) -> None:
    """For a test that failed: nothing of ours outlives it."""
    if process.poll() is None:
        family = [*psutil.Process(process.pid).children(recursive=True)]
        process.kill()
        process.wait()
        for member in family:
            if member.is_running():
                member.kill()
