"""The PostgreSQL servers that are installed on this machine, with the extensions that each could make."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from backup_pipeline.core.drill_server import Installation
from backup_pipeline.core.errors import SettingsError
from backup_pipeline.postgres.binaries import Binaries, find_binaries, server_folders

_NEEDS = ("postgres", "initdb")


def installations(bindir: Path | None = None) -> tuple[Installation, ...]:
    """Those that can be started: `bindir` alone where it is given, else the wheel's and the system's.

    SettingsError when `bindir` has no server's programs. An installation that does not run is none.
    """
    if bindir is not None:
        return (_installation(find_binaries(bindir, needs=_NEEDS)),)
    return tuple(_installation(binaries) for binaries in _usable())


def _usable() -> Iterator[Binaries]:
    for folder in server_folders():
        try:
            yield find_binaries(folder, needs=_NEEDS)
        except SettingsError:
            continue


def _installation(binaries: Binaries) -> Installation:
    return Installation(str(binaries.bindir), binaries.version, _extensions(binaries.bindir))


@lru_cache(maxsize=16)
def _extensions(bindir: Path) -> frozenset[str]:
    """The extensions whose control files lie where this installation looks for them."""
    folder = _share(bindir) / "extension"
    return frozenset(path.stem for path in folder.glob("*.control"))


def _share(bindir: Path) -> Path:
    """Its share folder, as `pg_config` says; without that program, where the layouts we know have it.

    A wheel's programs were moved after they were built, and PostgreSQL finds its files from where they are now.
    """
    for folder in (bindir.parent / "share" / "postgresql", bindir.parent / "share"):
        if (folder / "extension").is_dir():
            return folder
    program = bindir / "pg_config"
    if program.is_file():
        done = subprocess.run(  # noqa: S603 - a program of the installation
            [program, "--sharedir"], capture_output=True, text=True, check=False, timeout=30
        )
        if done.returncode == 0:
            return Path(done.stdout.strip())
    return Path("/usr/share/postgresql") / bindir.parent.name  # Debian's
