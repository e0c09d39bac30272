"""What another user of this machine could read or write below a folder, by the permissions on the way to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from stat import S_ISDIR, S_ISLNK


def open_to_others(folder: Path) -> Iterator[str]:
    """The paths below `folder` that its group or others can read, list or write, each with its mode.

    Passing through a folder (x alone) is needed to get to what lies below, and is not counted by itself.
    """
    mode = folder.lstat().st_mode
    if mode & 0o066:
        yield f"{folder} {mode & 0o777:o}"
    if not mode & 0o011:
        return
    for below in folder.iterdir():
        mode = below.lstat().st_mode
        if S_ISDIR(mode):
            yield from open_to_others(below)
        elif mode & 0o066 and not S_ISLNK(mode):
            yield f"{below} {mode & 0o777:o}"
