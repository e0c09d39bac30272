"""What a drill reaches the world through: its folder, its scratch server, and the ports of the installation."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from backup_pipeline.catalogs.load import load_catalogs
from backup_pipeline.core.catalog import Catalog
from backup_pipeline.core.drill_ports import Scratch
from backup_pipeline.core.errors import CatalogError
from backup_pipeline.core.layout import DRILLS
from backup_pipeline.core.ports import Store
from backup_pipeline.core.progress import Progress
from backup_pipeline.core.safety import protected_name
from backup_pipeline.demo.cluster import Home, open_lock, try_lock
from backup_pipeline.demo.embedded import EmbeddedPostgres
from backup_pipeline.formats.decoder import FileDecoder
from backup_pipeline.formats.files import FileFormats
from backup_pipeline.formats.fingerprints import FileFingerprints
from backup_pipeline.operations.drill import DrillPorts
from backup_pipeline.postgres.scratch import PostgresScratch
from backup_pipeline.postgres.source import PostgresSource
from backup_pipeline.postgres.target import PostgresTarget
from backup_pipeline.settings import Settings
from backup_pipeline.stores.directory import DirectoryStore
from backup_pipeline.stores.s3_settings import S3Settings
from backup_pipeline.wiring.addresses import work_dir
from backup_pipeline.wiring.ports import open_ports, source_options

_DATABASE = "drill"
_LOCK, _FILES, _POSTGRES = "drill.lock", "files", "postgres"
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
}


@contextmanager
def open_drill(
    settings: Settings, catalog: str, *, s3: S3Settings | None = None, progress: Progress | None = None
) -> Iterator[DrillPorts]:
    """Everything a drill of a backup of `catalog` needs; nothing connects before it is used; closed at the end."""
    with open_ports(settings, catalog, s3=s3, progress=progress) as ports:
        plain = FileFormats()
        yield DrillPorts(
            store=ports.store,
            ledger=ports.ledger,
            formats=ports.formats,
            decoder=FileDecoder,
            fingerprints=FileFingerprints,
            alerter=ports.alerter,
            progress=ports.progress,
            clock=ports.clock,
            workshop=lambda: open_workshop(settings),
            exporting=replace(ports, formats=plain),
            workers=settings.workers,
        )


def drilled_catalog(settings: Settings, name: str) -> Catalog | None:
    """The catalog of that name, or the one whose tables a safety backup holds; None when it is not there any more."""
    try:
        return load_catalogs(settings.catalogs).get(protected_name(name))
    except CatalogError:
        return None


@contextmanager
def open_workshop(settings: Settings) -> Iterator[DrillWorkshop]:
    """A folder for one drill under the work directory; those that dead drills left are removed first."""
    parent = work_dir(settings).resolve() / DRILLS
    parent.mkdir(parents=True, exist_ok=True)
    _sweep(parent)
    root = Path(tempfile.mkdtemp(prefix="drill-", dir=parent))
    with _locked(root):
        try:
            root.chmod(0o711)  # the scratch server may run as another user, who has to get through
            (root / _FILES).mkdir(0o700)
            yield DrillWorkshop(root, settings)
        finally:
            shutil.rmtree(root, ignore_errors=True)


@dataclass(frozen=True)
class DrillWorkshop:
    """The port `Workshop` in the folder `root`."""

    root: Path
    settings: Settings

    @property
    def folder(self) -> Path:
        """The folder for files, readable by its owner alone."""
        return self.root / _FILES

    def store(self, name: str) -> Store:
        """A throw-away store: its objects are files in the folder `name` of the folder, under their keys."""
        return DirectoryStore(self.folder / name)

    @contextmanager
    def server(self) -> Iterator[Scratch]:
        """Start the scratch server, on loopback and a port of its own; it ends with the context or this process."""
        with EmbeddedPostgres(self.root / _POSTGRES, options=_THROWAWAY) as server:
            server.ensure_database(_DATABASE)
            url = server.url(_DATABASE)
            database = PostgresScratch(url)
            yield Scratch(
                target=PostgresTarget(url),
                source=PostgresSource(url, options=source_options(self.settings)),
                database=database,
                server_version=database.server_version(),
            )


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
