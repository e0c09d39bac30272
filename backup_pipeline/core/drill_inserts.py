"""Which row to insert into a restored table, to see that its numbering goes on where nothing is in the way."""

from __future__ import annotations

from dataclasses import dataclass

from backup_pipeline.core.restore_target import TargetColumn
from backup_pipeline.core.restoring import Name


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
