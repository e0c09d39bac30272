"""The ports of a drill: its folder, its scratch server, and fingerprints of rows in any order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from backup_pipeline.core.drill_inserts import Insert, Inserted, NumberedTable
from backup_pipeline.core.drill_objects import MadeObjects
from backup_pipeline.core.drill_server import ServerNeeds
from backup_pipeline.core.ports import RestoreTarget, Source, Store
from backup_pipeline.core.restore_sequences import SequenceState
from backup_pipeline.core.restoring import Name


@dataclass(frozen=True)
class Fingerprint:
    """Rows in any order: how many, and sums of two hashes of each. Differing rows differ here, as good as surely."""

    rows: int
    total: int
    folded: int


class Fingerprints(Protocol):
    """Makes fingerprints of files, in flat memory. BackupError when it can not work."""

    def of_parquet(self, files: Sequence[Path], columns: Sequence[str]) -> Fingerprint:
        """Of the values of `columns` in all rows of these Parquet files. NULL is a value of its own."""

    def of_sheets(self, files: Sequence[Iterator[bytes]], titles: Sequence[str], wanted: Sequence[str]) -> Fingerprint:
        """Of the cells under the titles `wanted` in all records of these CSV files, which have `titles`.

        Each is given as its bytes; one that does not begin with `titles` has no records. NotComparableError for a
        record that is too large.
        """


class ScratchDatabase(Protocol):
    """What a drill looks at and does in its scratch database, besides restoring and exporting."""

    def prepare(self, needs: ServerNeeds) -> None:
        """Make the roles and the extensions that definitions want, before anything of the backup is there.

        TargetError when the server has not got one of the extensions, or it is none that may be made.
        """

    def objects(self) -> MadeObjects:
        """Everything that definitions make."""

    def numbered(self, tables: Sequence[Name]) -> Sequence[NumberedTable]:
        """Those of `tables` that have a column which a sequence feeds."""

    def standing(self, sequences: Sequence[Name]) -> Mapping[Name, SequenceState]:
        """Where those of the sequences stand that are there."""

    def insert(self, wanted: Insert) -> Inserted:
        """Insert the row, see what was drawn, and roll back."""

    def drop_row(self, table: Name) -> None:
        """Delete one row, whatever refers to it."""


@dataclass(frozen=True)
class Scratch:
    """A running scratch server with one empty database: restored into, exported from, looked at."""

    target: RestoreTarget
    source: Source
    database: ScratchDatabase
    server_version: str
    server: str
    """Which server it is, and what it may touch, for people."""


class Workshop(Protocol):
    """A folder on this machine for one drill, removed at the end; if this process dies, by the next drill."""

    @property
    def folder(self) -> Path:
        """The folder, readable by its owner alone."""

    def store(self, name: str) -> Store:
        """A throw-away store: its objects are files in the folder `name` of the folder, under their keys."""

    def server(self, needs: ServerNeeds) -> AbstractContextManager[Scratch]:
        """Start a scratch server that fits; it ends with the context, and with this process at the latest.

        TargetError, saying what to install, when no PostgreSQL of this machine does.
        """
