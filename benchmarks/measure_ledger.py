"""The command line over a ledger of years, and the memory of a rebuild and a clean-up of thousands of backups.

    python -m benchmarks.measure_ledger                  # 20,000 backups, 500,000 ticks; 5,000 stored backups
    python -m benchmarks.measure_ledger --stored 1000    # fewer

Commands run in this process, warm, so that their time is that of the work, not of starting Python. Rebuild and clean-up
run each in a process of its own, whose largest memory is told: over a tenth of the backups, then over all of them.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg

from backup_pipeline.cli.app import main as command_line
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline.stores.directory import DirectoryStore
from backup_pipeline_tests.core.retained import backup
from backup_pipeline_tests.operations.shelved import BUNDLE, bundle_of, filed, manifest_of
from benchmarks.bench import say
from benchmarks.measure_console import BACKUPS, database_seconds, fill_backups

TICKS = 500_000
STORED = 5_000
MOST_MS = 100.0
_COMMANDS = (
    ("list",),
    ("list", "--limit", "1000", "--json"),
    ("list", "--catalog", "isp", "--status", "failed"),
    ("stats", "--catalog", "isp"),
    ("calendar", "--catalog", "isp"),
    ("check", "--catalog", "isp"),
    ("businesses", "ticks", "--catalog", "retail"),
    ("businesses", "protection", "--catalog", "retail"),
)
_CATALOG = """
catalog: shop
timezone: Asia/Dhaka
tables: {goods: null, sold: null}
retention: {automatic: {keep_within: 30 days}}
"""
_TICKS = """
INSERT INTO business_ticks
    (catalog, scheduled_at, status, started_at, finished_at, snapshot_at, due, changed, unchanged)
SELECT 'retail', at, 'success', at, at + interval '6 seconds', at, 50, 5, 45 FROM (
    SELECT date_trunc('minute', now()) - n * interval '5 minutes' AS at FROM generate_series(1, %(count)s) AS n
) AS due
"""
_VERIFIED = "UPDATE backup_logs SET verification_level = 2, verification_passed = true, verified_at = now()"
_BUSINESSES = """
INSERT INTO businesses (catalog, business, name, status, registered_at, updated_at, actor)
SELECT 'retail', 'b' || n, 'Business ' || n, 'active', now() - interval '5 years', now(), 'schedule:'
FROM generate_series(1, 50) AS n
"""


def main() -> int:
    """Measure and print; 1 when a command works longer than it may, or memory grows with the number of backups."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backups", type=int, default=BACKUPS)
    parser.add_argument("--ticks", type=int, default=TICKS)
    parser.add_argument("--stored", type=int, default=STORED)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--work", help="what the process of a work does, with the home: for this program itself")
    arguments = parser.parse_args()
    if arguments.work:
        return _work(arguments.work)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, EmbeddedPostgres(Path(folder) / "pg") as server:
        slow = _commands(server, Path(folder) / "home", arguments)
        grown = _memory(server, Path(folder), arguments.stored)
    return int(slow or grown)


def _commands(server: EmbeddedPostgres, home: Path, arguments: argparse.Namespace) -> bool:
    """Whether one works longer than it may."""
    SqlLedger.create(server.url("ledger")).close()
    fill_backups(server.url("ledger"), arguments.backups)
    with psycopg.connect(server.url("ledger")) as session:
        session.execute("SET session_replication_role = replica")
        session.execute(_TICKS, {"count": arguments.ticks})
        session.execute(_BUSINESSES)
    with psycopg.connect(server.url("ledger"), autocommit=True) as session:
        session.execute("ANALYZE business_ticks")
    say(f"{arguments.backups:,} backups, {arguments.ticks:,} ticks")
    os.environ.update(BACKUP_HOME=str(home), BACKUP_LEDGER_URL=server.url("ledger"), BACKUP_STORE=home.as_uri())
    # They are declared so, and never asked.
    os.environ |= {f"BACKUP_SOURCE_URL_{name}": server.url("source") for name in ("ISP", "RETAIL")}
    worked = [_timed(words, arguments.rounds) for words in _COMMANDS]
    return max(worked) > MOST_MS


