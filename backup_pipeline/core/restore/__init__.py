"""The values of a restore: its request, its plan with what is decided about each table, its report, and the target."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Literal

from backup_pipeline.core.relations import RelationKind
from backup_pipeline.core.scope import NOBODY, Actor

Name = tuple[str, str]
"""A relation: schema and name."""

Which = Literal["first", "second"]
"""A store of the installation: the first, or the one that gets copies."""
FIRST: Which = "first"
SECOND: Which = "second"


_OF_THE_ROW = frozenset({"actor", "safety_backup", "store", "selection"})


class Mode(StrEnum):
    """What a restore does with the tables of the target."""

    NEW = "new"
    """Create the tables; refused when one is there."""
    INSERT_MISSING = "insert-missing"
    """Add the rows whose key the target lacks; change nothing that is there."""
    UPSERT = "upsert"
    """Add what is missing, and give rows with the same key the backup's values; remove nothing."""
    REPLACE = "replace"
    """Afterwards the tables hold exactly the backup's rows."""
    DIFFERENCE = "difference"
    """Of one business of many: what differs between now and then, row by row (`Selection`)."""


TABLE_MODES = tuple(mode for mode in Mode if mode is not Mode.DIFFERENCE)
"""The modes of a restore of whole tables."""


class RowChange(StrEnum):
    """What may be done to the rows that a business has now."""

    CREATE = "create"
    """Add rows that are missing."""
    UPDATE = "update"
    """Give rows that are there the values of then."""
    DELETE = "delete"
    """Remove rows that came later."""


EVERY_CHANGE = tuple(RowChange)


@dataclass(frozen=True)
class Selection:
    """What of a business is brought back: which changes; of a table the rows with these keys alone, or all `but` some.

    A key is the text of its column, or of several columns a JSON list of texts. `at` is the moment that was wanted,
    where somebody named one and not a backup.
    """

    changes: tuple[RowChange, ...] = EVERY_CHANGE
    rows: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    but: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    at: datetime | None = None

    def as_json(self) -> dict[str, object]:
        """The same as JSON, as the ledger keeps it."""
        kept = {name: {table: list(keys) for table, keys in of.items()} for name, of in self._keys}
        return {
            "changes": [change.value for change in RowChange if change in self.changes],
            **kept,
            "at": self.at.isoformat() if self.at else None,
        }

    @property
    def _keys(self) -> tuple[tuple[str, Mapping[str, tuple[str, ...]]], ...]:
        return ("rows", self.rows), ("but", self.but)


class RemarkSeverity(StrEnum):
    """How much a remark weighs."""

    INFO = "info"
    WARNING = "warning"
    REFUSAL = "refusal"


class Action(StrEnum):
    """What happens to one table."""

    CREATE = "create"
    INSERT_MISSING = "insert-missing"
    UPSERT = "upsert"
    REPLACE = "replace"


@dataclass(frozen=True)
class RestoreRequest:
    """What somebody asked for: which backup, which tables of it (all when empty), how, and where to.

    `into_schema` puts every table into that schema; `rename` maps a table to the name of the relation it goes to.
    `fill` gives a value, as text, to a column that the backup does not hold (`table.column` -> value), for new rows.
    `store` is the one that the backup is read from. Without a `safety_backup` rows are overwritten that nobody has any
    more. `confirm` is what the person typed: the name of the target's database, or of the business. `selection` is what
    of a business is brought back, with the mode `difference`.
    """

    backup_id: str
    tables: tuple[str, ...] = ()
    mode: Mode = Mode.NEW
    into_schema: str | None = None
    rename: Mapping[str, str] = field(default_factory=dict)
    fill: Mapping[str, str] = field(default_factory=dict)
    safety_backup: bool = True
    store: Which = FIRST
    confirm: str | None = None
    actor: Actor = NOBODY
    reason: str = ""
    selection: Selection | None = None

    @property
    def moves(self) -> bool:
        """Whether tables go somewhere else than where they came from."""
        return bool(self.into_schema or self.rename)


@dataclass(frozen=True)
class RestoreRemark:
    """Something a person should know before the restore; a refusal keeps it from running, `do` is the way out."""

    severity: RemarkSeverity
    message: str
    table: str | None = None
    do: str = ""


@dataclass(frozen=True)
class LoadedColumn:
    """A column that is restored: its name in the backup, and in the target's table, and the target's type.

    `binary` says that its values can go to the server in its own binary form.
    """

    name: str
    target: str
    pg_type: str
    binary: bool = False


@dataclass(frozen=True)
class RecordedSequence:
    """The state of a sequence that feeds `column` of the target's table, as the backup's run saw it."""

    sequence: Name
    column: str
    last_value: int | None
    is_called: bool


@dataclass(frozen=True)
class SequenceRestore:
    """A sequence that numbers no column of the backup's tables, and where it stood.

    `made`: the restore makes it, and sets it just so. One that is there already is moved on to it, never back.
    """

    sequence: Name
    last_value: int
    is_called: bool
    made: bool


@dataclass(frozen=True)
class BrokenKey:
    """A foreign key, `columns` of `child` to `parent`, that so many rows of the backup break: the source broke it."""

    child: Name
    columns: tuple[str, ...]
    parent: Name
    rows: int


