"""Drafting: a catalog for a database that nobody has described yet. It works as it is; people then correct it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from glob import escape

from backup_pipeline.core.catalog import BUNDLE, Catalog, Excluded, TableSpec
from backup_pipeline.core.draft_names import CATALOG_LENGTH, distinct, plain_name, sheet_title
from backup_pipeline.core.draft_sheets import sheet_columns
from backup_pipeline.core.errors import NotFoundError
from backup_pipeline.core.relation_names import write_relation
from backup_pipeline.core.relations import Database, Relation
from backup_pipeline.core.secrets import looks_secret

SECRET = "looks like a secret; if it is none, name it under `allow` with the reason instead"  # noqa: S105


@dataclass(frozen=True)
class Draft:
    """A catalog, the tables of it that have no key, and the relations beside the tables (views and the like)."""

    catalog: Catalog
    keyless: tuple[str, ...]
    beside: tuple[str, ...]


def draft_catalog(database: Database, *, name: str | None = None, timezone: str = "UTC") -> Draft:
    """A catalog that plans without a failed table: every table of `database` is in it, or excluded with the reason.

    NotFoundError when there is no table that can be read. pydantic's ValidationError when `name` or `timezone` is
    not one; without `name` the database's own is made fit.
    """
    schema = _main_schema(database)
    held = sorted((r for r in database.relations.values() if r.holds_rows), key=lambda r: (r.schema != schema, r.id))
    reasons = {relation.id: reason for relation in held if (reason := _reason_to_leave_out(relation))}
    listed = [relation for relation in held if relation.id not in reasons]
    if not listed:
        message = f"Database {database.name} has no table that a backup could read ({len(held)} tables in all)."
        raise NotFoundError(message, do="GRANT SELECT on its tables to the role of the URL, or correct the URL.")
    names = _table_names(listed, schema)
    catalog = Catalog(
        catalog=plain_name(database.name, fallback="db", length=CATALOG_LENGTH).lower().lstrip("_") or "db"
        if name is None
        else name,
        title=sheet_title(database.name),
        timezone=timezone,
        schema=schema,
        tables=dict(zip(names, _specs(listed, names, schema, database), strict=True)),
        excluded=tuple(Excluded(table=_pattern(id_, schema), reason=reason) for id_, reason in reasons.items()),
    )
    keyless = [n for n, r in zip(names, listed, strict=True) if not (r.primary_key or r.unique_keys)]
    beside = [r.full_name for r in database.relations.values() if not (r.holds_rows or r.is_partition)]
    return Draft(catalog, tuple(keyless), tuple(sorted(beside)))


def _main_schema(database: Database) -> str:
    """`public` where it has tables, else the schema with most of them."""
    counts = Counter(relation.schema for relation in database.relations.values() if relation.holds_rows)
    return "public" if counts["public"] or not counts else min(counts, key=lambda name: (-counts[name], name))


def _reason_to_leave_out(relation: Relation) -> str | None:
    if not relation.readable:
        return f"the backup role may not read it: GRANT SELECT ON {write_relation(*relation.id)}, then list it"
    if not relation.columns:
        return "has no columns"
    if all(looks_secret(column.name) for column in relation.columns):
        return "all its columns look like secrets"
    return None


def _table_names(relations: Iterable[Relation], schema: str) -> list[str]:
    """A name for each, fit for the catalog and unique whatever the case; another schema's tables carry its name."""
    names: list[str] = []
    taken = {BUNDLE}
    for relation in relations:
        full = relation.name if relation.schema == schema else f"{relation.schema}_{relation.name}"
        name = distinct(plain_name(full, fallback="table"), taken, separator="_")
        taken.add(name.casefold())
        names.append(name)
    return names


def _specs(relations: list[Relation], names: list[str], schema: str, database: Database) -> list[TableSpec]:
    """The declaration of each table; sheets are named for people, no two alike."""
    specs: list[TableSpec] = []
    taken: set[str] = set()
    for relation, name in zip(relations, names, strict=True):
        exact = relation.id == (schema, name)
        title = relation.name if relation.schema == schema else f"{relation.schema} {relation.name}"
        sheet = distinct(sheet_title(title), taken, separator=" ", length=200)
        taken.add(sheet.casefold())
        excluded = {column.name: SECRET for column in relation.columns if looks_secret(column.name)}
        specs.append(
            TableSpec(
                relation=None if exact else write_relation(_other(relation.schema, schema), relation.name),
                description=" ".join(relation.comment.split()) or None,
                sheet=sheet,
                columns=sheet_columns(relation, database, excluded),
                exclude=excluded,
            )
        )
    return specs


def _pattern(relation: tuple[str, str], schema: str) -> str:
    """The text that `Catalog.excluded_reason` matches with this relation alone."""
    own, name = relation
    bare = own == schema and name == escape(name) and "." not in name and schema == escape(schema)
    return name if bare else f"{escape(own)}.{escape(name)}"


def _other(schema: str, main: str) -> str | None:
    return None if schema == main else schema
