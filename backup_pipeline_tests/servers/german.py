"""A PostgreSQL of the system's packages whose messages are German: in it whatever reads words is at a loss."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest

from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.embedded import cluster as supervise
from backup_pipeline_tests.servers.debian import system_binaries, system_server

LOCALE = "de_DE.UTF-8"


@contextmanager
def german_server(home: Path) -> Iterator[EmbeddedPostgres]:
    """Running in `home`, with a locale of its own; skips the test where the translation, or `localedef`, is missing."""
    _need(Path(f"/usr/share/locale/de/LC_MESSAGES/postgres-{system_binaries().version}.mo"))
    _need(Path("/usr/share/i18n/locales/de_DE"))
    if not (localedef := shutil.which("localedef")):
        pytest.skip("this system has no localedef (Debian: apt-get install locales)")
    locales = home / "locales"
    locales.mkdir(parents=True)
    # Warnings about the source of the locale make it end with 1.
    subprocess.run(
        [localedef, "-c", "-i", "de_DE", "-f", "UTF-8", str(locales / LOCALE)], capture_output=True, check=False
    )
    if not (locales / LOCALE).is_dir():
        pytest.skip("this system's localedef makes no German locale")
    for path in (home, locales):
        path.chmod(0o755)  # the server may run as another user
    environment = {**supervise.CHILD_ENVIRONMENT, "LOCPATH": str(locales)}
    speaking = mock.patch.object(supervise, "CHILD_ENVIRONMENT", environment)
    with speaking, system_server(home / "postgres", {"lc_messages": LOCALE}) as server:
        yield server


def _need(path: Path) -> None:
    if not path.exists():
        pytest.skip(f"{path} is not installed")
