"""Look-ups of sheet columns: a foreign key shown as the name of what it points to."""

from __future__ import annotations

from backup_pipeline.core.arrow_types import TEXT, arrow_type_of
from backup_pipeline.core.catalog import Catalog
from backup_pipeline.core.errors import CatalogError
from backup_pipeline.core.plans import LookUp, Step
from backup_pipeline.core.relation_names import split_reference
from backup_pipeline.core.relations import Column, Database, Relation
from backup_pipeline.core.secrets import looks_secret
from backup_pipeline.core.sheet_source import Back, SheetSource


def resolve_look_up(
    catalog: Catalog, table: str, relation: Relation, source: SheetSource, database: Database
) -> LookUp:
    """The look-up that `source` asks for, from a row of `relation`; CatalogError when it leads nowhere."""
    if isinstance(source, Back):
        return _back(catalog, table, relation, source, database)
    steps: list[Step] = []
    at = relation
    for key in source.keys:
        _need(at, key, f"A look-up of table {table} goes through")
        step = _step(catalog, table, at, key)
        steps.append(step)
        at = _target(catalog, step.relation, f"{table}.{key}", database)
        for name in step.columns:
            _need(at, name, f"The look-up {table}.{key} compares with")
    column = _shown(catalog, at, source.column, table)
    return LookUp(tuple(steps), column, arrow_type_of(column))


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


def _step(catalog: Catalog, table: str, at: Relation, key: str) -> Step:
    """One hop: as the catalog declares it for the relation at hand (this table's word first), else a foreign key."""
    names = sorted((name for name in catalog.tables if catalog.relation_of(name) == at.id), key=lambda n: n != table)
    declared = next((found for name in names if (found := catalog.tables[name].references.get(key))), None)
    if declared:
        relation, column = split_reference(declared)
        return Step(catalog.qualify(relation), (column,), (key,))
    for foreign in at.foreign_keys:
        if foreign.columns == (key,):
            return Step(foreign.target, foreign.target_columns, (key,))
    message = f"The look-up through {at.full_name}.{key} leads nowhere: there is no foreign key on that column."
    raise CatalogError(
        message,
        do=f"Declare it in the catalog, under `references` of the table that reads {at.full_name}: "
        f"`{key}: other_table.id`.",
    )


def _target(catalog: Catalog, relation: tuple[str, str], wanted_by: str, database: Database) -> Relation:
    found = database.get(relation)
    shown = ".".join(relation)
    if found is None:
        message = f"The look-up {wanted_by} leads to {shown}, which database {database.name} does not have."
        raise CatalogError(message, do="Correct the look-up in the catalog.")
    if not found.readable:
        message = f"The look-up {wanted_by} leads to {shown}, which the backup role may not read."
        raise CatalogError(message, do=f"GRANT SELECT ON {shown}, or look up through a view that it may read.")
    if found.kind not in catalog.kinds_of(relation):
        message = f"The look-up {wanted_by} leads to {shown}, which is a {found.kind}: reading it runs its definition."
        do = f"If that is meant, name it in the catalog under `views`, or list it as a table with `kind: {found.kind}`."
        raise CatalogError(message, do=do)
    return found


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
