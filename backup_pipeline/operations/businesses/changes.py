"""What a tick finds in its snapshot: which businesses are due, and what of their rows changed since each one's own."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

from backup_pipeline.core.businesses.paths import Registry, business_path, registry_of
from backup_pipeline.core.businesses.ticks import (
    SHARED_KEY,
    DueBusiness,
    KnownBusiness,
    View,
    distrust,
    full_due,
    in_order,
)
from backup_pipeline.core.catalog.businesses import Businesses
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import CatalogError, SnapshotOutdatedError
from backup_pipeline.core.manifest import SnapshotEntry
from backup_pipeline.core.planning import plan_catalog
from backup_pipeline.core.plans import CatalogPlan, TablePlan
from backup_pipeline.core.ports import Snapshot
from backup_pipeline.core.ports.ticks import BusinessRows, BusinessTable, KeyState, RegisteredBusiness
from backup_pipeline.core.relations import Database, Relation, RelationKind

if TYPE_CHECKING:
    import pyarrow as pa

_VERSIONED = {RelationKind.TABLE, RelationKind.PARTITIONED}
_FEW = 0.25
"""Of the businesses: as many may be looked at for deleted rows before all are."""


@dataclass(frozen=True)
class TickWish:
    """What a tick is to do: for all businesses that are due, or, where somebody wants it, `only` for these.

    `full` gives them everything whatever is known. `paused` are left out as those that are not active, unless
    `inactive` ones are wanted. `newest` is the backup, of each business, that its chain goes on from.
    """

    newest: Mapping[str, str]
    now: datetime
    only: frozenset[str] | None = None
    full: bool = False
    paused: frozenset[str] = frozenset()
    inactive: bool = False


@dataclass(frozen=True)
class TickChanges:
    """What was found. `changes` has, by table and business, the rows that changed and those that are gone.

    `counted` are all rows of a table, `accounted` those of every business and of none together: the same, or something
    is wrong. `xmin` is the window that candidates were looked for in, `businesses` how many the registry has.
    """

    view: View
    entry: SnapshotEntry
    rows: BusinessRows
    tables: Mapping[str, BusinessTable]
    registered: Mapping[str, RegisteredBusiness]
    known: Mapping[str, KnownBusiness]
    due: Sequence[DueBusiness]
    changes: Mapping[str, Mapping[str, tuple[int, int]]]
    xmin: int
    counted: Mapping[str, int] = field(default_factory=dict)
    accounted: Mapping[str, int] = field(default_factory=dict)
    businesses: int = 0

    def of(self, business: str) -> Mapping[str, tuple[int, int]]:
        """By table what changed of a business."""
        return {table: each[business] for table, each in self.changes.items() if business in each}

    @property
    def unaccounted(self) -> Mapping[str, tuple[int, int]]:
        """The tables whose rows are not those of all businesses and of none together: counted, accounted."""
        return {
            table: (n, self.accounted[table]) for table, n in self.counted.items() if n != self.accounted.get(table, n)
        }


def find_changes(snapshot: Snapshot, catalog: Catalog, state: KeyState, wish: TickWish) -> TickChanges:
    """Compare the snapshot with the state. CatalogError where a table can not be read, or leads to no business."""
    declared, rows = declared_businesses(catalog), snapshot.businesses()
    registry, tables, relations = _tables_of(snapshot, catalog)
    view = View(rows.position(), rows.fingerprint(relations))
    registered = {each.key: each for each in rows.registered(registry, declared)}
    known = state.known()
    trusted = {key: each for key, each in known.items() if distrust(each, view) is None}
    state.begin(list(tables), known.keys() - trusted.keys())
    unknown = {*registered, *known, SHARED_KEY} - trusted.keys()
    xmin = min((each.at.xmin for each in trusted.values()), default=view.at.xmin)
    counted, accounted, lively = {}, {}, set[str]()
    for name, table in sorted(tables.items(), key=lambda item: len(item[1].path.steps)):
        comparison = _Comparison(table, rows, state, unknown, xmin if trusted else None, int(_FEW * len(registered)))
        counted[name] = comparison.rows_counted(lively)
        accounted[name] = state.total(name)
        lively |= state.changes(name).keys()
    return TickChanges(
        view=view,
        entry=snapshot.entry,
        rows=rows,
        tables=tables,
        registered=registered,
        known=trusted,
        due=in_order(list(_due(registered.values(), known, view, declared, wish))),
        changes={name: state.changes(name) for name in tables},
        xmin=xmin,
        counted=counted,
        accounted=accounted,
        businesses=len(registered),
    )


def joined_changes(snapshot: Snapshot, catalog: Catalog, view: View, xmin: int) -> TickChanges:
    """The tables in a snapshot that another run has looked through, as `view`, for candidates of `xmin`.

    What changed is not in it: the other run says so. SnapshotOutdatedError where definitions are not what they were.
    """
    rows = snapshot.businesses()
    _, tables, relations = _tables_of(snapshot, catalog)
    if rows.fingerprint(relations) != view.fingerprint:
        message = "The tables were changed since the run that holds the snapshot has looked at them."
        raise SnapshotOutdatedError(message, do="Nothing: the next tick gives everything to whom it concerns.")
    return TickChanges(view, snapshot.entry, rows, tables, {}, {}, (), {}, xmin)


def _tables_of(
    snapshot: Snapshot, catalog: Catalog
) -> tuple[Registry, Mapping[str, BusinessTable], Sequence[Relation]]:
    """The registry, the tables with rows of businesses, and every relation whose definition counts."""
    database = snapshot.database()
    plan = plan_catalog(catalog, database)
    for error in plan.failed.values():
        raise error
    registry = registry_of(catalog, declared_businesses(catalog), database)
    tables = dict(business_tables(catalog, plan, registry, database))
    return registry, tables, _relations(tables, registry, database)


def declared_businesses(catalog: Catalog) -> Businesses:
    """What a catalog says of its businesses; CatalogError where it says nothing."""
    if catalog.businesses is None:
        message = f"Catalog {catalog.catalog} declares no businesses."
        raise CatalogError(message, do="Declare them under `businesses`; docs/businesses.md says how.")
    return catalog.businesses


def business_tables(
    catalog: Catalog, plan: CatalogPlan, registry: Registry, database: Database
) -> Iterator[tuple[str, BusinessTable]]:
    """The tables with rows of businesses; what is shared has none."""
    for name, table in plan.tables.items():
        path = business_path(catalog, name, registry, database)
        if path is not None:
            kinds = {table.relation.kind, *(database.relations[step.relation].kind for step in path.steps)}
            versioned = kinds <= _VERSIONED
            tracked = versioned and bool(table.key) and table.key_enforced
            yield name, BusinessTable(table, path, tracked=tracked, versioned=versioned)


def _relations(tables: Mapping[str, BusinessTable], registry: Registry, database: Database) -> Sequence[Relation]:
    ids = {registry.relation.id}
    for table in tables.values():
        ids |= {table.plan.relation.id, *(step.relation for step in table.path.steps)}
    return [database.relations[each] for each in sorted(ids)]


@dataclass(frozen=True)
class _Comparison:
    """A table, whose rows are compared with what the state knows; `xmin` is None where nothing is known of anybody.

    So `few` businesses may be looked at for deleted rows before all are.
    """

    table: BusinessTable
    rows: BusinessRows
    state: KeyState
    unknown: Collection[str]
    xmin: int | None
    few: int

    def rows_counted(self, lively: Collection[str]) -> int:
        """Let the state know what changed in the table; its rows, counted.

        Keys that the snapshot shows are known or candidates; so where there are as many rows as those together, nothing
        was deleted. Only else is it counted by business, and are the keys of those with other numbers compared one by
        one: first of the `lively`, of whom something else has changed, then of all.
        """
        table, state, name = self.table, self.state, self.table.plan.name
        if table.tracked and self.unknown:
            state.fresh(name, self.rows.keys(table, None if self.xmin is None else self.unknown))
        candidates: Iterator[pa.RecordBatch] = iter(())
        if table.versioned and self.xmin is not None:
            counted, candidates = self.rows.candidates(table, self.xmin)
        else:
            counted = self.rows.count(table)
        if not table.tracked:
            touched = {business for batch in candidates for business in batch.column("business").unique().to_pylist()}
            state.recount(name, self.rows.counts(table), touched)
        elif self.xmin is not None:
            state.compare(name, candidates)
            self._look_for_deleted(counted, {*lively, *state.changes(name)} - {SHARED_KEY})
        return counted

    def _look_for_deleted(self, counted: int, lively: Collection[str]) -> None:
        name, enforced = self.table.plan.name, self.table.path.enforced
        if enforced and self.state.expected(name) == counted:
            return
        if enforced and 0 < len(lively) <= self.few:
            self._compare_keys(lively)
            if self.state.expected(name) == counted:
                return
        self._compare_keys(None)

    def _compare_keys(self, among: Collection[str] | None) -> None:
        name = self.table.plan.name
        numbers = {business: n for business, (n, _) in self.rows.counts(self.table, among).items()}
        if short := self.state.short(name, numbers, among):
            self.state.missing(name, short, self.rows.keys(self.table, None if SHARED_KEY in short else short))


def _due(
    registered: Collection[RegisteredBusiness],
    known: Mapping[str, KnownBusiness],
    view: View,
    declared: Businesses,
    wish: TickWish,
) -> Iterator[DueBusiness]:
    for each in registered:
        left_out = not wish.inactive and (not each.active or each.key in wish.paused)
        if left_out or (wish.only is not None and each.key not in wish.only):
            continue
        before = known.get(each.key)
        why = distrust(before, view) or ("somebody wants it" if wish.full else None)
        if why is None and before is not None:
            why = full_due(before, wish.newest.get(each.key), declared.full, wish.now)
        yield DueBusiness(each.key, each.name, None if distrust(before, view) else before, why)


def deletion_plan(plan: TablePlan) -> TablePlan:
    """How the keys of rows that are gone are written: the key's columns."""
    columns = {column.name: column for column in plan.columns}
    return replace(plan, columns=tuple(columns[name] for name in plan.key))
