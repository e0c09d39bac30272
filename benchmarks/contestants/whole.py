"""The whole backup: `backup-pipeline backup` in a process of its own, timed from its start to its exit.

`python -m benchmarks.contestants.whole HOME URL TABLE FOLDER`: the installation lives in HOME and stays for the next
round, the store in FOLDER. Ledger and Dagster's storage are databases beside the source.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.contestants.clock import children_peak

_PROGRAM = "from backup_pipeline.cli import main; raise SystemExit(main())"


def environment(home: Path, url: str, folder: Path) -> Mapping[str, str]:
    """The environment of an installation; no setting of whoever measures reaches it."""
    others = ("BACKUP_", "DAGSTER_", "AWS_", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    beside = url.rpartition("/")[0]
    return {
        **kept,
        "BACKUP_HOME": str(home),
        "BACKUP_CATALOGS": str(home / "catalogs"),
        "BACKUP_SOURCE_URL": url,
        "BACKUP_LEDGER_URL": f"{beside}/bench_ledger",
        "BACKUP_STORE": (folder / "store").as_uri(),
        "DAGSTER_PG_URL": f"{beside}/bench_dagster",
    }


def back_up(home: Path, url: str, name: str, folder: Path, tables: Sequence[str] = ()) -> tuple[float, int]:
    """Back up the catalog `name` of the `tables` (default: the one of its name): seconds, and the manifest's rows."""
    catalogs = home / "catalogs"
    catalogs.mkdir(parents=True, exist_ok=True)
    listed = "".join(f"  {table}:\n" for table in tables or (name,))
    (catalogs / f"{name}.yaml").write_text(f"catalog: {name}\ntimezone: Asia/Dhaka\ntables:\n{listed}")
    command = [sys.executable, "-c", _PROGRAM, "backup", "--catalog", name, "--json"]
    before = time.perf_counter()
    done = subprocess.run(command, env=environment(home, url, folder), stdout=subprocess.PIPE, text=True, check=False)
    seconds = time.perf_counter() - before
    if done.returncode:
        sys.exit(done.returncode)  # it has said why
    return seconds, json.loads(done.stdout)["rows"]


if __name__ == "__main__":
    took, rows = back_up(Path(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4]))
    print(json.dumps({"seconds": took, "peak_mib": children_peak() / 1024, "rows": rows}))
