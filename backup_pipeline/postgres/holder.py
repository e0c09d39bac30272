"""The holder: the connection whose transaction is the snapshot, and the watch that notices when it is gone."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC
from typing import Any

import psycopg
from psycopg.pq import ConnStatus

from backup_pipeline.core.manifest import SnapshotEntry
from backup_pipeline.postgres.connect import Session
from backup_pipeline.postgres.known_settings import refuse_hidden_damage
from backup_pipeline.postgres.patience import Patience
from backup_pipeline.postgres.session import BEGIN, apply_sql

_OPEN = """
SELECT pg_export_snapshot() AS id, current_database() AS database,
       CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text AS lsn,
       pg_is_in_recovery() AS standby, current_setting('server_version') AS server_version"""
_CANCEL_TIMEOUT_S = 5.0

Row = dict[str, Any]


class Holder:
    """Holds the snapshot open until `close`. Raises psycopg's errors as they are; safe from any thread."""

    def __init__(self, connection: Session, settings: Mapping[str, str], patience: Patience) -> None:
        self._patience = patience
        self._connection = connection
        self._guard = threading.Lock()
        self._ends = socket.socketpair()
        self._watcher: threading.Thread | None = None
        try:
            self.query(BEGIN)
            # The first query takes the snapshot: what was committed before it arrived is in it.
            first = self.query(apply_sql(settings))[0]
            refuse_hidden_damage(first["refused"])
            self.pid = int(first["pid"])
            opened = self.query(_OPEN)[0]
        except BaseException:
            self.close()
            raise
        self.server_version = self._connection.info.server_version
        self.standby = bool(opened.pop("standby"))
        self.entry = SnapshotEntry(**opened, taken_at=first["asked_at"].astimezone(UTC))

    def query(self, sql: str, parameters: Sequence[object] | None = None) -> list[Row]:
        """The rows of `sql` in the snapshot."""
        with self._guard, self._patience.waiting(self._connection):
            cursor = self._connection.execute(sql, parameters)
            return cursor.fetchall() if cursor.description else []

    def watch(self, lost: Callable[[], None]) -> None:
        """Call `lost`, in a thread of its own, as soon as the server ends this connection."""
        self._watcher = threading.Thread(target=self._watch, args=(lost,), name="snapshot watch", daemon=True)
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

    def _watch(self, lost: Callable[[], None]) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._connection.fileno(), selectors.EVENT_READ)
            selector.register(self._ends[0], selectors.EVENT_READ)
            while not any(key.fileobj is self._ends[0] for key, _ in selector.select()):
                # Something to read: an answer for a thread that is querying, or the server's farewell.
                if self.gone():
                    lost()
                    return
