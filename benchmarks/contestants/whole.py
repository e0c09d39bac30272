"""The whole backup: `backup-pipeline backup` in a process of its own, timed from its start to its exit.

`python -m benchmarks.contestants.whole HOME CATALOG URL TABLES FOLDER`: the installation lives in HOME and stays for
the next round, the store in FOLDER. CATALOG is one that comes with the package, or `-`: then one is written for the
TABLES, names with commas between them. Ledger and Dagster's storage are databases beside the source.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from benchmarks.contestants.clock import children_peak, cpu_seconds

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
    listed = "".join(f"  {table}:\n" for table in tables or (name,))
    return run_catalog(home, url, name, folder, f"catalog: {name}\ntimezone: Asia/Dhaka\ntables:\n{listed}")


def run_catalog(home: Path, url: str, name: str, folder: Path, catalog: str) -> tuple[float, int]:
    """Back up what the YAML `catalog` says: seconds, and the manifest's rows."""
    catalogs = home / "catalogs"
    catalogs.mkdir(parents=True, exist_ok=True, mode=0o700)
    (catalogs / f"{name}.yaml").write_text(catalog)
    command = [sys.executable, "-c", _PROGRAM, "backup", "--catalog", name, "--json"]
    before = time.perf_counter()
    done = subprocess.run(command, env=environment(home, url, folder), stdout=subprocess.PIPE, text=True, check=False)
    seconds = time.perf_counter() - before
    if done.returncode:
        sys.exit(done.returncode)  # it has said why
    return seconds, json.loads(done.stdout)["rows"]


def main(home: Path, packaged: str, url: str, tables: Sequence[str], folder: Path) -> tuple[float, int]:
    """Back up the packaged catalog, or the tables."""
    if packaged == "-":
        return back_up(home, url, tables[0], folder, tables)
    text = resources.files("backup_pipeline.catalogs").joinpath(f"{packaged}.yaml").read_text("utf-8")
    return run_catalog(home, url, packaged, folder, text)


if __name__ == "__main__":
    took, rows = main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4].split(","), Path(sys.argv[5]))
    print(json.dumps({"seconds": took, "cpu_s": cpu_seconds(), "peak_mib": children_peak() / 1024, "rows": rows}))
