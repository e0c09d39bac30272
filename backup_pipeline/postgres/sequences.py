"""The sequences of a database, and where they stand. They stand outside any snapshot: what is read is of now."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from backup_pipeline.core.errors import SourceError
from backup_pipeline.postgres.session import relation_sql

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
    one = [state.format(key, relation_sql(name)) for key, name in names.items()]
    query("SAVEPOINT sequences")
    try:
        rows = list(query(" UNION ALL ".join(one)))
    except SourceError:
        query("ROLLBACK TO SAVEPOINT sequences")
        return [row for key, name in names.items() for row in _states(query, {key: name})] if len(names) > 1 else []
    query("RELEASE SAVEPOINT sequences")
    return rows
