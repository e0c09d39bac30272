"""Which pg_dump is used: one that takes server and connection, as recent as the server, as near to it as can be.

The wheel's has no TLS of its own. On Linux it is started with the libpq that this process uses, so that it connects
exactly as everything else does.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path

from psycopg import pq
from psycopg.conninfo import make_conninfo

from backup_pipeline.core.errors import SettingsError, SourceError
from backup_pipeline.core.releases import Release
from backup_pipeline.postgres.binaries import find_binaries
from backup_pipeline.postgres.endpoint import Endpoint
from backup_pipeline.postgres.libpq import library_file

_NAME = "pg_dump"
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
_WHEELS = (18, 16)
# A folder without a socket: whatever gets as far as looking for one has taken every parameter.
_NOWHERE = "/nonexistent"
_TAKEN = "No such file or directory"
_TIMEOUT_S = 30
_INSTALL = (
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
class _Judged:
    """A program, and why it can not be used; an empty reason: it can."""

    program: Program
    reason: str


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
    named = _judged([folder], server, endpoint) if folder else []
    if folder and not named:
        message = f"BACKUP_PG_BIN names {folder}, and there is no {_NAME} there that runs."
        raise SettingsError(message, do="Name the folder that holds PostgreSQL's programs, such as pg_dump.")
    if chosen := _best(named, server):
        return Choice(chosen)
    others = _judged(chain(_system_folders(), _wheel_folders()), server, endpoint)
    if chosen := _best(others, server):
        return Choice(chosen, "".join(f"{one.program}: {one.reason}" for one in named))
    looked = "; ".join(f"{one.program}: {one.reason}" for one in [*named, *others]) or "there is none on this machine"
    message = f"No pg_dump can read the schema of {endpoint}, a server of version {server}: {looked}."
    raise SourceError(message, do=_INSTALL.format(major=server.major))


def _best(judged: Sequence[_Judged], server: Release) -> Program | None:
    usable = [one.program for one in judged if not one.reason]
    rank = {one: (one.release.is_as_recent(server), -one.release.major, one.release.minor) for one in usable}
    return max(usable, key=lambda one: rank[one], default=None)


def _judged(folders: Iterable[Path], server: Release, endpoint: Endpoint) -> list[_Judged]:
    paths = dict.fromkeys((one / _NAME).resolve() for one in folders if os.access(one / _NAME, os.X_OK))
    programs = [program for path in paths if (program := _program(path, path.stat().st_mtime_ns))]
    return [_Judged(one, _reason(one, server, endpoint)) for one in programs]


def _system_folders() -> Iterator[Path]:
    for pattern in _SYSTEM:
        yield from sorted(Path("/").glob(pattern))


def _wheel_folders() -> Iterator[Path]:
    for version in _WHEELS:
        try:
            yield find_binaries(version=version, needs=(_NAME,)).bindir
        except SettingsError:
            continue


@cache
def _program(path: Path, _changed_at: int) -> Program | None:
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
