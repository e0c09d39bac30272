"""What a target has now, read from its system catalog and counted."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from backup_pipeline.core.errors import BackupError, PreflightRefusedError, TargetError, TargetUnavailableError
from backup_pipeline.core.ports import Progress
from backup_pipeline.core.relations import RelationKind
from backup_pipeline.core.restore import Name, TargetColumn, TargetFacts, TargetReference, TargetRelation
from backup_pipeline.postgres.connection import Endpoint, UnsuitableConnectionError
from backup_pipeline.postgres.errors import connection_lost, refusal_rule, refused_with, server_message, sqlstate_of
from backup_pipeline.postgres.session import relation_sql

_OURS = "n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'"
_OF_EXTENSION = "SELECT FROM pg_depend d WHERE d.deptype = 'e' AND d.objid = {oid} AND d.classid = {catalog}::regclass"

SERVER = f"""
SELECT current_database() AS database, current_user AS role, current_setting('server_version') AS server_version,
       (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = session_user) AS superuser, session_user AS login,
       pg_is_in_recovery() AS standby, current_setting('default_transaction_read_only') = 'on' AS read_only,
       has_database_privilege(current_database(), 'CREATE') AS may_create_schemas,
       has_database_privilege(current_database(), 'TEMPORARY') AS may_stage,
       NOT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                   WHERE {_OURS} AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
                   AND NOT EXISTS ({_OF_EXTENSION.format(oid="c.oid", catalog="'pg_class'")}))
       AND NOT EXISTS (SELECT FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
                       WHERE {_OURS} AND t.typtype IN ('b', 'c', 'd', 'e', 'r')
                       AND NOT EXISTS ({_OF_EXTENSION.format(oid="t.oid", catalog="'pg_type'")})
                       AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid)
                       AND t.typrelid = 0)
       AND NOT EXISTS (SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
                       WHERE {_OURS} AND NOT EXISTS ({_OF_EXTENSION.format(oid="p.oid", catalog="'pg_proc'")}))
       AS empty"""  # noqa: S608
RELATION_NAMES = f"""
SELECT n.nspname AS schema, c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE {_OURS} AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'i', 'I')"""  # noqa: S608
TYPE_NAMES = f"""
SELECT n.nspname AS schema, t.typname AS name FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE {_OURS}"""  # noqa: S608
FUNCTION_NAMES = f"""
SELECT n.nspname AS schema, p.proname AS name FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE {_OURS}"""  # noqa: S608
SCHEMAS = "SELECT n.nspname AS name, has_schema_privilege(n.oid, 'CREATE') AS creatable FROM pg_namespace n"
ROLES = "SELECT rolname AS name FROM pg_roles"
EXTENSIONS = (
    "SELECT e.extname AS name, n.nspname AS home FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace"
)
AVAILABLE = "SELECT name FROM pg_available_extensions"

OIDS = """
SELECT c.oid::int8 AS id FROM unnest(%(schemas)s::text[], %(names)s::text[]) AS w (schema, name)
JOIN pg_namespace n ON n.nspname = w.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')"""
# A trigger or rule that fires only on a replica does not fire for us.
RELATIONS = """
SELECT c.oid::int8 AS id, n.nspname AS schema, c.relname AS name, c.relkind::text AS kind,
       pg_has_role(c.relowner, 'USAGE') AS owned, row_security_active(c.oid) AS filtered,
       ARRAY(SELECT t.relid::regclass::text FROM pg_partition_tree(c.oid) AS t JOIN pg_class f ON f.oid = t.relid
             WHERE c.relkind = 'p' AND f.relkind = 'f' ORDER BY 1) AS elsewhere,
       CASE WHEN c.relkind = 'v' THEN pg_get_viewdef(c.oid) ELSE '' END AS view_sql,
       ARRAY(SELECT p FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS p
             WHERE has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, p)) AS privileges,
       ARRAY(SELECT DISTINCT t.tgname::text FROM pg_trigger t
             WHERE (t.tgrelid = c.oid OR c.relkind = 'p' AND t.tgrelid IN (SELECT relid FROM pg_partition_tree(c.oid)))
             AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') ORDER BY 1) AS triggers,
       ARRAY(SELECT r.rulename::text FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.rulename <> '_RETURN'
             AND r.ev_enabled IN ('O', 'A') ORDER BY 1) AS rules
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY (%(oids)s::oid[])"""
COLUMNS = """
SELECT a.attrelid::int8 AS relation, a.attname AS name, format_type(a.atttypid, a.atttypmod) AS pg_type,
       NOT (a.attnotnull OR t.typnotnull) AS nullable, a.attgenerated <> '' AS generated,
       a.atthasdef OR t.typdefault IS NOT NULL AS has_default,
       CASE a.attidentity WHEN 'a' THEN 'always' WHEN 'd' THEN 'by default' ELSE '' END AS identity
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = ANY (%(oids)s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attrelid, a.attnum"""
KEYS = """
SELECT i.indrelid::int8 AS relation, ARRAY(
           SELECT a.attname::text FROM unnest((string_to_array(i.indkey::text, ' ')::int2[])[1:i.indnkeyatts]) AS k (n)
           JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.n) AS columns
FROM pg_index i
WHERE i.indrelid = ANY (%(oids)s::oid[]) AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
  AND i.indexprs IS NULL AND (i.indimmediate OR i.indisprimary)
  AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = i.indrelid AND NOT a.attnotnull
                  AND a.attnum = ANY ((string_to_array(i.indkey::text, ' ')::int2[])[1:i.indnkeyatts]))
ORDER BY 1, i.indisprimary DESC, i.indnkeyatts, i.indexrelid"""
UNIQUES = """
SELECT i.indrelid::int8 AS relation, ARRAY(
           SELECT DISTINCT a.attname::text FROM pg_attribute a
           WHERE a.attrelid = i.indrelid AND a.attnum > 0 AND (
               a.attnum = ANY ((string_to_array(i.indkey::text, ' ')::int2[])[1:i.indnkeyatts])
               OR i.indexprs IS NOT NULL AND EXISTS (
                   SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
                   AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid AND d.refobjsubid = a.attnum))
           ) AS columns
FROM pg_index i WHERE i.indrelid = ANY (%(oids)s::oid[]) AND (i.indisunique OR i.indisexclusion)
ORDER BY i.indrelid, i.indexrelid"""
# Functions that checks, generated columns, defaults, domains and indexes call. Compiled ones need no search path, nor
# those that were parsed when they were made (prosqlbody, since 14).
CALLERS = """
WITH called (relation, function) AS (
    SELECT k.conrelid, d.refobjid FROM pg_constraint k JOIN pg_depend d
    ON d.classid = 'pg_constraint'::regclass AND d.objid = k.oid WHERE k.contype = 'c'
      AND d.refclassid = 'pg_proc'::regclass
    UNION SELECT a.adrelid, d.refobjid FROM pg_attrdef a JOIN pg_depend d
    ON d.classid = 'pg_attrdef'::regclass AND d.objid = a.oid WHERE d.refclassid = 'pg_proc'::regclass
    UNION SELECT i.indrelid, d.refobjid FROM pg_index i JOIN pg_depend d
    ON d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid WHERE d.refclassid = 'pg_proc'::regclass
    UNION SELECT a.attrelid, d.refobjid FROM pg_attribute a JOIN pg_constraint k ON k.contypid = a.atttypid
    JOIN pg_depend d ON d.classid = 'pg_constraint'::regclass AND d.objid = k.oid
    WHERE a.attnum > 0 AND d.refclassid = 'pg_proc'::regclass)
SELECT DISTINCT cn.nspname AS schema, c.relname AS name, pn.nspname AS function_schema, p.proname AS function
FROM called f JOIN pg_class c ON c.oid = f.relation JOIN pg_namespace cn ON cn.oid = c.relnamespace
JOIN pg_proc p ON p.oid = f.function JOIN pg_namespace pn ON pn.oid = p.pronamespace
JOIN pg_language l ON l.oid = p.prolang
WHERE f.relation = ANY (%(oids)s::oid[]) AND pn.nspname <> 'pg_catalog' AND l.lanname NOT IN ('c', 'internal')
  AND NOT EXISTS (SELECT FROM unnest(p.proconfig) AS s (setting) WHERE s.setting LIKE 'search_path=%%')
  AND to_jsonb(p) ->> 'prosqlbody' IS NULL
ORDER BY 1, 2, 3, 4"""
# What a session of the role begins with, whatever ours has set.
SEARCH_PATH = """
SELECT coalesce((
    SELECT substr(s.setting, length('search_path=') + 1)
    FROM pg_db_role_setting r CROSS JOIN LATERAL unnest(r.setconfig) AS s (setting)
    WHERE s.setting LIKE 'search_path=%%'
      AND r.setdatabase IN (0, (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()))
      AND r.setrole IN (0, (SELECT u.oid FROM pg_roles u WHERE u.rolname = current_user))
    ORDER BY r.setrole DESC, r.setdatabase DESC LIMIT 1), '"$user", public') AS path"""
