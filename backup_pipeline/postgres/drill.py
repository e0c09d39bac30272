"""The scratch database of a drill: what was made in it, a row inserted and taken back, a row lost on purpose."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.rows import dict_row

from backup_pipeline.core.drill.definitions import EXTENSIONS_BY_LIST, Extension, ServerNeeds
from backup_pipeline.core.drill.objects import DatabaseObjects, Insert, Inserted, NumberedTable, UniqueIndex
from backup_pipeline.core.errors import TargetError
from backup_pipeline.core.ports import Silence
from backup_pipeline.core.restore import Name, TargetColumn
from backup_pipeline.core.restore.tables import SequenceState
from backup_pipeline.postgres.connection import Endpoint, parse_endpoint
from backup_pipeline.postgres.errors import server_message
from backup_pipeline.postgres.restore import queries as target_queries
from backup_pipeline.postgres.restore.queries import Row, TargetConnection, connect_error, oids_of, sequences_of
from backup_pipeline.postgres.restore.sql import names
from backup_pipeline.postgres.session import identifier, literal, relation_sql

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


_TIMEOUT_S = 10
_GRANTS_SETTINGS = 150_000
"""PostgreSQL 15 can let a role set what else only a superuser sets."""


class PostgresScratch:
    """The port `ScratchDatabase`, in an empty database of a server that is ours. Each method connects for itself.

    `admin_url` is a superuser's. With it roles and extensions are made while nothing of a backup is there yet; whatever
    comes from a backup is done by the database's owner, who may do nothing outside of it, and connects by `url`.
    """

    def __init__(self, admin_url: str, url: str) -> None:
        self._admin = parse_endpoint(admin_url, name="The scratch server's URL")
        self._endpoint = parse_endpoint(url, name="The scratch database's URL")

    def server_version(self) -> str:
        """The server's version, as it says it."""
        with self._work() as work:
            return str(work.rows(VERSION)[0]["version"])

    def prepare(self, needs: ServerNeeds) -> None:
        """Make the roles and the extensions that definitions want, before anything of the backup is there.

        TargetError when the server has not got one of the extensions, or it is none that may be made.
        """
        with _connected(self._admin) as connection:
            work = TargetConnection(connection, self._admin, Silence())
            known = {row["name"] for row in work.rows(ROLES)}
            for role in sorted(needs.roles - known):
                work.run(f"CREATE ROLE {identifier(role)} NOLOGIN", f"making role {role}")
            there = {row["name"]: bool(row["trusted"]) for row in work.rows(AVAILABLE)}
            _refuse_extensions(needs, there)
            for extension in needs.extensions:
                self._extend(work, extension)

    def _extend(self, work: TargetConnection, extension: Extension) -> None:
        """Make one extension. Its tables are the owner's to fill, its schema is to hold more: nothing else is given."""
        owner = identifier(self._endpoint.user)
        doing = f"making extension {extension.name}"
        schema = extension.schema
        if schema is not None and not schema.startswith("pg_"):
            work.run(f"CREATE SCHEMA IF NOT EXISTS {identifier(schema)}", doing)
        into = f" SCHEMA {identifier(schema)}" if schema is not None else ""
        work.run(f"CREATE EXTENSION IF NOT EXISTS {identifier(extension.name)}{into} CASCADE", doing)
        for row in work.rows(MADE_BY_EXTENSIONS):
            work.run(f"GRANT ALL ON {relation_sql((row['schema'], row['name']))} TO {owner}", doing)
        for row in work.rows(OWN_SCHEMAS):
            work.run(f"GRANT ALL ON SCHEMA {identifier(row['name'])} TO {owner}", doing)

    def objects(self) -> DatabaseObjects:
        """Everything that definitions make."""
        with self._work() as work:
            return DatabaseObjects(
                relations=frozenset((row["schema"], row["name"]) for row in work.rows(RELATIONS)),
                indexes={(row["schema"], row["name"]): row["valid"] for row in work.rows(INDEXES)},
                constraints={
                    (row["schema"], row["relation"], row["name"]): row["valid"] for row in work.rows(CONSTRAINTS)
                },
                triggers=frozenset((row["schema"], row["relation"], row["name"]) for row in work.rows(TRIGGERS)),
            )

    def numbered(self, tables: Sequence[Name]) -> Sequence[NumberedTable]:
        """Those of `tables` that have a column which a sequence feeds."""
        with self._work() as work:
            parameters = {"oids": oids_of(work.rows, tables)}
            fed = _grouped(work.rows(target_queries.SEQUENCES, parameters))
            columns = _grouped(work.rows(target_queries.COLUMNS, parameters))
            unique = _grouped(work.rows(UNIQUES, parameters))
            named = {row["id"]: (row["schema"], row["name"]) for row in work.rows(NAMES, parameters)}
            return [
                NumberedTable(
                    name=named[oid],
                    columns=tuple(_column(row) for row in columns[oid]),
                    fed=tuple(dict.fromkeys(row["column"] for row in rows)),
                    unique=tuple(_unique(row) for row in unique[oid]),
                    empty=_empty(work, named[oid]),
                    cycling=tuple(row["column"] for row in rows if row["cycles"]),
                )
                for oid, rows in fed.items()
            ]

    def standing(self, sequences: Sequence[Name]) -> Mapping[Name, SequenceState]:
        """Where those of the sequences stand that are there."""
        with self._work() as work:
            return {name: _standing(work, name) for name in sequences_of(work.rows, sequences)}

    def insert(self, wanted: Insert) -> Inserted:
        """Insert the row, see what was drawn, and roll back."""
        table = wanted.table
        with self._work() as work:
            # As an application's session: functions of the backup may name things without their schema.
            work.run("RESET search_path", "inserting a row")
            try:
                with work.connection.transaction(force_rollback=True):
                    return _drawn(work, wanted)
            except psycopg.errors.UniqueViolation as error:
                index = next((index for index in table.unique if index.name == error.diag.constraint_name), None)
                taken = tuple(name for name in table.fed if index is not None and name in index.columns)
                return Inserted(taken=taken, refused="" if taken else server_message(error))
            except psycopg.Error as error:
                return Inserted(refused=self._endpoint.redact(server_message(error)))

    def drop_row(self, table: Name) -> None:
        """Delete one row, whatever refers to it: no foreign key is asked, no trigger fires but those made for that.

        TargetError from a server before 15, where only a superuser could, when something refers to the row.
        """
        row = f"SELECT tableoid, ctid FROM {relation_sql(table)} LIMIT 1"  # noqa: S608
        with self._work() as work, work.connection.transaction():
            if work.number(MAY_REPLICATE):
                work.run("SET LOCAL session_replication_role = replica", "losing a row")
            work.run(f"DELETE FROM {relation_sql(table)} WHERE (tableoid, ctid) = ({row})", "losing a row")  # noqa: S608

    @contextmanager
    def _work(self) -> Iterator[TargetConnection]:
        with _connected(self._endpoint) as connection:
            work = TargetConnection(connection, self._endpoint, Silence())
            work.run("SET search_path = pg_catalog", "looking at the scratch database")
            yield work


