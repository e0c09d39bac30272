"""psql's \\copy: CSV alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from clock import measured  # type: ignore[import-not-found]  # runs from this folder, in an environment of its own


def export(url: str, table: str, folder: Path) -> None:
    """Write `table` as CSV."""
    command = [os.environ["BENCH_PSQL"], url, "-qXc", f"\\copy {table} to '{folder}/out.csv' (format csv, header)"]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    measured(lambda: export(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
