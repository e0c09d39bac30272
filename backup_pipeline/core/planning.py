"""Planning: a catalog against a database gives a plan for each table, or the error that forbids it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from backup_pipeline.core.arrow_types import TEXT, arrow_type_of
from backup_pipeline.core.catalog import Catalog, TableSpec
from backup_pipeline.core.errors import BackupError, CatalogError
from backup_pipeline.core.look_ups import resolve_look_up
from backup_pipeline.core.origins import covered_by, other_sequences, references_of, sequences_of
from backup_pipeline.core.plans import (
    CatalogPlan,
    Order,
    PlannedColumn,
    SheetColumn,
    SheetPlan,
    TablePlan,
    masked_note,
)
from backup_pipeline.core.relations import Column, Database, Relation, RelationKind
from backup_pipeline.core.secrets import looks_secret
from backup_pipeline.core.sheet_source import Through, parse_sheet_source

_ORDERED = {"int2", "int4", "int8", "oid", "numeric", "date", "time", "timestamp", "timestamptz", "bool"}
_SCATTERED = {"uuid", "text", "varchar", "bpchar", "name", "bytea"}


def plan_catalog(catalog: Catalog, database: Database) -> CatalogPlan:
    """What a run of `catalog` will do with each relation of `database`.

    Raises CatalogError when a column that looks like a secret is not dealt with: that stops the whole catalog, because
    nobody has decided yet whether it may leave the database.
    """
    _refuse_open_secrets(catalog, database)
    tables: dict[str, TablePlan] = {}
    failed: dict[str, BackupError] = {}
    for name in catalog.tables:
        try:
            tables[name] = plan_table(catalog, name, database)
        except CatalogError as error:
            failed[name] = error
    excluded, unlisted = _left_out(catalog, database)
    return CatalogPlan(tables, failed, excluded, unlisted, other_sequences(catalog, database))


def plan_table(catalog: Catalog, name: str, database: Database) -> TablePlan:
    """How `name` will be read; CatalogError when its relation or a column it names is not in `database`."""
    spec = catalog.tables[name]
    relation = find_relation(catalog, name, database)
    for named in (*spec.key, *spec.references, *spec.exclude, *spec.mask, *spec.allow):
        need_column(relation, named, f"table {name} of catalog {catalog.catalog}")
    _refuse_what_can_not_be_read(name, spec, relation)
    key, enforced = _key(spec, relation)
    columns = tuple(_planned(column, spec) for column in relation.columns if column.name not in spec.exclude)
    masked = tuple(column.name for column in columns if column.masked)
    return TablePlan(
        name=name,
        relation=relation,
        columns=columns,
        sheet=_sheet(catalog, name, relation, columns, database),
        key=key,
        key_enforced=enforced,
        order=_order(relation, key),
        excluded=dict(spec.exclude),
        notes=(masked_note(masked),) if masked else (),
        references=references_of(catalog, name, relation),
        sequences=sequences_of(catalog, name, relation, database),
        covers=covered_by(catalog, name),
    )


def find_relation(catalog: Catalog, name: str, database: Database) -> Relation:
    """The relation that table `name` is read from; CatalogError, with the nearest names, when there is none."""
    wanted = catalog.relation_of(name)
    relation = database.get(wanted)
    shown = ".".join(wanted)
    if relation is None:
        message = (
            f"Table {name} of catalog {catalog.catalog} reads {shown}, which database {database.name} does not have."
        )
        raise CatalogError(message, do=f"Correct the catalog, or create it.{_nearest_relation(wanted[1], database)}")
    if not relation.readable:
        message = f"Table {name} of catalog {catalog.catalog} reads {shown}, but the backup role may not."
        raise CatalogError(message, do=f"GRANT SELECT ON {shown} to the role of the source URL.")
    if relation.kind not in catalog.kinds_of(wanted):
        message = f"Table {name} of catalog {catalog.catalog} reads {shown}, which is a {relation.kind}, not a table."
        do = f"Reading it runs its definition: look who made it one. If it is meant, say `kind: {relation.kind}` there."
        raise CatalogError(message, do=do)
    return relation


def _refuse_what_can_not_be_read(name: str, spec: TableSpec, relation: Relation) -> None:
    """CatalogError when reading it could only fail: known before anything is read."""
    shown = relation.full_name
    if relation.filtered:
        message = f"Table {name} reads {shown}, of which row-level security would show the backup role only some rows."
        raise CatalogError(message, do="ALTER ROLE … BYPASSRLS, or let the catalog read a view of the table's owner.")
    if not relation.populated:
        message = f"Table {name} reads {shown}, a materialized view that has not been populated."
        raise CatalogError(message, do=f"REFRESH MATERIALIZED VIEW {shown}, or take it out of the catalog.")
    locked = [column.name for column in relation.columns if not column.readable and column.name not in spec.exclude]
    if locked:
        message = f"Table {name} reads {shown}, of which the backup role may not read {', '.join(locked)}."
        do = f"GRANT SELECT ({', '.join(locked)}) ON {shown} to the role, or add them to `exclude` with the reason."
        raise CatalogError(message, do=do)


def need_column(relation: Relation, name: str, wanted_by: str) -> Column:
    """The column `name` of `relation`; CatalogError, with the nearest names, when there is none."""
    column = relation.column(name)
    if column is None:
        message = f"The {wanted_by} names the column {name!r}, which {relation.full_name} does not have."
        raise CatalogError(
            message, do=f"Correct the catalog.{_nearest(name, [column.name for column in relation.columns])}"
        )
    return column


def _nearest_relation(name: str, database: Database) -> str:
    """By the name alone: a schema that all share would make everything look alike."""
    close = get_close_matches(name, {relation.name for relation in database.relations.values()}, n=3)
    full = [r.full_name for near in close for r in database.relations.values() if r.name == near]
    return f" Did you mean {' or '.join(full)}?" if full else _nearest("", database.names())


def _nearest(wanted: str, names: list[str]) -> str:
    close = get_close_matches(wanted, names, n=3)
    there = f" There are: {', '.join(names[:20])}." if names else " There is none."
    return f" Did you mean {' or '.join(close)}?" if close else there


def _refuse_open_secrets(catalog: Catalog, database: Database) -> None:
    open_secrets = []
    for name, spec in catalog.tables.items():
        relation = database.get(catalog.relation_of(name))
        columns = relation.columns if relation else ()
        open_secrets += [f"{name}.{c.name}" for c in columns if looks_secret(c.name) and not spec.handles(c.name)]
    if open_secrets:
        message = f"Catalog {catalog.catalog} would export columns that look like secrets: {', '.join(open_secrets)}."
        raise CatalogError(
            message, do="For each, add it in the catalog to `exclude` or `mask`, or to `allow` with the reason."
        )


def _key(spec: TableSpec, relation: Relation) -> tuple[tuple[str, ...], bool]:
    enforced = [key for key in (relation.primary_key, *relation.unique_keys) if key]
    if spec.key:
        return spec.key, any(set(key) <= set(spec.key) for key in enforced)
    return (enforced[0], True) if enforced else ((), False)


def _order(relation: Relation, key: tuple[str, ...]) -> Order:
    """Keyset where an index has the key in this very order; by place on disk where it lies about; else in one pass.

    A key that only the catalog declares may repeat or be null, and paging by it would lose rows. Random keys (uuid) are
    read by place on disk, at the speed of a bigint key; so are texts, whose indexes a change of the system's collations
    leaves in a wrong order. A partitioned table or a view has no place on disk of its own.
    """
    on_disk = relation.kind in {RelationKind.TABLE, RelationKind.MATERIALIZED}
    types = [column.base_type if column.builtin else "" for name in key if (column := relation.column(name))]
    pageable = key in (relation.primary_key, *relation.unique_keys) and set(types) <= _ORDERED | _SCATTERED
    if key and pageable and not (on_disk and _SCATTERED & set(types)):
        return Order.KEY
    return Order.CTID if on_disk else Order.SCAN


def _planned(column: Column, spec: TableSpec) -> PlannedColumn:
    masked = column.name in spec.mask
    return PlannedColumn(column, TEXT if masked else arrow_type_of(column), masked)


def _sheet(
    catalog: Catalog, name: str, relation: Relation, columns: tuple[PlannedColumn, ...], database: Database
) -> SheetPlan:
    spec = catalog.tables[name]
    titles: Mapping[str, str | None] = spec.columns or {column.name: None for column in columns}
    planned = {column.name: column for column in columns}
    prefix = _unused("look_up", planned)
    sheet = []
    for number, (title, text) in enumerate(titles.items()):
        source = Through((), title) if text is None else parse_sheet_source(text)
        if isinstance(source, Through) and not source.keys:
            column = need_column(relation, source.column, f"sheet column {title!r} of table {name}")
            if source.column not in planned:
                message = f"The sheet column {title!r} of table {name} shows {source.column!r}, which is excluded."
                raise CatalogError(message, do="Take one of the two out of the catalog.")
            sheet.append(SheetColumn(title, source.column, column.pg_type))
        else:
            look_up = resolve_look_up(catalog, name, relation, source, database)
            sheet.append(SheetColumn(title, f"{prefix} {number}", look_up.column.pg_type, look_up))
    return SheetPlan(catalog.sheet_of(name), tuple(sheet), spec.sheet_file)


def _unused(prefix: str, names: Iterable[str]) -> str:
    """A prefix for the fields of look-ups that no column's name begins with."""
    while any(name.startswith(prefix) for name in names):
        prefix += "_"
    return prefix


def _left_out(catalog: Catalog, database: Database) -> tuple[dict[str, str], tuple[str, ...]]:
    listed = {catalog.relation_of(name) for name in catalog.tables}
    listed |= {base for name in catalog.tables for base in covered_by(catalog, name)}
    rest = [r for r in database.relations.values() if r.holds_rows and r.id not in listed]
    reasons = {relation.full_name: _reason(catalog, relation) for relation in rest}
    excluded = {name: reason for name, reason in reasons.items() if reason is not None}
    return excluded, tuple(sorted(name for name, reason in reasons.items() if reason is None))


def _reason(catalog: Catalog, relation: Relation) -> str | None:
    """Why a relation is left out; nobody needs to decide about what an extension makes again."""
    own = f"belongs to extension {relation.extension}, which makes it" if relation.extension else None
    return catalog.excluded_reason(*relation.id) or own
