"""The catalog: the declaration of one business system, its tables, sheets, keys, masks and timezone.

A catalog is a YAML file (docs/catalog.md explains each field); `backup_pipeline.catalogs` reads it into these values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from fnmatch import fnmatchcase
from glob import escape
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from backup_pipeline.core.catalog import rules
from backup_pipeline.core.catalog.businesses import Businesses, checked_by, parse_business
from backup_pipeline.core.catalog.rules import BUNDLE, AnomalyKind, Through, parse_sheet_source
from backup_pipeline.core.errors import UsageError
from backup_pipeline.core.names import camel_case, same_file, sheet_file
from backup_pipeline.core.relations import RelationKind, split_relation
from backup_pipeline.core.retention import Retention
from backup_pipeline.core.scope import Scope
from backup_pipeline.core.text import looks_secret

__all__ = [
    "BUNDLE",
    "Anomalies",
    "Catalog",
    "ColumnKind",
    "Excluded",
    "JsonShape",
    "Shrinkage",
    "TableSpec",
    "Validation",
]

Reason = Annotated[str, Field(min_length=3, description="why, for the person who asks in a year")]
ColumnName = Annotated[str, StringConstraints(strip_whitespace=False)]  # a blank at its end is part of a name
RelationName = Annotated[str, AfterValidator(rules.relation)]
Reference = Annotated[str, AfterValidator(rules.reference)]
SheetPath = Annotated[str, AfterValidator(rules.sheet_source)]
SampleRows = Annotated[int, Field(ge=0, le=20)]
TableName = Annotated[str, AfterValidator(rules.table_name)]


class _Declared(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True, defer_build=True)


class Shrinkage(_Declared):
    """When fewer rows than last time are suspicious: below `ratio` of them, and by more than `floor` rows."""

    ratio: float = Field(default=0.5, ge=0, le=1)
    floor: int = Field(default=100, ge=0)


class Anomalies(_Declared):
    """When a table is unusual against the last `trailing` good backups (docs/anomalies.md); with 0, never.

    Rows are when they fell to `ratio` of the median, or when the most so far is only `ratio` of them; and they lie
    outside of what was seen by more than `floor_rows`. Bytes likewise.
    """

    ratio: float = Field(default=0.5, gt=0, lt=1)
    floor_rows: int = Field(default=100, ge=0)
    floor_bytes: int = Field(default=100_000, ge=0)
    trailing: int = Field(default=14, ge=0, le=100)
    allow: Mapping[AnomalyKind, Reason] = Field(default={}, description="kinds that are usual here, with the reason")


class Excluded(_Declared):
    """A relation (or a glob of names) that is left out on purpose."""

    table: str = Field(min_length=1)
    reason: Reason


class ColumnKind(StrEnum):
    """What a column holds of a customer: by that its values are judged (docs/systems.md)."""

    FIRST_NAME = "first_name"
    LAST_NAME = "last_name"
    NAME = "name"
    EMAIL = "email"
    PHONE = "phone"
    SORT_CODE = "sort_code"
    ACCOUNT_NUMBER = "account_number"
    POSTCODE = "postcode"
    DATE_OF_BIRTH = "date_of_birth"
    TEXT = "text"


class Validation(_Declared):
    """How customers' data is judged: where numbers without a country are from, and from which share on people are told.

    `on_invalid: quarantine` leaves rows out of the sources' JSON shapes, into a file of their own. No backup lacks any.
    """

    region: str | None = Field(default=None, pattern="^[A-Z]{2}$")
    share: float = Field(default=0.05, ge=0, le=1)
    on_invalid: Literal["report", "quarantine"] = "report"


class JsonShape(_Declared):
    """What a table is in the JSON shapes of the sources: its name there, and how the names of its columns are written.

    `camel` writes `sms_logs` as `smsLogs`, the table's own name too unless one is given.
    """

    name: str | None = Field(default=None, min_length=1)
    case: Literal["plain", "camel"] = "plain"


class MessageSource(_Declared):
    """Where messages of one kind are: a table, its column with their status, and which statuses are a success.

    `opens` and `clicks` are columns with numbers; `bounced` are the statuses of what came back.
    """

    table: str
    status: ColumnName
    succeeded: tuple[str, ...] = Field(min_length=1)
    opens: ColumnName | None = None
    clicks: ColumnName | None = None
    bounced: tuple[str, ...] = ()


class DocumentSource(_Declared):
    """Where documents are: a table, its column with their status, and which statuses say that one was generated.

    `downloads` is a column with numbers, `name` what a document is called, `template` the type it was made from.
    """

    table: str
    status: ColumnName
    generated: tuple[str, ...] = Field(min_length=1)
    downloads: ColumnName | None = None
    name: ColumnName | None = None
    template: ColumnName | None = None


class ChannelSource(_Declared):
    """Where communication of any kind is noted: a table, and its column with the channel."""

    table: str
    channel: ColumnName


class Communication(_Declared):
    """Which tables tell of communication (docs/systems.md)."""

    sms: MessageSource | None = None
    email: MessageSource | None = None
    documents: DocumentSource | None = None
    channels: ChannelSource | None = None


class TableSpec(_Declared):
    """One table of the catalog. Only its name is needed; the rest is read from the database."""

    relation: RelationName | None = Field(default=None, description="what is read, when not the table of that name")
    kind: Literal["view", "materialized view", "foreign table"] | None = Field(
        default=None, description="what the relation is, when it is no table"
    )
    covers: tuple[RelationName, ...] = Field(default=(), description="base tables that this relation stands for")
    business: Annotated[str, checked_by(parse_business)] | None = Field(
        default=None, description="how a row finds its business, or `shared`"
    )
    description: str | None = None
    key: tuple[ColumnName, ...] = Field(
        default=(), description="columns that are unique together; default: the primary key"
    )
    references: Mapping[ColumnName, Reference] = Field(default={}, description="look-ups the database does not declare")
    sheet: str | None = Field(default=None, min_length=1, description="the sheet's name; default: the table's")
    sheet_file: Annotated[str, AfterValidator(rules.csv_name)] | None = Field(
        default=None, description="the sheet's file name (strftime)"
    )
    columns: Mapping[str, SheetPath] = Field(default={}, description="sheet columns, title: source")
    validation: Mapping[ColumnName, ColumnKind] = Field(default={}, description="what columns hold of a customer")
    json_: JsonShape = Field(default=JsonShape(), alias="json", description="its name and case in the sources' JSON")
    exclude: Mapping[ColumnName, Reason] = Field(default={}, description="columns left out, with the reason")
    mask: tuple[ColumnName, ...] = Field(default=(), description="columns replaced by [ENCRYPTED]")
    sensitive: tuple[ColumnName, ...] = Field(default=(), description="columns that viewers see masked")
    allow: Mapping[ColumnName, Reason] = Field(default={}, description="columns that only look like secrets")
    shrinkage: Shrinkage | None = None
    anomalies: Anomalies | None = None
    sample_rows: SampleRows | None = Field(default=None, description="the catalog's sample_rows, another one here")

    @model_validator(mode="after")
    def _no_secret_on_a_sheet(self) -> TableSpec:
        for title, text in self.columns.items():
            source = parse_sheet_source(text)
            own = isinstance(source, Through) and not source.keys
            if looks_secret(source.column) and not (own and self.handles(source.column)):
                other = ", add it to `mask`, or add it to `allow` with the reason why it is none" if own else ""
                message = f"it shows {text!r}, which looks like a secret. Leave it off the sheet{other}"
                raise rules.contradiction(("columns", title), message)
        return self

    @model_validator(mode="after")
    def _one_decision_for_each_column(self) -> TableSpec:
        decided: dict[str, str] = {}
        for field, columns in (("exclude", self.exclude), ("mask", self.mask), ("allow", self.allow)):
            for index, column in enumerate(columns):
                if decided.setdefault(column, field) != field:
                    message = f"{column!r} stands under `{decided[column]}` too. Decide for one of the two"
                    raise rules.contradiction((field, index if field == "mask" else column), message)
        for index, column in enumerate(self.key):
            if decided.get(column, "allow") != "allow":
                message = f"{column!r} is part of the key, but `{decided[column]}` keeps its values out of the files"
                advice = f"Take it out of `{decided[column]}`, or name other columns that are unique together"
                raise rules.contradiction(("key", index), f"{message}. {advice}")
        return self

    def handles(self, column: str) -> bool:
        """Whether the catalog says what to do with a column that looks like a secret."""
        return column in self.exclude or column in self.mask or column in self.allow


class Catalog(_Declared):
    """One business system."""

    catalog: Annotated[str, AfterValidator(rules.catalog_name)]
    title: str = ""
    timezone: Annotated[str, AfterValidator(rules.timezone_name)]
    schema_: str = Field(default="public", alias="schema", min_length=1)
    schedule: Annotated[str, AfterValidator(rules.cron)] | None = "0 0 * * *"
    start_date: Annotated[str, AfterValidator(rules.day)] | None = Field(
        default=None, description="the first partition; None: the day of the installation's first backup"
    )
    bundle_name: Annotated[str, AfterValidator(rules.zip_name)] = "full_backup_%Y-%m-%d_%H-%M.zip"
    csv: Literal["plain", "gzip"] = Field(
        default="plain", description="how the sheets of the partitions lie in the store"
    )
    reason_required: bool = Field(default=False, description="whether a backup by hand has to say why it is made")
    grace_minutes: int = Field(default=120, ge=0, le=24 * 60)
    runs: int = Field(default=1, ge=1, le=64, description="how many runs of Dagster read one snapshot together")
    shrinkage: Shrinkage = Shrinkage()
    anomalies: Anomalies = Anomalies()
    sample_rows: SampleRows = Field(default=0, description="rows of each table that Dagster shows; 0 shows none")
    retention: Retention = Retention()
    communication: Communication | None = Field(default=None, description="which tables tell of communication")
    validation: Validation = Validation()
    businesses: Businesses | None = Field(default=None, description="of a database that many businesses share")
    owners: tuple[Annotated[str, AfterValidator(rules.owner)], ...] = ()
    legacy: tuple[Annotated[str, AfterValidator(rules.store_folder)], ...] = Field(
        default=(), description="folders of the store with backup files of an earlier program"
    )
    views: tuple[RelationName, ...] = Field(default=(), description="views that look-ups may read")
    tables: Mapping[TableName, TableSpec] = Field(min_length=1)
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
        """Two sheets never share a file of the bundle, not even the second part of one: `Log (2).csv`."""
        seen: dict[str, str] = {}
        for name, spec in self.tables.items():
            own = same_file(spec.sheet_file).removesuffix(".csv") if spec.sheet_file else None
            file = own or sheet_file(self.sheet_of(name))
            if file in seen:
                message = f"tables {seen[file]!r} and {name!r} have the same sheet {self.sheet_of(name)!r}"
                raise rules.contradiction(self._sheet_field(name), f"{message}. Name one of them otherwise")
            seen[file] = name
        for file, name in seen.items():
            first = re.sub(r" \(\d+\)$", "", file)
            if first != file and first in seen:
                message = f"the sheet of table {name!r} has the name of a further part of the sheet of {seen[first]!r}"
                raise rules.contradiction(self._sheet_field(name), f"{message}. Name it otherwise")
        return self

    @model_validator(mode="after")
    def _communication_is_of_tables(self) -> Catalog:
        for kind in Communication.model_fields if self.communication else ():
            source = getattr(self.communication, kind)
            if source is not None and source.table not in self.tables:
                message = f"there is no table {source.table!r} in this catalog. Use one of {', '.join(self.tables)}"
                raise rules.contradiction(("communication", kind, "table"), message)
        return self

    @model_validator(mode="after")
    def _every_row_is_of_a_business_or_shared(self) -> Catalog:
        for name, spec in self.tables.items():
            if self.businesses is None and spec.business is not None:
                message = "no `businesses` stand in this catalog. Declare them, or take this out"
                raise rules.contradiction(("tables", name, "business"), message)
            if self.businesses is not None and spec.business is None:
                message = f"table {name!r} has no `business`. Say how a row finds it, such as business_id, or `shared`"
                raise rules.contradiction(("tables", name), message)
        return self

    @model_validator(mode="after")
    def _json_names_differ(self) -> Catalog:
        """Two tables are never one key of a JSON document."""
        seen: dict[str, str] = {}
        for name in self.tables:
            shown = self.json_name_of(name)
            if (other := seen.setdefault(shown, name)) != name:
                message = f"tables {other!r} and {name!r} are both {shown!r} in JSON. Name one of them otherwise"
                raise rules.contradiction(("tables", name, "json"), message)
        return self

    @model_validator(mode="after")
    def _folders_differ(self) -> Catalog:
        """A table is a folder, in a directory store and in an unpacked bundle: not every system tells case apart."""
        seen: dict[str, str] = {}
        for name in self.tables:
            if (other := seen.setdefault(name.lower(), name)) != name:
                message = f"tables {other!r} and {name!r} differ in case alone, and would share a folder"
                advice = f"Name one of them otherwise, with `relation: {name}`"
                raise rules.contradiction(("tables", name), f"{message}. {advice}")
        return self

    @model_validator(mode="after")
    def _listed_or_excluded(self) -> Catalog:
        """A pattern may take in listed tables too; a plain name is meant for its table alone."""
        listed = {".".join(self.relation_of(name)): name for name in self.tables}
        for index, rule in enumerate(self.excluded):
            if table := listed.get(self._pattern(rule)):
                message = f"{rule.table!r} is what table {table!r} reads, so it is both listed and excluded"
                raise rules.contradiction(("excluded", index, "table"), f"{message}. Decide for one of the two")
        return self

    def _sheet_field(self, table: str) -> tuple[str, str, str]:
        return ("tables", table, "sheet_file" if self.tables[table].sheet_file else "sheet")

    def _pattern(self, rule: Excluded) -> str:
        return rule.table if "." in rule.table or rule.table == "*" else f"{self.schema_}.{rule.table}"

    def relation_of(self, table: str) -> tuple[str, str]:
        """The schema and name of what `table` is read from."""
        relation = self.tables[table].relation
        return self.qualify(relation) if relation else (self.schema_, table)

    def check_reason(self, reason: str) -> None:
        """UsageError where a backup by hand has to say why it is made, and does not."""
        if self.reason_required and not reason.strip():
            message = f"A backup of {self.catalog} by hand wants a reason: its catalog says `reason_required`."
            raise UsageError(message, do='Say why, such as --reason "before the system update".')

    def json_name_of(self, table: str) -> str:
        """What `table` is called in the sources' JSON."""
        shape = self.tables[table].json_
        return shape.name or (camel_case(table) if shape.case == "camel" else table)

    def sheet_of(self, table: str) -> str:
        """The name of `table`'s sheet."""
        return self.tables[table].sheet or table

    def reads_through(self, relation: tuple[str, str]) -> bool:
        """Whether the catalog names a view that look-ups may read."""
        return relation in {self.qualify(name) for name in self.views}

    def qualify(self, relation: str) -> tuple[str, str]:
        """`schema.name` or `name` as a pair, the catalog's schema where none is given (see `relation_names`)."""
        schema, name = split_relation(relation)
        return schema or self.schema_, name

    def excluded_reason(self, schema: str, name: str) -> str | None:
        """Why the relation is left out on purpose, or None."""
        full = f"{schema}.{name}"
        for rule in self.excluded:
            if fnmatchcase(full, self._pattern(rule)):
                return rule.reason
        return None

    def excluded_by_name(self, schema: str, name: str) -> str | None:
        """Why this very relation is left out: a pattern that takes in others too is no decision about it alone."""
        exact = {f"{schema}.{name}", f"{escape(schema)}.{escape(name)}"}
        return next((rule.reason for rule in self.excluded if self._pattern(rule) in exact), None)

    def kinds_of(self, relation: tuple[str, str]) -> frozenset[RelationKind]:
        """What a relation may be to be read: a table always; a view and the like where a table of the catalog says so.

        What `covers` base tables is a view by that. The code of a view runs when it is read, and a table can become
        one under the same name.
        """
        kinds = {RelationKind.TABLE, RelationKind.PARTITIONED}
        if self.reads_through(relation):
            kinds |= {RelationKind.VIEW, RelationKind.MATERIALIZED}
        for name, spec in self.tables.items():
            if self.relation_of(name) == relation:
                kinds |= {RelationKind(spec.kind)} if spec.kind else set()
                kinds |= {RelationKind.VIEW, RelationKind.MATERIALIZED} if spec.covers else set()
        return frozenset(kinds)

    def shrinkage_of(self, table: str) -> Shrinkage:
        """The shrinkage rule of `table`."""
        return self.tables[table].shrinkage or self.shrinkage

    def sample_rows_of(self, table: str) -> int:
        """How many rows of `table` Dagster may show."""
        own = self.tables[table].sample_rows
        return self.sample_rows if own is None else own

    def anomalies_of(self, table: str) -> Anomalies:
        """What is unusual for `table`: its own fields where it gives them, else those of the file."""
        own = self.tables[table].anomalies if table in self.tables else None
        return self.anomalies.model_copy(update=own.model_dump(exclude_unset=True)) if own else self.anomalies

    def retention_of(self, scope: Scope) -> Retention:
        """The rules for the backups of a scope: what ticks make of each business has a rule of its own."""
        if scope.business is None or self.businesses is None:
            return self.retention
        return self.retention.model_copy(update={"automatic": self.businesses.retention})
