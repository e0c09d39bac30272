"""A deed that is killed at its nth change of files: what a proxy can not see of a store in a directory."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from backup_pipeline_tests.faults.deeds import Ended

_CHANGES = {"os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}
# Where in the arguments of an event the descriptors of the folders begin that its names are in.
_DESCRIPTORS = {"os.rename": 2, "os.link": 2, "os.remove": 1, "os.rmdir": 1, "os.mkdir": 2}
_FOR_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass(frozen=True)
class OnDisk:
    """`deed`, killed before its change number `at` of files in `folder` (from 1 on); None: it is only watched.

    A change is making, renaming, linking or removing a file or a folder, or opening a file to write. What it changed is
    in `changes` of how it ended.
    """

    deed: Callable[[], Ended]
    folder: str
    at: int | None = None

    def __call__(self) -> Ended:
        """Do it."""
        changes: list[str] = []

        def look(event: str, details: tuple[Any, ...]) -> None:
            if (told := self._change(event, details)) is None:
                return
            changes.append(told)
            if len(changes) == self.at:
                os.killpg(0, signal.SIGKILL)

        sys.addaudithook(look)
        ended = self.deed()
        return replace(ended, changes=tuple(changes))

    def _change(self, event: str, details: tuple[Any, ...]) -> str | None:
        if event == "open":
            if not isinstance(details[2], int) or not details[2] & _FOR_WRITING:
                return None
        elif event not in _CHANGES:
            return None
        inside = [
            name.removeprefix(self.folder)
            for name in _paths(event, details, self.folder)
            if name.startswith(self.folder)
        ]
        return f"{event} {' '.join(inside)}" if inside else None


def _paths(event: str, details: tuple[Any, ...], folder: str) -> list[str]:
    """The paths that an event is about, whole: a name beside a folder's descriptor is one below that folder.

    `open` tells no descriptor: a bare name that is opened to write is taken for one in `folder`.
    """
    names = [os.fsdecode(name) for name in details[:2] if isinstance(name, str | bytes | os.PathLike)]
    if event == "open":
        return [name if Path(name).is_absolute() else f"{folder}/{name}" for name in names]
    if event not in _DESCRIPTORS:
        return names
    descriptors = details[_DESCRIPTORS[event] :]
    return [_below(descriptor, name) for name, descriptor in zip(names, descriptors, strict=False)]


def _below(descriptor: int, name: str) -> str:
    if descriptor < 0 or Path(name).is_absolute():
        return name
    return str(Path(f"/proc/self/fd/{descriptor}").readlink() / name)