@dataclass(frozen=True)
class PackedFile:
    """A Parquet member of the bundle, and what it must add up to."""

    path: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class TableRestore:
    """What is decided about one table.

    `source` is the relation it came from, `target` the table it goes to. `columns` are loaded; `kept` are columns of
    the target that the backup has no values for, with what becomes of them; `ignored` are columns of the backup that
    are not written, with the reason. `filled` are values for columns of new rows. `key` is how rows are told apart,
    in the target's names; empty when there is none. `rows_now` is None when the table is not there. `extension`: it is
    made by an extension, and what that put into it gives way.
    """

    name: str
    source: Name
    target: Name
    action: Action
    columns: tuple[LoadedColumn, ...]
    key: tuple[str, ...]
    rows_in_backup: int
    rows_now: int | None
    kept: Mapping[str, str] = field(default_factory=dict)
    ignored: Mapping[str, str] = field(default_factory=dict)
    filled: Mapping[str, str] = field(default_factory=dict)
    sequences: tuple[RecordedSequence, ...] = ()
    files: tuple[PackedFile, ...] = ()
    triggers: tuple[str, ...] = ()
    extension: bool = False

    @property
    def target_name(self) -> str:
        """`schema.name` of the target, for people."""
        return ".".join(self.target)

    @property
    def binary(self) -> bool:
        """Whether the rows go to the server in its own binary form, else as CSV."""
        return bool(self.columns) and all(column.binary for column in self.columns)

    @property
    def bytes(self) -> int:
        """The bytes to fetch."""
        return sum(file.bytes for file in self.files)


@dataclass(frozen=True)
class SchemaSteps:
    """The DDL of a restore that creates tables: what runs before the rows, what after them, what is left out and why.

    `schemas` are made first. `refreshed` are materialized views to fill at the end. `plain` tables are made from the
    manifest, because they go somewhere else than where they came from.
    """

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    schemas: tuple[str, ...] = ()
    refreshed: tuple[Name, ...] = ()
    plain: tuple[PlainTable, ...] = ()


@dataclass(frozen=True)
class PlainTable:
    """A table made from the manifest: columns (name, type, NOT NULL, identity), primary key. No more of its DDL."""

    target: Name
    columns: tuple[PlainColumn, ...]
    key: tuple[str, ...]


@dataclass(frozen=True)
class PlainColumn:
    """A column of a plain table."""

    name: str
    pg_type: str
    not_null: bool
    identity: bool


@dataclass(frozen=True)
class RestorePlan:
    """What a restore will do, with reasons. `tables` stand in the order of their dependencies.

    `target` is the URL without its password, `database` its name. `confirm_name` is what `confirm` of the request must
    say; None when nothing that is there can change. `safety_backup` says that the target's tables are backed up first.
    `broken` are foreign keys that are NOT VALID afterwards. `search_path` is the one under which rows are written where
    functions want it.
    """

    request: RestoreRequest
    backup_id: str
    catalog: str
    snapshot_at: datetime
    target: str
    database: str
    tables: tuple[TableRestore, ...]
    remarks: tuple[RestoreRemark, ...]
    confirm_name: str | None = None
    safety_backup: bool = False
    steps: SchemaSteps = SchemaSteps()
    sequences: tuple[SequenceRestore, ...] = ()
    broken: tuple[BrokenKey, ...] = ()
    search_path: str = ""

    @property
    def refusals(self) -> tuple[RestoreRemark, ...]:
        """Why it can not run."""
        return tuple(remark for remark in self.remarks if remark.severity is RemarkSeverity.REFUSAL)

    @property
    def refused(self) -> bool:
        """Whether it can not run."""
        return bool(self.refusals)

    @property
    def confirmed(self) -> bool:
        """Whether the person typed what must be typed, or nothing must."""
        return self.confirm_name is None or self.request.confirm == self.confirm_name

    @property
    def whose(self) -> str:
        """Whose name has to be typed."""
        return f"database {self.database}"

    def confirmed_with(self, name: str | None) -> RestorePlan:
        """The plan with the name that was given for it."""
        return replace(self, request=replace(self.request, confirm=name))

    @property
    def bytes(self) -> int:
        """The bytes of the bundle's members that are needed."""
        return sum(table.bytes for table in self.tables)

    @property
    def digest(self) -> str:
        """SHA-256 of all that decides what the restore does: the same plan made later has the same one.

        Not in it are the rows that are there now, which go on changing, remarks, which are words about the plan, and
        the role of the target's URL; of the files their own SHA-256 is.
        """
        request = self.request
        decided = {
            "backup_id": self.backup_id,
            "database": self.database,
            "request": [request.mode, request.tables, request.into_schema, dict(request.rename), dict(request.fill)],
            "tables": [{**asdict(table), "rows_now": None} for table in self.tables],
            "steps": asdict(self.steps),
            "sequences": [asdict(sequence) for sequence in self.sequences],
        }
        return hashlib.sha256(json.dumps(decided, sort_keys=True, default=str).encode()).hexdigest()

    def as_json(self) -> dict[str, object]:
        """The plan as JSON values, without the DDL itself."""
        plan = asdict(self)
        # Which store is read, and whether a safety backup is made, stand in the request's row.
        request = {name: value for name, value in plan["request"].items() if name not in _OF_THE_ROW}
        plan["request"] = {**request, "requested_by": str(self.request.actor)}
        steps = plan.pop("steps")
        created = {"statements_before": len(steps["before"]), "statements_after": len(steps["after"])}
        more = {"digest": self.digest, "refused": self.refused, "bytes": self.bytes, "left_out": steps["left_out"]}
        return {**plan, "snapshot_at": self.snapshot_at.isoformat(), **more, **created}


