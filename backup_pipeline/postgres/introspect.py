"""What the database consists of, read from pg_catalog in the snapshot: relations, columns, keys, references."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backup_pipeline.core.errors import SourceError
from backup_pipeline.core.plans import TablePlan
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
from backup_pipeline.postgres.session import literal, relation_sql

# One that is being rewritten, or not replicated to this standby, can not be read without waiting or failing.
_REWRITTEN = """rewritten AS (
    SELECT l.relation FROM pg_locks l
    WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.pid <> pg_backend_pid()
      AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()))"""
_READABLE = """coalesce(has_schema_privilege(n.oid, 'USAGE') AND has_sequence_privilege(s.oid, 'SELECT')
                AND s.oid NOT IN (SELECT relation FROM rewritten)
                AND s.relpersistence <> 't' AND NOT (s.relpersistence = 'u' AND pg_is_in_recovery()),
                false) AS readable"""
# Owned (identity, serial), or named in a default.
FEEDING = f"""
WITH feeding (relation, number, id) AS (
    SELECT d.refobjid, d.refobjsubid, d.objid FROM pg_depend d
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
      AND d.refobjsubid > 0
    UNION SELECT a.adrelid, a.adnum::int4, d.refobjid FROM pg_attrdef a JOIN pg_depend d
    ON d.classid = 'pg_attrdef'::regclass AND d.objid = a.oid AND d.refclassid = 'pg_class'::regclass),
{_REWRITTEN}
SELECT f.relation::int8 AS relation, f.number AS number, s.oid::int8 AS id, n.nspname AS schema, s.relname AS name,
       {_READABLE}
FROM feeding f JOIN pg_class s ON s.oid = f.id AND s.relkind = 'S' JOIN pg_namespace n ON n.oid = s.relnamespace
ORDER BY 1, 2, 4, 5"""  # noqa: S608
ALL = f"""
WITH {_REWRITTEN}
SELECT s.oid::int8 AS id, n.nspname AS schema, s.relname AS name, q.seqcycle AS cycles, {_READABLE}
FROM pg_class s JOIN pg_sequence q ON q.seqrelid = s.oid JOIN pg_namespace n ON n.oid = s.relnamespace
WHERE n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND NOT EXISTS (
    SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = s.oid AND d.deptype = 'e')
ORDER BY 2, 3"""  # noqa: S608
_AT_ONCE = 200

Row = Mapping[str, Any]
Query = Callable[[str], Iterable[Row]]


def sequence_states(query: Query, sequences: Iterable[Row]) -> Mapping[int, Row]:
    """`last_value` and `is_called` of those of `sequences` that can be read, by their id.

    A fresh sequence has a `last_value` that was never given out: `is_called` is false then. One that was dropped since
    the snapshot is no reason for a backup to fail: its group is then looked at one by one.
    """
    names = {row["id"]: (row["schema"], row["name"]) for row in sequences if row["readable"]}
    ids = list(names)
    groups = [ids[start : start + _AT_ONCE] for start in range(0, len(ids), _AT_ONCE)]
    return {row["id"]: row for group in groups for row in _states(query, {key: names[key] for key in group})}


def _states(query: Query, names: Mapping[int, tuple[str, str]]) -> list[Row]:
    state = "SELECT {} AS id, last_value, is_called FROM {}"
    selects = [state.format(key, relation_sql(name)) for key, name in names.items()]
    query("SAVEPOINT sequences")
    try:
        rows = list(query(" UNION ALL ".join(selects)))
    except SourceError:
        query("ROLLBACK TO SAVEPOINT sequences")
        return [row for key, name in names.items() for row in _states(query, {key: name})] if len(names) > 1 else []
    query("RELEASE SAVEPOINT sequences")
    return rows


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
       NOT coalesce(l.collisdeterministic, true) AS nondeterministic,
       coalesce(col_description(a.attrelid, a.attnum), '') AS comment
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


@dataclass(frozen=True)
class _CatalogRows:
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
    catalog = _CatalogRows(
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
        {catalog.id(number): _relation(catalog, number) for number in relations},
        _standing(every, states, {row["id"] for row in feeding}),
        _large_objects(query),
    )


def _by_relation(rows: Iterable[Row]) -> Mapping[int, list[Row]]:
    grouped: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        grouped[row["relation"]].append(row)
    return grouped


def _relation(catalog: _CatalogRows, number: int) -> Relation:
    row = catalog.relations[number]
    columns = tuple(_column(column, catalog.types) for column in catalog.columns[number])
    keys = [(key["is_primary"], catalog.names(number, key["numbers"])) for key in catalog.keys[number]]
    nullable = {column.name for column in columns if column.nullable}
    return Relation(
        schema=row["schema"],
        name=row["name"],
        kind=_KINDS[row["kind"]],
        columns=columns,
        primary_key=next((names for primary, names in keys if primary), ()),
        unique_keys=tuple(names for primary, names in keys if not primary and not nullable & set(names)),
        foreign_keys=tuple(_foreign_key(catalog, number, key) for key in catalog.foreign_keys[number]),
        sequences=tuple(_sequence(catalog, number, feed) for feed in catalog.sequences[number]),
        estimated_rows=catalog.total(number, "rows"),
        total_bytes=catalog.total(number, "bytes"),
        readable=row["readable"],
        is_partition=row["is_partition"],
        inherited=row["inherited"],
        comment=row["comment"],
        parents=tuple(catalog.id(parent) for parent in row["parents"] if parent in catalog.relations),
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
        comment=row["comment"],
    )


def _numeric_limits(typmod: int) -> tuple[int | None, int | None]:
    """Precision and scale as numeric's typmod packs them: 16 bits, then 11 bits with a sign, behind an offset of 4."""
    if typmod < 4:
        return None, None
    packed = typmod - 4
    return packed >> 16 & 0xFFFF, ((packed & 0x7FF) ^ 0x400) - 0x400


