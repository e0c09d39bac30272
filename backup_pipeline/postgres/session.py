"""How a transaction is begun: its settings, the snapshot it joins; and names written as SQL.

Settings are set inside a transaction and end with it: behind a pooler the session goes on to serve others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from backup_pipeline.core.errors import PreflightRefusedError, SourceError

# How values print, and how texts are read back as values: also inside of views, which run with these settings too.
_VALUES = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "lc_monetary": "C",
    "xmloption": "content",
    "xmlbinary": "base64",
    "array_nulls": "on",
}
# What functions print and look for when nobody tells them how: to_char, to_tsvector and their like in views.
_FUNCTIONS = {
    "lc_numeric": "C",
    "lc_time": "C",
    "timezone_abbreviations": "Default",
    "default_text_search_config": "pg_catalog.simple",
}
# What the texts of statements mean, and how names and definitions are written.
_SYNTAX = {
    "standard_conforming_strings": "on",
    "escape_string_warning": "on",
    "backslash_quote": "safe_encoding",
    "transform_null_equals": "off",
    "quote_all_identifiers": "off",
}
# Which rows come, and in which order: a role that row-level security would filter gets an error, not fewer rows; no
# scan starts in the middle of a table because another one is under way; no workers that mix up the order; no rows left
# out because an index has many of them; no relation refused for being a view.
_ROWS = {
    "row_security": "off",
    "synchronize_seqscans": "off",
    "max_parallel_workers_per_gather": "0",
    "gin_fuzzy_search_limit": "0",
    "restrict_nonsystem_relation_kind": "",
}
# Pages are found by an index or by their place on disk. Without these a table would be read in full for every page.
_PATHS = {
    "enable_seqscan": "on",
    "enable_indexscan": "on",
    "enable_indexonlyscan": "on",
    "enable_bitmapscan": "on",
    "enable_tidscan": "on",
    "enable_sort": "on",
    "enable_incremental_sort": "on",
}
# The session lasts as long as it takes, an error ends a statement and not the session, and nothing but warnings comes.
_SESSION = {
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
    "exit_on_error": "off",
    "client_min_messages": "warning",
}
# Names in our SQL are qualified; nothing that somebody put into `public` may stand in for a built-in.
_NAMES = {"search_path": "pg_catalog"}
# A superuser's alone. On, rows of damaged pages are missing or wrong without a word.
_DAMAGE = {"zero_damaged_pages": "off", "ignore_checksum_failure": "off"}
# A superuser's alone. With another value foreign keys are not looked at, and triggers do not fire.
_TRIGGERS = {"session_replication_role": "origin"}

READING: Mapping[str, str] = {**_VALUES, **_FUNCTIONS, **_SYNTAX, **_ROWS, **_PATHS, **_SESSION, **_NAMES, **_DAMAGE}
"""Of every session that reads a source."""

WRITING: Mapping[str, str] = {
    **_VALUES,
    **_SYNTAX,
    **_SESSION,
    **_NAMES,
    **_DAMAGE,
    **_TRIGGERS,
    # Definitions of the source were good enough for the source.
    "icu_validation_level": "warning",
    "row_security": "off",
}
"""Of every session that writes a target.

It may use every core of its server; where tables are put, and what its own functions do, is its own affair.
"""

DUMPING: Mapping[str, str] = {**_VALUES, **_SYNTAX, "exit_on_error": "off", "client_min_messages": "warning"}
"""What pg_dump starts with: it sets the rest itself (search path, timeouts, row security, the order of scans)."""

KNOWN = "SELECT name, reset_val FROM pg_settings WHERE context = 'user'"
"""The settings that any session of a server may set, with the value that a session of the role starts with."""


def timeouts(statement_timeout_s: float, lock_timeout_s: float) -> Mapping[str, str]:
    """The settings of timeouts given in seconds, 0 for none."""
    return {
        "statement_timeout": str(round(statement_timeout_s * 1000)),
        "lock_timeout": str(round(lock_timeout_s * 1000)),
    }


def refuse_hidden_damage(refused: Sequence[str]) -> None:
    """SourceError when settings that hide damage are on and the role may not turn them off (`refused`)."""
    if refused:
        names = " and ".join(refused)
        message = (
            f"The sessions of the backup role have {names} = on: rows of damaged pages would be missing in silence."
        )
        do = f"As a superuser: ALTER DATABASE or ALTER ROLE … RESET {refused[0]} (pg_db_role_setting says which)."
        raise SourceError(message, do=do)


def refuse_replica(refused: Sequence[str]) -> None:
    """PreflightRefusedError when a target's sessions do not look at foreign keys, or not at damage (`refused`)."""
    if refused:
        names = ", ".join(refused)
        message = f"The target's sessions start with another value of {names}, which only a superuser may change: "
        message += "foreign keys would not be checked, triggers not fired, or damaged pages not noticed."
        do = f"As a superuser: ALTER DATABASE or ALTER ROLE … RESET {refused[0]} (pg_db_role_setting says which)."
        raise PreflightRefusedError(message, do=do)


def startup_options(settings: Mapping[str, str], known: Mapping[str, str]) -> str:
    """`settings` as libpq's `options` (PGOPTIONS): those that a session would start with another value of.

    `known` are the settings of the server, each with the value that sessions start with.
    """
    there = {name.lower(): value for name, value in known.items()}
    given = {name: value for name, value in settings.items() if there.get(name.lower(), value) != value}
    return " ".join(f"-c {name}={_escaped(value)}" for name, value in given.items())


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace(" ", "\\ ")


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