@dataclass(frozen=True)
class TableReport:
    """What became of one table, in rows, as the server counted them. `unchanged` were there already, just so."""

    name: str
    target: Name
    loaded: int
    inserted: int
    updated: int
    deleted: int
    unchanged: int
    seconds: float


@dataclass(frozen=True)
class RestoreReport:
    """What a restore did. `notes` say what did not stop it, such as statistics that could not be made."""

    backup_id: str
    catalog: str
    snapshot_at: datetime
    target: str
    database: str
    mode: Mode
    tables: tuple[TableReport, ...]
    bytes_fetched: int
    seconds: float
    safety_backup_id: str | None = None
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, object]:
        """The report as JSON values."""
        return {**asdict(self), "snapshot_at": self.snapshot_at.isoformat()}


@dataclass(frozen=True)
class TargetColumn:
    """A column of the target. `identity` is `always`, `by default` or empty."""

    name: str
    pg_type: str
    nullable: bool = True
    has_default: bool = False
    generated: bool = False
    identity: str = ""

    @property
    def makes_itself(self) -> bool:
        """Whether a new row may do without a value for it."""
        return self.nullable or self.has_default or self.generated or bool(self.identity)


@dataclass(frozen=True)
class TargetReference:
    """A foreign key of the target: `columns` of `child` refer to `target_columns` of `parent`.

    `on_delete` and `on_update` as SQL names them. That of a partition stands under the partitioned table's name.
    """

    name: str
    child: Name
    parent: Name
    columns: tuple[str, ...]
    target_columns: tuple[str, ...]
    on_delete: str = "NO ACTION"
    on_update: str = "NO ACTION"


@dataclass(frozen=True)
class TargetRelation:
    """A relation of the target that the restore is about.

    `rows` is counted, None when the role may not read it. `unique_keys` are column sets that a valid index on NOT NULL
    columns enforces, the primary key first; `uniques` the columns of every unique index and exclusion constraint, with
    those in their expressions. `privileges` are SQL's names. `triggers` are the enabled ones of users.
    `filtered` says that row-level security hides rows from this role. `view_sql` is the query of a view.
    `elsewhere` are partitions that are foreign tables: their rows lie on other servers, and are not counted.
    """

    name: Name
    kind: RelationKind
    columns: tuple[TargetColumn, ...]
    unique_keys: tuple[tuple[str, ...], ...] = ()
    rows: int | None = None
    owned: bool = True
    privileges: frozenset[str] = frozenset()
    uniques: tuple[tuple[str, ...], ...] = ()
    triggers: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    filtered: bool = False
    elsewhere: tuple[str, ...] = ()
    view_sql: str = ""

    def column(self, name: str) -> TargetColumn | None:
        """The column of that name, or None."""
        return next((column for column in self.columns if column.name == name), None)


@dataclass(frozen=True)
class TargetFacts:
    """What the target has now. `relations` are those that were asked for and are there; `taken` the names of all.

    `references` are the foreign keys that touch one of `relations`. `creatable` are schemas the role may create in.
    `homes` has the schema of each extension that is there; `available` are those that the server could make, None when
    they are not known; so are `roles`, the server's. `callers` has for relations the functions
    that are called when rows are written, without a search path of their own; `search_path` is what the role's sessions
    begin with there. `sequences` says of those that were asked for and are there,
    whether the role may set them. `empty`: there is no relation, type or function but those of extensions. `read_only`
    gives the reason why nothing can be written, where there is one. `superuser` is the role that logged in, where it is
    one: empty where it is none.
    """

    database: str
    role: str
    server_version: str
    relations: Mapping[Name, TargetRelation] = field(default_factory=dict)
    references: tuple[TargetReference, ...] = ()
    sequences: Mapping[Name, bool] = field(default_factory=dict)
    taken: frozenset[Name] = frozenset()
    types: frozenset[Name] = frozenset()
    functions: frozenset[Name] = frozenset()
    schemas: frozenset[str] = frozenset()
    extensions: frozenset[str] = frozenset()
    homes: Mapping[str, str] = field(default_factory=dict)
    available: frozenset[str] | None = None
    callers: Mapping[Name, tuple[Name, ...]] = field(default_factory=dict)
    search_path: str = '"$user", public'
    creatable: frozenset[str] = frozenset()
    roles: frozenset[str] | None = None
    may_create_schemas: bool = True
    may_stage: bool = True
    empty: bool = True
    read_only: str | None = None
    superuser: str = ""
