"""The port that verification decodes files through, and what it is asked: a sheet made anew, a reference followed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from backup_pipeline.core.manifest import ColumnEntry, FileEntry, Manifest, ReferenceEntry, SheetColumnEntry, TableEntry


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


_INTEGERS = {"int16", "int32", "int64"}
_SAME_TYPE = {"uuid", "bool", "date32[day]", "time64[us]", "timestamp[us]", "timestamp[us, tz=UTC]"}
_DECIMAL = "decimal128("
_TEXT = re.compile(r"text|name|character varying(\(\d+\))?")
_OF_ONE_LENGTH = re.compile(r"character\(\d+\)")
_PADDED = re.compile(r"character\(\d+\)|bpchar")
_OLD = "the manifest is of format 1.0, which does not say where it comes from"


class _UnknownError(Exception):
    """Why something can not be recomputed."""


def shown_columns(manifest: Manifest, table: TableEntry) -> tuple[Shown, ...]:
    """The columns of the table's sheet: how each can be made anew, or why it can not."""
    if not table.sheet_sources:
        own = {column.name: column for column in table.columns}
        return tuple(_old(title, own.get(title)) for title in table.sheet_columns)
    return tuple(_shown(manifest, table, source) for source in table.sheet_sources)


def pointings(manifest: Manifest, tables: Sequence[str]) -> tuple[Pointing, ...]:
    """The references of `tables`: how each can be followed within the backup, or why it can not.

    A table and a view of it, both referred to, are one target; one foreign key that is enforced makes it so.
    """
    wanted = frozenset(tables)
    chosen = [table for table in manifest.tables if table.name in wanted]
    candidates = [_pointing(manifest, table, reference) for table in chosen for reference in table.references]
    best: dict[str, Pointing] = {}
    for pointing in candidates:
        if pointing.enforced or str(pointing) not in best:
            best[str(pointing)] = pointing
    return tuple(best.values())


def _old(title: str, column: ColumnEntry | None) -> Shown:
    """A sheet of format 1.0: a column called as one of the table's shows that, unless a catalog was very odd."""
    return Shown(title, column.name, column.arrow_type) if column else Shown(title, why_not=_OLD)


def _shown(manifest: Manifest, table: TableEntry, source: SheetColumnEntry) -> Shown:
    try:
        if not source.steps:
            return Shown(source.title, source.column, _column(table, source.column).arrow_type)
        return _look_up(manifest, table, source)
    except _UnknownError as reason:
        return Shown(source.title, why_not=str(reason))


def _look_up(manifest: Manifest, table: TableEntry, source: SheetColumnEntry) -> Shown:
    current, hops = table, []
    for step in source.steps:
        target = _same_instant(table, _read_from(manifest, step.relation))
        if target.inherited:
            message = f"other tables inherit from {target.relation}, and their rows are not in its files"
            raise _UnknownError(message)
        _need_comparable(current, step.from_columns, target, step.columns)
        hops.append(Hop(target.name, step.columns, step.from_columns))
        current = target
    value = _true_column(current, source.column)
    if source.joined and not _prints_as_in_postgresql(value):
        message = f"values of {value.pg_type} may be joined in another form"
        raise _UnknownError(message)
    if not source.joined and value.arrow_type != source.arrow_type:
        message = f"{current.name}.{value.name} is {value.arrow_type}, the sheet shows {source.arrow_type}"
        raise _UnknownError(message)
    return Shown(source.title, source.column, value.arrow_type, tuple(hops), source.joined)


def _pointing(manifest: Manifest, table: TableEntry, reference: ReferenceEntry) -> Pointing:
    shown = ".".join(reference.target)
    try:
        target, exact = _target(manifest, reference.target)
        _same_instant(table, target)
        _need_comparable(table, reference.columns, target, reference.target_columns)
    except _UnknownError as reason:
        return Pointing(table.name, reference.columns, shown, reference.target_columns, why_not=str(reason))
    enforced = reference.enforced and exact
    return Pointing(table.name, reference.columns, target.name, reference.target_columns, enforced)


def _target(manifest: Manifest, relation: tuple[str, str]) -> tuple[TableEntry, bool]:
    """The table that holds the rows of `relation`, and whether surely all of them: a view may leave some out."""
    covering = next((table for table in manifest.tables if relation in table.covers), None)
    exact = next((table for table in manifest.tables if table.relation_id == relation), None)
    return (covering, False) if covering and not exact else (_read_from(manifest, relation), True)


def _read_from(manifest: Manifest, relation: tuple[str, str]) -> TableEntry:
    match = next((table for table in manifest.tables if table.relation_id == relation), None)
    if match is None:
        message = f"{'.'.join(relation)} is not in the backup"
        raise _UnknownError(message)
    return match


def _same_instant(table: TableEntry, other: TableEntry) -> TableEntry:
    if (table.snapshot.id, table.snapshot.taken_at) != (other.snapshot.id, other.snapshot.taken_at):
        message = f"{other.name} is from another snapshot"
        raise _UnknownError(message)
    return other


def _need_comparable(table: TableEntry, columns: Sequence[str], other: TableEntry, others: Sequence[str]) -> None:
    """DuckDB compares these; it must find equal what PostgreSQL does, and it takes no two names that differ in case."""
    for mine, theirs in zip(columns, others, strict=True):
        left, right = _true_column(table, mine), _true_column(other, theirs)
        for column in (left, right):
            if column.nondeterministic:
                message = f"the collation of {column.name} takes different texts for equal, which only PostgreSQL knows"
                raise _UnknownError(message)
        if not _compare_alike(left, right):
            message = f"{left.pg_type} and {right.pg_type} may compare otherwise than in PostgreSQL"
            raise _UnknownError(message)


def _column(table: TableEntry, name: str) -> ColumnEntry:
    """The column, as it lies in the files."""
    match = next((column for column in table.columns if column.name == name), None)
    if match is None:
        message = f"{table.name}.{name} is not in the backup"
        raise _UnknownError(message)
    return match


def _true_column(table: TableEntry, name: str) -> ColumnEntry:
    """The column, when its values are those of the database."""
    match = _column(table, name)
    if match.masked:
        message = f"{table.name}.{name} is masked"
        raise _UnknownError(message)
    return match


def _compare_alike(left: ColumnEntry, right: ColumnEntry) -> bool:
    types = {left.arrow_type, right.arrow_type}
    if types <= _INTEGERS:
        return True
    if len(types) > 1:
        return False
    if left.arrow_type in _SAME_TYPE or left.arrow_type.startswith(_DECIMAL):
        return True
    padded = bool(_OF_ONE_LENGTH.fullmatch(left.pg_type)) and left.pg_type == right.pg_type
    return left.arrow_type == "string" and (padded or all(_TEXT.fullmatch(c.pg_type) for c in (left, right)))


def _prints_as_in_postgresql(column: ColumnEntry) -> bool:
    if column.arrow_type == "string":
        return not _PADDED.fullmatch(column.pg_type)
    return column.arrow_type in _INTEGERS | {"bool", "uuid"}
