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
        step = _step(catalog, table if at is relation else None, at, key)
        steps.append(step)
        at = _target(step.relation, f"{table}.{key}", database)
    column = _shown(at, source.column, table)
    return LookUp(tuple(steps), column, arrow_type_of(column))


def _back(catalog: Catalog, table: str, relation: Relation, source: Back, database: Database) -> LookUp:
    key = catalog.tables[table].key or relation.primary_key
    if len(key) != 1:
        message = f"Table {table} looks up {source.relation}[{source.key}], but has no key of one column to look up by."
        raise CatalogError(message, do="Give the table a `key` in the catalog.")
    target = _target(catalog.qualify(source.relation), f"{table}: {source.relation}", database)
    _shown(target, source.key, table)
    step = Step(target.id, (source.key,), key)
    return LookUp((step,), _shown(target, source.column, table), TEXT, joined=True)


def _step(catalog: Catalog, table: str | None, at: Relation, key: str) -> Step:
    declared = catalog.tables[table].references.get(key) if table else None
    if declared:
        relation, column = split_reference(declared)
        return Step(catalog.qualify(relation), (column,), (key,))
    for foreign in at.foreign_keys:
        if foreign.columns == (key,):
            return Step(foreign.target, foreign.target_columns, (key,))
    message = f"The look-up through {at.full_name}.{key} leads nowhere: there is no foreign key on that column."
    raise CatalogError(
        message, do=f"Declare it in the catalog, under `references` of the table: `{key}: other_table.id`."
    )


def _target(relation: tuple[str, str], wanted_by: str, database: Database) -> Relation:
    found = database.get(relation)
    shown = ".".join(relation)
    if found is None:
        message = f"The look-up {wanted_by} leads to {shown}, which database {database.name} does not have."
        raise CatalogError(message, do="Correct the look-up in the catalog.")
    if not found.readable:
        message = f"The look-up {wanted_by} leads to {shown}, which the backup role may not read."
        raise CatalogError(message, do=f"GRANT SELECT ON {shown}, or look up through a view that it may read.")
    return found


def _shown(relation: Relation, name: str, table: str) -> Column:
    column = relation.column(name)
    if column is None:
        names = ", ".join(column.name for column in relation.columns)
        message = f"A look-up of table {table} shows {relation.full_name}.{name}, which does not exist."
        raise CatalogError(message, do=f"{relation.full_name} has: {names}.")
    if looks_secret(name):
        message = f"A look-up of table {table} shows {relation.full_name}.{name}, which looks like a secret."
        raise CatalogError(message, do="Take it off the sheet.")
    return column
