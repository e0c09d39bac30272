"""A bundle's Parquet files on this machine: fetched when first needed, compared with their SHA-256 as they come."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from backup_pipeline.core.errors import BackupError, DiskFullError
from backup_pipeline.core.manifest import FileEntry
from backup_pipeline.core.ports import OpenBundle
from backup_pipeline.operations.verify.asked import Subject
from backup_pipeline.operations.verify.members import Hashed


@dataclass(frozen=True)
class Fetched:
    """One Parquet file of a table: its entry, its path in the bundle, where it is here, what was wrong on the way."""

    file: FileEntry
    name: str
    path: Path
    problem: str | None


class ParquetFiles:
    """The Parquet files of `at` under `folder`. For one thread."""

    def __init__(self, at: Subject, bundle: OpenBundle, folder: Path) -> None:
        self._at, self._bundle, self._folder = at, bundle, folder
        self._here: dict[str, tuple[Fetched, ...]] = {}
        self._bad: set[str] = set()

    def fetch(self, table: str) -> tuple[Fetched, ...]:
        """The table's files."""
        if table not in self._here:
            entry = next(entry for entry in self._at.manifest.tables if entry.name == table)
            files = self._at.files(entry, "parquet")
            self._here[table] = tuple(self._fetch(table, number, *file) for number, file in enumerate(files))
            if any(fetched.problem for fetched in self._here[table]):
                self.distrust(table)
        return self._here[table]

    def distrust(self, table: str) -> None:
        """Something is wrong with the table: nothing is to be compared with it."""
        self._bad.add(table)

    def damaged(self, tables: Iterable[str]) -> str | None:
        """The first of these tables that something is wrong with, as far as is known; they are fetched."""
        for table in tables:
            self.fetch(table)
        return next((table for table in tables if table in self._bad), None)

    def paths(self, table: str) -> Sequence[Path]:
        """Where the table's files are."""
        return [fetched.path for fetched in self.fetch(table)]

    def keep_only(self, tables: set[str]) -> None:
        """Remove the files of all other tables; they are fetched again if they are asked for."""
        for table in self._here.keys() - tables:
            for fetched in self._here.pop(table):
                fetched.path.unlink(missing_ok=True)

    def _fetch(self, table: str, number: int, file: FileEntry, name: str) -> Fetched:
        path = self._folder / f"{table}-{number:05d}.parquet"
        if not name:
            return Fetched(file, file.name, path, "is not among the manifest's entries.")
        content = Hashed(self._bundle, name, file.sha256, file.bytes)
        try:
            with path.open("wb") as spooled:
                spooled.writelines(content.chunks())
        except OSError as error:
            raise _no_room(self._folder, error) from error
        return Fetched(file, name, path, content.problem())


def _no_room(folder: Path, error: OSError) -> BackupError:
    message = f"A file of the bundle can not be kept in {folder}: {error.strerror or error}."
    do = "Make room there, or set BACKUP_WORK_DIR to a larger disk."
    return (DiskFullError if error.errno in {errno.ENOSPC, errno.EDQUOT} else BackupError)(message, do=do)
