"""What a database that is restored into has now, as far as a restore cares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from backup_pipeline.core.relations import RelationKind
from backup_pipeline.core.restoring import Name


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
