"""What a drill reaches the world through: its folder, its scratch server, and the ports of the installation."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from backup_pipeline.catalogs import load_catalogs
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.drill.definitions import ServerNeeds, fitting
from backup_pipeline.core.drill.objects import Fingerprints, Scratch
from backup_pipeline.core.errors import CatalogError
from backup_pipeline.core.layout import DRILLS
from backup_pipeline.core.ports import Formats, Store
from backup_pipeline.embedded import EmbeddedPostgres, Enclosure
from backup_pipeline.embedded.cluster import Home, Limits, ProcessUser, choose_identity, open_lock, stranger, try_lock
from backup_pipeline.embedded.launch import landlock_version
from backup_pipeline.formats.decoder import FileFingerprints
from backup_pipeline.formats.files import FileFormats
from backup_pipeline.postgres.drill import PostgresScratch, make_owner, own_public_schema
from backup_pipeline.postgres.programs import Binaries, installations
from backup_pipeline.postgres.restore import PostgresTarget
from backup_pipeline.postgres.source import PostgresSource
from backup_pipeline.settings import Settings
from backup_pipeline.stores.directory import DirectoryStore
from backup_pipeline.wiring.addresses import work_dir
from backup_pipeline.wiring.folders import make_folder
from backup_pipeline.wiring.ports import source_options

_DATABASE, _OWNER = "drill", "drill"
_LOCK, _FILES, _POSTGRES, _SOCKET = "drill.lock", "files", "postgres", "socket"
_SOCKET_PATH = 85
"""Of 107 bytes that the system has for a socket's path, what its own name leaves."""
# What a server reads to run at all: libraries, timezones, names of users. None of it is
# anybody's secret: no home, no /var, nothing else of /etc. It starts no program but its own: the loader is one.
_READ = tuple(
    map(
        Path,
        (
            *("/usr", "/lib", "/lib64", "/dev/urandom", "/dev/random", "/dev/zero"),
            *("/etc/ld.so.cache", "/etc/localtime", "/etc/timezone", "/etc/passwd", "/etc/group", "/etc/nsswitch.conf"),
        ),
    )
)
_RUN = tuple(map(Path, ("/lib", "/lib64", "/usr/lib", "/usr/lib64")))
_WRITE = tuple(map(Path, ("/dev/null", "/dev/tty")))
_BEING_MADE = timedelta(minutes=1)
"""A drill's folder is younger than that when it has no lock yet."""
# The data does not outlive the drill, and its WAL is of no use to anybody.
_THROWAWAY = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_connections": "40",
    "max_locks_per_transaction": "2048",  # thousands of tables are made in one transaction, each with its key and texts
    "dynamic_shared_memory_type": "mmap",  # in its own folder: /dev/shm is everybody's
}


def drilled_catalog(settings: Settings, name: str) -> Catalog | None:
    """The catalog of that name; None when it is not there any more."""
    try:
        return load_catalogs(settings.catalogs).get(name)
    except CatalogError:
        return None


@contextmanager
def open_sandbox(settings: Settings) -> Iterator[DrillSandbox]:
    """A folder for one drill under the work directory; those that dead drills left are removed first."""
    parent = work_dir(settings).resolve() / DRILLS
    make_folder(parent)
    _sweep(parent)
    root = Path(tempfile.mkdtemp(prefix="drill-", dir=parent))
    with _locked(root):
        try:
            root.chmod(0o711)  # the scratch server may run as another user, who has to get through
            (root / _FILES).mkdir(0o700)
            yield DrillSandbox(root, settings)
        finally:
            shutil.rmtree(root, ignore_errors=True)


