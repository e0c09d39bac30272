"""What a directory store asks of the file system: durable folders, walks in the order of keys, errors explained."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from backup_pipeline.core.errors import BackupError, DiskFullError, StoreDeniedError, StoreError
from backup_pipeline.core.ports import StoredObject
from backup_pipeline.stores.keys import STAGING

DIRECTORY_MODE = 0o700
NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
NO_LINK = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.EACCES, errno.EEXIST, errno.ENOENT}
"""Why a file can not have a second name there; where the reason is the file itself, reading it says so."""
NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}
IN_THE_WAY = {errno.EISDIR, errno.ENOTDIR}
NOT_THERE = {errno.ENOENT, errno.ENOTDIR}
NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}


def write_all(descriptor: int, chunk: bytes) -> None:
    """Write all of `chunk`, however little of it the system takes at once."""
    rest = memoryview(chunk)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path, existing: Path) -> Path:
    """`folder`, created with what it lacks below `existing`, each new entry synced in its parent."""
    if not folder.is_dir():
        if folder.parent != existing:
            make_folder(folder.parent, existing)
        try:
            folder.mkdir(DIRECTORY_MODE)
        except FileExistsError:
            if folder.is_file():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from None
        sync_folder(folder.parent)
    return folder


def link(staged: Path, place: Path, taken: BackupError) -> None:
    """Give `staged` the name `place`, which no file may have: else `taken`. Atomic where the file system has links."""
    try:
        os.link(staged, place)
    except FileExistsError:
        raise taken from None
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        if place.exists():
            raise taken from None
        staged.replace(place)
    else:
        staged.unlink()


def about_file(key: str, stat: os.stat_result) -> StoredObject:
    """The object a file is."""
    return StoredObject(key, stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC))


def walk(folder: Path, start: str, prefix: str) -> Iterator[StoredObject]:
    """The objects in `folder`, whose key is `start`. A folder sorts as its name with a slash: `a-b` < `a/b`."""
    found: list[tuple[str, os.DirEntry[str]]] = []
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            is_folder = entry.is_dir(follow_symlinks=False)
            key = start + entry.name + ("/" if is_folder else "")
            if key != f"{STAGING}/" and (key.startswith(prefix) or (is_folder and prefix.startswith(key))):
                found.append((key, entry))
    for key, entry in sorted(found, key=lambda each: each[0]):
        if key.endswith("/"):
            yield from walk(Path(entry.path), key, prefix)
        elif entry.is_file(follow_symlinks=False):
            with suppress(FileNotFoundError):  # deleted since
                yield about_file(key, entry.stat())


def explain(error: OSError, key: str, root: Path) -> BackupError:
    """What `error` means for the object `key` of the store at `root`: DiskFullError, or a StoreError."""
    reason = f"{key} in {root}: {os.strerror(error.errno) if error.errno else error}"
    if error.errno in NO_ROOM:
        free = _free(root)
        return DiskFullError(
            f"No room for {reason}, {free:,} bytes are free", do=f"Free space at {root}, or prune old backups."
        )
    if error.errno in NOT_ALLOWED:
        who = f"user {os.geteuid()}"
        return StoreDeniedError(
            f"Not allowed: {reason}", do=f"Make {root} writable for {who}, or choose another directory."
        )
    if error.errno in NOT_THERE and not root.is_dir():
        return StoreError(f"The store is not there: {reason}", do=f"Create the directory {root.parent}, or mount it.")
    if error.errno in IN_THE_WAY:
        do = "Remove the object whose key is a folder of this key, or the reverse."
        return StoreError(f"Another object is in the way: {reason}", do=do)
    return StoreError(f"The directory store failed: {reason}", do=f"Look at the file system of {root}.")


def _free(root: Path) -> int:
    return shutil.disk_usage(next(place for place in (root, *root.parents) if place.exists())).free
