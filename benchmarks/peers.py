"""The peers' own environment: installed by the benchmark itself, apart from ours."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PACKAGES = {
    "duckdb": ["duckdb==1.5.5", "duckdb-extension-postgres-scanner==1.5.5"],
    "pandas": ["pandas>=3", "sqlalchemy>=2", "psycopg2-binary", "pyarrow"],
}


@dataclass(frozen=True)
class Peers:
    """A Python with the peers in it; `absent` says which could not be installed, and why."""

    python: Path
    absent: dict[str, str]


def install_peers(home: Path) -> Peers:
    """Make the environment below `home`, once; a peer that can not be installed is absent, not an error."""
    python = home / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    absent = {}
    for name, packages in PACKAGES.items():
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            absent[name] = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "pip failed"
    return Peers(python, absent)
