"""Which row to insert into a restored table, to see that its numbering goes on where nothing is in the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Protocol

from backup_pipeline.core.drill import DrillFinding, DrillRemark, ObjectCount
from backup_pipeline.core.drill.definitions import ServerNeeds
from backup_pipeline.core.ports import Formats, RestoreTarget, Source, Store
from backup_pipeline.core.restore import Name, SchemaSteps, TargetColumn
from backup_pipeline.core.restore.dump import Dump, DumpEntry, Token, items
from backup_pipeline.core.restore.tables import SequenceState


@dataclass(frozen=True)
class UniqueIndex:
    """A unique index or an exclusion constraint. A column that is an expression is empty in `columns`."""

    name: str
    columns: tuple[str, ...]
    nulls_distinct: bool = True


@dataclass(frozen=True)
class NumberedTable:
    """A table of the scratch database with columns that sequences feed (`fed`), some of them ever again (`cycling`)."""

    name: Name
    columns: tuple[TargetColumn, ...]
    fed: tuple[str, ...]
    unique: tuple[UniqueIndex, ...]
    empty: bool
    cycling: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        """`schema.name`."""
        return ".".join(self.name)


@dataclass(frozen=True)
class Insert:
    """One insert: `copied` columns take the values of a row that is there, `nulls` NULL, all others their defaults."""

    table: NumberedTable
    copied: tuple[str, ...] = ()
    nulls: tuple[str, ...] = ()
    why_not: str = ""


@dataclass(frozen=True)
class Inserted:
    """What an insert came to: the numbers drawn, by column; those that another row has; what the server refused."""

    drawn: tuple[str, ...] = ()
    taken: tuple[str, ...] = ()
    refused: str = ""


def planned_insert(table: NumberedTable) -> Insert:
    """The row to try, or the reason why none can be made up."""
    given = [column for column in table.columns if column.name not in table.fed and not column.generated]
    if table.empty:
        needed = [column.name for column in given if not column.makes_itself]
        why = f"the table is empty, and {', '.join(needed)} {'needs' if len(needed) == 1 else 'need'} a value"
        return Insert(table, why_not=why if needed else "")
    own: set[str] = set()
    nulls: set[str] = set()
    for index in table.unique:
        if set(index.columns) & (set(table.fed) | own | (nulls if index.nulls_distinct else set())):
            continue
        column = _other_value(index, given)
        if column is None:
            shown = ", ".join(name or "an expression" for name in index.columns)
            return Insert(table, why_not=f"{shown} must be unique ({index.name}), and no second value of it is known")
        (own if column.has_default else nulls).add(column.name)
    copied = tuple(column.name for column in given if column.name not in own | nulls and not column.identity)
    return Insert(table, copied, tuple(column.name for column in given if column.name in nulls))


def _other_value(index: UniqueIndex, given: list[TargetColumn]) -> TargetColumn | None:
    """A column of the index that may hold something else than the row there: its default, else NULL."""
    inside = [column for column in given if column.name in index.columns]
    by_default = next((column for column in inside if column.has_default), None)
    if by_default is not None or not index.nulls_distinct:
        return by_default
    return next((column for column in inside if column.nullable), None)


Part = tuple[str, str, str]
"""A part of a relation: its schema, its name, and the name of the constraint or trigger."""

_RELATIONS = {
    "TABLE": "tables",
    "VIEW": "views",
    "MATERIALIZED VIEW": "materialized views",
    "FOREIGN TABLE": "foreign tables",
    "SEQUENCE": "sequences",
}
_PARTS = {
    "CONSTRAINT": "keys and other constraints",
    "FK CONSTRAINT": "foreign keys",
    "CHECK CONSTRAINT": "keys and other constraints",
    "TRIGGER": "triggers",
}
_DO = "Look at the entry in schema.sql and at the scratch server's message; restore the backup by hand into a new one."


@dataclass(frozen=True)
class DatabaseObjects:
    """What a database has: its relations and sequences, its indexes and constraints with whether each is valid."""

    relations: frozenset[Name] = frozenset()
    indexes: Mapping[Name, bool] = field(default_factory=dict)
    constraints: Mapping[Part, bool] = field(default_factory=dict)
    triggers: frozenset[Part] = frozenset()


@dataclass(frozen=True)
class Inspected:
    """What came of it."""

    counts: tuple[ObjectCount, ...]
    findings: tuple[DrillFinding, ...]
    remarks: tuple[DrillRemark, ...]


@dataclass(frozen=True)
class _Wanted:
    """One object that must be there: its kind, for people; its name; whether it may be not validated."""

    kind: str
    name: Name | Part
    not_valid: bool = False

    def __str__(self) -> str:
        return ".".join(self.name)


def inspected(dump: Dump, steps: SchemaSteps, objects: DatabaseObjects) -> Inspected:
    """Every object that the entries of `dump` which were run (`steps`) make, looked for in `made`."""
    run = {*steps.before, *steps.after}
    wanted = [expected for entry in dump.entries if entry.sql in run for expected in _wanted(entry)]
    states = {expected: _state(expected, objects) for expected in wanted}
    findings = [
        DrillFinding(str(expected), _problem_of(expected, state), _DO)
        for expected, state in states.items()
        if not _good(expected, state)
    ]
    remarks = [
        DrillRemark(str(expected), "is not validated in the source (NOT VALID or NOT ENFORCED), and is not here.")
        for expected, state in states.items()
        if expected.not_valid and state is False
    ]
    counts = Counter(expected.kind for expected in wanted)
    valid = Counter(expected.kind for expected, state in states.items() if state)
    shown = tuple(
        ObjectCount(kind, counts[kind], valid[kind]) for kind in dict.fromkeys(expected.kind for expected in wanted)
    )
    return Inspected(shown, (*findings, *_invalid_indexes(objects, wanted)), tuple(remarks))


def _wanted(entry: DumpEntry) -> Iterator[_Wanted]:
    if entry.kind in _PARTS and entry.belongs_to and (name := _part_name(entry)):
        yield _Wanted(_PARTS[entry.kind], (*entry.belongs_to, name), _unchecked(entry.tokens))
    elif entry.kind == "INDEX" and entry.defines:
        yield _Wanted("indexes", entry.defines)
    elif entry.kind in _RELATIONS and (relation := entry.defines or entry.sequence):
        yield _Wanted(_RELATIONS[entry.kind], relation)
        yield from _checks(entry) if entry.kind == "TABLE" else ()


def _checks(entry: DumpEntry) -> Iterator[_Wanted]:
    """The named constraints that a CREATE TABLE makes itself."""
    for item in items(entry.tokens):
        if entry.defines and len(item) > 2 and item[0].is_word("CONSTRAINT") and item[2].is_word("CHECK"):
            yield _Wanted(_PARTS["CHECK CONSTRAINT"], (*entry.defines, item[1].text), _unchecked(item))


def _part_name(entry: DumpEntry) -> str | None:
    words = ("TRIGGER",) if entry.kind == "TRIGGER" else ("CONSTRAINT",)
    index = next((index for index, token in enumerate(entry.tokens) if token.is_word(*words)), None)
    return entry.tokens[index + 1].text if index is not None and index + 1 < len(entry.tokens) else None


def _unchecked(tokens: list[Token]) -> bool:
    """Whether rows may break the constraint: NOT VALID, or (since PostgreSQL 18) NOT ENFORCED."""
    return _words(tokens, "NOT", "VALID") or _words(tokens, "NOT", "ENFORCED")


def _words(tokens: list[Token], first: str, second: str) -> bool:
    return any(a.is_word(first) and b.is_word(second) for a, b in pairwise(tokens))


def _state(expected: _Wanted, objects: DatabaseObjects) -> bool | None:
    """Whether it is valid; None when it is not there."""
    if len(expected.name) == 2:
        return (
            objects.indexes.get(expected.name)
            if expected.kind == "indexes"
            else (expected.name in objects.relations or None)
        )
    if expected.kind == "triggers":
        return expected.name in objects.triggers or None
    return objects.constraints.get(expected.name)


def _good(expected: _Wanted, state: bool | None) -> bool:  # noqa: FBT001  # of three
    return bool(state) or (state is False and expected.not_valid)


def _problem_of(expected: _Wanted, state: bool | None) -> str:  # noqa: FBT001  # of three
    kind = expected.kind.removesuffix("s")
    return f"schema.sql makes it ({kind}), and it is not there." if state is None else f"it ({kind}) is not valid."


def _invalid_indexes(objects: DatabaseObjects, wanted: Iterable[_Wanted]) -> Iterator[DrillFinding]:
    """Indexes behind keys, which no entry of their own makes."""
    known = {expected.name for expected in wanted}
    for name, valid in objects.indexes.items():
        if not valid and name not in known:
            yield DrillFinding(".".join(name), "the index is not valid.", _DO)


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

    def close(self) -> None:
        """Give back what it works with."""


class ScratchDatabase(Protocol):
    """What a drill looks at and does in its scratch database, besides restoring and exporting."""

    def prepare(self, needs: ServerNeeds) -> None:
        """Make the roles and the extensions that definitions want, before anything of the backup is there.

        TargetError when the server has not got one of the extensions, or it is none that may be made.
        """

    def objects(self) -> DatabaseObjects:
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


class Sandbox(Protocol):
    """A folder on this machine for one drill, removed at the end; if this process dies, by the next drill."""

    @property
    def folder(self) -> Path:
        """The folder, readable by its owner alone."""

    @property
    def formats(self) -> Formats:
        """Formats whose files are not encrypted: they never leave the drill."""

    def fingerprints(self, folder: Path) -> Fingerprints:
        """What makes fingerprints; what does not fit into memory goes into files under `folder`."""

    def store(self, name: str) -> Store:
        """A throw-away store: its objects are files in the folder `name` of the folder, under their keys."""

    def server(self, needs: ServerNeeds) -> AbstractContextManager[Scratch]:
        """Start a scratch server that fits; it ends with the context, and with this process at the latest.

        TargetError, saying what to install, when no PostgreSQL of this machine does.
        """


OpenSandbox = Callable[[], AbstractContextManager[Sandbox]]
"""Makes the folder of one drill, and removes it at the end."""
