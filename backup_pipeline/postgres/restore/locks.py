"""The locks of a restore: taken in short tries, so that nobody queues for long behind it, and refused by name.

A lock that is waited for keeps everybody who comes later waiting too, readers of the table as well when it is an
exclusive one. So a restore asks for the locks of all its tables at once, gives up after half a second, lets the others
pass, and asks again, until its patience ends. A try that fails gives back what it had.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import psycopg

from backup_pipeline.core.errors import LockedError
from backup_pipeline.postgres.target_facts import Row, TargetConnection, target_error

_TRY_S = 0.5
_PAUSE_S = 0.3
_AUTOVACUUM = "autovacuum worker"
_BUSY = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)
_WRITERS = ("ShareUpdateExclusiveLock", "ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock")
# pg_stat_activity shows a stranger's application, but neither its state nor since when, to who is no pg_read_all_stats.
# A prepared transaction has no process: it stays until somebody ends it by name.
_BLOCKERS = """
SELECT l.relation::regclass::text AS relation, min(l.mode) AS mode, l.pid, a.usename AS role,
       a.application_name AS application, a.state, a.backend_type, p.gid, p.owner AS gid_owner,
       to_char(coalesce(a.xact_start, p.prepared) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"') AS since,
       pg_backend_pid() = ANY (pg_blocking_pids(l.pid)) AS waits_for_us
FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
LEFT JOIN (pg_locks own JOIN pg_prepared_xacts p ON p.transaction = own.transactionid)
    ON l.pid IS NULL AND own.pid IS NULL AND own.virtualtransaction = l.virtualtransaction
WHERE l.locktype = 'relation' AND l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()
  AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
  AND l.mode = ANY (%(modes)s)
  AND l.relation IN (SELECT coalesce(t.relid::oid, w.id::oid) FROM unnest(%(oids)s::oid[]) AS w (id)
                     LEFT JOIN LATERAL pg_partition_tree(w.id) AS t ON true)
GROUP BY 1, 3, 4, 5, 6, 7, 8, 9, 10, 11 ORDER BY 10 NULLS LAST, 3"""


class LockHold(StrEnum):
    """How much a lock keeps away. Its value is PostgreSQL's name for it."""

    WRITERS = "SHARE ROW EXCLUSIVE"
    """Nobody changes rows."""
    ALL_BUT_READERS = "EXCLUSIVE"
    """Nobody changes rows or holds some FOR UPDATE; everybody may read."""
    EVERYBODY = "ACCESS EXCLUSIVE"
    """Nobody even reads."""

    @property
    def conflicts(self) -> Sequence[str]:
        """The modes, as pg_locks writes them, that keep this one from being taken."""
        if self is LockHold.WRITERS:
            return ("RowExclusiveLock", *_WRITERS)
        others = ("RowShareLock", "RowExclusiveLock", *_WRITERS)
        return others if self is LockHold.ALL_BUT_READERS else ("AccessShareLock", *others)


@dataclass(frozen=True)
class Wanted:
    """Relations to be locked, as SQL writes them, with their ids."""

    relations: Sequence[str]
    oids: Sequence[int]
    hold: LockHold

    @property
    def sql(self) -> str:
        """The statement that locks them."""
        return f"LOCK TABLE {', '.join(self.relations)} IN {self.hold} MODE"


def take(work: TargetConnection, wanted: Sequence[Wanted]) -> None:
    """Take all the locks of `wanted`, or none; LockedError, naming table and holder, when patience ends."""
    wanted = [lock for lock in wanted if lock.relations]
    deadline = time.monotonic() + work.patience_s
    blockers: Sequence[Row] = ()
    while wanted and not _taken(work, wanted, _wait_s(work, blockers)):
        blockers = _blockers(work, wanted) or blockers
        if work.patience_s and time.monotonic() > deadline:
            raise _locked(work, blockers, wanted)
        time.sleep(_PAUSE_S)


def run_patiently(work: TargetConnection, statement: str, doing: str) -> None:
    """Run a statement that may have to lock what others use, such as the parent of a new foreign key, in tries."""
    deadline = time.monotonic() + work.patience_s
    while (busy := _tried(work, [statement], _TRY_S, doing)) is not None:
        if work.patience_s and time.monotonic() > deadline:
            raise target_error(busy, work.endpoint, doing) from busy
        time.sleep(_PAUSE_S)


def _taken(work: TargetConnection, wanted: Sequence[Wanted], wait_s: float) -> bool:
    return _tried(work, [lock.sql for lock in wanted], wait_s, "locking the tables") is None


def _tried(work: TargetConnection, statements: Sequence[str], wait_s: float, doing: str) -> psycopg.Error | None:
    """Run the statements, none of which waits for a lock longer than `wait_s`; what was busy, and then none has run."""
    before = work.rows("SELECT current_setting('lock_timeout') AS value")[0]["value"]
    try:
        with work.connection.transaction():
            work.connection.execute(f"SET LOCAL lock_timeout = '{round(wait_s * 1000)}ms'".encode())
            for statement in statements:
                work.connection.execute(statement.encode())
            work.connection.execute(f"SET LOCAL lock_timeout = '{before}'".encode())
    except _BUSY as error:
        return error
    except psycopg.Error as error:
        raise target_error(error, work.endpoint, doing) from error
    return None


def _wait_s(work: TargetConnection, blockers: Sequence[Row]) -> float:
    """How long one try waits. An autovacuum only gives way to who waits for longer than deadlock_timeout."""
    if blockers and all(row["backend_type"] == _AUTOVACUUM for row in blockers):
        deadlock_ms = work.number("SELECT setting::int8 AS n FROM pg_settings WHERE name = 'deadlock_timeout'")
        return deadlock_ms / 1000 + _TRY_S
    return _TRY_S


def _blockers(work: TargetConnection, wanted: Sequence[Wanted]) -> Sequence[Row]:
    """Who holds what is in the way now, the longest first."""
    # What pg_stat_activity shows is kept for the length of a transaction, unless it is told to look again.
    work.rows("SELECT pg_stat_clear_snapshot()")
    return [
        row
        for lock in wanted
        for row in work.rows(_BLOCKERS, {"modes": list(lock.hold.conflicts), "oids": list(lock.oids)})
    ]


def _locked(work: TargetConnection, blockers: Sequence[Row], wanted: Sequence[Wanted]) -> LockedError:
    waited = f"The restore asked for a lock again and again, for {work.patience_s:g} s, and did not get it"
    if not blockers:
        tables = ", ".join(name for lock in wanted for name in lock.relations)
        message = f"Too much goes on in {work.endpoint.database} to lock {tables}. {waited}."
        return LockedError(message, do="The target is as it was. Run it again when less is written there.")
    first, others = blockers[0], len({(row["pid"], row["gid"]) for row in blockers}) - 1
    more = f" ({others} more {'holds' if others == 1 else 'hold'} such locks)" if others else ""
    message = f"{first['relation']} is in use: {_who(first)} holds {first['mode']} on it{more}. {waited}."
    return LockedError(message, do=f"The target is as it was. {_way_out(first)}")


def _who(row: Row) -> str:
    if row["gid"] is not None:
        return f"the prepared transaction {row['gid']!r} of {row['gid_owner']}, prepared {row['since']},"
    facts = [
        f"user {row['role']}" if row["role"] else row["backend_type"] or "a background process",
        f"application {row['application']}" if row["application"] else "",
        row["state"] or "",
        f"in a transaction since {row['since']}" if row["since"] else "",
    ]
    return f"process {row['pid']} ({', '.join(fact for fact in facts if fact)})"


def _way_out(row: Row) -> str:
    if row["gid"] is not None:
        return f"End it with COMMIT PREPARED or ROLLBACK PREPARED '{row['gid']}', then run the restore again."
    if row["waits_for_us"]:
        return (
            "That transaction read the table before and now waits to write to it, so each waits for the other. Stop "
            "the application, or let it only read, for the length of the restore; then run it again."
        )
    return f"Let it end, or end it with SELECT pg_terminate_backend({row['pid']}); then run the restore again."
