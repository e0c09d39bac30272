"""The Pagila sample database, where its dump lies beside the project."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from backup_pipeline.postgres.programs import find_binaries

DUMP = Path(__file__).resolve().parents[3] / "shared" / "data" / "pagila.sql"
needs_pagila = pytest.mark.skipif(not DUMP.is_file(), reason=f"the dump {DUMP.name} is not beside the project")


def load_pagila(url: str) -> None:
    """Load the dump into the empty database at `url`."""
    psql = find_binaries(needs=("psql",)).tool("psql")
    command = [str(psql), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url, "-f", str(DUMP)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=120)
