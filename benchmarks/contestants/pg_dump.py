"""pg_dump in its custom format: by one connection, compressed as it does by default."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from clock import measured  # type: ignore[import-not-found]  # runs from this folder, in an environment of its own


def export(url: str, tables: Sequence[str], folder: Path) -> None:
    """Dump the tables into one file."""
    chosen = [word for table in tables for word in ("-t", table)]
    program = Path(os.environ["BENCH_PSQL"]).with_name("pg_dump")
    subprocess.run([str(program), "-Fc", *chosen, "-f", str(folder / "dump"), url], check=True)


if __name__ == "__main__":
    measured(lambda: export(sys.argv[1], sys.argv[2].split(","), Path(sys.argv[3])))
