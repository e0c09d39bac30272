"""What keeps a statement from succeeding: errors told apart by SQLSTATE, and who holds the lock that is waited for."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import psycopg

from backup_pipeline.core.errors import BackupError, SnapshotLostError, SourceError, SourceUnavailableError
from backup_pipeline.postgres.connection import Endpoint, UnsuitableConnectionError, refusal_state, server_answered

logger = logging.getLogger(__name__)

AFTER_S = 5.0
"""How long somebody waits before it is said."""
_WORDS = 8
_LOOK_S = 1.0
# Texts, also those that the server cut off, comments, then numbers: whatever may be data.
_DATA = re.compile(
    r"--[^\n]*|/\*.*?(?:\*/|\Z)|[EeBbXxUu]?&?'(?:[^']|'')*(?:'|\Z)|\$(\w*)\$.*?(?:\$\1\$|\Z)|\b\d[\w.]*",
    re.DOTALL,
)
# A process that is waited for may wait itself: the query that blocks is then the one at the end of the queue. Process 0
# is a prepared transaction. To see what others run takes pg_read_all_stats; without it their query is a word in <>.
_BLOCKERS = """
SELECT w.pid AS waiting, (SELECT s.application_name FROM pg_stat_activity s WHERE s.pid = w.pid) AS ours,
       coalesce(format('%I.%I', n.nspname, c.relname), w.locktype) AS relation, w.mode AS wanted,
       b.pid AS pid, a.usename AS role, a.application_name AS application, host(a.client_addr) AS client, a.state,
       a.backend_type, round(extract(epoch FROM clock_timestamp() - a.xact_start))::int8 AS transaction_s,
       round(extract(epoch FROM clock_timestamp() - a.query_start))::int8 AS query_s, a.query,
       (SELECT string_agg(DISTINCT h.mode, ' and ') FROM pg_locks h
        WHERE h.pid = b.pid AND h.granted AND h.locktype = w.locktype AND h.database = w.database
          AND h.relation = w.relation) AS held,
       pg_blocking_pids(b.pid) AS waits_for
