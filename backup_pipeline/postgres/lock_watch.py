"""Who keeps our sessions waiting for a lock: looked at while they wait, for the log, and for the error to come."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import psycopg

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
        told, at = self._seen.get(session, ("", 0.0))
        return told if time.monotonic() - at < 2 * self._after_s + _LOOK_S else ""

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
        found: dict[str, list[Row]] = {}
        for row in self._ask(_BLOCKERS.format(of_ours=" OR ".join(slow))):
            found.setdefault(str(row["waiting"]), []).append(row)
        now = time.monotonic()
        for pid, rows in found.items():
            told = sentence(rows)
            self._seen[pid] = self._seen[str(rows[0]["ours"])] = (told, now)
            key = f"{rows[0]['relation']} {[row['pid'] for row in rows]}"
            if not (self._quiet or self._ended.is_set() or key in self._noticed):
                self._noticed.add(key)
                logger.warning("Waiting for a lock: %s", told)
                self._notice(f"Waiting for a lock: {told}")


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
    words = _DATA.sub(lambda found: " " if found[0].startswith(("--", "/*")) else "…", query).split()
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
