"""What the database consists of, read from pg_catalog in the snapshot: relations, columns, keys, references."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from backup_pipeline.core.relations import (
    Column,
    ColumnSequence,
    Database,
    DatabaseSequence,
    ForeignKey,
    LargeObjects,
    Relation,
    RelationKind,
)
from backup_pipeline.postgres.sequences import ALL, FEEDING, sequence_states

_KINDS = {
    "r": RelationKind.TABLE,
    "p": RelationKind.PARTITIONED,
    "v": RelationKind.VIEW,
    "m": RelationKind.MATERIALIZED,
    "f": RelationKind.FOREIGN,
}
_OURS = "n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND c.relkind IN ('r', 'p', 'v', 'm', 'f')"
# A partition that is being detached holds rows that its table does not show any more; servers say so since 14.
_DETACHED = "coalesce((to_jsonb(i) ->> 'inhdetachpending')::bool, false)"
# Asking for a relation's size waits for its lock; one that is being rewritten is not worth a failed backup.
_RELATIONS = f"""
WITH rewritten AS (
    SELECT DISTINCT l.relation FROM pg_locks l
    WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.pid <> pg_backend_pid()
      AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()))
SELECT c.oid::int8 AS id, n.nspname AS schema, c.relname AS name, c.relkind::text AS kind,
       c.relispartition AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid AND {_DETACHED})
           AS is_partition, c.relkind = 'r' AND c.relhassubclass AS inherited,
       greatest(c.reltuples, 0)::int8 AS rows,
       CASE WHEN c.relkind IN ('r', 'm') AND c.oid NOT IN (SELECT relation FROM rewritten)
            THEN coalesce(pg_total_relation_size(c.oid), 0) ELSE 0 END AS bytes,
       coalesce(has_schema_privilege(n.oid, 'USAGE') AND (has_table_privilege(c.oid, 'SELECT')
                OR has_any_column_privilege(c.oid, 'SELECT')), false) AS readable,
       coalesce(obj_description(c.oid, 'pg_class'), '') AS comment,
       c.relispopulated AS populated, c.relrowsecurity AND row_security_active(c.oid) AS filtered,
       coalesce(x.extname, '') AS extension, coalesce(c.oid = ANY (x.extconfig), false) AS configuration,
       ARRAY(SELECT i.inhparent::int8 FROM pg_inherits i WHERE i.inhrelid = c.oid AND NOT {_DETACHED}
             ORDER BY i.inhseqno) AS parents
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0 AND d.deptype = 'e'
LEFT JOIN pg_extension x ON d.refclassid = 'pg_extension'::regclass AND x.oid = d.refobjid WHERE {_OURS}"""  # noqa: S608
# A NOT NULL constraint that was never validated (PostgreSQL 18) does not say that there are no nulls.
_COLUMNS = f"""
SELECT a.attrelid::int8 AS relation, a.attnum AS number, a.attname AS name, a.atttypid::int8 AS type,
       a.atttypmod AS typmod, format_type(a.atttypid, a.atttypmod) AS pg_type,
       NOT a.attnotnull OR EXISTS (
           SELECT FROM pg_constraint k WHERE k.conrelid = a.attrelid AND k.contype = 'n' AND NOT k.convalidated
           AND k.conkey[1] = a.attnum) AS nullable,
       a.attgenerated <> '' AS generated, a.attidentity <> '' AS identity,
       has_column_privilege(a.attrelid, a.attnum, 'SELECT') AS readable,
       NOT coalesce(l.collisdeterministic, true) AS nondeterministic
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_collation l ON l.oid = a.attcollation
WHERE a.attnum > 0 AND NOT a.attisdropped AND {_OURS} ORDER BY 1, 2"""  # noqa: S608
_TYPES = """
SELECT t.oid::int8 AS id, t.typname AS name, t.typbasetype::int8 AS base, t.typtypmod AS typmod,
       t.typtype = 'd' AS domain,
       t.typnamespace = 'pg_catalog'::regnamespace AND t.typtype = 'b' AND t.typcategory <> 'A' AS builtin,
       CASE WHEN p.pronamespace = 'pg_catalog'::regnamespace THEN p.proname ELSE '' END AS output
