"""What DDL did to the relations of a query since the snapshot, where PostgreSQL would show something else in silence.

Rows are versioned, definitions are not: a query in an old snapshot uses the names, columns, partitions, files of now.
"""

from __future__ import annotations

from collections.abc import Sequence

from backup_pipeline.core.plans import TablePlan
from backup_pipeline.postgres.session import literal, relation_sql

# TRUNCATE and rewriting ALTER TABLEs do not keep the rows that older snapshots should see. VACUUM FULL and CLUSTER do:
# `relation` is what to ask whether it was one of those, where the role may.
_REWRITTEN = """
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
    return _CHANGES.format(named=_named(_relations(plan)), rewritten=_REWRITTEN)


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
