"""The facts of a measurement: which machine, which versions, which command."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import psutil

from backup_pipeline import __version__
from backup_pipeline.settings import PROJECT
from benchmarks.values import Facts

_OURS = ("psycopg", "pyarrow", "dagster")


def facts(command: str, postgresql: str, peers: Mapping[str, str]) -> Facts:
    """The facts as they are now; `peers` are the versions of the other contestants."""
    machine = {
        "CPU": _cpu(),
        "cores": str(os.cpu_count()),
        "RAM": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.machine()}",
        "PostgreSQL": postgresql,
        "Python": platform.python_version(),
        "load before": f"{os.getloadavg()[0]:.1f}",
    }
    ours = {name: version(name) for name in _OURS if find_spec(name.replace("-", "_"))}
    return Facts(
        measured_on=datetime.now(UTC).date().isoformat(),
        command=f"python -m benchmarks {command}".strip(),
        machine=machine,
        versions={"backup_pipeline": __version__ + _commit(), **ours, **peers},
    )


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def _commit() -> str:
    """The commit that was measured, and whether files differ from it; nothing outside a checkout.

    The pages that a measurement writes do not count: the next one would call its commit dirty.
    """
    commit = _git("rev-parse", "--short=8", "HEAD")
    changed = _git("status", "--porcelain", "--", ".", ":!benchmarks/results", ":!benchmarks/report.md", ":!docs")
    if commit is None:
        return ""
    return f" ({commit}{'-dirty' if changed else ''})"


def _git(*words: str) -> str | None:
    command = ["git", "-C", str(PROJECT), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