FROM pg_type t JOIN pg_proc p ON p.oid = t.typoutput"""
_KEYS = f"""
SELECT i.indrelid::int8 AS relation, i.indisprimary AS is_primary,
       (string_to_array(i.indkey::text, ' ')::int2[])[1:i.indnkeyatts] AS numbers
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE {_OURS} AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
  AND (i.indimmediate OR i.indisprimary)
ORDER BY 1, i.indisprimary DESC, i.indnkeyatts, i.indexrelid"""  # noqa: S608
# A reference to a partitioned table has copies of itself, one to each partition.
_FOREIGN_KEYS = """
SELECT k.conrelid::int8 AS relation, k.conkey AS numbers, k.confrelid::int8 AS target, k.confkey AS target_numbers,
       k.convalidated AS enforced
FROM pg_constraint k
WHERE k.contype = 'f'
  AND NOT EXISTS (SELECT FROM pg_constraint p WHERE p.oid = k.conparentid AND p.conrelid = k.conrelid)
ORDER BY 1, k.conname"""

_UNREAD = {"last_value": None, "is_called": False}
_LARGE_OBJECTS_READABLE = "SELECT has_table_privilege('pg_catalog.pg_largeobject_metadata', 'SELECT') AS readable"
_LARGE_OBJECTS = """
SELECT count(*)::int8 AS n, CASE WHEN EXISTS (
           SELECT FROM pg_locks l WHERE l.relation = 'pg_catalog.pg_largeobject'::regclass
           AND l.mode = 'AccessExclusiveLock' AND l.pid <> pg_backend_pid()) THEN 0
       ELSE pg_table_size('pg_catalog.pg_largeobject') END::int8 AS bytes
