"""What a PostgreSQL database consists of, as far as backups care: relations, columns, keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

_PART = r'(?:"(?:[^"]|"")+"|[^."]+)'
_NAMES = re.compile(rf"{_PART}(?:\.{_PART})*")
_RULE = 'Put a name that has a dot or a quote in it in double quotes: "my schema"."odd.name".'


def split_relation(text: str) -> tuple[str | None, str]:
    """The schema (None where it is not given) and the name written as `text`; ValueError when it is neither."""
    parts = _split(text)
    if len(parts) > 2:
        message = f"{text!r} is not a relation: allowed are `name` and `schema.name`. {_RULE}"
        raise ValueError(message)
    *schema, name = (_bare(part) for part in parts)
    return (schema[0] if schema else None), name


def split_reference(text: str) -> tuple[str, str]:
    """The relation, still as it is written, and the column of `relation.column`; ValueError when it is neither."""
    *relation, column = _split(text)
    if not 1 <= len(relation) <= 2:
        message = f"{text!r} is not a reference: allowed are `table.column` and `schema.table.column`. {_RULE}"
        raise ValueError(message)
    return ".".join(relation), _bare(column)


def write_relation(schema: str | None, name: str) -> str:
    """The text that `split_relation` reads as this schema and name."""
    return ".".join(_quoted(part) for part in (schema, name) if part is not None)


def _split(text: str) -> list[str]:
    if not _NAMES.fullmatch(text):
        message = f"{text!r} is not a name. {_RULE}"
        raise ValueError(message)
    return re.findall(_PART, text)


def _bare(part: str) -> str:
    return part[1:-1].replace('""', '"') if part.startswith('"') else part


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[^\W\d][\w$]*", name) else '"' + name.replace('"', '""') + '"'


class RelationKind(StrEnum):
    """What a relation is. Partitions of a partitioned table are part of it and do not stand alone."""

    TABLE = "table"
    PARTITIONED = "partitioned table"
    VIEW = "view"
    MATERIALIZED = "materialized view"
    FOREIGN = "foreign table"


@dataclass(frozen=True)
class Column:
    """A column. `pg_type` as PostgreSQL prints it; `base_type` the name of the type below any domain, e.g. `numeric`.

    `builtin` is whether the base type is one of PostgreSQL's own scalar types (not an enum, array, range, composite
    or an extension's). `precision` and `scale` are those of a constrained numeric. `output` is the function of
    PostgreSQL's own that prints a type that is not builtin (`format` for a domain over one), empty where it is an
    extension's.
    `nondeterministic` is whether its collation takes different texts for equal.
    """

    name: str
    pg_type: str
    base_type: str
    builtin: bool
    nullable: bool = True
    precision: int | None = None
    scale: int | None = None
    nondeterministic: bool = False
    generated: bool = False
    identity: bool = False
    readable: bool = True
    output: str = ""
    comment: str = ""


@dataclass(frozen=True)
class ForeignKey:
    """A reference from `columns` to `target_columns` of the relation (schema, name) `target`.

    `enforced` is whether the database lets no row without its target be: not so for a constraint that was never
    validated, and for a reference that only the catalog declares.
    """

    columns: tuple[str, ...]
    target: tuple[str, str]
    target_columns: tuple[str, ...]
    enforced: bool = True


@dataclass(frozen=True)
class ColumnSequence:
    """A sequence (schema, name) that feeds `column`: of an identity, a serial, or named in the column's default.

    Sequences stand outside any snapshot: this is the state when it was read, after the snapshot was opened.
    `last_value` is None when it could not be read; `is_called` is false for one that gives `last_value` itself next.
    """

    sequence: tuple[str, str]
    column: str
    last_value: int | None
    is_called: bool = False


@dataclass(frozen=True)
class DatabaseSequence:
    """A sequence of the database (schema, name) and where it stood, as in `ColumnSequence`.

    `cycles`: it begins again at its other end, so that a smaller number may come after a larger one. `feeds`: it
    numbers a column of some table.
    """

    sequence: tuple[str, str]
    last_value: int | None
    is_called: bool = False
    cycles: bool = False
    feeds: bool = False


@dataclass(frozen=True)
class LargeObjects:
    """The large objects of a database: how many (None when that may not be read), and the bytes they take there."""

    count: int | None = 0
    bytes: int = 0


@dataclass(frozen=True)
class Relation:
    """A table or view. `unique_keys` are column sets that a valid unique index on NOT NULL columns enforces.

    `inherited` is whether other tables inherit from it: their rows show in it, but they are theirs. `parents` are those
    that it inherits from, or the one it is a partition of. `extension` is the extension that it belongs to;
    `configuration` then says that its rows are people's, not the extension's own. `filtered`: row-level security hides
    rows from the role. `populated` is false for a materialized view that holds no rows yet.
    """

    schema: str
    name: str
    kind: RelationKind
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...] = ()
    unique_keys: tuple[tuple[str, ...], ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    sequences: tuple[ColumnSequence, ...] = ()
    estimated_rows: int = 0
    total_bytes: int = 0
    readable: bool = True
    is_partition: bool = False
    inherited: bool = False
    comment: str = ""
    parents: tuple[tuple[str, str], ...] = ()
    extension: str = ""
    configuration: bool = False
    filtered: bool = False
    populated: bool = True

    @property
    def id(self) -> tuple[str, str]:
        """Schema and name."""
        return self.schema, self.name

    @property
    def full_name(self) -> str:
        """`schema.name`, for people."""
        return f"{self.schema}.{self.name}"

    @property
    def holds_rows(self) -> bool:
        """Whether it holds rows of its own, so that a backup without it would miss something."""
        return self.kind in {RelationKind.TABLE, RelationKind.PARTITIONED} and not self.is_partition

    def column(self, name: str) -> Column | None:
        """The column of that name, or None."""
        return next((column for column in self.columns if column.name == name), None)


@dataclass(frozen=True)
class Database:
    """Every relation and sequence of a database that is not PostgreSQL's own; of sequences none of an extension."""

    name: str
    relations: Mapping[tuple[str, str], Relation] = field(default_factory=dict)
    sequences: tuple[DatabaseSequence, ...] = ()
    large_objects: LargeObjects = LargeObjects()

    def get(self, relation: tuple[str, str]) -> Relation | None:
        """The relation of that schema and name, or None."""
        return self.relations.get(relation)

    def names(self) -> list[str]:
        """The full names of all relations, sorted."""
        return sorted(relation.full_name for relation in self.relations.values())