def make_owner(admin_url: str, owner: str, password: str, database: str) -> None:
    """Make a role and an empty database that belongs to it, on a new server: the role that a backup's code runs as.

    It owns the database, sees all rows of it whatever policies say, and may do nothing else on the server: it is no
    superuser, makes no roles, reads no files, runs no programs.
    """
    endpoint = parse_endpoint(admin_url, name="The scratch server's URL")
    with _connected(endpoint) as connection:
        work = TargetConnection(connection, endpoint, Silence())
        verifier = connection.pgconn.encrypt_password(password.encode(), owner.encode(), b"scram-sha-256").decode()
        rights = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION BYPASSRLS"
        work.run(f"CREATE ROLE {identifier(owner)} {rights} PASSWORD {literal(verifier)}", "making the role")
        # Only for --inject drop-row; no file and no program is opened by it.
        if work.number(VERSION_NUMBER) >= _GRANTS_SETTINGS:
            work.run(f"GRANT SET ON PARAMETER session_replication_role TO {identifier(owner)}", "making the role")
        work.run(f"CREATE DATABASE {identifier(database)} OWNER {identifier(owner)}", "making the database")
        work.run(f"REVOKE ALL ON DATABASE {identifier(database)} FROM PUBLIC", "making the database")


def own_public_schema(admin_url: str, owner: str) -> None:
    """Give the new database's schema `public` to its owner: up to PostgreSQL 14 it is the superuser's."""
    endpoint = parse_endpoint(admin_url, name="The scratch server's URL")
    with _connected(endpoint) as connection:
        sql = f"ALTER SCHEMA public OWNER TO {identifier(owner)}"
        TargetConnection(connection, endpoint, Silence()).run(sql, "making the database")


