"""Drafting: a catalog for a database that nobody has described yet. It works as it is; people then correct it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from glob import escape

from backup_pipeline.core.catalog import BUNDLE, Catalog, Excluded, TableSpec
from backup_pipeline.core.draft_names import CATALOG_LENGTH, distinct, plain_name, sheet_title, short_title
from backup_pipeline.core.draft_sheets import sheet_columns
from backup_pipeline.core.errors import NotFoundError
from backup_pipeline.core.names import sheet_file
from backup_pipeline.core.relation_names import write_relation
from backup_pipeline.core.relations import Column, Database, Relation
from backup_pipeline.core.secret_columns import can_hold_secret, secret_of
from backup_pipeline.core.secrets import looks_secret

SECRET = "looks like a secret ({kind}); if it is none, name it under `allow` with the reason instead"  # noqa: S105
_NO_ROOM = "called like a secret, but a {type} can hold none"
_OTHERWISE = "called like a secret, but so are things that are none; if it is one, move it to `exclude` with the reason"
_SHEET_LENGTH = 31
"""What Excel has room for in the name of a sheet."""
LOCKED = "the backup role may not read it: GRANT SELECT on it, then take it out of here"


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
    names = _names(listed, schema)
    catalog = Catalog(
        catalog=name if name is not None else _catalog_name(database),
        title=sheet_title(database.name),
        timezone=timezone,
        schema=schema,
        tables={names[r.id][0]: _spec(r, *names[r.id], schema, database) for r in listed},
        excluded=tuple(Excluded(table=_pattern(id_, schema), reason=reason) for id_, reason in reasons.items()),
    )
    keyless = tuple(names[r.id][0] for r in listed if not (r.primary_key or r.unique_keys))
    beside = sorted(r.full_name for r in database.relations.values() if not (r.holds_rows or r.is_partition))
    return Draft(catalog, keyless, tuple(beside))


def _catalog_name(database: Database) -> str:
    return plain_name(database.name.lower().lstrip("_"), fallback="db", length=CATALOG_LENGTH).lower()


def _main_schema(database: Database) -> str:
    """`public` where it has tables, else the schema with most of them."""
    counts = Counter(
        relation.schema for relation in database.relations.values() if relation.holds_rows and not relation.extension
    )
    return "public" if counts["public"] or not counts else min(counts, key=lambda name: (-counts[name], name))


def _reason_to_leave_out(relation: Relation) -> str | None:
    if relation.extension:
        rows = "; its rows are settings that people made: list it to have them" if relation.configuration else ""
        return f"belongs to extension {relation.extension}, which makes it{rows}"
    if not relation.readable:
        return f"the backup role may not read it: GRANT SELECT ON {write_relation(*relation.id)}, then list it"
    if not relation.columns:
        return "has no columns"
    kinds = {column.name: secret_of(relation, column) for column in relation.columns}
    if all(kinds.values()):
        named = ", ".join(f"{name} ({kind})" for name, kind in kinds.items())
        return f"all its columns look like secrets: {named}"
    return None


def _names(relations: Sequence[Relation], schema: str) -> dict[tuple[str, str], tuple[str, str]]:
    """The catalog's name and the sheet of each, both unique whatever the case; other schemas' tables carry theirs.

    A table whose own name will do gets it before another is given it.
    """
    found: dict[tuple[str, str], tuple[str, str]] = {}
    tables, sheets = {BUNDLE}, set[str]()
    for relation in sorted(relations, key=lambda r: _full(r, schema) != plain_name(r.name, fallback="table").lower()):
        full = _full(relation, schema)
        table = distinct(plain_name(full, fallback="table"), tables, separator="_")
        title = short_title(full, _SHEET_LENGTH)
        sheet = distinct(title, sheets, separator=" ", length=_SHEET_LENGTH, alike=sheet_file)
        tables.add(table.casefold())
        sheets.add(sheet_file(sheet))
        found[relation.id] = (table, sheet)
    return found


def _full(relation: Relation, schema: str) -> str:
    return relation.name if relation.schema == schema else f"{relation.schema}_{relation.name}"


def _spec(relation: Relation, table: str, sheet: str, schema: str, database: Database) -> TableSpec:
    exact = relation.id == (schema, table)
    kinds = {column.name: kind for column in relation.columns if (kind := secret_of(relation, column))}
    excluded = {name: SECRET.format(kind=kind) for name, kind in kinds.items()}
    excluded |= {column.name: LOCKED for column in relation.columns if not column.readable}
    return TableSpec(
        relation=None if exact else write_relation(*_qualified(relation, schema)),
        description=" ".join(relation.comment.split()) or None,
        sheet=sheet,
        columns=sheet_columns(relation, database, excluded),
        exclude=excluded,
        allow={c.name: _why_none(c) for c in relation.columns if looks_secret(c.name) and c.name not in excluded},
    )


def _why_none(column: Column) -> str:
    """Why a column is not left out although a catalog must decide about its name: a judgement is never silent."""
    return _OTHERWISE if can_hold_secret(column) else _NO_ROOM.format(type=column.pg_type)


def _qualified(relation: Relation, schema: str) -> tuple[str | None, str]:
    return (None if relation.schema == schema else relation.schema), relation.name


def _pattern(relation: tuple[str, str], schema: str) -> str:
    """The text that `Catalog.excluded_reason` matches with this relation alone."""
    own, name = relation
    bare = own == schema and name == escape(name) and "." not in name and schema == escape(schema)
    return name if bare else f"{escape(own)}.{escape(name)}"
