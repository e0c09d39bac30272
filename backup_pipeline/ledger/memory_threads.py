"""The threads of alerts of the ledger in memory."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import datetime, timedelta

from backup_pipeline.core.alerts import REMIND_EVERY, Thread, ThreadStep, failing, recovered


class MemoryThreads:
    """The port `Threads` over a dictionary; safe from any thread."""

    def __init__(self, remind_every: timedelta = REMIND_EVERY) -> None:
        self._remind_every = remind_every
        self._rows: dict[tuple[str, str], Thread] = {}
        self._lock = threading.Lock()

    def failing(self, catalog: str, topic: str, now: datetime, failures: int, *, heard: bool = True) -> ThreadStep:
        """Add `failures`; what people are told of them."""
        with self._lock:
            return self._write(failing(self._row(catalog, topic), now, failures, self._remind_every, heard=heard))

    def recovered(self, catalog: str, topic: str) -> ThreadStep:
        """Close the thread; whether people are told."""
        with self._lock:
            return self._write(recovered(self._row(catalog, topic)))

    def list(self) -> Sequence[Thread]:
        """The threads that are open, the oldest first."""
        with self._lock:
            rows = [(row.opened_at, row) for row in self._rows.values() if row.opened_at is not None]
        return [row for _, row in sorted(rows, key=lambda pair: pair[0])]

    def _row(self, catalog: str, topic: str) -> Thread:
        return self._rows.get((catalog, topic), Thread(catalog, topic))

    def _write(self, step: ThreadStep) -> ThreadStep:
        self._rows[step.after.catalog, step.after.topic] = step.after
        return step
