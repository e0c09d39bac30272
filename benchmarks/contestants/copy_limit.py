"""The limit: the server writes the table as COPY binary to /dev/null. Nothing leaves the server."""

from __future__ import annotations

import os
import subprocess
import sys

from clock import measured  # type: ignore[import-not-found]  # runs from this folder, in an environment of its own


def export(url: str, table: str) -> None:
    """Let the server read and render `table`."""
    command = [os.environ["BENCH_PSQL"], url, "-qXc", f"COPY {table} TO '/dev/null' (FORMAT binary)"]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    measured(lambda: export(sys.argv[1], sys.argv[2]))