def _foreign_key(catalog: _CatalogRows, number: int, key: Row) -> ForeignKey:
    return ForeignKey(
        columns=catalog.names(number, key["numbers"]),
        target=catalog.id(key["target"]),
        target_columns=catalog.names(key["target"], key["target_numbers"]),
        enforced=key["enforced"],
    )


def _sequence(catalog: _CatalogRows, number: int, feed: Row) -> ColumnSequence:
    (column,) = catalog.names(number, [feed["number"]])
    state = catalog.states.get(feed["id"], _UNREAD)
    return ColumnSequence((feed["schema"], feed["name"]), column, state["last_value"], state["is_called"])


def _standing(every: Iterable[Row], states: Mapping[int, Row], feeding: set[int]) -> tuple[DatabaseSequence, ...]:
    """Every sequence, and where it stands."""
    catalog = ((row, states.get(row["id"], _UNREAD)) for row in every)
    return tuple(
        DatabaseSequence(
            (row["schema"], row["name"]),
            state["last_value"],
            state["is_called"],
            cycles=row["cycles"],
            feeds=row["id"] in feeding,
        )
        for row, state in catalog
    )


def _large_objects(query: Query) -> LargeObjects:
    """How many large objects there are; asking what may not be read would end the transaction."""
    [right] = query(_LARGE_OBJECTS_READABLE)
    if not right["readable"]:
        return LargeObjects(None)
    [row] = query(_LARGE_OBJECTS)
    return LargeObjects(row["n"], row["bytes"] if row["n"] else 0)


# TRUNCATE and rewriting ALTER TABLEs do not keep the rows that older snapshots should see. VACUUM FULL and CLUSTER do:
# `relation` is what to ask whether it was one of those, where the role may.
_REWRITTEN_SINCE = """
SELECT c.oid::regclass || ' was truncated or rewritten',
       CASE WHEN c.relkind = 'r' AND has_schema_privilege(c.relnamespace, 'USAGE')
                 AND has_table_privilege(c.oid, 'SELECT') AND NOT row_security_active(c.oid)
            THEN c.oid::regclass::text END
FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND c.relkind IN ('r', 'm') AND c.relfilenode <> 0
  AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
  AND c.relfilenode IS DISTINCT FROM pg_relation_filenode(c.oid)"""
