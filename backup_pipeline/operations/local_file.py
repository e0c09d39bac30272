"""A file on this machine that appears when it is whole, and never over somebody's file unless that is wished."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from backup_pipeline.core.errors import BackupError, DiskFullError, RefusedError


@dataclass(frozen=True)
class Destination:
    """Where a person wants a file: at `target`, or under the file's own name in the folder `target`.

    What is not there yet is a folder when its name has no ending (`~/backups`, not `~/isp.zip`). A file that is there
    already is overwritten only with `force`.
    """

    target: Path
    force: bool = False

    def path(self, name: str) -> Path:
        """The path of a file called `name`; RefusedError when a file is there that must stay."""
        path = self.target / name if self._is_folder() else self.target
        if not self.force and path.exists():
            raise _there_already(path)
        return path

    @contextmanager
    def appearing(self, path: Path) -> Iterator[BinaryIO]:
        """A file that gets the name `path` when the context ends well, and leaves nothing behind when it does not.

        Only its owner may read it. A folder that is not there yet is made, and stays. RefusedError when a file came to
        be there meanwhile; DiskFullError; BackupError when it can not be written.
        """
        with _told_as_backup_errors(path):
            if self._is_folder():
                self.target.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        draft = Path(name)
        try:
            with _told_as_backup_errors(path):
                with os.fdopen(handle, "wb") as file:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                _publish(draft, path, force=self.force)
        finally:
            draft.unlink(missing_ok=True)

    def _is_folder(self) -> bool:
        return self.target.is_dir() or not (self.target.exists() or self.target.suffix)


def _publish(draft: Path, path: Path, *, force: bool) -> None:
    if force:
        draft.replace(path)
        return
    try:
        path.hardlink_to(draft)  # unlike a rename, refuses when somebody has made the file meanwhile
    except FileExistsError:
        raise _there_already(path) from None
    except OSError:
        if path.exists():
            raise _there_already(path) from None
        draft.rename(path)  # a file system without links


@contextmanager
def _told_as_backup_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            message = f"There is no room for {path}: {error.strerror}."
            raise DiskFullError(
                message, do="Make room, also for temporary files (TMPDIR), or choose another place with --to."
            ) from error
        message = f"{path} can not be written: {error.strerror or error}."
        raise BackupError(message, do="Choose a folder that exists and that you may write to, with --to.") from error


def _there_already(path: Path) -> RefusedError:
    return RefusedError(f"{path} is there already.", do="Choose another name with --to, or overwrite it with --force.")
