"""What this machine wrote itself: the plain text of encrypted documents, by which it goes on without any key."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

_KEPT = timedelta(days=40)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Written:
    """Documents in `folder`, readable by their owner only, for 40 days; None: nothing is remembered.

    They tell about tables, never a row of them. They stand under the SHA-256 of what lies in the store, so that one is
    found only for exactly what this machine wrote. That they are there is a convenience: losing them costs no backup.
    """

    folder: Path | None

    def remember(self, encrypted: bytes, plain: bytes) -> None:
        """Keep `plain`, of which `encrypted` goes into the store."""
        if self.folder is None:
            return
        try:
            self._write(self.folder, self._place(self.folder, encrypted), plain)
            self._forget(self.folder)
        except OSError as error:
            logger.warning("What this machine wrote is not remembered in %s (%s): it needs a key.", self.folder, error)

    def recall(self, encrypted: bytes) -> bytes | None:
        """The plain text of `encrypted`; None when it is not known here."""
        if self.folder is None:
            return None
        try:
            return self._place(self.folder, encrypted).read_bytes()
        except OSError:
            return None

    @staticmethod
    def _write(folder: Path, place: Path, plain: bytes) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, name = tempfile.mkstemp(dir=folder, suffix=".part")  # which only its owner may read
        with os.fdopen(handle, "wb") as file:
            file.write(plain)
        Path(name).replace(place)

    @staticmethod
    def _place(folder: Path, encrypted: bytes) -> Path:
        return folder / hashlib.sha256(encrypted).hexdigest()

    @staticmethod
    def _forget(folder: Path) -> None:
        for old in folder.iterdir():
            with suppress(FileNotFoundError):  # another process forgets it too
                if time.time() - old.stat().st_mtime > _KEPT.total_seconds():
                    old.unlink()
