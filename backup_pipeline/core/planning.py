"""Planning: a catalog against a database gives a plan for each table, or the error that forbids it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from backup_pipeline.core.catalog.model import Catalog, TableSpec
from backup_pipeline.core.catalog.rules import Back, SheetSource, Through, parse_sheet_source
from backup_pipeline.core.errors import BackupError, CatalogError
from backup_pipeline.core.plans import (
    TEXT,
    CatalogPlan,
    LookUp,
    PlannedColumn,
    RowOrder,
    SheetColumn,
    SheetPlan,
    Step,
    TablePlan,
    arrow_type_of,
    masked_note,
)
from backup_pipeline.core.relations import (
    Column,
    ColumnSequence,
    Database,
    DatabaseSequence,
    ForeignKey,
    Relation,
    RelationKind,
    split_reference,
)
from backup_pipeline.core.text import looks_secret


def references_of(catalog: Catalog, table: str, relation: Relation) -> tuple[ForeignKey, ...]:
    """The foreign keys of `relation`, then those that only the catalog declares: a view has no others."""
    references = {(key.columns, key.target, key.target_columns): key for key in relation.foreign_keys}
    for column, declared in catalog.tables[table].references.items():
        target, target_column = split_reference(declared)
        key = ForeignKey((column,), catalog.qualify(target), (target_column,), enforced=False)
        references.setdefault((key.columns, key.target, key.target_columns), key)
    return tuple(references.values())


def sequences_of(catalog: Catalog, table: str, relation: Relation, database: Database) -> tuple[ColumnSequence, ...]:
    """The sequences of `relation`, then those of the base tables it stands for: a view has none."""
    bases = [base for name in covered_by(catalog, table) if (base := database.get(name))]
    return tuple(dict.fromkeys(sequence for source in (relation, *bases) for sequence in source.sequences))


def other_sequences(catalog: Catalog, database: Database) -> tuple[DatabaseSequence, ...]:
    """The sequences of the database that number no column of a table of the catalog.

    A trigger or the application draws from them, or they number tables whose rows are not backed up.
    """
    fed = {
        sequence.sequence
        for name in catalog.tables
        if (relation := database.get(catalog.relation_of(name)))
        for sequence in sequences_of(catalog, name, relation, database)
    }
    return tuple(sequence for sequence in database.sequences if sequence.sequence not in fed)


def covered_by(catalog: Catalog, table: str) -> tuple[tuple[str, str], ...]:
    """Schema and name of each base table that what `table` reads stands for."""
    return tuple(catalog.qualify(base) for base in catalog.tables[table].covers)


def resolve_look_up(
    catalog: Catalog, table: str, relation: Relation, source: SheetSource, database: Database
) -> LookUp:
    """The look-up that `source` asks for, from a row of `relation`; CatalogError when it leads nowhere."""
    if isinstance(source, Back):
        return _back(catalog, table, relation, source, database)
    steps, current = follow_keys(catalog, table, relation, source.keys, database)
    column = _shown(catalog, current, source.column, table)
    return LookUp(steps, column, arrow_type_of(column))


def follow_keys(
    catalog: Catalog, table: str, relation: Relation, keys: tuple[str, ...], database: Database
) -> tuple[tuple[Step, ...], Relation]:
    """The hops from a row of `relation` through `keys`, and where they end; CatalogError when one leads nowhere."""
    steps: list[Step] = []
    current = relation
    for key in keys:
        _need(current, key, f"A look-up of table {table} goes through")
        step = _step(catalog, table, current, key)
        steps.append(step)
        current = _target(catalog, step.relation, f"{table}.{key}", database)
        for name in step.columns:
            _need(current, name, f"The look-up {table}.{key} compares with")
    return tuple(steps), current


def _back(catalog: Catalog, table: str, relation: Relation, source: Back, database: Database) -> LookUp:
    target = _target(catalog, catalog.qualify(source.relation), f"{table}: {source.relation}", database)
    _need(target, source.key, f"A look-up of table {table} compares with")
    key = _key_behind(catalog.tables[table].key or relation.primary_key, relation, target, source.key)
    if len(key) != 1:
        message = f"Table {table} looks up {source.relation}[{source.key}], but has no key of one column to look up by."
        raise CatalogError(message, do="Give the table a `key` in the catalog.")
    step = Step(target.id, (source.key,), key)
    return LookUp((step,), _shown(catalog, target, source.column, table), TEXT, joined=True)


def _key_behind(key: tuple[str, ...], relation: Relation, target: Relation, back: str) -> tuple[str, ...]:
    """What `back` of `target` points to: as its foreign key says, else the key of `relation`."""
    declared = [f.target_columns for f in target.foreign_keys if f.columns == (back,) and f.target == relation.id]
    return declared[0] if declared else key


def _step(catalog: Catalog, table: str, current: Relation, key: str) -> Step:
    """One hop: as the catalog declares it for the relation at hand (this table's word first), else a foreign key."""
    names = sorted(
        (name for name in catalog.tables if catalog.relation_of(name) == current.id), key=lambda n: n != table
    )
    declared = next((reference for name in names if (reference := catalog.tables[name].references.get(key))), None)
    if declared:
        relation, column = split_reference(declared)
        return Step(catalog.qualify(relation), (column,), (key,))
    for foreign in current.foreign_keys:
        if foreign.columns == (key,):
            return Step(foreign.target, foreign.target_columns, (key,))
    message = f"The look-up through {current.full_name}.{key} leads nowhere: there is no foreign key on that column."
    raise CatalogError(
        message,
        do=f"Declare it in the catalog, under `references` of the table that reads {current.full_name}: "
        f"`{key}: other_table.id`.",
    )


def _target(catalog: Catalog, relation: tuple[str, str], wanted_by: str, database: Database) -> Relation:
    target = database.get(relation)
    shown = ".".join(relation)
    if target is None:
        message = f"The look-up {wanted_by} leads to {shown}, which database {database.name} does not have."
        raise CatalogError(message, do="Correct the look-up in the catalog.")
    if not target.readable:
        message = f"The look-up {wanted_by} leads to {shown}, which the backup role may not read."
        raise CatalogError(message, do=f"GRANT SELECT ON {shown}, or look up through a view that it may read.")
    if target.kind not in catalog.kinds_of(relation):
        message = f"The look-up {wanted_by} leads to {shown}, which is a {target.kind}: reading it runs its definition."
        do = (
            f"If that is meant, name it in the catalog under `views`, or list it as a table with `kind: {target.kind}`."
        )
        raise CatalogError(message, do=do)
    return target


def _need(relation: Relation, name: str, wanted: str) -> Column:
    column = relation.column(name)
    if column is None:
        names = ", ".join(column.name for column in relation.columns)
        message = f"{wanted} {relation.full_name}.{name}, which does not exist."
        raise CatalogError(message, do=f"{relation.full_name} has: {names}.")
    return column


def _shown(catalog: Catalog, relation: Relation, name: str, table: str) -> Column:
    column = _need(relation, name, f"A look-up of table {table} shows")
    for other, spec in catalog.tables.items():
        if catalog.relation_of(other) == relation.id and (name in spec.mask or name in spec.exclude):
            message = (
                f"A look-up of table {table} shows {relation.full_name}.{name}, which table {other} masks or excludes."
            )
            raise CatalogError(message, do="Take it off the sheet.")
    if looks_secret(name):
        message = f"A look-up of table {table} shows {relation.full_name}.{name}, which looks like a secret."
        raise CatalogError(message, do="Take it off the sheet.")
    return column


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


def _order(relation: Relation, key: tuple[str, ...]) -> RowOrder:
    """Keyset where an index has the key in this very order; by place on disk where it lies about; else in one pass.

    A key that only the catalog declares may repeat or be null, and paging by it would lose rows. Random keys (uuid) are
    read by place on disk, at the speed of a bigint key; so are texts, whose indexes a change of the system's collations
    leaves in a wrong order. A partitioned table or a view has no place on disk of its own.
    """
    on_disk = relation.kind in {RelationKind.TABLE, RelationKind.MATERIALIZED}
    types = [column.base_type if column.builtin else "" for name in key if (column := relation.column(name))]
    pageable = key in (relation.primary_key, *relation.unique_keys) and set(types) <= _ORDERED | _SCATTERED
    if key and pageable and not (on_disk and _SCATTERED & set(types)):
        return RowOrder.KEY
    return RowOrder.CTID if on_disk else RowOrder.SCAN


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
    return SheetPlan(catalog.sheet_of(name), tuple(sheet), spec.sheet_file, gzipped=catalog.csv == "gzip")


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


_SHARDS_A_RUN = 4
"""So that whoever is quick does more; and what a run that dies has to be done again is little."""
_LEAST_BYTES = 8 << 20
"""A shard of less is not worth the while to take it."""
_MOST_TABLES = 50
_MOST_RANGES = 99


@dataclass(frozen=True)
class Part:
    """What is read at once of a snapshot that several runs share: whole tables, or one table in that many ranges."""

    tables: tuple[str, ...]
    ranges: int = 1


def divide(plans: Sequence[TablePlan], runs: int) -> Sequence[Part]:
    """The tables in parts for so many runs, the largest first: big tables in ranges, small ones many in one part.

    Each part is about a fourth of what a run would do, if all did the same.
    """
    plans = sorted(plans, key=lambda plan: plan.relation.total_bytes, reverse=True)
    share = max(sum(plan.relation.total_bytes for plan in plans) // (runs * _SHARDS_A_RUN), _LEAST_BYTES)
    parts: list[Part] = []
    together: list[str] = []
    size = 0
    for plan in plans:
        own = plan.relation.total_bytes
        if own >= 2 * share:
            parts.append(Part((plan.name,), min(own // share, _MOST_RANGES)))
            continue
        if together and (size + own > share or len(together) == _MOST_TABLES):
            parts.append(Part(tuple(together)))
            together, size = [], 0
        together.append(plan.name)
        size += own
    return [*parts, Part(tuple(together))] if together else parts
