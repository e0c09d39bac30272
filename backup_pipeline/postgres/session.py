"""How a transaction is begun: its settings, the snapshot it holds or joins; names as SQL; the workers that read in it.

Settings are set inside a transaction and end with it: behind a pooler the session goes on to serve others.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC
from typing import Any

import psycopg
import pyarrow as pa
from psycopg.pq import ConnStatus

from backup_pipeline.core.errors import BackupError, CanceledError, PreflightRefusedError, SourceError
from backup_pipeline.core.manifest import SnapshotEntry
from backup_pipeline.postgres.connection import Patience, Session
from backup_pipeline.postgres.copy_stream import CopyForm, CopyStream, Expected
from backup_pipeline.postgres.errors import OF_WAITING, sqlstate_of

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
# Pages are found by an index or by their place on disk. Without these a table would be read in full for every page, and
# sorted for every query of many pages, into files on the server.
_PATHS = {
    "enable_seqscan": "on",
    "enable_indexscan": "on",
    "enable_indexonlyscan": "on",
    "enable_bitmapscan": "on",
    "enable_tidscan": "on",
    "enable_sort": "off",
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


_CANCEL_ROUND_S = 0.05
_CANCEL_ROUNDS = 100
_CANCEL_TIMEOUT_S = 5.0
_ROUNDS_BEFORE_KILL = 8


_OPEN = """
SELECT {id} AS id, current_database() AS database,
       CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text AS lsn,
       pg_is_in_recovery() AS standby, current_setting('server_version') AS server_version"""
_JOINABLE_EVERY_S = 3.0
"""How often who has joined another's snapshot looks whether it is still held."""

Row = dict[str, Any]


class Holder:
    """Holds the snapshot open until `close`. Raises psycopg's errors as they are; safe from any thread.

    With `joined` it is another's, who holds it open for all.
    """

    def __init__(
        self, connection: Session, settings: Mapping[str, str], patience: Patience, joined: SnapshotEntry | None = None
    ) -> None:
        self._patience = patience
        self._connection = connection
        self._guard = threading.Lock()
        self._ends = socket.socketpair()
        self._watcher: threading.Thread | None = None
        try:
            self.query(BEGIN)
            if joined is not None:
                self.query(join_sql(joined.id))
            # The first query takes the snapshot: what was committed before it arrived is in it.
            first = self.query(apply_sql(settings))[0]
            refuse_hidden_damage(first["refused"])
            self.pid = int(first["pid"])
            opened = self.query(_OPEN.format(id="NULL" if joined else "pg_export_snapshot()"))[0]
        except BaseException:
            self.close()
            raise
        self.server_version = self._connection.info.server_version
        self.standby = bool(opened.pop("standby"))
        self.entry = joined or SnapshotEntry(**opened, taken_at=first["asked_at"].astimezone(UTC))

    def query(self, sql: str, parameters: Sequence[object] | None = None) -> list[Row]:
        """The rows of `sql` in the snapshot."""
        with self._guard, self._patience.waiting(self._connection):
            cursor = self._connection.execute(sql, parameters)
            return cursor.fetchall() if cursor.description else []

    def watch(self, lost: Callable[[], None], still: Callable[[], bool] | None = None) -> None:
        """Call `lost`, in a thread of its own, as soon as the server ends this connection.

        Or as soon as `still`, which is asked every few seconds, says that the snapshot is not there any more.
        """
        self._watcher = threading.Thread(target=self._watch, args=(lost, still), name="snapshot watch", daemon=True)
        self._watcher.start()

    def gone(self) -> bool:
        """Whether the server ended the connection, as far as its messages arrived; returns at once."""
        with self._guard:
            try:
                # The farewell first, then the end: two readings.
                self._connection.pgconn.consume_input()
                self._connection.pgconn.consume_input()
            except psycopg.Error:
                return True
            return self._connection.pgconn.status == ConnStatus.BAD

    def cancel(self) -> None:
        """Stop the query that runs now, if one does."""
        if not self._guard.locked():
            return
        with suppress(psycopg.Error):
            self._connection.cancel_safe(timeout=_CANCEL_TIMEOUT_S)

    def close(self) -> None:
        """End the transaction: the snapshot can not be joined any more."""
        self._ends[1].close()
        if self._watcher and self._watcher is not threading.current_thread():
            self._watcher.join()
        self._ends[0].close()
        with suppress(psycopg.Error):
            self._connection.close()

    def _watch(self, lost: Callable[[], None], still: Callable[[], bool] | None) -> None:
        ask_at = time.monotonic() + _JOINABLE_EVERY_S
        with selectors.DefaultSelector() as selector:
            selector.register(self._connection.fileno(), selectors.EVENT_READ)
            selector.register(self._ends[0], selectors.EVENT_READ)
            while True:
                wait_s = max(0.0, ask_at - time.monotonic()) if still else None
                if any(key.fileobj is self._ends[0] for key, _ in selector.select(wait_s)):
                    return
                # Something to read: an answer for a thread that is querying, or the server's farewell.
                over = self.gone()
                if not over and still and time.monotonic() >= ask_at:
                    over, ask_at = not still(), time.monotonic() + _JOINABLE_EVERY_S
                if over:
                    lost()
                    return