FROM pg_locks w CROSS JOIN LATERAL (SELECT DISTINCT pid FROM unnest(pg_blocking_pids(w.pid)) AS pid) AS b
LEFT JOIN pg_stat_activity a ON a.pid = b.pid
LEFT JOIN (pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace) ON c.oid = w.relation AND w.locktype = 'relation'
WHERE NOT w.granted AND ({of_ours}) ORDER BY w.pid, b.pid"""

Row = Mapping[str, Any]


class LockWatch:
    """A thread that looks, as long as sessions of ours are slow, whether they wait for a lock, and who holds it.

    `slow` gives, as SQL conditions on `w.pid`, those sessions whose statement has run for so many seconds; `ask` gives
    the rows of a query in another session; `notice` gets a sentence for each wait, once.
    """

    def __init__(
        self,
        slow: Callable[[float], Sequence[str]],
        ask: Callable[[str], Iterable[Row]],
        notice: Callable[[str], None],
        lock_timeout_s: float,
    ) -> None:
        self._slow, self._ask, self._notice = slow, ask, notice
        # The last look must be before the server gives up.
        self._after_s = min(AFTER_S, lock_timeout_s / 3) if lock_timeout_s else AFTER_S
        self._quiet = bool(lock_timeout_s) and lock_timeout_s < AFTER_S
        self._ended = threading.Event()
        self._seen: dict[str, tuple[str, float]] = {}
        self._noticed: set[str] = set()
        self._thread = threading.Thread(target=self._watch, name="lock watch", daemon=True)
        self._thread.start()

    def blocked(self, session: str) -> str:
        """What the session (its process id, or its application's name) waits for, or did a moment ago; or empty."""
        message, seen_at = self._seen.get(session, ("", 0.0))
        return message if time.monotonic() - seen_at < 2 * self._after_s + _LOOK_S else ""

    def close(self) -> None:
        """End the watch."""
        self._ended.set()
        self._thread.join(_LOOK_S)

    def _watch(self) -> None:
        while not self._ended.wait(self._after_s / 2):
            if slow := self._slow(self._after_s):
                with suppress(psycopg.Error):
                    self._look(slow)

    def _look(self, slow: Sequence[str]) -> None:
        waits: dict[str, list[Row]] = {}
        for row in self._ask(_BLOCKERS.format(of_ours=" OR ".join(slow))):
            waits.setdefault(str(row["waiting"]), []).append(row)
        now = time.monotonic()
        for pid, rows in waits.items():
            message = sentence(rows)
            self._seen[pid] = self._seen[str(rows[0]["ours"])] = (message, now)
            key = f"{rows[0]['relation']} {[row['pid'] for row in rows]}"
            if not (self._quiet or self._ended.is_set() or key in self._noticed):
                self._noticed.add(key)
                logger.warning("Waiting for a lock: %s", message)
                self._notice(f"Waiting for a lock: {message}")


def sentence(rows: Sequence[Row]) -> str:
    """Which relation is locked, and by whom: `public.t is locked: process 17 (psql, …) holds …`."""
    first = rows[0]
    who = "; ".join(_who(row) for row in rows)
    return f"{first['relation']} is locked (wanted: {first['wanted']}): {who}."


def way_out(text: str) -> str:
    """What to do about what `sentence` said."""
    pids = re.findall(r"process (\d+) ", text)
    ending = f", or end it: SELECT pg_terminate_backend({pids[0]})" if pids else ""
    return f"Wait until that is done{ending}; then run it again."


def first_words(query: str) -> str:
    """The first words of a query, without its values: every text, number and comment is left out."""
    words = _DATA.sub(lambda match: " " if match[0].startswith(("--", "/*")) else "…", query).split()
    return " ".join(words[:_WORDS]) + (" …" if len(words) > _WORDS else "")


def _who(row: Row) -> str:
    if not row["pid"]:
        return "a prepared transaction holds it (pg_prepared_xacts says which: COMMIT PREPARED or ROLLBACK PREPARED)"
    facts = [
        row["application"] or "",
        f"as {row['role']}" if row["role"] else row["backend_type"] or "",
        f"from {row['client']}" if row["client"] else "",
        row["state"] or "",
        f"in a transaction for {row['transaction_s']} s" if row["transaction_s"] is not None else "",
        _query(row),
    ]
    does = f"holds {row['held']}" if row["held"] else "waits for it before us"
    behind = [pid for pid in row["waits_for"] or [] if pid]
    also = f", and itself waits for process {behind[0]}" if behind else ""
    return f"process {row['pid']} ({', '.join(fact for fact in facts if fact)}) {does}{also}"


def _query(row: Row) -> str:
    query = str(row["query"] or "")
    if not query or query.startswith("<"):
        return ""
    last = "last query" if row["state"] and row["state"] != "active" else "query"
    return f"{last} since {row['query_s']} s: {first_words(query)}"


_LOST_STATES = {"57P01", "57P02", "57P03", "57P05", "25P03", "25P04"}
_SERVER_SAID = re.compile(r"(?:^|: )[^\s:]+:  (.*)", re.DOTALL)
_CONNECT_S = 10
_RESTART = "Run it again: a new snapshot shows the table as it is now."

RECOVERY = (
    "A standby ends what is in the way of its recovery: set hot_standby_feedback = on there, or "
    "max_standby_streaming_delay = -1 (docs/operations.md); then run it again, or read the primary."
)
"""What to do when a standby canceled a query or ended the connection that holds the snapshot."""

# sqlstate (or its class) -> the error's type and what to do next.
_RULES: dict[str, tuple[type[SourceError], str]] = {
    "28": (
        SourceError,
        "Correct the user and the password of the source, sslmode where the server takes TLS alone "
        "(docs/connecting.md), or pg_hba.conf on the server.",
    ),
    "3D000": (SourceError, "Correct the database's name in the source URL, or create the database."),
    "42501": (SourceError, "GRANT SELECT on it (and USAGE on its schema) to the role of the source URL."),
    "55P03": (SourceUnavailableError, "Something holds a lock on it (see pg_locks): run again when it is done."),
    "57014": (SourceError, "It ran longer than the statement timeout: raise that, or look at the query's plan."),
    "42P01": (SourceError, f"It was dropped or renamed while it was read. {_RESTART}"),
    "42703": (SourceError, f"The column was dropped or renamed while it was read. {_RESTART}"),
    "21000": (SourceError, "A look-up of the sheet finds several rows: look up by a unique column."),
    "22021": (SourceError, "The database holds text that is not UTF-8: correct it there, or exclude the column."),
    "53100": (SourceError, "The server's disk is full: free space there."),
    "53300": (SourceUnavailableError, "The server has no connection left: lower the number of workers, or wait."),
    "53": (SourceUnavailableError, "The server is short of memory or connections: try later, or with fewer workers."),
    "55000": (SourceError, "REFRESH the materialized view, or take it out of the catalog."),
    "40": (SourceUnavailableError, RECOVERY),
    "58": (SourceError, "The server can not read its own files: look at its log."),
    "72": (SourceUnavailableError, "old_snapshot_threshold ended the snapshot: set it to -1 on the server, or higher."),
    "XX": (SourceError, "The server met damaged data or a bug of its own: look at its log, check the table."),
}
_CONNECTING: dict[str, tuple[type[SourceError], str]] = {
    "42501": (SourceError, "GRANT CONNECT ON the DATABASE to the role of the URL."),
    "57P03": (SourceUnavailableError, "The server starts or recovers: wait until it takes connections."),
}
"""What a state means that a server refuses a connection with, where it is something else than for a statement."""
_ROW_SECURITY = "Give the role BYPASSRLS, or read the table through a view of its owner: a filtered copy is no backup."
_UNLOGGED = "A standby has no rows of an unlogged table: read the primary, or exclude it in the catalog."
_UNREACHABLE = "Check host and port, that the server runs and accepts connections, and the network."
# What libpq itself finds wrong carries no sqlstate. It says so in English, unless it is the system's.
_LIBPQ_SAID: tuple[tuple[re.Pattern[str], tuple[type[SourceError], str]], ...] = (
    (re.compile("SYSCALL|EOF|closed unexpectedly|timeout expired"), (SourceUnavailableError, _UNREACHABLE)),
    (
        re.compile("no password supplied"),
        (SourceError, "Give the password in the URL, in PGPASSWORD, or in ~/.pgpass (its file must be 0600)."),
    ),
    (
        re.compile("certificate|SSL|private key|channel binding|authentication method", re.IGNORECASE),
        (
            SourceError,
            "Correct sslmode, sslrootcert, sslcert, sslkey, sslpassword or channel_binding (docs/connecting.md).",
        ),
    ),
    (
        re.compile("service file|definition of service"),
        (SourceError, "Name a service of ~/.pg_service.conf, or the file in PGSERVICEFILE."),
    ),
)
# What a message is about stands in the name of the server's function that wrote it: words come in any language.
_OF_ROW_SECURITY = {"check_enable_rls"}
_OF_RECOVERY = {"get_relation_info"}
_OF_SNAPSHOTS = {"ImportSnapshot", "SetTransactionSnapshot"}


OF_WAITING = {"55P03", "57014"}
"""The states of a statement that waited too long: for a lock, or in all."""


def sqlstate_of(error: BaseException) -> str:
    """The five characters of SQL's error code; empty when the driver gave none."""
    return str(getattr(error, "sqlstate", None) or "")


def server_message(error: BaseException) -> str:
    """The server's (or the driver's) message, without the query, which may carry key values."""
    if isinstance(error, psycopg.Error) and error.diag.message_primary:
        return " ".join(part for part in (error.diag.message_primary, error.diag.message_detail) if part)
    match = _SERVER_SAID.search(str(error))
    return " ".join((match[1] if match else str(error)).split())


def connection_lost(error: BaseException) -> bool:
    """Whether the connection is gone, as opposed to a statement that was refused."""
    state = sqlstate_of(error)
    if state:
        return state in _LOST_STATES or state.startswith("08")
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)


