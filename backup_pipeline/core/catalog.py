"""The catalog: the declaration of one business system, its tables, sheets, keys, masks and timezone.

A catalog is a YAML file (docs/catalog.md explains each field); `backup_pipeline.catalogs` reads it into these values.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from backup_pipeline.core.relation_names import split_reference, split_relation
from backup_pipeline.core.secrets import looks_secret
from backup_pipeline.core.sheet_source import Through, parse_sheet_source


BUNDLE = "bundle"
"""The asset of the bundle; no table may have this name."""


def _known_timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        message = f"{name!r} is not a timezone. Use an IANA name such as Asia/Dhaka"
        raise ValueError(message) from None
    return name


def _cron(text: str) -> str:
    if len(text.split()) != 5:
        message = f"{text!r} is not a cron line of five fields. Daily at midnight is `0 0 * * *`"
        raise ValueError(message)
    return text


def _source(text: str) -> str:
    parse_sheet_source(text)
    return text


def _relation(text: str) -> str:
    split_relation(text)
    return text


def _reference(text: str) -> str:
    split_reference(text)
    return text


def _file_name(text: str) -> str:
    if "/" in text or "\\" in text or not text.strip():
        message = f"{text!r} is not a file name: it may not be empty or contain a slash"
        raise ValueError(message)
    return text


def _not_bundle(name: str) -> str:
    if name == BUNDLE:
        message = f"no table may be named {BUNDLE!r}: it is the asset of the bundle. Name it otherwise, with `relation`"
        raise ValueError(message)
    return name


Reason = Annotated[str, Field(min_length=3, description="why, for the person who asks in a year")]
ColumnName = Annotated[str, StringConstraints(strip_whitespace=False)]  # a blank at its end is part of a name
RelationName = Annotated[str, AfterValidator(_relation)]
Reference = Annotated[str, AfterValidator(_reference)]
SheetPath = Annotated[str, AfterValidator(_source)]
FileTemplate = Annotated[str, AfterValidator(_file_name)]


class _Declared(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


class Shrinkage(_Declared):
    """When fewer rows than last time are suspicious: below `ratio` of them, and by more than `floor` rows."""

    ratio: float = Field(default=0.5, ge=0, le=1)
    floor: int = Field(default=100, ge=0)


class Excluded(_Declared):
    """A relation (or a glob of names) that is left out on purpose."""

    table: str
    reason: Reason


class TableSpec(_Declared):
    """One table of the catalog. Only its name is needed; the rest is read from the database."""

    relation: RelationName | None = Field(default=None, description="what is read, when not the table of that name")
    covers: tuple[RelationName, ...] = Field(default=(), description="base tables that this relation stands for")
    description: str | None = None
    key: tuple[ColumnName, ...] = Field(default=(), description="columns that are unique together; default: the primary key")
    references: Mapping[ColumnName, Reference] = Field(
        default={}, description="look-ups the database does not declare"
    )
    sheet: str | None = Field(default=None, min_length=1, description="the sheet's name; default: the table's")
    sheet_file: FileTemplate | None = Field(default=None, description="the sheet's file name (strftime)")
    columns: Mapping[str, SheetPath] = Field(default={}, description="sheet columns, title: source")
    exclude: Mapping[ColumnName, Reason] = Field(default={}, description="columns left out, with the reason")
    mask: tuple[ColumnName, ...] = Field(default=(), description="columns replaced by [ENCRYPTED]")
    allow: Mapping[ColumnName, Reason] = Field(default={}, description="columns that only look like secrets")
    shrinkage: Shrinkage | None = None

    @model_validator(mode="after")
    def _no_secret_on_a_sheet(self) -> TableSpec:
        for title, text in self.columns.items():
            source = parse_sheet_source(text)
            own = isinstance(source, Through) and not source.keys
            if looks_secret(source.column) and not (own and self.handles(source.column)):
                message = (
                    f"sheet column {title!r} shows {text!r}, which looks like a secret. Leave it off the sheet, "
                    f"add it to `mask`, or add it to `allow` with the reason why it is none"
                )
                raise ValueError(message)
        return self

    def handles(self, column: str) -> bool:
        """Whether the catalog says what to do with a column that looks like a secret."""
        return column in self.exclude or column in self.mask or column in self.allow


class Catalog(_Declared):
    """One business system."""

    catalog: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")
    title: str = ""
    timezone: Annotated[str, AfterValidator(_known_timezone)]
    schema_: str = Field(default="public", alias="schema")
    schedule: Annotated[str, AfterValidator(_cron)] | None = "0 0 * * *"
    start_date: str = Field(default="2026-01-01", pattern=r"^\d{4}-\d{2}-\d{2}$", description="the first partition")
    bundle_name: FileTemplate = "full_backup_%Y-%m-%d_%H-%M.zip"
    grace_minutes: int = Field(default=120, ge=0, le=24 * 60)
    shrinkage: Shrinkage = Shrinkage()
    owners: tuple[str, ...] = ()
    tables: Mapping[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$"), AfterValidator(_not_bundle)], TableSpec] = Field(min_length=1)
    excluded: tuple[Excluded, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _bare_tables(cls, values: object) -> object:
        """`customers:` with nothing behind it is a table with every default."""
        if isinstance(values, dict) and isinstance(tables := values.get("tables"), dict):
            return {**values, "tables": {name: {} if spec is None else spec for name, spec in tables.items()}}
        return values

    @model_validator(mode="after")
    def _sheets_differ(self) -> Catalog:
        seen: dict[str, str] = {}
        for name in self.tables:
            sheet = self.sheet_of(name).casefold()
            if sheet in seen:
                message = f"tables {seen[sheet]!r} and {name!r} have the same sheet {self.sheet_of(name)!r}"
                raise ValueError(message)
            seen[sheet] = name
        return self

    def relation_of(self, table: str) -> tuple[str, str]:
        """The schema and name of what `table` is read from."""
        relation = self.tables[table].relation
        return self.qualify(relation) if relation else (self.schema_, table)

    def sheet_of(self, table: str) -> str:
        """The name of `table`'s sheet."""
        return self.tables[table].sheet or table

    def qualify(self, relation: str) -> tuple[str, str]:
        """`schema.name` or `name` as a pair, the catalog's schema where none is given (see `relation_names`)."""
        schema, name = split_relation(relation)
        return schema or self.schema_, name

    def excluded_reason(self, schema: str, name: str) -> str | None:
        """Why the relation is left out on purpose, or None."""
        full = f"{schema}.{name}"
        for rule in self.excluded:
            pattern = rule.table if "." in rule.table or rule.table == "*" else f"{self.schema_}.{rule.table}"
            if fnmatchcase(full, pattern):
                return rule.reason
        return None

    def shrinkage_of(self, table: str) -> Shrinkage:
        """The shrinkage rule of `table`."""
        return self.tables[table].shrinkage or self.shrinkage
