"""psql's \\copy: CSV alone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from clock import measured  # type: ignore[import-not-found]  # runs from this folder, in an environment of its own


def export(url: str, tables: Sequence[str], folder: Path) -> None:
    """Write every table as CSV, through one session."""
    lines = "".join(f"\\copy {table} to '{folder}/{table}.csv' (format csv, header)\n" for table in tables)
    command = [os.environ["BENCH_PSQL"], url, "-qX", "-v", "ON_ERROR_STOP=1"]
    subprocess.run(command, check=True, input=lines, text=True)


if __name__ == "__main__":
    measured(lambda: export(sys.argv[1], sys.argv[2].split(","), Path(sys.argv[3])))
