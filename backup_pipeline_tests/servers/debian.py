"""A PostgreSQL as the system's packages install it: with TLS, contrib and other extensions, of another major version.

Tests that need it skip by name where it is not installed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from backup_pipeline.core.errors import SettingsError
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.postgres.programs import Binaries, find_binaries
from backup_pipeline_tests.servers.postgres import THROWAWAY

_ROOT = Path("/usr/lib/postgresql")
_EXTENSIONS = Path("/usr/share/postgresql")


def system_binaries() -> Binaries:
    """The newest PostgreSQL of the system's packages that has a server; skips the test where there is none."""
    versions = sorted(
        (int(path.parent.name) for path in _ROOT.glob("*/bin") if path.parent.name.isdigit()), reverse=True
    )
    for version in versions:
        try:
            return find_binaries(_ROOT / str(version) / "bin")
        except SettingsError:
            continue
    pytest.skip("the system's packages have no PostgreSQL server (Debian: apt-get install postgresql)")


def need_extension(name: str) -> None:
    """Skip the test where the system's PostgreSQL has not got the extension."""
    version = system_binaries().version
    if not (_EXTENSIONS / str(version) / "extension" / f"{name}.control").is_file():
        pytest.skip(f"the system's PostgreSQL {version} has no extension {name}")


@contextmanager
def system_server(home: Path, options: Mapping[str, str] | None = None) -> Iterator[EmbeddedPostgres]:
    """A running server of the system's packages in `home`, on loopback; it takes passwords, with or without TLS off."""
    with EmbeddedPostgres(home, system_binaries(), {**THROWAWAY, **(options or {})}) as server:
        yield server