class Worker:
    """One connection in the snapshot, used by one thread at a time; `cancel` may be called from any thread.

    Raises the driver's errors as they are. `locked` holds the SQL sources whose relations this transaction has locked,
    `blocked` tells by process id who kept a session waiting: a note of the error when it waited too long. `since` is
    when the statement began that runs now; `check` raises, before a statement begins, where all work was stopped.
    """

    def __init__(self, connection: Session, settings: Mapping[str, str], snapshot_id: str, patience: Patience) -> None:
        self._connection = connection
        self._patience = patience
        self._guard = threading.Lock()
        self._open = True
        self.running = False
        self.since = 0.0
        self.pid = 0
        self.blocked: Callable[[str], str] = lambda _: ""
        self.check: Callable[[], None] = lambda: None
        self.locked: set[str] = set()
        try:
            self._execute(BEGIN)
            self._execute(join_sql(snapshot_id))  # before any query, which would take a snapshot of its own
            self.pid = int(self.rows(apply_sql(settings))[0]["pid"])
        except BaseException:
            self.close()
            raise

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """The few rows of `sql`, as dictionaries."""
        with self._statement():
            return self._connection.execute(sql).fetchall()

    def types(self, sql: str) -> list[str]:
        """The names of the types of `sql`'s columns; of a domain that of what it stands for."""
        with self._statement():
            described = self._connection.execute(sql).description or ()
        known = self._connection.adapters.types
        return [info.name if (info := known.get(column.type_code)) else "" for column in described]

    def batches(
        self, sql: str, forms: Sequence[CopyForm], batch_bytes: int, expected: Expected
    ) -> Iterator[pa.RecordBatch]:
        """The rows of `sql` as they arrive (see CopyStream)."""
        with self._statement():
            stream = iter(CopyStream(self._connection, sql, forms, batch_bytes, expected))
        while (batch := self._next(stream)) is not None:
            yield batch

    def cancel(self) -> None:
        """Ask the server to stop the statement that runs now, if one does."""
        with self._guard, suppress(psycopg.Error):
            if self._open and self.running:
                self._connection.cancel_safe(timeout=_CANCEL_TIMEOUT_S)

    def close(self) -> None:
        """Leave the snapshot. The server ends whatever still runs."""
        with self._guard, suppress(psycopg.Error):
            self._open = False
            self._connection.close()

    def _execute(self, sql: str) -> None:
        with self._statement():
            self._connection.execute(sql)

    def _next(self, stream: Iterator[pa.RecordBatch]) -> pa.RecordBatch | None:
        with self._statement():
            return next(stream, None)

    @contextmanager
    def _statement(self) -> Iterator[None]:
        # First running, then the question: whoever stops all work gives the reason first, and then looks who runs.
        self.since, self.running = time.monotonic(), True
        try:
            self.check()
            with self._patience.waiting(self._connection):
                yield
        except psycopg.Error as error:
            if sqlstate_of(error) in OF_WAITING and (blocker := self.blocked(str(self.pid))):
                error.add_note(blocker)
            raise
        finally:
            self.running = False


class Workers:
    """Lends at most `limit` workers at a time; all of them stop when one thread cancels, or the snapshot is void."""

    def __init__(self, connect: Callable[[], Worker], limit: int) -> None:
        self._connect = connect
        self._free = threading.Semaphore(limit)
        self._guard = threading.Lock()
        self._idle: list[Worker] = []
        self._lent: set[Worker] = set()
        self._stopped = threading.Event()
        self._reason: BackupError | None = None

    @contextmanager
    def lend(self) -> Iterator[Worker]:
        """A worker for the length of the context. One that failed, or was left in mid-query, is not used again."""
        self.check()
        with self._free:
            worker = self._take()
            try:
                self.check()
                yield worker
            except BaseException:
                self._drop(worker)
                raise
            self._give_back(worker)

    def slow(self, after_s: float) -> list[int]:
        """The process ids of workers whose statement has run for so many seconds."""
        now = time.monotonic()
        return [worker.pid for worker in self._busy() if worker.pid and now - worker.since >= after_s]

    def check(self) -> None:
        """Raise the reason why all work stopped, if it did."""
        if self._reason:
            raise type(self._reason)(self._reason.what, do=self._reason.do)

    def stop(self, reason: BackupError, kill: Callable[[list[int]], None]) -> None:
        """Stop every running statement, and refuse new ones with `reason`; returns when none runs any more.

        A statement may be about to start while the others are canceled; therefore it goes round until all are still.
        When asking politely does not help for some rounds, `kill` gets the process ids of those that still run.
        """
        with self._guard:
            self._reason = self._reason or reason
        for number in range(_CANCEL_ROUNDS):
            busy = self._busy()
            if not busy:
                return
            for worker in busy:
                worker.cancel()
            if number % _ROUNDS_BEFORE_KILL == _ROUNDS_BEFORE_KILL - 1:
                kill([worker.pid for worker in busy])
            self._stopped.wait(_CANCEL_ROUND_S)

    def close(self) -> None:
        """Close the idle workers now, and lent ones when they come back."""
        with self._guard:
            self._reason = self._reason or CanceledError("The snapshot is closed.")
            idle, self._idle = self._idle, []
        self._stopped.set()
        for worker in idle:
            worker.close()

    def _busy(self) -> list[Worker]:
        with self._guard:
            return [worker for worker in self._lent if worker.running]

    def _take(self) -> Worker:
        with self._guard:
            worker = self._idle.pop() if self._idle else None
        worker = worker or self._connect()
        worker.check = self.check
        with self._guard:
            self._lent.add(worker)
        return worker

    def _drop(self, worker: Worker) -> None:
        with self._guard:
            self._lent.discard(worker)
        worker.close()

    def _give_back(self, worker: Worker) -> None:
        with self._guard:
            self._lent.discard(worker)
            if keep := self._reason is None:
                self._idle.append(worker)
        if not keep:
            worker.close()
