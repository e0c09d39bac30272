"""Folders below a root, opened step by step, each in the one before and never through a link.

Whoever may write into a store could put a link where a folder or an object should be. So every path of a store is gone
with descriptors: between a look and an act nobody can put a link there, and what is acted on lies in the store.
The root itself may be a link: it is its owner's choice.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_IRGRP, S_ISGID, S_ISLNK, S_ISREG

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
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if S_ISLNK(found.st_mode):
        raise _link_error(name)
    return found


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
    made = inside(folder, name)
    if is_shared(folder):
        os.fchmod(made, _SHARED_DIRECTORY_MODE)
    return made


def _refusal(error: OSError, folder: int, name: str) -> OSError:
    """`error`, or that it is a link: systems say so with different numbers."""
    try:
        status(folder, name)
    except OSError as reason:
        return reason if reason.errno == errno.ELOOP else error
    return error


def _link_error(name: str) -> OSError:
    return OSError(errno.ELOOP, "It is a link, and a store has none", name)
