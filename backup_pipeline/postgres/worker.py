"""A worker: one connection whose transaction shows the holder's snapshot, and the pool that lends workers out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import pyarrow as pa

from backup_pipeline.core.errors import BackupError, CanceledError
from backup_pipeline.postgres.connection import Patience, Session
from backup_pipeline.postgres.copy_stream import CopyForm, CopyStream, Expected
from backup_pipeline.postgres.errors import OF_WAITING, sqlstate_of
from backup_pipeline.postgres.session import BEGIN, apply_sql, join_sql

_CANCEL_ROUND_S = 0.05
_CANCEL_ROUNDS = 100
_CANCEL_TIMEOUT_S = 5.0
_ROUNDS_BEFORE_KILL = 8


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
