"""A backup that several runs read: the runs, as threads and as processes that may be killed.

python -m backup_pipeline_tests.operations.sharing BACKUP_ID SOURCE LEDGER STORE SPOOL RUN_ID KILLED_AT_PAGE
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.ledger import Owner
from backup_pipeline.core.ports import Event, PageWritten, Ports
from backup_pipeline.ledger import alive, this_owner
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline.operations.export.shared import take_part
from backup_pipeline.postgres.source import PostgresSource, SourceOptions
from backup_pipeline.stores.directory import DirectoryStore
from backup_pipeline_tests.doubles.ports import ports_for_test

BIG = Catalog.model_validate(
    {
        "catalog": "big",
        "timezone": "Asia/Dhaka",
        "runs": 2,
        "tables": {"events": {"references": {"kind_id": "kinds.id"}}, "kinds": None, "empty": None},
        "sample_rows": 3,
    }
)
BIG_SQL = """
CREATE TABLE kinds (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE empty (id int PRIMARY KEY);
CREATE TABLE events (id bigint PRIMARY KEY, kind_id int, on_day date, note text NOT NULL);
INSERT INTO kinds SELECT n, 'kind ' || n FROM generate_series(1, 20) n;
INSERT INTO events SELECT n, n % 21, date '2026-01-01' + n % 300, repeat(md5(n::text), 6)
  FROM generate_series(1, 8000) n;
ANALYZE;
"""
ELSEWHERE = Owner("another host", 1, 2.0)


def remote_ports(source: str, ledger: SqlLedger, store: Path, spool: Path) -> Ports:
    """Those of a run of this process, which says of itself that it is one of this machine."""
    return ports_for_test(
        source=PostgresSource(source, options=SourceOptions(first_page_rows=200, page_bytes=64 << 10)),
        ledger=ledger,
        store=DirectoryStore(store),
        spool=spool,
        owner=this_owner(),
        alive=alive,
    )


@dataclass
class Guests:
    """The crew of a backup: `begin` is called with the run's number for each that is asked for."""

    begin: Callable[[int], None] = lambda _: None
    asked: list[int] = field(default_factory=list)
    buried: list[str] = field(default_factory=list)
    stopped: bool = False
    launched: int = 0

    def launch(self, count: int) -> None:
        self.asked.append(count)
        for _ in range(count):
            self.launched += 1
            self.begin(self.launched)

    def is_over(self, run_id: str) -> bool:
        return False

    def bury(self, run_id: str) -> None:
        self.buried.append(run_id)

    def stop(self) -> None:
        self.stopped = True


@dataclass
class Watch:
    """The port `Progress`: calls `page` with the number of each page."""

    page: Callable[[int], None]
    pages: int = 0

    def tell(self, event: Event) -> None:
        if isinstance(event, PageWritten):
            self.pages += 1
            self.page(self.pages)


def guest_process(*arguments: object) -> subprocess.Popen[bytes]:
    """A run in a process of its own."""
    return subprocess.Popen([sys.executable, "-m", __name__, *map(str, arguments)])


def _killed_at(page: int) -> Callable[[int], None]:
    return lambda number: os.kill(os.getpid(), signal.SIGKILL) if number == page else None


def main() -> None:
    """A run that reads a part, and is killed at a page (0: never)."""
    backup_id, source, ledger_url, store, spool, run_id, page = sys.argv[1:]
    with closing(SqlLedger(ledger_url)) as ledger:
        ports = remote_ports(source, ledger, Path(store), Path(spool))
        take_part(backup_id, BIG, replace(ports, progress=Watch(_killed_at(int(page))), workers=1), run_id)


if __name__ == "__main__":
    main()
