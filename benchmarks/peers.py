"""The peers' own environment: installed by the benchmark itself, apart from ours."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PACKAGES = {
    "duckdb": ["duckdb==1.5.5", "duckdb-extension-postgres-scanner==1.5.5"],
    "pandas": ["pandas>=3", "sqlalchemy>=2", "psycopg2-binary", "pyarrow"],
    "connectorx": ["connectorx==0.4.6", "pyarrow"],
    "dlt": ["dlt[filesystem,parquet,sql_database]==1.31.0", "connectorx==0.4.6", "psycopg2-binary"],
    "rustpy_xlsxwriter": ["rustpy-xlsxwriter==0.8.0"],
    "xlsxwriter": ["XlsxWriter==3.3.1"],
    # The last release whose program is in the registry; later ones download it from elsewhere at first use.
    "sling": ["sling-linux-amd64==1.4.11"],
}
_INSTALL_LIMIT_S = 600


@dataclass(frozen=True)
class Peers:
    """A Python with the peers in it, their versions, and which of them could not be installed, and why."""

    python: Path
    versions: Mapping[str, str]
    absent: Mapping[str, str]


def install_peers(home: Path) -> Peers:
    """Make the environment below `home`, once; a peer that can not be installed is absent, not an error."""
    python = home / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    complaints = {name: _install(python, packages) for name, packages in PACKAGES.items()}
    absent = {name: why for name, why in complaints.items() if why}
    return Peers(python, _versions(python), absent)


def _install(python: Path, packages: Sequence[str]) -> str:
    """Why they could not be installed; empty when they were."""
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_INSTALL_LIMIT_S)
    except subprocess.TimeoutExpired:
        return f"installing it took longer than {_INSTALL_LIMIT_S} s"
    if not done.returncode:
        return ""
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    return errors[-1] if errors else "pip failed"


def _versions(python: Path) -> Mapping[str, str]:
    """What is installed: DuckDB, connectorx and so on, as pip lists them."""
    command = [str(python), "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    installed = {item["name"].lower(): item["version"] for item in json.loads(done.stdout)}
    wanted = {
        "duckdb": "duckdb",
        "pandas": "pandas",
        "connectorx": "connectorx",
        "dlt": "dlt",
        "sling": "sling-linux-amd64",
        "rustpy-xlsxwriter": "rustpy-xlsxwriter",
        "XlsxWriter": "xlsxwriter",
    }
    return {name: installed[package] for name, package in wanted.items() if package in installed}