def _refuse_extensions(needs: ServerNeeds, there: Mapping[str, bool]) -> None:
    """TargetError when the server has not got one, or a superuser would have to make one that we do not know."""
    names = {extension.name for extension in needs.extensions}
    if lacking := sorted(names - there.keys()):
        message = f"The backup's definitions want extensions that the scratch server lacks: {', '.join(lacking)}."
        do = "Install PostgreSQL with these extensions on the machine that drills, or restore by hand."
        raise TargetError(message, do=do)
    unknown = sorted(name for name in names if not (there[name] or name in EXTENSIONS_BY_LIST))
    if unknown:
        message = (
            f"The backup's definitions want {', '.join(unknown)}: only a superuser may make it, and a drill makes as a "
            "superuser only extensions that it knows."
        )
        raise TargetError(message, do="Report its name, if it has but types and functions; until then restore by hand.")


@contextmanager
def _connected(endpoint: Endpoint) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    try:
        connection = psycopg.connect(endpoint.conninfo("drill", _TIMEOUT_S), autocommit=True, row_factory=dict_row)
    except psycopg.Error as error:
        raise connect_error(error, endpoint) from None
    with connection:
        yield connection


def _drawn(work: TargetConnection, wanted: Insert) -> Inserted:
    """The insert itself. What was drawn must be in one row only, also where no index says so."""
    table, fed = relation_sql(wanted.table.name), wanted.table.fed
    row = work.connection.execute(_insert_sql(wanted).encode()).fetchone()
    if row is None:
        return Inserted(refused="the row was kept away by a trigger or a rule")
    taken = tuple(name for name in fed if _count(work, table, name, row[name]) > 1)
    return Inserted(tuple(str(row[name]) for name in fed), taken)


def _insert_sql(wanted: Insert) -> str:
    table, returned = relation_sql(wanted.table.name), names(wanted.table.fed)
    given = [*wanted.copied, *wanted.nulls]
    if not given or wanted.table.empty:
        return f"INSERT INTO {table} DEFAULT VALUES RETURNING {returned}"  # noqa: S608
    values = ", ".join([*(identifier(name) for name in wanted.copied), *("NULL" for _ in wanted.nulls)])
    return f"INSERT INTO {table} ({names(given)}) SELECT {values} FROM {table} LIMIT 1 RETURNING {returned}"  # noqa: S608


def _count(work: TargetConnection, table: str, column: str, value: object) -> int:
    named = f"SELECT count(*) AS n FROM {table} WHERE {identifier(column)}".replace("%", "%%")  # noqa: S608
    return int(work.rows(f"{named} = %(value)s", {"value": value})[0]["n"])


def _empty(work: TargetConnection, table: Name) -> bool:
    return bool(work.rows(f"SELECT NOT EXISTS (SELECT FROM {relation_sql(table)}) AS empty")[0]["empty"])  # noqa: S608


def _standing(work: TargetConnection, sequence: Name) -> SequenceState:
    (row,) = work.rows(f"SELECT last_value, is_called FROM {relation_sql(sequence)}")  # noqa: S608
    return SequenceState(row["last_value"], row["is_called"])


def _grouped(rows: Iterable[Row]) -> Mapping[int, list[Row]]:
    grouped: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        grouped[row["relation"]].append(row)
    return grouped


def _column(row: Row) -> TargetColumn:
    wanted = ("name", "pg_type", "nullable", "has_default", "generated", "identity")
    return TargetColumn(**{name: row[name] for name in wanted})


def _unique(row: Row) -> UniqueIndex:
    return UniqueIndex(row["name"], tuple(row["columns"]), row["nulls_distinct"])
