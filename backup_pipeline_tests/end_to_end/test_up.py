"""`backup-pipeline up`, as a person uses it: one command, the UI, one Ctrl-C that leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
import pytest

from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.statuses import Status
from backup_pipeline.demo.embedded import running
from backup_pipeline.ledger.sql import SqlLedger
from backup_pipeline_tests.alerts.servers import free_port
from backup_pipeline_tests.end_to_end.graphql import Ui
from backup_pipeline_tests.orchestration.conftest import Install
from backup_pipeline_tests.orchestration.installation import Installation, until
from backup_pipeline_tests.orchestration.test_instance import DAEMONS
from backup_pipeline_tests.servers.parents import python

UP = "from backup_pipeline.cli.app import main; sys.exit(main(sys.argv[1:]))"
SLOW = (
    "DROP VIEW totals; CREATE VIEW totals AS"
    " SELECT n AS customer_id, 1 AS amount, pg_sleep(CASE n WHEN 5 THEN 600 ELSE 0 END)::text AS orders"
    " FROM generate_series(1, 10) AS n"
)
GONE_WITHIN_S = 2.0


@dataclass(frozen=True)
class Up:
    """What runs: the process, its UI, and where its embedded PostgreSQL lives."""

    process: subprocess.Popen[bytes]
    ui: Ui
    home: Path
    installation: Installation

    def attempt(self, run_id: str) -> Attempt | None:
        server = running(self.home / "postgres")
        assert server is not None
        ledger = SqlLedger(server.url("backup_ledger"))
        try:
            return ledger.of_run(run_id)
        finally:
            ledger.close()

    def sleeping(self) -> bool:
        query = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'"
            " AND query LIKE '%totals%' AND pid <> pg_backend_pid()"
        )
        with psycopg.connect(self.installation.source_url) as session:
            return session.execute(query).fetchone() != (0,)


@contextmanager
def _started(installation: Installation, home: Path) -> Iterator[Up]:
    port = free_port()
    environment = {k: v for k, v in os.environ.items() if k not in {"BACKUP_LEDGER_URL", "DAGSTER_HOME"}}
    environment |= {"BACKUP_HOME": str(home), "BACKUP_STORE": (home / "store").as_uri()}
    home.mkdir()
    with (home / "said.txt").open("wb") as said:
        process = subprocess.Popen(
            python(UP, "up", "--port", str(port), "--console-port", str(free_port())),
            env=environment,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    try:
        ui = Ui(f"http://127.0.0.1:{port}")
        until(lambda: ui.answers() or process.poll() is not None, 90)
        assert process.poll() is None, (home / "said.txt").read_text()
        yield Up(process, ui, home, installation)
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """For a test that failed: nothing of ours outlives it."""
    if process.poll() is None:
        family = [*psutil.Process(process.pid).children(recursive=True)]
        process.kill()
        process.wait()
        for member in family:
            if member.is_running():
                member.kill()


@pytest.fixture(scope="module")
def up(install: Install, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Everything, started once for this file, whose tests follow each other."""
    with install() as installation, _started(installation, tmp_path_factory.mktemp("up") / "home") as started:
        yield started


def test_a_run_terminated_in_the_ui_stops_its_sql_and_is_canceled(up: Up) -> None:
    up.installation.sql(SLOW)
    run_id = up.ui.materialize(up.installation.today.isoformat(), "shop/totals", "shop/notes")
    until(up.sleeping, 60)
    up.ui.terminate(run_id)
    took = until(lambda: not up.sleeping(), 30, every=0.02)
    assert up.ui.ended(run_id) == "CANCELED"
    assert took < GONE_WITHIN_S, f"the query ran on for {took:.2f} s"
    attempt = up.attempt(run_id)
    assert attempt is not None
    assert attempt.status is Status.CANCELED


def test_one_table_is_rerun_from_the_ui(up: Up) -> None:
    run_id = up.ui.materialize(up.installation.today.isoformat(), "shop/notes")
    assert up.ui.ended(run_id) == "SUCCESS"
    attempt = up.attempt(run_id)
    assert attempt is not None
    assert (attempt.status, attempt.kind, attempt.tables_wanted) == (Status.SUCCESS, "tables", ("notes",))


def test_every_daemon_is_alive(up: Up) -> None:
    until(lambda: up.ui.healthy_daemons() == DAEMONS, 60, every=0.5)


def test_one_ctrl_c_leaves_nothing_running(up: Up) -> None:
    server = running(up.home / "postgres")
    assert server is not None
    family = psutil.Process(up.process.pid).children(recursive=True)
    assert len(family) >= 4  # PostgreSQL, web server, daemon, and a code server of each
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(60) == 0
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []
    assert not psutil.pid_exists(server.pid)
    assert not up.ui.answers()
