"""Which settings of PostgreSQL get which value in the sessions that read a source, dump it, or write a target.

`ALTER DATABASE … SET` and `ALTER ROLE … SET` change what a session starts with. Whatever can change a value, its text,
a definition or which rows come has a known value here, so that the same database gives the same backup. What only says
how fast a query is, or what the server writes into its own log, stays as the server's administrator set it.
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
