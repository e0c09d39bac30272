"""sling: its program from the wheel, CSV alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import sling_linux_amd64  # type: ignore[import-not-found]  # only where the peers are installed
from clock import measured  # type: ignore[import-not-found]  # runs from this folder, in an environment of its own


def _program() -> Path:
    """The binary that the platform's wheel ships: the package of another release would download one instead."""
    program = Path(next(iter(sling_linux_amd64.__path__))) / "bin" / "sling-linux-amd64"
    program.chmod(0o755)
    return program


def export(program: Path, url: str, tables: Sequence[str], folder: Path) -> None:
    """Write every table as CSV: one replication of so many streams."""
    streams = {f"public.{table}": {"object": (folder / f"{table}.csv").as_uri()} for table in tables}
    plan = folder / "replication.json"
    plan.write_text(json.dumps({"source": "SOURCE", "target": "LOCAL", "streams": streams}))
    command = [str(program), "run", "-r", str(plan)]
    environment = {
        **os.environ,
        "SOURCE": f"{url}?sslmode=disable",
        "SLING_HOME_DIR": str(folder / "home"),
        "SLING_DISABLE_TELEMETRY": "true",
    }
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    binary = _program()
    measured(lambda: export(binary, sys.argv[1], sys.argv[2].split(","), Path(sys.argv[3])))
