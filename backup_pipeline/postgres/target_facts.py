"""What a target has now, read from its system catalog and counted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from backup_pipeline.core.relations import RelationKind
from backup_pipeline.core.restore_target import TargetColumn, TargetFacts, TargetReference, TargetRelation
from backup_pipeline.core.restoring import Name
from backup_pipeline.postgres import target_queries as ask
from backup_pipeline.postgres.session import relation_sql

KINDS = {
    "r": RelationKind.TABLE,
    "p": RelationKind.PARTITIONED,
    "v": RelationKind.VIEW,
    "m": RelationKind.MATERIALIZED,
    "f": RelationKind.FOREIGN,
}
_ACTIONS = {"a": "NO ACTION", "r": "RESTRICT", "c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}
Row = Mapping[str, Any]
Query = Callable[[str, Mapping[str, object]], Sequence[Row]]


def own_rows(name: Name, kind: RelationKind | str) -> str:
    """The relation with its own rows: without those of tables that inherit from it, with those of its partitions."""
    return f"ONLY {relation_sql(name)}" if kind in {RelationKind.TABLE, "r"} else relation_sql(name)


def oids_of(query: Query, wanted: Iterable[Name]) -> list[int]:
    """The ids of those relations that are there."""
    return [row["id"] for row in query(ask.OIDS, _parameters(wanted))]


def sequences_of(query: Query, wanted: Iterable[Name]) -> Mapping[Name, Row]:
    """Of those of the sequences that are there: how they count, and whether the role may set them."""
    return {(row["schema"], row["name"]): row for row in query(ask.NAMED_SEQUENCES, _parameters(wanted))}


def _parameters(wanted: Iterable[Name]) -> Mapping[str, object]:
    names = list(wanted)
    return {"schemas": [schema for schema, _ in names], "names": [name for _, name in names]}


def facts(query: Query, wanted: Iterable[Name]) -> TargetFacts:
    """What the database has; about the relations `wanted` everything."""
    server = query(ask.SERVER, {})[0]
    parameters = {"oids": oids_of(query, wanted)}
    schemas, extensions = query(ask.SCHEMAS, {}), query(ask.EXTENSIONS, {})
    relations = _relations(query, parameters)
    return TargetFacts(
        database=server["database"],
        role=server["role"],
        superuser=server["login"] if server["superuser"] else "",
        server_version=server["server_version"],
        relations=relations,
        references=tuple(_reference(row) for row in query(ask.REFERENCES, parameters)),
        sequences={name: row["settable"] for name, row in sequences_of(query, wanted).items()},
        taken=_names(query(ask.RELATION_NAMES, {})),
        types=_names(query(ask.TYPE_NAMES, {})),
        functions=_names(query(ask.FUNCTION_NAMES, {})),
        schemas=frozenset(row["name"] for row in schemas),
        extensions=frozenset(row["name"] for row in extensions),
        homes={row["name"]: row["home"] for row in extensions},
        available=frozenset(row["name"] for row in query(ask.AVAILABLE, {})),
        creatable=frozenset(row["name"] for row in schemas if row["creatable"]),
        roles=frozenset(row["name"] for row in query(ask.ROLES, {})),
        callers=_callers(query(ask.CALLERS, parameters)),
        search_path=query(ask.SEARCH_PATH, parameters)[0]["path"],
        may_create_schemas=server["may_create_schemas"],
        may_stage=server["may_stage"],
        empty=server["empty"],
        read_only=_read_only(server),
    )


def _read_only(server: Row) -> str | None:
    if server["standby"]:
        return "the server is a standby"
    return f"transactions of role {server['role']} are read-only" if server["read_only"] else None


def _relations(query: Query, parameters: Mapping[str, object]) -> Mapping[Name, TargetRelation]:
    columns = _by_relation(query(ask.COLUMNS, parameters))
    keys = _by_relation(query(ask.KEYS, parameters))
    uniques = _by_relation(query(ask.UNIQUES, parameters))
    found = (_relation(row, columns, (keys, uniques), query) for row in query(ask.RELATIONS, parameters))
    return {relation.name: relation for relation in found}


def _by_relation(rows: Iterable[Row]) -> Mapping[int, list[Row]]:
    grouped: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        grouped[row["relation"]].append(row)
    return grouped


def _relation(
    row: Row, columns: Mapping[int, list[Row]], indexes: tuple[Mapping[int, list[Row]], ...], query: Query
) -> TargetRelation:
    keys, uniques = indexes
    name, kind = (row["schema"], row["name"]), KINDS[row["kind"]]
    return TargetRelation(
        name=name,
        kind=kind,
        columns=tuple(_column(column) for column in columns[row["id"]]),
        unique_keys=tuple(tuple(key["columns"]) for key in keys[row["id"]]),
        uniques=tuple(tuple(found["columns"]) for found in uniques[row["id"]]),
        rows=_count(row, name, query),
        owned=row["owned"],
        privileges=frozenset(row["privileges"]),
        triggers=tuple(row["triggers"]),
        rules=tuple(row["rules"]),
        filtered=row["filtered"],
        elsewhere=tuple(row["elsewhere"]),
        view_sql=row["view_sql"],
    )


def _count(row: Row, name: Name, query: Query) -> int | None:
    """The rows, counted; None when the role may not see them all, or when they are not the relation's own."""
    if row["kind"] not in {"r", "p"} or row["filtered"] or row["elsewhere"] or "SELECT" not in row["privileges"]:
        return None
    return int(query(f"SELECT count(*) AS n FROM {own_rows(name, row['kind'])}", {})[0]["n"])  # noqa: S608


def _column(row: Row) -> TargetColumn:
    return TargetColumn(
        name=row["name"],
        pg_type=row["pg_type"],
        nullable=row["nullable"],
        has_default=row["has_default"],
        generated=row["generated"],
        identity=row["identity"],
    )


def _reference(row: Row) -> TargetReference:
    return TargetReference(
        name=row["name"],
        child=(row["child_schema"], row["child_name"]),
        parent=(row["parent_schema"], row["parent_name"]),
        columns=tuple(row["columns"]),
        target_columns=tuple(row["target_columns"]),
        on_delete=_ACTIONS[row["on_delete"]],
        on_update=_ACTIONS[row["on_update"]],
    )


def _callers(rows: Iterable[Row]) -> Mapping[Name, tuple[Name, ...]]:
    found: dict[Name, tuple[Name, ...]] = {}
    for row in rows:
        name = (row["schema"], row["name"])
        found[name] = (*found.get(name, ()), (row["function_schema"], row["function"]))
    return found


def _names(rows: Iterable[Row]) -> frozenset[Name]:
    return frozenset((row["schema"], row["name"]) for row in rows)
