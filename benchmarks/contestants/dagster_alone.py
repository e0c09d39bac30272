"""Dagster by itself: two assets that do nothing, run in a process of its own with the same storage as a backup's.

`python -m benchmarks.contestants.dagster_alone HOME URL TABLE FOLDER`: timed, as `whole` is, from start to exit.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from backup_pipeline.settings import PROJECT
from benchmarks.contestants.clock import children_peak
from benchmarks.contestants.whole import environment

_PROGRAM = """
import dagster as dg

@dg.asset
def table(): ...

@dg.asset(deps=[table])
def bundle(): ...

with dg.DagsterInstance.get() as instance:
    assert dg.materialize([table, bundle], instance=instance).success
"""


def materialize(home: Path, url: str, folder: Path) -> float:
    """Materialize the two assets; seconds."""
    dagster_home = home / "dagster"
    dagster_home.mkdir(parents=True, exist_ok=True)
    (dagster_home / "dagster.yaml").write_bytes((PROJECT / "dagster.yaml").read_bytes())
    known = {**environment(home, url, folder), "DAGSTER_HOME": str(dagster_home)}
    before = time.perf_counter()
    subprocess.run([sys.executable, "-c", _PROGRAM], env=known, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - before


if __name__ == "__main__":
    took = materialize(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[4]))
    print(json.dumps({"seconds": took, "peak_mib": children_peak() / 1024, "rows": 0}))
