"""How each table of a catalog will be read from the database at hand, decided before a row is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from backup_pipeline.core.errors import BackupError
from backup_pipeline.core.relations import Column, ColumnSequence, DatabaseSequence, ForeignKey, Relation
from backup_pipeline.core.restore.dump import Token, TokenKind, name_at, tokens
from backup_pipeline.core.text import MASK, name_sql

US_PER_DAY = 86_400_000_000
DAYS_BEFORE_2000 = 10_957
"""The days from Arrow's beginning to PostgreSQL's."""
US_BEFORE_2000 = DAYS_BEFORE_2000 * US_PER_DAY
"""The same in microseconds."""


_LONGEST = 500
# The types of more than one word: what may follow their first word, before and behind the limits.
_MORE = {
    "character": r"varying",
    "bit": r"varying",
    "double": r"precision",
    "time": r"with(?:out)? time zone",
    "timestamp": r"with(?:out)? time zone",
    "interval": r"(?:year|month|day|hour|minute|second)(?: to (?:month|hour|minute|second))?",
}
# Limits are numbers; those of extensions may be words: geometry(PointZ,4326).
_LIMITS = re.compile(r"\(\s*-?\w+(?:\s*,\s*-?\w+)*\s*\)", re.ASCII)


@dataclass(frozen=True)
class TypeName:
    """A type: its name's parts as they are (schema first, where there is one), the words behind, limits, arrays.

    `quoted` says of a name without a schema that it stands in quotes: `"char"` is another type than `char`.
    """

    name: tuple[str, ...]
    quoted: bool = False
    words: str = ""
    limits: str = ""
    arrays: int = 0

    def sql(self) -> str:
        """The type as SQL, in one line."""
        bare = len(self.name) == 1 and not self.quoted
        named = self.name[0] if bare else ".".join(map(name_sql, self.name))
        zoned = self.words.startswith("with")
        before, behind = ("", self.words) if zoned else (self.words, "")
        parts = (named, f" {before}" if before else "", self.limits, f" {behind}" if behind else "")
        return "".join(parts) + "[]" * self.arrays


def type_name(text: str) -> TypeName:
    """The type that `text` names, as format_type prints it; ValueError when it is anything else."""
    parts = list(tokens(text)) if len(text) <= _LONGEST else []
    name, place = name_at(parts, 0)
    if not 1 <= len(name) <= 2 or place != 2 * len(name) - 1:
        raise _no_type(text)
    words, limits, place = _words_and_limits(text, parts, place)
    arrays = 0
    while [token.text for token in parts[place : place + 2]] == ["[", "]"]:
        arrays, place = arrays + 1, place + 2
    quoted = len(name) == 1 and parts[0].kind is TokenKind.NAME
    more = "" if quoted or len(name) > 1 else _MORE.get(name[0], "")
    if place != len(parts) or (words and not re.fullmatch(more, words)):
        raise _no_type(text)
    return TypeName(name, quoted, words, limits, arrays)


def _words_and_limits(text: str, parts: list[Token], place: int) -> tuple[str, str, int]:
    """The words behind the name, and the limits among them; the place of the next token."""
    words: list[str] = []
    limits = ""
    while place < len(parts) and parts[place].text != "[":
        if parts[place].kind is TokenKind.WORD:
            words.append(parts[place].text)
            place += 1
            continue
        end = next((closing for closing in range(place, len(parts)) if parts[closing].text == ")"), None)
        if end is None or limits or not _LIMITS.fullmatch(text[parts[place].start : parts[end].end]):
            raise _no_type(text)
        limits, place = text[parts[place].start : parts[end].end], end + 1
    return " ".join(words), limits, place


def _no_type(text: str) -> ValueError:
    message = f"{text[:_LONGEST]!r} is not the name of a type as PostgreSQL prints it"
    return ValueError(message)


TEXT = "string"

_NATIVE = {
    "bool": "bool",
    "int2": "int16",
    "int4": "int32",
    "int8": "int64",
    "oid": "int64",
    "float4": "float",
    "float8": "double",
    "text": TEXT,
    "varchar": TEXT,
    "bpchar": TEXT,
    "name": TEXT,
    "bytea": "binary",
    "uuid": "uuid",
    "date": "date32[day]",
    "time": "time64[us]",
    "timestamp": "timestamp[us]",
    "timestamptz": "timestamp[us, tz=UTC]",
}
_MAX_DECIMAL128_DIGITS = 38


def arrow_type_of(column: Column) -> str:
    """The Arrow type of a column, as pyarrow prints it (`uuid` for the canonical extension type)."""
    if not column.builtin:
        return TEXT
    if column.base_type == "numeric":
        return _decimal(column.precision, column.scale)
    return _NATIVE.get(column.base_type, TEXT)


def _decimal(precision: int | None, scale: int | None) -> str:
    if precision is None or scale is None or precision > _MAX_DECIMAL128_DIGITS or not 0 <= scale <= precision:
        return TEXT
    return f"decimal128({precision}, {scale})"


class RowOrder(StrEnum):
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
    """The sheet of a table: its name, its columns, and the name of its file in the bundle (strftime) if it has one.

    `gzipped`: so its files are written, and lie in the store.
    """

    name: str
    columns: tuple[SheetColumn, ...]
    file: str | None = None
    gzipped: bool = False


PARTS_A_RANGE = 1000
"""The numbers of files that each range of a table has for its own: `part-02003.parquet` is the fourth of range 2."""


@dataclass(frozen=True)
class BlockRange:
    """A part of a table by place on disk: its blocks from `start` up to, not including, `stop` (None: to the end).

    `number` says which of the table's ranges it is, from 0; `file` in which file of the server the blocks are.
    """

    number: int
    start: int
    stop: int | None
    file: int


@dataclass(frozen=True)
class TablePlan:
    """How one table is read. Columns left out are in `excluded` with the reason; `notes` go into the manifest.

    `references`, `sequences` and `covers` are not read: they say what belongs to its rows. With `blocks`, those rows
    alone.
    """

    name: str
    relation: Relation
    columns: tuple[PlannedColumn, ...]
    sheet: SheetPlan
    key: tuple[str, ...]
    key_enforced: bool
    order: RowOrder
    excluded: Mapping[str, str]
    notes: tuple[str, ...] = ()
    references: tuple[ForeignKey, ...] = ()
    sequences: tuple[ColumnSequence, ...] = ()
    covers: tuple[tuple[str, str], ...] = ()
    blocks: BlockRange | None = None

    @property
    def first_part(self) -> int:
        """The number of its first file."""
        return self.blocks.number * PARTS_A_RANGE if self.blocks else 0

    def of_range(self, blocks: BlockRange) -> TablePlan:
        """This plan for the rows of a range."""
        return replace(self, order=RowOrder.CTID, blocks=blocks)

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
    catalog's tables.
    """

    tables: Mapping[str, TablePlan]
    failed: Mapping[str, BackupError]
    excluded: Mapping[str, str]
    unlisted: tuple[str, ...]
    sequences: tuple[DatabaseSequence, ...] = ()


def masked_note(columns: tuple[str, ...]) -> str:
    """What the manifest says about masked columns."""
    return f"{', '.join(columns)}: values replaced by {MASK}"
