"""Fetching what a restore needs from a bundle: only those members, by range, each compared before anybody uses it."""

from __future__ import annotations

import errno
import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from backup_pipeline.core.bundle import SCHEMA_PATH
from backup_pipeline.core.errors import DiskFullError, VerificationError
from backup_pipeline.core.limits import MOST_SCHEMA, bounded, whole
from backup_pipeline.core.manifest import StoredManifest
from backup_pipeline.core.ports import Formats, OpenBundle, Store
from backup_pipeline.core.progress import BytesMoved, Event, Progress
from backup_pipeline.core.restore_entries import Dump, split_dump
from backup_pipeline.core.restoring import PackedFile, RestorePlan
from backup_pipeline.operations.open_backup import OpenBackup, check_unpinned
from backup_pipeline.operations.ranges import WINDOW, Ranges

_OTHER = "Use another backup; `backup-pipeline verify` says what is damaged."
_SMALL = 256 << 10
_HEADERS = 4 << 10


class Fetching:
    """The bundle of a backup, read by ranges. `moved` counts the bytes that came from the store.

    VerificationError when a backup whose manifest nobody vouches for is not the one that the ledger knows.
    """

    def __init__(self, opened: OpenBackup[StoredManifest], ports: tuple[Store, Formats, Progress]) -> None:
        self._store, formats, progress = ports
        self._manifest = opened.manifest
        self._key, self._size = opened.key, opened.bundle.bytes
        check_unpinned(opened, self._store, formats, progress)
        self._counting = _Counting(progress)
        self._window, self._ranges = _SMALL, self._windows(_SMALL)
        self._bundle: OpenBundle = formats.open_bundle(self._read, self._size)

    @property
    def moved(self) -> int:
        """The bytes that came from the store so far."""
        return self._counting.moved

    def dump(self) -> Dump | None:
        """The backup's DDL; None when it has none."""
        sha256 = self._manifest.entries.get(SCHEMA_PATH)
        if sha256 is None:
            return None
        data = whole(self._bundle.stream(SCHEMA_PATH), MOST_SCHEMA, f"{self._key}!{SCHEMA_PATH}")
        self._compare(SCHEMA_PATH, hashlib.sha256(data).hexdigest(), sha256)
        try:
            return split_dump(data.decode())
        except ValueError as error:
            message = f"{SCHEMA_PATH} of backup {self._manifest.backup_id} can not be read: {error}."
            raise VerificationError(message, do=_OTHER) from error

    def check_there(self, plan: RestorePlan) -> None:
        """VerificationError when the bundle lacks a member that the plan needs."""
        there = set(self._bundle.names())
        for file in (file for table in plan.tables for file in table.files):
            if file.path not in there:
                message = f"{self._key}!{file.path} is missing."
                raise VerificationError(message, do=_OTHER)

    def fetch(self, file: PackedFile, path: Path) -> None:
        """Write a member to `path`; VerificationError when it is not what the manifest says."""
        self._window = min(WINDOW, file.bytes + _HEADERS)
        self._ranges = self._windows(self._window)
        seen = hashlib.sha256()
        with path.open("wb") as out:
            for chunk in bounded(self._bundle.stream(file.path), file.bytes, f"{self._key}!{file.path}"):
                out.write(chunk)
                seen.update(chunk)
        self._compare(file.path, seen.hexdigest(), file.sha256)

    def _read(self, start: int, length: int) -> bytes:
        """No more than the window has: what a reader would like to have besides is another member's."""
        return self._ranges.some(start, min(length, self._window))

    def _windows(self, window: int) -> Ranges:
        return Ranges(self._store, self._key, self._size, self._counting, window=window)

    def _compare(self, path: str, seen: str, stated: str) -> None:
        if seen != stated:
            message = f"{self._key}!{path} has the SHA-256 {seen}; the manifest says {stated}."
            raise VerificationError(message, do=_OTHER)


class _Counting:
    """Progress that is passed on, and the bytes in it counted."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.moved = 0

    def tell(self, event: Event) -> None:
        if isinstance(event, BytesMoved):
            self.moved += event.bytes
        self._progress.tell(event)


@contextmanager
def fetched(plan: RestorePlan, fetching: Fetching, spool: Path) -> Iterator[Callable[[PackedFile], Path]]:
    """Every file the plan needs, whole and compared, in a folder that goes when the context ends.

    Gives where each file lies. DiskFullError when there is no room.
    """
    try:
        spool.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(prefix="restore-", dir=spool, ignore_cleanup_errors=True) as folder:
            files = [file for table in plan.tables for file in table.files]
            places = {file.path: Path(folder) / f"{number:05d}.parquet" for number, file in enumerate(files)}
            for file in files:
                fetching.fetch(file, places[file.path])
            yield lambda file: places[file.path]
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        message = f"There is no room in {spool} for the backup's files ({plan.bytes:,} bytes)."
        raise DiskFullError(message, do="Make room, or set BACKUP_WORK_DIR to a larger disk.") from error


def free_bytes(spool: Path) -> int:
    """The bytes free where `spool` is, or will be."""
    there = next(path for path in (spool, *spool.resolve().parents) if path.exists())
    return shutil.disk_usage(there).free
