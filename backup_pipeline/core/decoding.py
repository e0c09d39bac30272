"""The port that verification decodes files through, and what it is asked: a sheet made anew, a reference followed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from backup_pipeline.core.manifest import FileEntry, TableEntry


@dataclass(frozen=True)
class Hop:
    """One hop of a look-up between tables of the backup: to the row of `table` where `columns` equal `from_columns`."""

    table: str
    columns: tuple[str, ...]
    from_columns: tuple[str, ...]


@dataclass(frozen=True)
class Shown:
    """A sheet column as it can be made anew from the Parquet files.

    `column` is the table's own or, with `hops`, that of the last hop's table. With `why_not` it can not be made.
    """

    title: str
    column: str = ""
    arrow_type: str = ""
    hops: tuple[Hop, ...] = ()
    joined: bool = False
    why_not: str | None = None


@dataclass(frozen=True)
class SheetTask:
    """A table's sheet to be made anew: its columns, and the Parquet files, by table, that they come from."""

    table: TableEntry
    columns: tuple[Shown, ...]
    parquet: Mapping[str, Sequence[Path]]
    timezone: str


@dataclass(frozen=True)
class Pointing:
    """A reference between two tables of a backup: columns of `table` to columns of `target`.

    `enforced` is false where a row without its target is no damage. With `why_not` it can not be followed.
    """

    table: str
    columns: tuple[str, ...]
    target: str
    target_columns: tuple[str, ...]
    enforced: bool = True
    why_not: str | None = None

    def __str__(self) -> str:
        return f"{self.table}({', '.join(self.columns)}) → {self.target}({', '.join(self.target_columns)})"


@dataclass(frozen=True)
class Orphans:
    """How many rows refer to a row that is not there, and the keys of some of them.

    `targets` are the different keys of the table referred to; counted where there are such rows.
    """

    rows: int
    examples: tuple[tuple[str, ...], ...]
    targets: int = 0


class NotComparableError(Exception):
    """Why a sheet can not be compared, though nothing is wrong with it."""


class SheetComparison(Protocol):
    """A sheet being made anew, file by file, in the order of the manifest."""

    def difference(self, file: FileEntry, chunks: Iterator[bytes]) -> str | None:
        """How the CSV file that `chunks` are differs from what the Parquet files give; None when it does not.

        Reads no further than the first difference. Raises NotComparableError.
        """


Follow = Callable[[Pointing, Sequence[Path], Sequence[Path]], Orphans]
"""Counts the rows whose reference leads nowhere; see `Decoder.orphans`."""


class Decoder(Protocol):
    """Decodes the files of a backup, in flat memory. BackupError when it can not work, DiskFullError among them."""

    def parquet_problems(self, path: Path, file: FileEntry, table: TableEntry) -> Iterator[str]:
        """What is wrong with the Parquet file at `path`, decoded in full and compared with the manifest's entries."""

    def compare_sheet(self, task: SheetTask) -> AbstractContextManager[SheetComparison]:
        """Begin to make the sheet anew. The Parquet files are ones in which nothing was found wrong."""

    def orphans(self, pointing: Pointing, rows: Sequence[Path], targets: Sequence[Path]) -> Orphans:
        """The rows of the Parquet files `rows` whose reference leads to none of the rows of `targets`."""

    def follower(self) -> AbstractContextManager[Follow]:
        """What `orphans` does, for many references in turn: quicker, where they are small."""
