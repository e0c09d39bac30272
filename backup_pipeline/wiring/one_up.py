"""One `up` in a home: a lock that the kernel holds for its process, and a note of who that is."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from backup_pipeline.core.errors import LockedError

_NAME = "up.lock"


@contextmanager
def only_one(home: Path, about: Mapping[str, Any]) -> Iterator[int]:
    """Hold the home; gives the descriptor of the lock, which a child that inherits it goes on holding.

    `about` is what a second one is told, beside the process id: addresses. LockedError when another holds it.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(home / _NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _held(home, _read(descriptor)) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"pid": os.getpid(), **about}).encode(), 0)
        yield descriptor
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _read(descriptor: int) -> Mapping[str, Any]:
    with suppress(ValueError):
        found = json.loads(os.pread(descriptor, 4096, 0))
        if isinstance(found, dict):
            return found
    return {}


def _held(home: Path, about: Mapping[str, Any]) -> LockedError:
    pid = about.get("pid")
    if isinstance(pid, int) and not _is_alive(pid):
        message = f"An `up` of {home} (process {pid}) was killed, and what it had started is still being ended."
        return LockedError(message, do="Start it again in some seconds.")
    where = f", {about['ui']}" if about.get("ui") else ""
    message = f"`up` runs already in {home}: process {pid or 'unknown'}{where}."
    do = (
        f"Use that one, or stop it: Ctrl-C in its terminal, or kill {pid or 'its process'}. A second one needs a home "
        "and ports of its own: BACKUP_HOME=/another/folder backup-pipeline up --port 3100 --console-port 3101."
    )
    return LockedError(message, do=do)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
