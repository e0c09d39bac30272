"""What the writers of a table's files have in common: all of its parts come to be, or none."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa

from backup_pipeline.core.errors import BackupError
from backup_pipeline.core.manifest import FileEntry
from backup_pipeline.formats.hashing_file import HashingFile


class PartsWriter(ABC):
    """Writes pages into numbered files of `directory`, which should hold no files of the same names.

    An error in `write` or `close` removes what was written, and so does leaving its context by an exception; leaving it
    otherwise closes. After an error nothing can be written or closed any more: a table that lacks a page never looks
    whole. Not for several threads at a time.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files: list[HashingFile] = []
        self._entries: tuple[FileEntry, ...] | None = None
        self._aborted = False

    @property
    def bytes_written(self) -> int:
        """The bytes of all files so far."""
        return sum(file.bytes for file in self._files)

    def write(self, rows: pa.Table) -> None:
        """Append a page; its columns are found by name, and it may have others. BackupError when it does not fit."""
        self._must_be_open()
        if self._entries is not None:
            message = f"The files in {self._directory} are closed; a page came after the last."
            raise BackupError(message, do="Report it: pages must be written before the writer is closed.")
        try:
            self._append(rows)
        except BaseException:
            self.abort()
            raise

    def close(self) -> tuple[FileEntry, ...]:
        """Finish the files and give their entries, as counted; an empty table has one. May be called again."""
        self._must_be_open()
        if self._entries is None:
            try:
                self._entries = self._finish()
            except BaseException:
                self.abort()
                raise
        return self._entries

    def abort(self) -> None:
        """Remove everything that was written, also what is closed already."""
        self._aborted = True
        self._drop()
        for file in self._files:
            file.abort()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is not None:
            self.abort()
        elif not self._aborted:
            self.close()

    @abstractmethod
    def _append(self, rows: pa.Table) -> None:
        """Write a page."""

    @abstractmethod
    def _finish(self) -> tuple[FileEntry, ...]:
        """Close what is open, or an empty file when there is none; the entries of all."""

    def _drop(self) -> None:  # noqa: B027  most have nothing of the kind
        """Let go of what hangs on the files, which are about to be removed."""

    def _new_file(self, name: str) -> HashingFile:
        self._files.append(HashingFile(self._directory / name))
        return self._files[-1]

    def _must_be_open(self) -> None:
        if self._aborted:
            message = f"The files in {self._directory} were given up; nothing more can be written to them."
            raise BackupError(message, do="Look for the error before this one, then run the table again.")
