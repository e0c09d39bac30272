"""What every section measures with: the server, the peers, the arena, and how much."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from backup_pipeline.embedded import EmbeddedPostgres
from benchmarks.peers import Peers
from benchmarks.run import Arena, Contestant, Course
from benchmarks.values import OURS, WHOLE, Facts

BOTH = "Parquet + CSV"


@dataclass(frozen=True)
class Bench:
    """A running server with room for files beside it; `rows` of the full-size tables, `rounds`, `seconds` of load."""

    server: EmbeddedPostgres
    folder: Path
    arena: Arena
    peers: Peers
    facts: Facts
    rows: int
    slow: bool
    seconds: int

    def database(self, name: str) -> str:
        """The URL of the database `name`, created when it is new."""
        self.server.ensure_database(name)
        return self.server.url(name)

    def make_storage(self) -> None:
        """Create the databases of the ledger and of Dagster, which whole backups use."""
        for name in ("bench_ledger", "bench_dagster"):
            self.database(name)


def ours(course: Course, name: str = OURS) -> Contestant:
    """The bare export of one table."""
    command = (sys.executable, "-m", "benchmarks.contestants.ours")
    return Contestant(name, command, BOTH, course, peer=False, limit_s=3600)


def whole(home: Path, course: Course, name: str = WHOLE, catalog: str = "-") -> Contestant:
    """The command `backup`, its installation in `home`: of a packaged catalog, or (`-`) of the tables."""
    command = (sys.executable, "-m", "benchmarks.contestants.whole", str(home), catalog)
    return Contestant(name, command, f"{BOTH}, bundle", course, peer=False, limit_s=3600)


def say(text: str) -> None:
    """Tell whoever waits."""
    print(text, file=sys.stderr, flush=True)