def _timed(words: Sequence[str], rounds: int) -> float:
    """Milliseconds that a command works, here and in PostgreSQL, in the median and in the mean; printed."""
    taken, worked, server = [], [], 0.0
    for number in range(rounds + 2):
        server = database_seconds() if number == 2 else server
        start, before = time.perf_counter(), time.process_time()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as notes:
            code = command_line(words)
        if code not in {0, 22}:  # what is stale is stale
            message = f"{' '.join(words)} ended with {code}: {notes.getvalue()}"
            raise RuntimeError(message)
        if number >= 2:
            taken.append((time.perf_counter() - start) * 1000)
            worked.append((time.process_time() - before) * 1000)
    here, there = statistics.median(worked), (database_seconds() - server) * 1000 / rounds
    line = (
        f"{statistics.median(taken):7.1f} ms  works {here + there:6.1f} ms (here {here:5.1f}, PostgreSQL {there:5.1f})"
    )
    say(f"{line}  {' '.join(words)}")
    return here + there


def _memory(server: EmbeddedPostgres, folder: Path, stored: int) -> bool:
    """Whether rebuild or clean-up need memory that grows more than by what their plans name."""
    peaks = {}
    for count in (max(stored // 10, 10), stored):
        home = folder / f"home-{count}"
        _store(home, count)
        url = server.url(f"ledger_{count}")
        server.ensure_database(f"ledger_{count}")
        peaks["rebuild", count] = _peak("rebuild", home, url, count)
        with psycopg.connect(url) as session:  # else nothing goes: what comes after each is not verified
            session.execute(_VERIFIED)
        peaks["prune", count] = _peak("prune", home, url, count)
        with psycopg.connect(url) as session:
            left = session.execute("SELECT count(*) FROM backup_logs WHERE status = 'success'").fetchone()
            say(f"{left[0] if left else 0:,} are left")
    return any(peaks[work, stored] > 2 * peaks[work, max(stored // 10, 10)] for work in ("rebuild", "prune"))


def _store(home: Path, count: int) -> None:
    """So many small backups, one a day and one more, of which the rules keep thirty."""
    (home / "catalogs").mkdir(parents=True)
    (home / "catalogs" / "shop.yaml").write_text(_CATALOG)
    store, now = DirectoryStore(home / "store"), datetime.now(UTC)
    for back in range(count):
        row = filed(backup(now - timedelta(hours=12 * back + 1), salt=back))
        _put(row, store)


def _put(row: Attempt, store: DirectoryStore) -> None:
    folder = f"shop/backups/backup_date={row.partition_date.isoformat()}/{row.backup_id}"
    store.put(f"{folder}/{BUNDLE}", [bundle_of(row)])
    store.put(f"{folder}/manifest.json", [manifest_of(row)])


def _peak(work: str, home: Path, url: str, count: int) -> int:
    """The largest memory of a work's process, in bytes; printed with its time."""
    environment = {
        **os.environ,
        "BACKUP_HOME": str(home),
        "BACKUP_CATALOGS": str(home / "catalogs"),
        "BACKUP_STORE": (home / "store").as_uri(),
        "BACKUP_LEDGER_URL": url,
    }
    start = time.perf_counter()
    arguments = [sys.executable, "-m", "benchmarks.measure_ledger", "--work", work]
    ended = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise RuntimeError(ended.stderr[-2_000:])
    peak, cpu = (float(word) for word in ended.stdout.split()[-2:])
    seconds = time.perf_counter() - start
    say(f"{work} of {count:,} stored backups: {peak / 1e6:,.1f} MB at most, {cpu:,.1f} s of CPU, {seconds:,.1f} s")
    return int(peak)


def _work(work: str) -> int:
    words = {"rebuild": ("rebuild", "--confirm"), "prune": ("prune", "--catalog", "shop", "--confirm")}[work]
    with contextlib.redirect_stdout(io.StringIO()):
        code = command_line(words)
    used = resource.getrusage(resource.RUSAGE_SELF)
    # Not ru_maxrss: that is also of what the process was before it began with this program.
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    print(int(peak.split()[1]) * 1024, used.ru_utime + used.ru_stime)  # for the program that waits
    return code


if __name__ == "__main__":
    sys.exit(main())