# to_regclass, pg_identify_object_as_address and pg_partition_tree tell what is now; the catalog's rows, what was then.
_CHANGES = """
WITH RECURSIVE named (schema, name, now) AS (VALUES {named}),
then_named AS (
    SELECT named.*, c.oid AS id FROM named LEFT JOIN (pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace)
    ON n.nspname = named.schema AND c.relname = named.name),
used (id) AS (
    SELECT id FROM then_named
    UNION SELECT d.refobjid FROM used JOIN pg_rewrite r ON r.ev_class = used.id
          JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
               AND d.refclassid = 'pg_class'::regclass),
parts (root, id) AS (
    SELECT used.id, used.id FROM used JOIN pg_class c ON c.oid = used.id AND c.relkind = 'p'
    UNION SELECT parts.root, i.inhrelid FROM parts JOIN pg_inherits i ON i.inhparent = parts.id),
parts_now (root, id) AS (
    SELECT p.root, t.relid FROM parts p, pg_partition_tree(p.root) t JOIN pg_class c ON c.oid = t.relid
    WHERE p.root = p.id),
changes (what, relation) AS (
    {rewritten}
    UNION ALL SELECT format('%I.%I', schema, name) || ' was replaced by another relation', NULL
    FROM then_named WHERE id IS DISTINCT FROM now
    UNION ALL SELECT format('column %I of %I.%I was dropped or renamed', a.attname, t.schema, t.name), NULL
    FROM then_named t JOIN pg_attribute a ON a.attrelid = t.id AND a.attnum > 0 AND NOT a.attisdropped
    WHERE t.id = t.now
      AND a.attname <> (pg_identify_object_as_address('pg_class'::regclass, t.id, a.attnum)).object_names[3]
    UNION ALL SELECT id::regclass || ' was detached from ' || root::regclass, NULL
    FROM (TABLE parts EXCEPT TABLE parts_now) AS gone
    UNION ALL SELECT id::regclass || ' was attached to ' || root::regclass, NULL
    FROM (TABLE parts_now EXCEPT TABLE parts) AS come)
SELECT what, relation FROM changes ORDER BY what"""
# The first row that the snapshot shows of a relation in new files. After VACUUM FULL and CLUSTER it is one of then.
# After what leaves older snapshots nothing there is none, or it is one that COPY FREEZE shows to everybody at once: its
# transaction is one that the snapshot does not see. `xmin` has 32 bits: what is half of all numbers away, or farther,
# is taken for such a one too.
_KEPT = """
SELECT coalesce((
    SELECT r.xmin32 IN (1, 2) OR r.before < 2147483648 AND txid_visible_in_snapshot(r.last - r.before, r.shown)
    FROM (SELECT t.xmin::text::int8 AS xmin32, s.shown, txid_snapshot_xmax(s.shown) AS last,
                 (txid_snapshot_xmax(s.shown) - t.xmin::text::int8 + 8589934592) % 4294967296 AS before
          FROM ONLY {relation} AS t CROSS JOIN (SELECT txid_current_snapshot() AS shown) AS s LIMIT 1) AS r),
    false) AS kept"""


# CREATE OR REPLACE VIEW writes the view's rule anew, INHERIT and NO INHERIT a row of pg_inherits.
_DEFINITIONS = """
WITH RECURSIVE used (id) AS (
    SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE (n.nspname::text, c.relname::text) IN ({named})
    UNION SELECT found.id FROM used CROSS JOIN LATERAL (
        SELECT d.refobjid FROM pg_rewrite r JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
               AND d.refclassid = 'pg_class'::regclass WHERE r.ev_class = used.id
        UNION SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent = used.id) AS found (id))
SELECT r.ev_class::regclass::text AS name, 'rule ' || r.oid || ' of ' || r.xmin AS version
FROM pg_rewrite r JOIN used ON used.id = r.ev_class
UNION ALL
SELECT i.inhrelid::regclass::text, 'heir of ' || i.inhparent || ' by ' || i.xmin
FROM pg_inherits i JOIN used ON used.id = i.inhparent
WHERE NOT (SELECT c.relispartition FROM pg_class c WHERE c.oid = i.inhrelid)
ORDER BY 1, 2"""


def definitions_sql(plan: TablePlan) -> str:
    """A query for the versions of what views and inheritance of the plan's relations are made of, by `name`.

    A query in the old snapshot runs by the definitions of now, but finds the versions of then in the catalog: those
    that a new transaction finds must be the same. Partitions are left to `changes_sql`.
    """
    named = ", ".join(f"({literal(schema)}, {literal(name)})" for schema, name in _relations(plan))
    return _DEFINITIONS.format(named=named)


def _relations(plan: TablePlan) -> list[tuple[str, str]]:
    looked_up = (step.relation for s in plan.look_ups if s.look_up for step in s.look_up.steps)
    return list(dict.fromkeys([plan.relation.id, *looked_up]))


def changes_sql(plan: TablePlan) -> str:
    """A query whose rows say, as `what`, what became of the plan's relations since the snapshot; none when all is well.

    To be run after the relations were locked (by any query on them). A lock keeps out all of it from then on, but for
    the attaching of partitions. Partitions made after the snapshot show no rows in it, and are not told.
    """
    return _CHANGES.format(named=_named(_relations(plan)), rewritten=_REWRITTEN_SINCE)


def kept_sql(relation: str) -> str:
    """A query whose `kept` says that the files of `relation` (as `changes_sql` wrote it) have the snapshot's rows.

    False when the relation shows none: then nobody can tell whether it had any.
    """
    return _KEPT.format(relation=relation)


def file_sql(plan: TablePlan) -> str:
    """A query for the `file` in which the plan's relation lies now, where places on disk mean something."""
    return f"SELECT pg_relation_filenode({literal(relation_sql(plan.relation.id))}::regclass)::int8 AS file"


def _named(relations: Sequence[tuple[str, str]]) -> str:
    return ", ".join(
        f"({literal(schema)}, {literal(name)}, to_regclass({literal(relation_sql((schema, name)))})::oid)"
        for schema, name in relations
    )