# A partition's foreign key is told of under the name of the partitioned table, when that is what is restored.
REFERENCES = """
SELECT k.conname AS name, k.conrelid::int8 AS id, k.child::int8 AS child, k.parent::int8 AS parent,
       cn.nspname AS child_schema, cc.relname AS child_name, pn.nspname AS parent_schema, pc.relname AS parent_name,
       cc.relkind::text AS child_kind,
       ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS n (number, place)
             JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = n.number ORDER BY n.place) AS columns,
       ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY AS n (number, place)
             JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = n.number
             ORDER BY n.place) AS target_columns,
       k.confdeltype::text AS on_delete, k.confupdtype::text AS on_update,
       pg_get_constraintdef(k.oid) AS definition, obj_description(k.oid, 'pg_constraint') AS comment,
       on_n.nspname AS on_schema, on_c.relname AS on_name
FROM (SELECT c.*, CASE WHEN c.conrelid = ANY (%(oids)s::oid[]) THEN c.conrelid
                       ELSE coalesce(pg_partition_root(c.conrelid), c.conrelid) END AS child,
             CASE WHEN c.confrelid = ANY (%(oids)s::oid[]) THEN c.confrelid
                  ELSE coalesce(pg_partition_root(c.confrelid), c.confrelid) END AS parent
      FROM pg_constraint c WHERE c.contype = 'f' AND c.conparentid = 0) AS k
JOIN pg_class cc ON cc.oid = k.child JOIN pg_namespace cn ON cn.oid = cc.relnamespace
JOIN pg_class pc ON pc.oid = k.parent JOIN pg_namespace pn ON pn.oid = pc.relnamespace
JOIN pg_class on_c ON on_c.oid = k.conrelid JOIN pg_namespace on_n ON on_n.oid = on_c.relnamespace
WHERE k.child = ANY (%(oids)s::oid[]) OR k.parent = ANY (%(oids)s::oid[])
ORDER BY on_n.nspname, on_c.relname, k.conname"""

