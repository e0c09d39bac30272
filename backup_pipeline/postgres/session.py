"""The session settings of every connection to the source: what makes values print the same everywhere and always."""

from __future__ import annotations

from collections.abc import Mapping

# How values print: the same text whatever the server, the role or the environment would prefer.
_FORMATS = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "lc_monetary": "C",
    "xmloption": "content",
    "standard_conforming_strings": "on",
}
# Which rows come, and in which order: a role that row-level security would filter gets an error, not fewer rows; no
# scan starts in the middle of a table because another one is under way; no workers that mix up the order.
_ROWS = {
    "row_security": "off",
    "synchronize_seqscans": "off",
    "max_parallel_workers_per_gather": "0",
}
# Names in the catalog's SQL are qualified; nothing that somebody put into `public` may stand in for a built-in.
_SAFETY = {"search_path": "pg_catalog", "idle_in_transaction_session_timeout": "0"}

# A program that is killed would leave its query running to the end. Servers look for their client since 14, on Linux.
_GONE_CLIENT = """CASE WHEN current_setting('server_version_num')::int8 >= 140000 AND version() LIKE '%linux%'
THEN set_config('client_connection_check_interval', '2000', false) END"""

BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


def session_settings(statement_timeout_s: float, lock_timeout_s: float) -> Mapping[str, str]:
    """The settings by name; the timeouts in seconds, 0 for none."""
    timeouts = {
        "statement_timeout": str(round(statement_timeout_s * 1000)),
        "lock_timeout": str(round(lock_timeout_s * 1000)),
    }
    return {**_FORMATS, **_ROWS, **_SAFETY, **timeouts}


def apply_sql(settings: Mapping[str, str]) -> str:
    """One query that applies all of `settings` to its session and returns the backend's process id as `pid`."""
    applied = ", ".join(f"set_config({literal(n)}, {literal(v)}, false)" for n, v in settings.items())
    return f"SELECT pg_backend_pid() AS pid, ARRAY[{applied}, {_GONE_CLIENT}]::text AS applied"


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
