"""The columns of one table: those of the backup beside those of the target, and what happens to each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from backup_pipeline.core.manifest import ColumnEntry, TableEntry
from backup_pipeline.core.restore_binary import goes_binary
from backup_pipeline.core.restore_target import TargetColumn
from backup_pipeline.core.restore_types import Conversion, conversion
from backup_pipeline.core.restoring import LoadedColumn, Remark, Severity

_COMPUTED = "the server computes it"


@dataclass(frozen=True)
class ColumnsPlan:
    """What `TableRestore` says of columns; `needed` are kept columns without which no new row can be made."""

    loaded: tuple[LoadedColumn, ...]
    kept: Mapping[str, str]
    ignored: Mapping[str, str]
    filled: Mapping[str, str]
    needed: tuple[str, ...]
    remarks: tuple[Remark, ...] = field(default=())


def plan_columns(
    entry: TableEntry, target: tuple[TargetColumn, ...], names: Mapping[str, str], fill: Mapping[str, str]
) -> ColumnsPlan:
    """Decide about each column. `names` maps the backup's to the target's where they differ; `fill` is by target."""
    there = {column.name: column for column in target}
    loaded, ignored = _loaded(entry, there, names)
    taken = {column.target for column in loaded}
    left = [column for column in target if column.name not in taken and not column.generated]
    filled = {column.name: fill[column.name] for column in left if column.name in fill}
    return ColumnsPlan(
        loaded=tuple(loaded),
        kept={column.name: _fate(column, entry, filled) for column in left},
        ignored=ignored,
        filled=filled,
        needed=tuple(column.name for column in left if not column.makes_itself and column.name not in filled),
        remarks=tuple(_remarks(entry, loaded, there, ignored)),
    )


def _loaded(
    entry: TableEntry, there: Mapping[str, TargetColumn], names: Mapping[str, str]
) -> tuple[list[LoadedColumn], dict[str, str]]:
    """The backup's columns that go into the target, and why each of the others does not."""
    loaded: list[LoadedColumn] = []
    ignored: dict[str, str] = {}
    for column in entry.columns:
        found = there.get(names.get(column.name, column.name))
        reason = _reason_to_ignore(column, found)
        if found is not None and reason is None:
            binary = goes_binary(column.arrow_type, found.pg_type)
            loaded.append(LoadedColumn(column.name, found.name, found.pg_type, binary))
        else:
            ignored[column.name] = reason or ""
    return loaded, ignored


def _reason_to_ignore(column: ColumnEntry, found: TargetColumn | None) -> str | None:
    if column.masked:
        return "masked in the backup: its values are not there"
    if found is None:
        return "the target has no such column: its values are not restored"
    return _COMPUTED if found.generated else None


def _fate(column: TargetColumn, entry: TableEntry, filled: Mapping[str, str]) -> str:
    """What becomes of a column that the backup has no values for."""
    why = _absence(column.name, entry)
    new = f"new rows get {filled[column.name]!r}" if column.name in filled else _new_row(column)
    return f"{why}; rows that are there keep their value, {new}"


def _absence(name: str, entry: TableEntry) -> str:
    if name in entry.excluded_columns:
        return f"excluded from the backup ({entry.excluded_columns[name]})"
    if any(column.name == name and column.masked for column in entry.columns):
        return "masked in the backup"
    return "not in the backup"


def _new_row(column: TargetColumn) -> str:
    if column.has_default or column.identity:
        return "new rows get its default"
    return "new rows get NULL" if column.nullable else "new rows can not be made without a value"


def _remarks(
    entry: TableEntry, loaded: list[LoadedColumn], there: Mapping[str, TargetColumn], ignored: Mapping[str, str]
) -> Iterator[Remark]:
    types = {column.name: column.pg_type for column in entry.columns}
    gone = [name for name, reason in ignored.items() if reason and reason is not _COMPUTED and name not in there]
    gone = [name for name in gone if not any(column.name == name and column.masked for column in entry.columns)]
    if gone:
        what = f"The target has no column {', '.join(gone)}: the backup's values of it are not restored."
        do = "Restore it under another name with --rename to have every column."
        yield Remark(Severity.WARNING, what, entry.name, do)
    for column in loaded:
        yield from _converted(entry.name, column, types[column.name])
    if not loaded:
        what = "No column of the backup has a place in the target."
        yield Remark(Severity.REFUSAL, what, entry.name, "Check that the target is what you mean, or use --rename.")


def _converted(table: str, column: LoadedColumn, before: str) -> Iterator[Remark]:
    how = conversion(before, column.pg_type)
    change = f"Column {column.target} was {before} and is {column.pg_type} now"
    if how is Conversion.CHECKED:
        what = f"{change}: values go over as text; one that does not fit stops the restore."
        yield Remark(Severity.WARNING, what, table)
    if how is Conversion.ALTERING:
        do = "Restore the table under another name with --rename, and convert the column with SQL."
        yield Remark(Severity.REFUSAL, f"{change}: values could be altered.", table, do)
