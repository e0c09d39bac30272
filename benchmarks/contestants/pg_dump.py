"""pg_dump in its custom format: one table, by one connection, compressed as it does by default."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from clock import measured  # type: ignore[import-not-found]  # runs from this folder, in an environment of its own


def export(url: str, table: str, folder: Path) -> None:
    """Dump `table`."""
    program = Path(os.environ["BENCH_PSQL"]).with_name("pg_dump")
    subprocess.run([str(program), "-Fc", "-t", table, "-f", str(folder / "dump"), url], check=True)


if __name__ == "__main__":
    measured(lambda: export(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