@dataclass(frozen=True)
class DrillSandbox:
    """The port `Sandbox` in the folder `root`."""

    root: Path
    settings: Settings

    @property
    def folder(self) -> Path:
        """The folder for files, readable by its owner alone."""
        return self.root / _FILES

    @property
    def formats(self) -> Formats:
        """Formats whose files are not encrypted: they never leave the drill."""
        return FileFormats()

    def fingerprints(self, folder: Path) -> Fingerprints:
        """What makes fingerprints; what does not fit into memory goes into files under `folder`."""
        return FileFingerprints(folder)

    def store(self, name: str) -> Store:
        """A throw-away store: its objects are files in the folder `name` of the folder, under their keys."""
        return DirectoryStore(self.folder / name)

    @contextmanager
    def server(self, needs: ServerNeeds) -> Iterator[Scratch]:
        """Start a scratch server that fits; it ends with the context or this process.

        It listens on a socket alone, which only its owner reaches. What comes from the backup runs in it as a role that
        owns one database and may do nothing else. TargetError when no PostgreSQL of this machine fits.
        """
        chosen = fitting(installations(self.settings.drill_pg_bin), needs)
        binaries = Binaries(Path(chosen.bindir), chosen.version)
        with self._started(binaries) as (server, kept):
            yield self._scratch(server, f"{chosen}, {kept}")

    @contextmanager
    def _started(self, binaries: Binaries) -> Iterator[tuple[EmbeddedPostgres, str]]:
        program = binaries.tool("postgres")
        identity = stranger(program, self.root) or choose_identity(program)
        limits = Limits(read=_READ, run=(binaries.bindir.parent, *_RUN), write=_WRITE)
        with _socket_folder(self.root) as socket:
            enclosure = Enclosure(socket, limits)
            options = {**_THROWAWAY, "unix_socket_permissions": "0700"}
            with EmbeddedPostgres(
                self.root / _POSTGRES, binaries, options, identity=identity, enclosure=enclosure
            ) as server:
                yield server, _kept(identity)

    def _scratch(self, server: EmbeddedPostgres, shown: str) -> Scratch:
        password = secrets.token_urlsafe(24)
        make_owner(server.url("postgres"), _OWNER, password, _DATABASE)
        own_public_schema(server.url(_DATABASE), _OWNER)
        url = server.url(_DATABASE, _OWNER, password=password)
        database = PostgresScratch(server.url(_DATABASE), url)
        return Scratch(
            target=PostgresTarget(url),
            source=PostgresSource(url, options=source_options(self.settings)),
            database=database,
            server_version=database.server_version(),
            server=shown,
        )


def _kept(identity: ProcessUser) -> str:
    """As whom the server runs, and what keeps it from this machine's files, for people."""
    closed = "all other files and the network closed to it" if landlock_version() else ""
    who = {
        "switched": "as user nobody",
        "mapped": "as this user" if closed else "as this user, with the rights of the backup to this machine's files",
        "keep": "as this user" if closed else "as this user, with the rights of the backup to this machine's files",
    }[identity.mode]
    return f"{who}, {closed}" if closed else who


@contextmanager
def _socket_folder(root: Path) -> Iterator[Path]:
    """A folder of the server's own for its socket; under the temporary folder where the drill's path is too long."""
    folder = root / _SOCKET
    if len(os.fsencode(folder)) <= _SOCKET_PATH:
        folder.mkdir(mode=0o700)
        yield folder
        return
    folder = Path(tempfile.mkdtemp(prefix="drill-", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Hold the lock of a drill's folder: the kernel lets go of it when this process ends, however it ends."""
    descriptor = os.open(root / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _sweep(parent: Path) -> None:
    for folder in parent.iterdir():
        with suppress(OSError):
            if _is_dead(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _is_dead(folder: Path) -> bool:
    """Whether neither a drill nor a server lives there; a folder without a lock is being made, or was left so."""
    if not (folder / _LOCK).exists():
        return time.time() - folder.stat().st_mtime > _BEING_MADE.total_seconds()
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    home = Home(folder / _POSTGRES)
    if not home.path.is_dir():
        return True
    with open_lock(home) as lock:
        return try_lock(lock)
