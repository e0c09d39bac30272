"""What a drill asks the system catalog of its scratch database."""

from __future__ import annotations

_OURS = "n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'"

VERSION = "SELECT current_setting('server_version') AS version"
ROLES = "SELECT rolname AS name FROM pg_roles"
VERSION_NUMBER = "SELECT current_setting('server_version_num')::int AS n"
# Trusted: PostgreSQL itself lets the owner of a database make it.
AVAILABLE = """
SELECT e.name, bool_or(v.trusted OR NOT v.superuser) AS trusted
FROM pg_available_extensions e JOIN pg_available_extension_versions v
     ON v.name = e.name AND v.version = e.default_version GROUP BY e.name"""
MADE_BY_EXTENSIONS = """
SELECT n.nspname AS schema, c.relname AS name
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_depend d ON d.objid = c.oid
WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
      AND c.relkind IN ('r', 'p', 'v', 'm', 'S')"""
OWN_SCHEMAS = f"SELECT n.nspname AS name FROM pg_namespace n WHERE {_OURS}"  # noqa: S608
MAY_REPLICATE = "SELECT (current_setting('server_version_num')::int >= 150000)::int AS n"
RELATIONS = f"""
SELECT n.nspname AS schema, c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE {_OURS} AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')"""  # noqa: S608
INDEXES = f"""
SELECT n.nspname AS schema, c.relname AS name, i.indisvalid AND i.indisready AND i.indislive AS valid
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE {_OURS}"""  # noqa: S608
CONSTRAINTS = f"""
SELECT n.nspname AS schema, c.relname AS relation, k.conname AS name, k.convalidated AS valid
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE {_OURS}"""  # noqa: S608
TRIGGERS = f"""
SELECT n.nspname AS schema, c.relname AS relation, t.tgname AS name
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE {_OURS} AND NOT t.tgisinternal"""  # noqa: S608
NAMES = """
SELECT c.oid::int8 AS id, n.nspname AS schema, c.relname AS name
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY (%(oids)s::oid[])"""
# A column that is an expression has the number 0, and no name.
UNIQUES = """
SELECT i.indrelid::int8 AS relation, c.relname AS name, NOT i.indnullsnotdistinct AS nulls_distinct, ARRAY(
           SELECT coalesce(a.attname::text, '')
           FROM unnest((string_to_array(i.indkey::text, ' ')::int2[])[1:i.indnkeyatts]) WITH ORDINALITY AS k (n, place)
           LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.n AND k.n > 0
           ORDER BY k.place) AS columns
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = ANY (%(oids)s::oid[]) AND (i.indisunique OR i.indisexclusion)"""