TRIGGERS = """
SELECT n.nspname AS schema, c.relname AS name, t.tgname AS trigger, t.tgenabled::text AS enabled
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT t.tgisinternal AND t.tgenabled IN ('O', 'A')
  AND (t.tgrelid = ANY (%(oids)s::oid[]) OR t.tgrelid IN (
      SELECT p.relid FROM pg_class w CROSS JOIN LATERAL pg_partition_tree(w.oid) AS p
      WHERE w.oid = ANY (%(oids)s::oid[]) AND w.relkind = 'p'))
ORDER BY 1, 2, 3"""
# What else could keep a row from its place: unique indexes and exclusion constraints.
UNIQUE_INDEXES = """
SELECT i.indrelid::int8 AS relation, count(*) AS n FROM pg_index i
WHERE i.indrelid = ANY (%(oids)s::oid[]) AND (i.indisunique OR i.indisexclusion) GROUP BY 1"""
SEQUENCES = """
SELECT f.relation::int8 AS relation, a.attname AS column, n.nspname AS schema, c.relname AS name,
       s.seqincrement AS increment, s.seqmin AS smallest, s.seqmax AS largest,
       s.seqcycle AS cycles, t.typname IN ('int2', 'int4', 'int8', 'numeric') AS counted,
       c.xmin::text = (txid_current() %% 4294967296)::text AS made_now,
       has_sequence_privilege(c.oid, 'SELECT') AND has_sequence_privilege(c.oid, 'UPDATE') AS settable
FROM (SELECT d.refobjid AS relation, d.refobjsubid AS number, d.objid AS sequence FROM pg_depend d
      WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0
        AND d.deptype IN ('a', 'i')
      UNION
      SELECT e.adrelid, e.adnum, d.refobjid FROM pg_attrdef e
      JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = e.oid
      WHERE d.refclassid = 'pg_class'::regclass AND d.refobjsubid = 0) AS f
JOIN pg_sequence s ON s.seqrelid = f.sequence JOIN pg_class c ON c.oid = f.sequence
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = f.relation AND a.attnum = f.number JOIN pg_type t ON t.oid = a.atttypid
WHERE f.relation = ANY (%(oids)s::oid[]) AND NOT a.attisdropped ORDER BY 3, 4, 1, 2"""

