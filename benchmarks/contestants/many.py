"""Many small tables: a command of ours, or pg_dump, in processes of their own, in CPU seconds of client and server.

`python -m benchmarks.contestants.many WHAT HOME POSTMASTER URL TABLES FOLDER`: WHAT is `backup`, `verify`, `drill` or
`pg_dump`; POSTMASTER the id of the server's first process; TABLES how many there are. The installation and its store
live in HOME: what one contestant has backed up, the next verifies and drills.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from backup_pipeline.postgres.programs import find_binaries
from benchmarks.contestants.clock import children_peak
from benchmarks.contestants.whole import environment
from benchmarks.run import server_seconds

CATALOG = "many"
_PROGRAM = "from backup_pipeline.cli import main; raise SystemExit(main())"
_WORDS = {
    "backup": ("backup", "--catalog", CATALOG, "--json"),
    "verify": ("verify", "latest", "--catalog", CATALOG),
    "drill": ("drill", "latest", "--catalog", CATALOG),
}


def table_names(count: int) -> Sequence[str]:
    """The names of so many tables."""
    return [f"table_{number:04}" for number in range(count)]


def run(what: str, home: Path, url: str, tables: int, folder: Path) -> None:
    """Run it to its end; a failure ends this process too."""
    catalogs = home / "catalogs"
    catalogs.mkdir(parents=True, exist_ok=True)
    listed = "".join(f"  {table}:\n" for table in table_names(tables))
    (catalogs / f"{CATALOG}.yaml").write_text(f"catalog: {CATALOG}\ntimezone: Asia/Dhaka\ntables:\n{listed}")
    if what == "pg_dump":
        command = [str(find_binaries(needs=("pg_dump",)).tool("pg_dump")), "-Fc", "-f", str(folder / "dump"), url]
        known = None
    else:
        command, known = [sys.executable, "-c", _PROGRAM, *_WORDS[what]], environment(home, url, home)
    done = subprocess.run(command, env=known, stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        sys.exit(done.returncode)  # it has said why


def _client_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    kind, installed, server, source, count, into = sys.argv[1:]
    before = server_seconds(int(server))
    run(kind, Path(installed), source, int(count), Path(into))
    time.sleep(0.5)  # a session of the server ends a moment after its client, and only then counts
    taken = _client_seconds() + server_seconds(int(server)) - before
    print(json.dumps({"seconds": taken, "peak_mib": children_peak() / 1024, "rows": None}))
