"""The restore target: one connection to a PostgreSQL database, and everything a restore does through it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psycopg

from backup_pipeline.core.errors import BackupError, CanceledError, LockedError
from backup_pipeline.core.ports import Progress, Silence
from backup_pipeline.core.restore import Name, RestorePlan, TableReport, TableRestore, TargetFacts
from backup_pipeline.postgres import target_facts as target_queries
from backup_pipeline.postgres.connection import Endpoint, first_connection, parse_endpoint
from backup_pipeline.postgres.restore import restore_in_transaction
from backup_pipeline.postgres.session import WRITING, apply_sql, identifier, refuse_replica, relation_sql, timeouts
from backup_pipeline.postgres.target_facts import TargetConnection, as_target_errors, connect_error, facts

LOCK = {"class": 1_650_551_664, "object": 1}
"""The advisory lock that a restore holds on its target database."""
_CANCEL_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class TargetOptions:
    """How the target is treated: timeouts in seconds (0: none), and the role to work as, where not the URL's."""

    statement_timeout_s: float = 0
    lock_timeout_s: float = 30
    connect_timeout_s: int = 10
    role: str | None = None


class PostgresTarget:
    """The database at `url` (core's port `RestoreTarget`). SettingsError when that is no PostgreSQL URL."""

    def __init__(self, url: str, *, options: TargetOptions | None = None) -> None:
        self._endpoint = parse_endpoint(url, name="The target URL")
        self._options = options or TargetOptions()
        self.url = self._endpoint.shown_url
        self.reached = self._endpoint
        """Of several servers that the URL may mean, the one that the last session went to."""

    @contextmanager
    def session(self) -> Iterator[PostgresTargetSession]:
        """Connect, and close the connection at the end; TargetUnavailableError when that does not work."""
        opened = PostgresTargetSession(self._endpoint, self._options)
        self.reached = opened.endpoint
        try:
            yield opened
        finally:
            opened.close()


class PostgresTargetSession:
    """One connection (core's port `TargetSession`). `cancel` may be called from any thread, the rest from one."""

    def __init__(self, endpoint: Endpoint, options: TargetOptions) -> None:
        self._options = options
        self._canceled = threading.Event()
        self._settings = {**WRITING, **timeouts(options.statement_timeout_s, options.lock_timeout_s)}
        self._holds_lock = False
        try:
            self._connection, route = first_connection(endpoint, "restore", options.connect_timeout_s)
        except psycopg.Error as error:
            raise connect_error(error, endpoint) from None
        self.endpoint = route.endpoint
        self._work = TargetConnection(self._connection, self.endpoint, Silence())
        try:
            self._begin(alone=not route.relayed)
        except BaseException:
            self.close()
            raise

    def look(self, wanted: Sequence[Name]) -> TargetFacts:
        """What is there now, as one transaction shows it."""
        with self._target_errors("looking at the target"), self._transaction("REPEATABLE READ, READ ONLY"):
            return facts(self._work.rows, wanted)

    def lock(self) -> None:
        """Keep other restores out until the session ends; LockedError, naming the holder, when one is under way."""
        with self._target_errors("locking the target"), self._transaction("READ COMMITTED, READ ONLY"):
            self._holds_lock = self._work.rows(target_queries.TRY_LOCK, LOCK)[0]["held"]
            if self._holds_lock:
                return
            holders = self._work.rows(target_queries.HOLDER, LOCK)
        holder = f"process {holders[0]['pid']} ({holders[0]['application_name']})" if holders else "another session"
        message = f"Another restore into {self.endpoint.database} is under way: {holder} holds its lock."
        raise LockedError(message, do="Wait until it ends; if nobody runs it, end it with pg_terminate_backend.")

    def restore(
        self,
        plan: RestorePlan,
        rows: Callable[[TableRestore], Iterable[bytes]],
        progress: Progress,
        protect: Callable[[], None],
    ) -> Sequence[TableReport]:
        """Carry out the plan in one transaction; what became of each table, in the plan's order."""
        work = TargetConnection(self._connection, self.endpoint, progress, self._options.lock_timeout_s)
        with self._target_errors("ending the restore"), self._transaction("READ COMMITTED, READ WRITE"):
            return restore_in_transaction(work, plan, rows, protect)

    def analyze(self, tables: Sequence[Name]) -> Sequence[str]:
        """Make new statistics; a sentence for each table where that failed."""
        notes = []
        for name in tables:
            try:
                with self._target_errors("making statistics"), self._transaction("READ COMMITTED, READ WRITE"):
                    self._work.run(f"ANALYZE {relation_sql(name)}", f"making statistics of {'.'.join(name)}")
            except BackupError as error:
                notes.append(error.what)
        return notes

    def cancel(self) -> None:
        """Stop the running statement: `restore` raises CanceledError, and the target is as it was."""
        self._canceled.set()
        with suppress(psycopg.Error):
            self._connection.cancel_safe(timeout=_CANCEL_TIMEOUT_S)

    def close(self) -> None:
        """End the connection, and with it its lock and whatever was not committed."""
        with suppress(psycopg.Error):
            if self._holds_lock:  # a pooler in session mode may keep the session for the next
                self._connection.execute(target_queries.UNLOCK, LOCK)
        self._connection.close()

    def _begin(self, *, alone: bool) -> None:
        """Look whether our settings can be set at all; let the session last while a backup is fetched."""
        with self._target_errors("looking at the target"), self._transaction("READ COMMITTED, READ ONLY"):
            pass
        if alone:  # behind a pooler the session is somebody else's afterwards
            with suppress(psycopg.errors.UndefinedObject):  # servers before 14 have no such limit
                self._connection.execute("SET SESSION idle_session_timeout = 0")

    @contextmanager
    def _transaction(self, mode: str) -> Iterator[None]:
        """A transaction of that mode with our settings and as the options' role, which both end with it."""
        with self._connection.transaction():
            self._connection.execute(f"SET TRANSACTION ISOLATION LEVEL {mode}".encode())
            row = self._connection.execute(apply_sql(self._settings).encode()).fetchone()
            refuse_replica(row["refused"] if row else [])
            if self._options.role is not None:
                self._work.run(f"SET LOCAL ROLE {identifier(self._options.role)}", "taking BACKUP_RESTORE_ROLE's role")
            yield

    @contextmanager
    def _target_errors(self, doing: str) -> Iterator[None]:
        """Raise errors of the transaction itself as BackupErrors; whatever fails after `cancel` was canceled."""
        try:
            with as_target_errors(self.endpoint, doing):
                yield
        except BackupError as error:
            if self._canceled.is_set():
                message = "The restore was canceled."
                raise CanceledError(message, do="The target is as it was.") from error
            raise
