"""Folders and files for their owner only, whoever starts what: the command line, or Dagster with our definitions."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_IMODE

from backup_pipeline.lazy import lazily
from backup_pipeline.settings import Settings

with lazily():
    from backup_pipeline.wiring import addresses


logger = logging.getLogger(__name__)

_OTHERS = 0o077
_PASS = 0o011
"""Root's PostgreSQL runs as another user, who has to get through to its folder: to pass is not to read or list."""
_DAGSTER = ("history", "schedules", "compute_logs", "storage")
"""Where Dagster keeps runs, ticks, what steps print, and what assets hand over."""


@contextmanager
def owner_only() -> Iterator[None]:
    """What is made while the context lasts, and by the processes begun in it, is for its owner only."""
    before = os.umask(_OTHERS)
    try:
        yield
    finally:
        os.umask(before)


def folder_mode() -> int:
    """The mode of BACKUP_HOME and of the work folder."""
    return 0o700 | (_PASS if os.geteuid() == 0 else 0)


def close_folders(settings: Settings) -> None:
    """Take away what others may do in the folders that are ours; a warning for each where that was something.

    An earlier version, or somebody's own hand, may have made them. What lies in them is closed by them.
    """
    home = settings.home
    ours = [home / "dagster", *([] if settings.store else [home / "store"])]
    for folder in (home, addresses.work_dir(settings)):
        _close(folder, folder_mode())
    for folder in ours:
        _close(folder, 0o700)


def make_folder(folder: Path) -> None:
    """Make a folder of ours, its parents too where they are missing."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(mode=folder_mode(), exist_ok=True)
    _close(folder, folder_mode(), quiet=True)  # mkdir takes the umask away from the mode


def close_dagster(home: Path) -> None:
    """Make the folders of Dagster's own files in its home, for their owner only; those that are wider are closed."""
    for name in _DAGSTER:
        folder = home / name
        with suppress(OSError):  # Dagster says what it can not write
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _close(folder, 0o700)


def _close(folder: Path, mode: int, *, quiet: bool = False) -> None:
    try:
        stat = folder.stat()
    except OSError:
        return
    before = S_IMODE(stat.st_mode)
    if stat.st_uid != os.geteuid() or before & _OTHERS == mode & _OTHERS:
        return
    try:
        folder.chmod(before & ~_OTHERS | mode)
    except OSError as error:  # a read-only root: nobody gets anything new into it
        logger.debug("The folder %s is left as it is (mode %o): %s", folder, before, error)
        return
    if before & _OTHERS & ~_PASS and not quiet:
        logger.warning("The folder %s was open to others (mode %o); it is for its owner only now.", folder, before)
