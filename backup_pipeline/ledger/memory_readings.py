"""Who reads which backup, in memory."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

from backup_pipeline.core.leases import Reading
from backup_pipeline.core.ports import Clock


class MemoryReadings:
    """The port `Readings` over a dictionary; safe from any thread. `clock` is the ledger's own."""

    def __init__(self, clock: Clock = lambda: datetime.now(UTC)) -> None:
        self._rows: dict[int, Reading] = {}
        self._numbers = count(1)
        self._clock = clock
        self._lock = threading.Lock()

    def begin(self, reading: Reading, life: timedelta) -> Reading:
        """Note a reading; with its number."""
        with self._lock:
            now = self._clock()
            begun = replace(reading, number=next(self._numbers), began_at=now, expires_at=now + life)
            self._rows = {row.number: row for row in self._living()} | {begun.number: begun}
            return begun

    def renew(self, number: int, life: timedelta) -> None:
        """Extend a reading."""
        with self._lock:
            if number in self._rows:
                self._rows[number] = replace(self._rows[number], expires_at=self._clock() + life)

    def end(self, number: int) -> None:
        """Forget a reading."""
        with self._lock:
            self._rows.pop(number, None)

    def list(self) -> Sequence[Reading]:
        """Those that are not over, the oldest first."""
        with self._lock:
            return self._living()

    def _living(self) -> Sequence[Reading]:
        now = self._clock()
        return [row for row in self._rows.values() if row.expires_at is not None and row.expires_at > now]
