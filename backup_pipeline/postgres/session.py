"""How a transaction is begun: its settings, the snapshot it joins; and names written as SQL.

Settings are set inside a transaction and end with it: behind a pooler the session goes on to serve others.
"""

from __future__ import annotations

from collections.abc import Mapping

from backup_pipeline.postgres.known_settings import READING, timeouts

# A program that is killed would leave its query running to the end. Servers look for their client since 14, on Linux.
_GONE_CLIENT = """CASE WHEN pg_catalog.current_setting('server_version_num')::pg_catalog.int8
    OPERATOR(pg_catalog.>=) 140000 AND pg_catalog.version() OPERATOR(pg_catalog.~~) '%linux%'
THEN pg_catalog.set_config('client_connection_check_interval', '2000', true) END"""

_APPLY = """
SELECT pg_catalog.pg_backend_pid() AS pid, pg_catalog.statement_timestamp() AS asked_at, ARRAY(
    SELECT pg_catalog.set_config(s.name, v.value, true)
    FROM (VALUES {wanted}) AS v (name, value) JOIN pg_catalog.pg_settings AS s
    ON pg_catalog.lower(s.name) OPERATOR(pg_catalog.=) pg_catalog.lower(v.name)
    WHERE s.context OPERATOR(pg_catalog.=) 'user' OR s.setting OPERATOR(pg_catalog.<>) v.value
          AND pg_catalog.current_setting('is_superuser') OPERATOR(pg_catalog.=) 'on') AS applied, ARRAY(
    SELECT s.name FROM (VALUES {wanted}) AS v (name, value) JOIN pg_catalog.pg_settings AS s
    ON pg_catalog.lower(s.name) OPERATOR(pg_catalog.=) pg_catalog.lower(v.name)
    WHERE s.context OPERATOR(pg_catalog.<>) 'user' AND s.setting OPERATOR(pg_catalog.<>) v.value
          AND pg_catalog.current_setting('is_superuser') OPERATOR(pg_catalog.<>) 'on') AS refused, {gone} AS watching"""

BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


def session_settings(statement_timeout_s: float, lock_timeout_s: float) -> Mapping[str, str]:
    """The settings by name of a session that reads; the timeouts in seconds, 0 for none."""
    return {**READING, **timeouts(statement_timeout_s, lock_timeout_s)}


def apply_sql(settings: Mapping[str, str]) -> str:
    """One query that sets those of `settings` that its server knows, until the transaction that it stands in ends.

    It returns the backend's process id as `pid`, and as `asked_at` when it arrived: a transaction that shows one
    snapshot has it from here on, where this comes first. `refused` are the names of settings that only a superuser may
    set, and that have another value. Everything in the query is qualified: it runs under whatever search path the
    session came with.
    """
    wanted = ", ".join(f"({literal(name)}, {literal(value)})" for name, value in settings.items())
    return _APPLY.format(wanted=wanted, gone=_GONE_CLIENT)


def join_sql(snapshot_id: str) -> str:
    """The statement that makes the transaction just begun show the exported snapshot."""
    return f"SET TRANSACTION SNAPSHOT {literal(snapshot_id)}"


def identifier(name: str) -> str:
    """`name` as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """`text` as an SQL string (standard_conforming_strings is on, so a backslash is itself)."""
    return "'" + text.replace("'", "''") + "'"


def relation_sql(relation: tuple[str, str]) -> str:
    """A relation's qualified, quoted name."""
    return ".".join(identifier(part) for part in relation)
