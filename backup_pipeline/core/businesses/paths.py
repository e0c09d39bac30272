"""How a row finds its business: the paths of a catalog against a database, and finding them by its foreign keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from backup_pipeline.core.catalog.businesses import SHARED, Businesses, parse_business
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.catalog.rules import quote_name
from backup_pipeline.core.errors import CatalogError, NotFoundError
from backup_pipeline.core.planning import find_relation, follow_keys, need_column
from backup_pipeline.core.plans import Step
from backup_pipeline.core.relations import Column, Database, ForeignKey, Relation, split_reference, split_relation


@dataclass(frozen=True)
class BusinessPath:
    """The hops from a row of a table to the row whose `column` has the key of its business.

    `keys` are the columns that the hops lead to. `enforced`: by validated foreign keys a row keeps its business as long
    as neither it nor a row on its path is changed; where they are not, a row on the path may go away under it.
    """

    steps: tuple[Step, ...]
    keys: tuple[Column, ...]
    column: Column
    enforced: bool


@dataclass(frozen=True)
class Registry:
    """The table with a row for each business, with its key."""

    relation: Relation
    key: Column


def registry_of(catalog: Catalog, declared: Businesses, database: Database) -> Registry:
    """The registry in `database`; CatalogError when it is not there, or its key is not unique."""
    wanted_by = f"`businesses` of catalog {catalog.catalog}"
    relation = database.get(catalog.qualify(declared.registry))
    if relation is None or not relation.readable:
        message = f"The {wanted_by} read {declared.registry}, which is not there or which the backup role may not read."
        raise CatalogError(message, do="Correct `registry`, or GRANT SELECT on it to the role of the source URL.")
    key = need_column(relation, declared.key, wanted_by)
    for name in (declared.name, *(condition.column for condition in declared.conditions)):
        if name is not None:
            need_column(relation, name, wanted_by)
    if (key.name,) not in {relation.primary_key, *relation.unique_keys}:
        message = f"The {wanted_by} have the key {relation.full_name}.{key.name}, which is not unique."
        raise CatalogError(message, do="Name a column that is a primary key, or unique and NOT NULL.")
    return Registry(relation, key)


def business_path(catalog: Catalog, table: str, registry: Registry, database: Database) -> BusinessPath | None:
    """The path of `table`, None where it is shared; CatalogError when it does not lead to the registry's key."""
    source = parse_business(catalog.tables[table].business or SHARED)
    if source is None:
        return None
    relation = find_relation(catalog, table, database)
    steps, end = follow_keys(catalog, table, relation, source.keys, database)
    column = need_column(end, source.column, f"business of table {table}")
    if column.pg_type != registry.key.pg_type:
        message = (
            f"The business of table {table} ends at {end.full_name}.{column.name}, which is {column.pg_type}, but "
            f"{registry.relation.full_name}.{registry.key.name} is {registry.key.pg_type}."
        )
        raise CatalogError(message, do="Correct the path; it ends at a column with the registry's key.")
    ends = tuple(database.relations[step.relation] for step in steps)
    for step, target in zip(steps, ends, strict=True):
        if step.columns not in {target.primary_key, *target.unique_keys}:
            message = f"The business of table {table} leads through {target.full_name}.{step.columns[0]}, not a key."
            raise CatalogError(message, do="A path goes through columns that are unique and NOT NULL, as keys are.")
    keys = tuple(need_column(end_, step.columns[0], f"path of {table}") for end_, step in zip(ends, steps, strict=True))
    return BusinessPath(steps, keys, column, _enforced(relation, steps, database))


def _enforced(relation: Relation, steps: tuple[Step, ...], database: Database) -> bool:
    current = relation
    for step in steps:
        if (step.from_columns, step.relation) not in {
            (k.columns, k.target) for k in current.foreign_keys if k.enforced
        }:
            return False
        current = database.relations[step.relation]
    return True


def business_paths(catalog: Catalog, database: Database) -> Mapping[str, CatalogError]:
    """What is wrong with the businesses of `catalog` in `database`, by table; nothing for a catalog without any.

    CatalogError when the registry itself is wrong: then nothing can be known of any table.
    """
    if catalog.businesses is None:
        return {}
    registry = registry_of(catalog, catalog.businesses, database)
    wrong: dict[str, CatalogError] = {}
    for table in catalog.tables:
        try:
            business_path(catalog, table, registry, database)
        except CatalogError as error:
            wrong[table] = error
    return wrong


def found_registry(database: Database, text: str, schema: str) -> tuple[Relation, Column]:
    """The table and column written as `businesses.id`; NotFoundError when the database has no such."""
    written, name = split_reference(text)
    own, table = split_relation(written)
    relation = database.get((own or schema, table))
    column = relation.column(name) if relation else None
    if relation is None or column is None:
        message = f"Database {database.name} has no column {text}."
        raise NotFoundError(message, do="Name the table with a row for each business and its key: businesses.id.")
    return relation, column


@dataclass(frozen=True, order=True)
class _Found:
    """A path with what speaks against it, in the order of weight: hops that a row can be without, and its text."""

    nullable: int
    text: str


def found_paths(relations: Iterable[Relation], registry: Relation, key: str) -> Mapping[tuple[str, str], str]:
    """The shortest path of each relation to the registry's key, by foreign keys of one column; `shared` without any.

    Of two of the same length the one that no row can be without, then the first by name.
    """
    listed = {relation.id: relation for relation in relations}
    paths = {registry.id: _Found(0, quote_name(key))}
    while nearer := _one_hop_further(listed, registry, key, paths):
        paths |= nearer
    return {id_: paths[id_].text if id_ in paths else SHARED for id_ in listed}


def _one_hop_further(
    listed: Mapping[tuple[str, str], Relation], registry: Relation, key: str, paths: Mapping[tuple[str, str], _Found]
) -> Mapping[tuple[str, str], _Found]:
    """The best path of each relation that has none yet, and points to one that has."""
    found: dict[tuple[str, str], _Found] = {}
    for id_, relation in listed.items():
        keys = (
            [k for k in relation.foreign_keys if len(k.columns) == 1 and k.target in paths] if id_ not in paths else []
        )
        if keys:
            found[id_] = min(_longer(relation, foreign, registry, key, paths[foreign.target]) for foreign in keys)
    return found


def _longer(relation: Relation, foreign: ForeignKey, registry: Relation, key: str, rest: _Found) -> _Found:
    """The foreign key's own column has the key already where it points to it."""
    own = quote_name(foreign.columns[0])
    direct = (foreign.target, foreign.target_columns) == (registry.id, (key,))
    nullable = any(column.nullable for column in relation.columns if column.name == foreign.columns[0])
    return _Found(rest.nullable + nullable, own if direct else f"{own}.{rest.text}")
