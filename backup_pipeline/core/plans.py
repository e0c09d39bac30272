"""How each table of a catalog will be read from the database at hand, decided before a row is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from backup_pipeline.core.arrow_types import TEXT
from backup_pipeline.core.errors import BackupError
from backup_pipeline.core.relations import Column, ColumnSequence, DatabaseSequence, ForeignKey, Relation
from backup_pipeline.core.secrets import MASK


class Order(StrEnum):
    """How pages follow each other: by unique key, by place on disk (ctid), or all rows in one pass."""

    KEY = "key"
    CTID = "ctid"
    SCAN = "scan"


class NotNativeError(BackupError):
    """A value of `column` does not fit its Arrow type: restart the table with `plan.as_text(column, value)`."""

    def __init__(self, column: str, value: str) -> None:
        super().__init__(f"Column {column} holds a value that its native type can not: {value}")
        self.column = column
        self.value = value


@dataclass(frozen=True)
class PlannedColumn:
    """A column of the Parquet file: where it comes from, and the Arrow type it takes (see `arrow_types`)."""

    column: Column
    arrow_type: str
    masked: bool = False

    @property
    def name(self) -> str:
        """Its name, in the database and in the file."""
        return self.column.name


@dataclass(frozen=True)
class Step:
    """One hop of a look-up: from the row at hand to the row of `relation` where `columns` equal `from_columns`."""

    relation: tuple[str, str]
    columns: tuple[str, ...]
    from_columns: tuple[str, ...]


@dataclass(frozen=True)
class LookUp:
    """A value found in another relation by following `steps`, and taking `column` there; several values are joined."""

    steps: tuple[Step, ...]
    column: Column
    arrow_type: str
    joined: bool = False


@dataclass(frozen=True)
class SheetColumn:
    """A column of the CSV sheet: its title, and its source, one of the table's own columns or a look-up.

    `field` is the name under which a page carries the value.
    """

    title: str
    field: str
    pg_type: str
    look_up: LookUp | None = None

    def as_text(self) -> SheetColumn:
        """This column with its look-up, if it has one, as text."""
        return replace(self, look_up=replace(self.look_up, arrow_type=TEXT)) if self.look_up else self


@dataclass(frozen=True)
class SheetPlan:
    """The sheet of a table: its name, its columns, and the name of its file in the bundle (strftime) if it has one."""

    name: str
    columns: tuple[SheetColumn, ...]
    file: str | None = None


@dataclass(frozen=True)
class TablePlan:
    """How one table is read. Columns left out are in `excluded` with the reason; `notes` go into the manifest.

    `references`, `sequences` and `covers` (see `core.origins`) are not read: they say what belongs to its rows.
    """

    name: str
    relation: Relation
    columns: tuple[PlannedColumn, ...]
    sheet: SheetPlan
    key: tuple[str, ...]
    key_enforced: bool
    order: Order
    excluded: Mapping[str, str]
    notes: tuple[str, ...] = ()
    references: tuple[ForeignKey, ...] = ()
    sequences: tuple[ColumnSequence, ...] = ()
    covers: tuple[tuple[str, str], ...] = ()

    @property
    def look_ups(self) -> tuple[SheetColumn, ...]:
        """The sheet columns that need a look-up."""
        return tuple(column for column in self.sheet.columns if column.look_up)

    @property
    def masked(self) -> tuple[str, ...]:
        """The columns whose values are replaced by [ENCRYPTED]."""
        return tuple(column.name for column in self.columns if column.masked)

    def as_text(self, name: str, value: str) -> TablePlan:
        """This plan with `name` (a column, or a look-up's field) as text, as `value` does not fit its native type."""
        columns = tuple(replace(c, arrow_type=TEXT) if c.name == name else c for c in self.columns)
        shown = tuple(column.as_text() if column.field == name else column for column in self.sheet.columns)
        native = next((column.arrow_type for column in self.columns if column.name == name), None)
        note = (f"{name} is text, not {native}: it holds {value}",) if native else ()
        return replace(self, columns=columns, sheet=replace(self.sheet, columns=shown), notes=(*self.notes, *note))


@dataclass(frozen=True)
class CatalogPlan:
    """What a run will do with each relation of the database.

    `tables` can be read; `failed` can not, with the error of each; `excluded` are left out with a reason; `unlisted`
    are in the database but not in the catalog, so nobody has decided about them. `sequences` number no column of the
    catalog's tables (see `core.origins`).
    """

    tables: Mapping[str, TablePlan]
    failed: Mapping[str, BackupError]
    excluded: Mapping[str, str]
    unlisted: tuple[str, ...]
    sequences: tuple[DatabaseSequence, ...] = ()


def masked_note(columns: tuple[str, ...]) -> str:
    """What the manifest says about masked columns."""
    return f"{', '.join(columns)}: values replaced by {MASK}"
