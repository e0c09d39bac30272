"""The source as a doctor sees it: what the role may do, what is hidden from it, and how the server stands."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from backup_pipeline.core.doctor import SourceFacts, Standby
from backup_pipeline.core.ports import Clock
from backup_pipeline.postgres.connection import Endpoint, first_connection, parse_endpoint
from backup_pipeline.postgres.errors import connect_error, query_error

_TIMEOUT_MS = 10_000

_OURS = """n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND c.relkind IN ('r', 'p', 'v', 'm', 'f')"""
_SERVER = """
SELECT current_user AS role, current_setting('server_version') AS version,
       current_setting('server_version_num')::int AS number, pg_is_in_recovery() AS standby,
       r.rolsuper AS superuser, r.rolcreaterole AS createrole, r.rolcreatedb AS createdb,
       has_database_privilege(current_database(), 'CREATE') AS create_here, current_database() AS database,
       coalesce(current_setting('transaction_timeout', true), '0') AS transaction_timeout,
       coalesce(current_setting('old_snapshot_threshold', true), '-1') AS old_snapshot_threshold
FROM pg_roles r WHERE r.rolname = current_user"""
_CLOCK = "SELECT clock_timestamp() AS now"
_RELATIONS = f"""
SELECT n.nspname || '.' || c.relname AS name,
       has_schema_privilege(n.oid, 'USAGE') AND (has_table_privilege(c.oid, 'SELECT')
           OR has_any_column_privilege(c.oid, 'SELECT')) AS readable,
       has_table_privilege(c.oid, 'INSERT') OR has_table_privilege(c.oid, 'UPDATE')
           OR has_table_privilege(c.oid, 'DELETE') OR has_table_privilege(c.oid, 'TRUNCATE') AS writable,
       c.relrowsecurity AND row_security_active(c.oid) AS filtered
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {_OURS} ORDER BY 1"""  # noqa: S608
_SCHEMAS = """
SELECT n.nspname AS name FROM pg_namespace n
WHERE n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND has_schema_privilege(n.oid, 'CREATE') ORDER BY 1"""
# A standby that has replayed all it receives is not behind, however long ago the primary wrote something. One that
# receives nothing does not know what it has missed.
_STANDBY = """
SELECT EXISTS (SELECT FROM pg_stat_wal_receiver) AS streams,
       CASE WHEN EXISTS (SELECT FROM pg_stat_wal_receiver)
                 AND pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0
            ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8 END AS lag,
       current_setting('hot_standby_feedback') = 'on' AS feedback,
       (SELECT s.setting::float8 / 1000 FROM pg_settings s WHERE s.name = 'max_standby_streaming_delay') AS delay_s"""

Row = dict[str, Any]


def examine_source(url: str, clock: Clock, *, connect_timeout_s: int = 10) -> SourceFacts:
    """What is to be known of the source at `url`; reads the system catalogs only.

    SourceUnavailableError when it can not be reached now, SourceError when it refuses, SettingsError for no URL.
    """
    endpoint = parse_endpoint(url)
    try:
        session, route = first_connection(endpoint, "doctor", connect_timeout_s)
    except psycopg.Error as error:
        raise connect_error(error, endpoint) from None
    with session:
        try:
            with session.transaction():
                session.execute(f"SET LOCAL statement_timeout = {_TIMEOUT_MS}; SET LOCAL search_path = pg_catalog")
                return replace(_facts(session, endpoint, clock), relayed=route.relayed)
        except psycopg.Error as error:
            raise query_error(error, endpoint, "examining the source") from None


def _facts(session: psycopg.Connection[Row], endpoint: Endpoint, clock: Clock) -> SourceFacts:
    before = clock()
    now: datetime = _single_row(session, _CLOCK)["now"]
    after = clock()
    server = _single_row(session, _SERVER)
    relations = session.execute(_RELATIONS).fetchall()
    creates = [str(row["name"]) for row in session.execute(_SCHEMAS).fetchall()]
    return SourceFacts(
        url=endpoint.shown_url,
        role=str(server["role"]),
        version=str(server["version"]),
        major=int(server["number"]) // 10_000,
        before=before,
        now=now.astimezone(UTC),
        after=after,
        powers=_powers(server),
        writable=tuple(str(row["name"]) for row in relations if row["writable"]),
        creates=tuple([f"database {server['database']}", *creates] if server["create_here"] else creates),
        hidden=tuple(str(row["name"]) for row in relations if not row["readable"]),
        filtered=tuple(str(row["name"]) for row in relations if row["filtered"]),
        ends=tuple(_ends(server)),
        standby=_standby(session) if server["standby"] else None,
    )


def _powers(server: Row) -> tuple[str, ...]:
    named = {
        "superuser": "a superuser",
        "createrole": "one that creates roles",
        "createdb": "one that creates databases",
    }
    return tuple(power for name, power in named.items() if server[name])


def _ends(server: Row) -> list[str]:
    usual = {"transaction_timeout": "0", "old_snapshot_threshold": "-1"}
    return [f"{name} = {server[name]}" for name, value in usual.items() if server[name] != value]


def _standby(session: psycopg.Connection[Row]) -> Standby:
    row = _single_row(session, _STANDBY)
    lag = None if row["lag"] is None else timedelta(seconds=float(row["lag"]))
    return Standby(lag, bool(row["feedback"]), float(row["delay_s"]), bool(row["streams"]))


def _single_row(session: psycopg.Connection[Row], sql: str) -> Row:
    [row] = session.execute(sql).fetchall()
    return row
