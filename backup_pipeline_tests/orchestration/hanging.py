"""A backup in a process of its own that hangs in the midst of its export, so that tests can stop or kill it."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import psycopg

from backup_pipeline_tests.orchestration.installation import Installation, until
from backup_pipeline_tests.servers.parents import python

_RUN = """
from datetime import UTC, datetime, timedelta
from pathlib import Path
from backup_pipeline.catalogs import load_catalog
from backup_pipeline.core import ledger
from backup_pipeline.core.schedule import local_date
from backup_pipeline.core.ports import Silence
from backup_pipeline.orchestration.launch import RunOrder, run_backup
from backup_pipeline.settings import Settings
from backup_pipeline_tests.actors import RAHIM
ledger.LIFE = timedelta(seconds=float(sys.argv[2]))
catalog = load_catalog(Path(sys.argv[1]))
today = local_date(datetime.now(UTC), "Asia/Dhaka")
run_backup(RunOrder(catalog, (), today, "to be stopped", RAHIM), Settings(), Silence())
"""
_DONE = 3


@contextmanager
def hanging_backup(installation: Installation, *, life_s: float = 90) -> Iterator[subprocess.Popen[bytes]]:
    """Three tables are done, one never ends; a run that begins later does not hang. Killed at the end."""
    installation.sql(
        "CREATE TABLE hang AS SELECT true AS now; DROP VIEW totals; CREATE VIEW totals AS"
        " SELECT n AS customer_id, 1 AS amount,"
        " pg_sleep(CASE WHEN n = 5 AND (SELECT now FROM hang) THEN 600 ELSE 0 END)::text AS orders"
        " FROM generate_series(1, 10) AS n"
    )
    with subprocess.Popen(python(_RUN, str(installation.catalog_file), str(life_s))) as process:
        try:
            until(lambda: _done_tables(installation) == _DONE and bool(sleeping(installation)), 120)
            installation.sql("UPDATE hang SET now = false")
            yield process
        finally:
            process.kill()
            for pid in sleeping(installation):
                installation.sql(f"SELECT pg_terminate_backend({pid}, 10000)")


def sleeping(installation: Installation) -> list[int]:
    """The backends of the table that never ends."""
    query = (
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
        " AND query LIKE '%totals%' AND state = 'active' AND pid <> pg_backend_pid()"
    )
    with psycopg.connect(installation.source_url) as session:
        return [row[0] for row in session.execute(query)]


def freeze(process: subprocess.Popen[bytes], installation: Installation) -> None:
    """Stop the process (SIGSTOP), at a moment at which it holds nothing that another run needs to go on."""
    for _ in range(100):
        os.kill(process.pid, signal.SIGSTOP)
        until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED, 10, every=0.01)
        if not _locked_files(installation) and not _open_transactions(installation):
            return
        os.kill(process.pid, signal.SIGCONT)
        time.sleep(0.05)
    raise AssertionError("the process always holds something")


def _locked_files(installation: Installation) -> list[Path]:
    """Dagster's SQLite files that nobody else can write now."""
    return [path for path in installation.home.rglob("*.db") if _is_locked(path)]


def _is_locked(path: Path) -> bool:
    with closing(sqlite3.connect(path, timeout=0)) as database:
        try:
            database.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
    return False


def _open_transactions(installation: Installation) -> bool:
    query = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'"
    with psycopg.connect(installation.ledger_url) as session:
        return session.execute(query).fetchone() is not None


def _done_tables(installation: Installation) -> int:
    return sum(key.endswith("partition.json") for key in installation.store_keys())
