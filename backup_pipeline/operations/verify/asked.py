"""What a verification is asked to do, what it reaches the world through, and which backup it is at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from backup_pipeline.core.decoding import Decoder
from backup_pipeline.core.layout import BackupPlace
from backup_pipeline.core.manifest import FileEntry, StoredManifest, TableEntry
from backup_pipeline.core.ports import Clock, Formats, Store
from backup_pipeline.core.progress import Progress
from backup_pipeline.core.sample import Sample
from backup_pipeline.core.verification import Level


@dataclass(frozen=True)
class VerifyRequest:
    """How deep to look, at how much of it (`sample`, chosen by `seed`), and for how long at most."""

    level: Level = Level.CONTENTS
    sample: Sample | None = None
    seed: str = ""
    max_duration: timedelta | None = None


@dataclass(frozen=True)
class VerifyPorts:
    """What verification needs of the world. `spool` gives a folder for files in the making, removed at the end."""

    store: Store
    formats: Formats
    decoder: Callable[[Path], Decoder]
    spool: Callable[[], AbstractContextManager[Path]]
    progress: Progress
    clock: Clock


@dataclass(frozen=True)
class Deadline:
    """When to stop: between objects, so that what was looked at was looked at whole."""

    clock: Clock
    at: datetime | None
    duration: timedelta | None

    def over(self) -> bool:
        """Whether it has come."""
        return self.at is not None and self.clock() >= self.at

    def __str__(self) -> str:
        return f"stopped after {self.duration}"


@dataclass(frozen=True)
class StoredBytes:
    """A bundle as bytes: its key, how many there are, the SHA-256 they must have, and until when to look."""

    key: str
    size: int
    sha256: str
    deadline: Deadline


@dataclass(frozen=True)
class Subject:
    """The backup under verification: where it lies, what its manifest says, which tables are looked at.

    `sample` is what to say of a choice that leaves tables out, empty when none is left out.
    """

    place: BackupPlace
    manifest: StoredManifest
    size: int
    tables: tuple[TableEntry, ...]
    sample: str
    deadline: Deadline

    @property
    def key(self) -> str:
        """The key of the bundle."""
        return self.place.bundle(self.manifest.bundle.name)

    @property
    def stored(self) -> StoredBytes:
        """The bundle as bytes."""
        return StoredBytes(self.key, self.size, self.manifest.bundle.sha256, self.deadline)

    def member(self, name: str) -> str:
        """How a member of the bundle is called in reports."""
        return f"{self.key}!{name}"

    def files(self, table: TableEntry, kind: str) -> Sequence[tuple[FileEntry, str]]:
        """The table's files of one format, each with its path in the bundle; no path when the manifest names none.

        A file is looked up by its SHA-256, because a sheet's name in the bundle may be one of the catalog's choice;
        should two members have the same, they have the same bytes too.
        """
        paths = {sha256: path for path, sha256 in self.manifest.entries.items()}
        return [(file, paths.get(file.sha256, "")) for file in table.files if file.format == kind]

    def left_out(self) -> tuple[TableEntry, ...]:
        """The tables that are not in the sample."""
        return tuple(table for table in self.manifest.tables if table not in self.tables)


def sampled(manifest: StoredManifest, request: VerifyRequest) -> tuple[tuple[TableEntry, ...], str]:
    """The tables to look at, and what to say of the choice: nothing when it leaves none out."""
    if request.sample is None:
        return manifest.tables, ""
    names = [table.name for table in manifest.tables]
    chosen = set(request.sample.chosen(names, of=manifest.backup_id, seed=request.seed))
    tables = tuple(table for table in manifest.tables if table.name in chosen)
    return tables, str(request.sample) if len(tables) < len(names) else ""
