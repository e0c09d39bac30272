"""What every store asks of keys and ranges, and a directory store of the file system: durable folders, walks by key."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from stat import S_IRGRP, S_ISGID, S_ISLNK, S_ISREG

from backup_pipeline.core.errors import NO_ROOM, BackupError, DiskFullError, RefusedError, StoreDeniedError, StoreError
from backup_pipeline.core.names import MOST_DOCUMENT
from backup_pipeline.core.ports import StoredObject

STAGING = ".partial"
"""The first segment that no key may have: a directory store keeps its unfinished files there."""

MOST_KEY_BYTES = 1024  # Amazon S3's limit of a key
MOST_SEGMENT_BYTES = 255  # the limit of a file name nearly everywhere


def check_key(key: str) -> str:
    """`key` as it is, if every store can hold it; else a StoreError that says what is wrong with it."""
    fault = _fault(key) or ("ends with /" if key.endswith("/") else None)
    if not key or fault:
        what = "key"
        raise _not_a_key(what, key, fault or "is empty")
    return key


def check_prefix(prefix: str) -> str:
    """`prefix` as it is, if keys can start with it; the empty prefix is that of every key."""
    fault = _fault(prefix)
    if fault:
        what = "prefix"
        raise _not_a_key(what, prefix, fault)
    return prefix


def span(size: int, start: int, length: int | None) -> tuple[int, int]:
    """The range `[first, end)` of `length` bytes from `start` in an object of `size` bytes; empty past its end."""
    if start < 0 or (length is not None and length < 0):
        what = f"A range can not start at {start} with {length} bytes"
        raise StoreError(what, do="Give a start and a length of zero or more.")
    first = min(start, size)
    return first, size if length is None else min(size, first + length)


def check_document(key: str, size: int, url: str) -> None:
    """StoreError when an object is larger than any document: it is not read into memory whole."""
    if size > MOST_DOCUMENT:
        what = f"{key} in {url} has {size:,} bytes, where a document has at most {MOST_DOCUMENT:,}"
        raise StoreError(what, do="Somebody else made it: use another backup, and find out who can write there.")


def taken(key: str, url: str) -> RefusedError:
    """The error for an object that would be written over one that stays."""
    what = f"{url}/{key} is there already, and was not overwritten."
    return RefusedError(what, do="Backups are never overwritten: run the backup again, it gets a name of its own.")


def _not_a_key(kind: str, text: str, fault: str) -> StoreError:
    return StoreError(
        f"Not a {kind} of a store: {text!r} {fault}",
        do="Use names separated by single slashes, as docs/format.md lays them out.",
    )


def _fault(text: str) -> str | None:
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        return "is not valid Unicode"
    if len(encoded) > MOST_KEY_BYTES:
        return f"has {len(encoded)} bytes, more than {MOST_KEY_BYTES}"
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in text):
        return "has a control character"
    return next(
        (fault for fault in map(_segment_fault, text.removesuffix("/").split("/")) if fault and text), None
    ) or (f"starts with {STAGING}, which is reserved" if text.split("/")[0] == STAGING else None)


def _segment_fault(segment: str) -> str | None:
    if segment in {"", ".", ".."}:
        return f"has the segment {segment!r}"
    if len(segment.encode()) > MOST_SEGMENT_BYTES:
        return f"has a segment of more than {MOST_SEGMENT_BYTES} bytes"
    return None


DIRECTORY_MODE, FILE_MODE = 0o700, 0o600
_SHARED_DIRECTORY_MODE, _SHARED_FILE_MODE = 0o2750, 0o640
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# A pipe that somebody put in the place of an object must not make us wait for its other end.
_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextmanager
def opened(root: Path, parts: Sequence[str], *, make: bool = False) -> Iterator[int]:
    """The descriptor of the folder `parts` below `root`, made where it lacks with `make`.

    An OSError as the system has it; of the number ELOOP where there is a link.
    """
    descriptor = os.open(root, _FOLDER)
    try:
        for part in parts:
            inner = _step(descriptor, part, make=make)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def inside(folder: int, name: str) -> int:
    """The descriptor of the folder `name` in `folder`; to be closed."""
    try:
        return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
    except OSError as error:
        raise _refusal(error, folder, name) from error


def open_file(folder: int, name: str, flags: int, mode: int = 0) -> int:
    """The descriptor of the file `name` in `folder`, which is a file and nothing else; to be closed."""
    try:
        descriptor = os.open(name, flags | _FILE, mode, dir_fd=folder)
    except OSError as error:
        raise _refusal(error, folder, name) from error
    if S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)


def status(folder: int, name: str) -> os.stat_result:
    """What `name` in `folder` is; OSError ELOOP when it is a link."""
    entry = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if S_ISLNK(entry.st_mode):
        raise _link_error(name)
    return entry


def is_shared(folder: int) -> bool:
    """Whether somebody has opened the folder to its group on purpose: it may read, and is given on (setgid)."""
    mode = os.fstat(folder).st_mode
    return bool(mode & S_ISGID and mode & S_IRGRP)


def file_mode(folder: int) -> int:
    """The mode of an object's file: its owner's alone, unless its folder is shared with a group."""
    return _SHARED_FILE_MODE if is_shared(folder) else FILE_MODE


def is_there(folder: int, name: str) -> bool:
    """Whether anything has this name in `folder`."""
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _step(folder: int, name: str, *, make: bool) -> int:
    try:
        return inside(folder, name)
    except FileNotFoundError:
        if not make:
            raise
    with suppress(FileExistsError):  # made by another writer at this moment
        os.mkdir(name, DIRECTORY_MODE, dir_fd=folder)
    os.fsync(folder)
    new_folder = inside(folder, name)
    if is_shared(folder):
        os.fchmod(new_folder, _SHARED_DIRECTORY_MODE)
    return new_folder


def _refusal(error: OSError, folder: int, name: str) -> OSError:
    """`error`, or that it is a link: systems say so with different numbers."""
    try:
        status(folder, name)
    except OSError as reason:
        return reason if reason.errno == errno.ELOOP else error
    return error


def _link_error(name: str) -> OSError:
    return OSError(errno.ELOOP, "It is a link, and a store has none", name)


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


def make_root(root: Path) -> None:
    """Make the folder `root`, whose parent exists, its entry synced there."""
    if root.is_dir():
        return
    try:
        root.mkdir(DIRECTORY_MODE)
    except FileExistsError:
        if not root.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(root)) from None
    sync_folder(root.parent)


def link(staging: int, staged: str, folder: int, name: str, taken: BackupError) -> None:
    """Give `staged` in `at` the name `name` in `folder`, which no file may have: else `taken`.

    Atomic where the file system has links.
    """
    try:
        os.link(staged, name, src_dir_fd=staging, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        raise taken from None
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        if is_there(folder, name):
            raise taken from None
        os.rename(staged, name, src_dir_fd=staging, dst_dir_fd=folder)
    else:
        os.unlink(staged, dir_fd=staging)


def leftovers(staging: int) -> list[str]:
    """What lies in the folder of unfinished files."""
    return sorted(os.listdir(staging))


def discard_leftover(staging: int, name: str) -> bool:
    """Remove an unfinished file, unless a writer has it: a writer locks its file for as long as it lives."""
    try:
        descriptor = open_file(staging, name, os.O_RDONLY)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(name, dir_fd=staging)
    except FileNotFoundError:
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def about_file(key: str, stat: os.stat_result) -> StoredObject:
    """The object a file is."""
    return StoredObject(key, stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC))


def walk(folder: int, start: str, prefix: str) -> Iterator[StoredObject]:
    """The objects in `folder`, whose key is `start`. A folder sorts as its name with a slash: `a-b` < `a/b`."""
    children: list[tuple[str, os.DirEntry[str]]] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            is_folder = entry.is_dir(follow_symlinks=False)
            key = start + entry.name + ("/" if is_folder else "")
            if key != f"{STAGING}/" and (key.startswith(prefix) or (is_folder and prefix.startswith(key))):
                children.append((key, entry))
    for key, entry in sorted(children, key=lambda each: each[0]):
        if key.endswith("/"):
            with suppress(FileNotFoundError, NotADirectoryError):  # deleted since
                yield from _walk_inside(folder, entry.name, key, prefix)
        elif entry.is_file(follow_symlinks=False):
            with suppress(FileNotFoundError):
                yield about_file(key, os.stat(entry.name, dir_fd=folder, follow_symlinks=False))


def _walk_inside(folder: int, name: str, key: str, prefix: str) -> Iterator[StoredObject]:
    descriptor = inside(folder, name)
    try:
        yield from walk(descriptor, key, prefix)
    finally:
        os.close(descriptor)


def explain(error: OSError, key: str, root: Path) -> BackupError:
    """What `error` means for the object `key` of the store at `root`: DiskFullError, or a StoreError."""
    reason = f"{key} in {root}: {os.strerror(error.errno) if error.errno else error}"
    if error.errno == errno.ELOOP:
        where = f" ({error.filename} is one)" if isinstance(error.filename, str) else ""
        do = f"Find out who put it there, and remove the link: nothing behind it was read or changed{where}."
        return StoreError(f"There is a link in the way of {key} in {root}, and a store has none.", do=do)
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