FROM pg_catalog.pg_largeobject_metadata"""
Row = Mapping[str, Any]
Query = Callable[[str], Iterable[Row]]


@dataclass(frozen=True)
class _Found:
    """The rows of the catalog queries, by the id of the relation they belong to."""

    relations: Mapping[int, Row]
    types: Mapping[int, Row]
    columns: Mapping[int, list[Row]]
    keys: Mapping[int, list[Row]]
    foreign_keys: Mapping[int, list[Row]]
    sequences: Mapping[int, list[Row]]
    states: Mapping[int, Row]
    children: Mapping[int, list[int]]

    def names(self, relation: int, numbers: Iterable[int]) -> tuple[str, ...]:
        """Column names by their numbers."""
        by_number = {row["number"]: row["name"] for row in self.columns[relation]}
        return tuple(by_number[number] for number in numbers)

    def id(self, relation: int) -> tuple[str, str]:
        """Schema and name."""
        row = self.relations[relation]
        return row["schema"], row["name"]

    def total(self, relation: int, what: str) -> int:
        """`what` of the relation; of a partitioned one the sum over its partitions."""
        row = self.relations[relation]
        if row["kind"] != "p":
            return int(row[what])
        return sum(self.total(child, what) for child in self.children[relation])


def introspect(query: Query, name: str) -> Database:
    """The database `name` as the transaction behind `query` shows it."""
    relations = {row["id"]: row for row in query(_RELATIONS)}
    children: dict[int, list[int]] = defaultdict(list)
    for row in relations.values():
        if row["is_partition"]:
            for parent in row["parents"]:
                children[parent].append(row["id"])
    feeding, every = list(query(FEEDING)), list(query(ALL))
    states = sequence_states(query, [*feeding, *every])
    found = _Found(
        relations=relations,
        types={row["id"]: row for row in query(_TYPES)},
        columns=_by_relation(query(_COLUMNS)),
        keys=_by_relation(query(_KEYS)),
        foreign_keys=_by_relation(query(_FOREIGN_KEYS)),
        sequences=_by_relation(feeding),
        states=states,
        children=children,
    )
    return Database(
        name,
        {found.id(number): _relation(found, number) for number in relations},
        _standing(every, states, {row["id"] for row in feeding}),
        _large_objects(query),
    )


def _by_relation(rows: Iterable[Row]) -> Mapping[int, list[Row]]:
    grouped: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        grouped[row["relation"]].append(row)
    return grouped


def _relation(found: _Found, number: int) -> Relation:
    row = found.relations[number]
    columns = tuple(_column(column, found.types) for column in found.columns[number])
    keys = [(key["is_primary"], found.names(number, key["numbers"])) for key in found.keys[number]]
    nullable = {column.name for column in columns if column.nullable}
    return Relation(
        schema=row["schema"],
        name=row["name"],
        kind=_KINDS[row["kind"]],
        columns=columns,
        primary_key=next((names for primary, names in keys if primary), ()),
        unique_keys=tuple(names for primary, names in keys if not primary and not nullable & set(names)),
        foreign_keys=tuple(_foreign_key(found, number, key) for key in found.foreign_keys[number]),
        sequences=tuple(_sequence(found, number, feed) for feed in found.sequences[number]),
        estimated_rows=found.total(number, "rows"),
        total_bytes=found.total(number, "bytes"),
        readable=row["readable"],
        is_partition=row["is_partition"],
        inherited=row["inherited"],
        comment=row["comment"],
        parents=tuple(found.id(parent) for parent in row["parents"] if parent in found.relations),
        extension=row["extension"],
        configuration=row["configuration"],
        filtered=row["filtered"],
        populated=row["populated"],
    )


def _column(row: Row, types: Mapping[int, Row]) -> Column:
    base, typmod = types[row["type"]], row["typmod"]
    while base["domain"]:
        typmod = base["typmod"] if base["typmod"] != -1 else typmod
        base = types[base["base"]]
    precision, scale = _numeric_limits(typmod) if base["name"] == "numeric" and base["builtin"] else (None, None)
    return Column(
        name=row["name"],
        pg_type=row["pg_type"],
        base_type=base["name"],
        builtin=base["builtin"],
        nullable=row["nullable"],
        precision=precision,
        scale=scale,
        generated=row["generated"],
        identity=row["identity"],
        readable=row["readable"],
        output="" if base["builtin"] else base["output"] if base["id"] == row["type"] else "format",
        nondeterministic=row["nondeterministic"],
    )


def _numeric_limits(typmod: int) -> tuple[int | None, int | None]:
    """Precision and scale as numeric's typmod packs them: 16 bits, then 11 bits with a sign, behind an offset of 4."""
    if typmod < 4:
        return None, None
    packed = typmod - 4
    return packed >> 16 & 0xFFFF, ((packed & 0x7FF) ^ 0x400) - 0x400


def _foreign_key(found: _Found, number: int, key: Row) -> ForeignKey:
    return ForeignKey(
        columns=found.names(number, key["numbers"]),
        target=found.id(key["target"]),
        target_columns=found.names(key["target"], key["target_numbers"]),
        enforced=key["enforced"],
    )


def _sequence(found: _Found, number: int, feed: Row) -> ColumnSequence:
    (column,) = found.names(number, [feed["number"]])
    state = found.states.get(feed["id"], _UNREAD)
    return ColumnSequence((feed["schema"], feed["name"]), column, state["last_value"], state["is_called"])


def _standing(every: Iterable[Row], states: Mapping[int, Row], feeding: set[int]) -> tuple[DatabaseSequence, ...]:
    """Every sequence, and where it stands."""
    found = ((row, states.get(row["id"], _UNREAD)) for row in every)
    return tuple(
        DatabaseSequence(
            (row["schema"], row["name"]),
            state["last_value"],
            state["is_called"],
            cycles=row["cycles"],
            feeds=row["id"] in feeding,
        )
        for row, state in found
    )


def _large_objects(query: Query) -> LargeObjects:
    """How many large objects there are; asking what may not be read would end the transaction."""
    [right] = query(_LARGE_OBJECTS_READABLE)
    if not right["readable"]:
        return LargeObjects(None)
    [row] = query(_LARGE_OBJECTS)
    return LargeObjects(row["n"], row["bytes"] if row["n"] else 0)
