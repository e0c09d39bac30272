"""What verification can recompute from a backup alone: sheet columns and references, or the reason why not."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from backup_pipeline.core.decoding import Hop, Pointing, Shown
from backup_pipeline.core.manifest import ColumnEntry, Manifest, ReferenceEntry, SheetColumnEntry, TableEntry

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
    chosen = [table for table in manifest.tables if table.name in tables]
    found = [_pointing(manifest, table, reference) for table in chosen for reference in table.references]
    best: dict[str, Pointing] = {}
    for one in found:
        if one.enforced or str(one) not in best:
            best[str(one)] = one
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
    at, hops = table, []
    for step in source.steps:
        target = _same_instant(table, _read_from(manifest, step.relation))
        if target.inherited:
            message = f"other tables inherit from {target.relation}, and their rows are not in its files"
            raise _UnknownError(message)
        _need_comparable(at, step.from_columns, target, step.columns)
        hops.append(Hop(target.name, step.columns, step.from_columns))
        at = target
    value = _true_column(at, source.column)
    if source.joined and not _prints_as_in_postgresql(value):
        message = f"values of {value.pg_type} may be joined in another form"
        raise _UnknownError(message)
    if not source.joined and value.arrow_type != source.arrow_type:
        message = f"{at.name}.{value.name} is {value.arrow_type}, the sheet shows {source.arrow_type}"
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
    found = next((table for table in manifest.tables if table.relation_id == relation), None)
    if found is None:
        message = f"{'.'.join(relation)} is not in the backup"
        raise _UnknownError(message)
    return found


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
    found = next((column for column in table.columns if column.name == name), None)
    if found is None:
        message = f"{table.name}.{name} is not in the backup"
        raise _UnknownError(message)
    return found


def _true_column(table: TableEntry, name: str) -> ColumnEntry:
    """The column, when its values are those of the database."""
    found = _column(table, name)
    if found.masked:
        message = f"{table.name}.{name} is masked"
        raise _UnknownError(message)
    return found


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


def parquet_tables(columns: Sequence[Shown], own: str) -> Mapping[str, None]:
    """The tables whose Parquet files the columns need, the sheet's own first."""
    return dict.fromkeys([own, *(hop.table for column in columns for hop in column.hops)])