NAMED_SEQUENCES = """
SELECT n.nspname AS schema, c.relname AS name, q.seqincrement AS increment, q.seqmin AS smallest, q.seqmax AS largest,
       q.seqcycle AS cycles,
       has_schema_privilege(n.oid, 'USAGE') AND has_sequence_privilege(c.oid, 'SELECT')
       AND has_sequence_privilege(c.oid, 'UPDATE') AS settable
FROM unnest(%(schemas)s::text[], %(names)s::text[]) AS w (schema, name)
JOIN pg_namespace n ON n.nspname = w.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name
JOIN pg_sequence q ON q.seqrelid = c.oid ORDER BY 1, 2"""

TRY_LOCK = "SELECT pg_try_advisory_lock(%(class)s, %(object)s) AS held"
UNLOCK = "SELECT pg_catalog.pg_advisory_unlock(%(class)s, %(object)s)"
HOLDER = """
SELECT a.pid, a.application_name, a.backend_start FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.classid::int8 = %(class)s AND l.objid::int8 = %(object)s
  AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())"""


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
    return [row["id"] for row in query(OIDS, _parameters(wanted))]


def sequences_of(query: Query, wanted: Iterable[Name]) -> Mapping[Name, Row]:
    """Of those of the sequences that are there: how they count, and whether the role may set them."""
    return {(row["schema"], row["name"]): row for row in query(NAMED_SEQUENCES, _parameters(wanted))}


def _parameters(wanted: Iterable[Name]) -> Mapping[str, object]:
    names = list(wanted)
    return {"schemas": [schema for schema, _ in names], "names": [name for _, name in names]}