def connect_error(error: BaseException, endpoint: Endpoint) -> SourceError:
    """Why the connection could not be made: SourceError when the settings are wrong, else SourceUnavailableError."""
    if isinstance(error, UnsuitableConnectionError):
        return SourceError(error.what, do=error.do)
    message = endpoint.redact(server_message(error))
    kind, do = refusal_rule(refused_with(error, endpoint), message)
    return kind(f"Can not connect to {endpoint}: {message}", do=do)


def refusal_rule(state: str, message: str) -> tuple[type[SourceError], str]:
    """Whether waiting can help, and what to do, about a connection refused with that SQLSTATE, or by libpq itself."""
    if rule := _CONNECTING.get(state) or _RULES.get(state) or _RULES.get(state[:2]):
        return rule
    return next((rule for sign, rule in _LIBPQ_SAID if sign.search(message)), (SourceUnavailableError, _UNREACHABLE))


def refused_with(error: BaseException, endpoint: Endpoint) -> str:
    """The SQLSTATE of a refused connection, of class 28 that class alone; empty when no server answered.

    Where the server answered, it is asked once more: the driver keeps no code of an error at the door.
    """
    if (state := sqlstate_of(error)) or not isinstance(error, psycopg.OperationalError):
        return state
    state = refusal_state(endpoint.conninfo("refused", _CONNECT_S)) if server_answered(str(error)) else ""
    return "28" if state.startswith("28") else state


def query_error(error: BaseException, endpoint: Endpoint, doing: str) -> BackupError:  # noqa: PLR0911  one rule each
    """Why a statement failed. `doing` is what it was for, with the relation: `reading public.customers`."""
    if isinstance(error, UnsuitableConnectionError):
        return SourceError(error.what, do=error.do)
    state, message = sqlstate_of(error), endpoint.redact(server_message(error))
    what = f"{doing[:1].upper()}{doing[1:]} failed in {endpoint}: {message}"
    function = _function_of(error)
    if function in _OF_ROW_SECURITY:
        return SourceError(what, do=_ROW_SECURITY)
    if function in _OF_RECOVERY and state == "0A000":
        return SourceError(what, do=_UNLOGGED)
    if function in _OF_SNAPSHOTS:
        return SnapshotLostError(what, do="Run it again: a new snapshot is needed.")
    if connection_lost(error):
        return SourceUnavailableError(what, do="The connection was lost: run it again; look at the server's log.")
    if state in OF_WAITING and (blocked := " ".join(getattr(error, "__notes__", ()))):
        return SourceUnavailableError(f"{what.rstrip('.')}. {blocked}", do=way_out(blocked))
    kind, do = _RULES.get(state) or _RULES.get(state[:2]) or (SourceError, "Look at the message and the server's log.")
    return kind(what, do=do)


def _function_of(error: BaseException) -> str:
    """The function of the server's code that raised the error; empty when there is none."""
    return str(error.diag.source_function or "") if isinstance(error, psycopg.Error) else ""