def facts(query: Query, wanted: Iterable[Name]) -> TargetFacts:
    """What the database has; about the relations `wanted` everything."""
    server = query(SERVER, {})[0]
    parameters = {"oids": oids_of(query, wanted)}
    schemas, extensions = query(SCHEMAS, {}), query(EXTENSIONS, {})
    relations = _relations(query, parameters)
    return TargetFacts(
        database=server["database"],
        role=server["role"],
        superuser=server["login"] if server["superuser"] else "",
        server_version=server["server_version"],
        relations=relations,
        references=tuple(_reference(row) for row in query(REFERENCES, parameters)),
        sequences={name: row["settable"] for name, row in sequences_of(query, wanted).items()},
        taken=_names(query(RELATION_NAMES, {})),
        types=_names(query(TYPE_NAMES, {})),
        functions=_names(query(FUNCTION_NAMES, {})),
        schemas=frozenset(row["name"] for row in schemas),
        extensions=frozenset(row["name"] for row in extensions),
        homes={row["name"]: row["home"] for row in extensions},
        available=frozenset(row["name"] for row in query(AVAILABLE, {})),
        creatable=frozenset(row["name"] for row in schemas if row["creatable"]),
        roles=frozenset(row["name"] for row in query(ROLES, {})),
        callers=_callers(query(CALLERS, parameters)),
        search_path=query(SEARCH_PATH, parameters)[0]["path"],
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
    columns = _by_relation(query(COLUMNS, parameters))
    keys = _by_relation(query(KEYS, parameters))
    uniques = _by_relation(query(UNIQUES, parameters))
    relations = (_relation(row, columns, (keys, uniques), query) for row in query(RELATIONS, parameters))
    return {relation.name: relation for relation in relations}


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
        uniques=tuple(tuple(unique["columns"]) for unique in uniques[row["id"]]),
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
    callers: dict[Name, tuple[Name, ...]] = {}
    for row in rows:
        name = (row["schema"], row["name"])
        callers[name] = (*callers.get(name, ()), (row["function_schema"], row["function"]))
    return callers


def _names(rows: Iterable[Row]) -> frozenset[Name]:
    return frozenset((row["schema"], row["name"]) for row in rows)


_AS_BEFORE = "The target is as it was."
_RULES: dict[str, tuple[type[BackupError], str]] = {
    "23503": (PreflightRefusedError, "Restore the table it refers to as well (--table), or use another backup."),
    "23502": (PreflightRefusedError, "Give new rows a value for that column with --fill TABLE.COLUMN=VALUE."),
    "42501": (TargetError, "Connect as the owner of the tables, or GRANT what is missing to the role."),
    "55P03": (TargetUnavailableError, "Somebody holds a lock on it (see pg_locks): run again when that is done."),
    "40P01": (TargetUnavailableError, "Two transactions waited for each other: run it again when less goes on."),
    "53100": (TargetError, "The server's disk is full: free space there."),
    "25006": (TargetError, "It is a standby or set read-only: connect to the primary."),
    "23505": (TargetError, "A row of the target has the same value: use --mode replace, or restore it beside."),
    "57014": (TargetError, "Somebody canceled it, or it ran longer than the statement timeout."),
}
# `COPY orders, line 7, column at: "…"`, in the server's language.
_COLUMN = re.compile(r"COPY .*?, \w+ (\d+)(?:, \w+ ([^:\n]+))?")


_AT_THE_DOOR: dict[str, tuple[type[TargetError], str]] = {
    "28": (
        TargetError,
        "Correct the user and the password in the target's URL, sslmode where the server takes TLS alone "
        "(docs/connecting.md), or pg_hba.conf on the server.",
    ),
    "3D000": (TargetError, "Create the database first, or correct its name in the target's URL."),
    "42501": (TargetError, "GRANT CONNECT on the database to the role of the target's URL."),
}


def connect_error(error: psycopg.Error, endpoint: Endpoint) -> TargetError:
    """Why the connection could not be made."""
    if isinstance(error, UnsuitableConnectionError):
        return TargetError(error.what, do=error.do)
    reason, state = endpoint.redact(server_message(error)), refused_with(error, endpoint)
    rule, advice = refusal_rule(state, reason)
    usual = (TargetUnavailableError if rule.transient else TargetError, advice)
    kind, do = _AT_THE_DOOR.get(state, usual)
    return kind(f"Can not connect to {endpoint}: {reason}", do=do)


def target_error(error: psycopg.Error, endpoint: Endpoint, doing: str) -> BackupError:
    """Why a statement failed; `doing` is what it was for, such as `loading public.customers`."""
    reason = endpoint.redact(server_message(error)) or "the connection was lost"
    where = _COLUMN.search(error.diag.context or "")
    if where:
        reason += f" (row {where[1]}" + (f", column {where[2]})" if where[2] else ")")
    what = f"{doing[:1].upper()}{doing[1:]} failed in {endpoint}: {reason}"
    if connection_lost(error):
        return TargetUnavailableError(what, do=f"{_AS_BEFORE} Look at the server's log, then run it again.")
    kind, do = _RULES.get(sqlstate_of(error), (TargetError, "Look at the message and the server's log."))
    return kind(what, do=f"{_AS_BEFORE} {do}")


@contextmanager
def as_target_errors(endpoint: Endpoint, doing: str) -> Iterator[None]:
    """Raise errors of psycopg as `target_error` has them."""
    try:
        yield
    except psycopg.Error as error:
        raise target_error(error, endpoint, doing) from error


@dataclass(frozen=True)
class TargetConnection:
    """One connection to the target, and who listens. `patience_s` is how long it goes on asking for a lock; 0: ever."""

    connection: psycopg.Connection[dict[str, Any]]
    endpoint: Endpoint
    progress: Progress
    patience_s: float = 0

    def run(self, sql: str, doing: str) -> int:
        """Run statements; how many rows the last one touched."""
        with as_target_errors(self.endpoint, doing):
            return self.connection.execute(sql.encode()).rowcount

    def rows(self, sql: str, parameters: Mapping[str, object] | None = None) -> Sequence[Row]:
        """The rows of a query. Without parameters a percent sign is itself."""
        with as_target_errors(self.endpoint, "looking at the target"):
            return self.connection.execute(sql.encode(), parameters or None).fetchall()

    def number(self, sql: str) -> int:
        """The column `n` of the one row that a query gives."""
        return int(self.rows(sql)[0]["n"])
