"""The outbox of the ledger in memory."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from datetime import datetime

from backup_pipeline.core.alerts import Alert, OutboxEntry, claimed, settled
from backup_pipeline.ledger.errors import no_such_entry


class MemoryOutbox:
    """The port `Outbox` over a dictionary; safe from any thread."""

    def __init__(self) -> None:
        self._rows: dict[int, OutboxEntry] = {}
        self._last = 0
        self._lock = threading.Lock()

    def add(self, alert: Alert, channels: Sequence[str], now: datetime) -> Sequence[OutboxEntry]:
        """Note the alert for each channel, claimed by whoever adds it."""
        with self._lock:
            first = self._last + 1
            added = [
                claimed(OutboxEntry(number, alert, channel, created_at=now, next_try_at=now), now)
                for number, channel in enumerate(channels, first)
            ]
            self._rows |= {entry.id: entry for entry in added}
            self._last += len(added)
        return added

    def claim(self, now: datetime, *, without: Collection[str] = (), early: bool = False) -> OutboxEntry | None:
        """Take the oldest undelivered entry that is due, or `early` any that nobody else has, to deliver it."""
        with self._lock:
            for number in sorted(self._rows):
                entry = self._rows[number]
                if entry.free(now, early=early) and entry.channel not in without:
                    self._rows[number] = claimed(entry, now)
                    return self._rows[number]
        return None

    def settle(self, number: int, error: str | None, now: datetime) -> OutboxEntry:
        """Write down what became of an attempt."""
        with self._lock:
            if number not in self._rows:
                raise no_such_entry(number)
            self._rows[number] = settled(self._rows[number], error, now)
            return self._rows[number]

    def forget(self, before: datetime) -> int:
        """Remove what was delivered before that time; how many."""
        with self._lock:
            there = len(self._rows)
            self._rows = {
                number: entry
                for number, entry in self._rows.items()
                if entry.delivered_at is None or entry.delivered_at >= before
            }
            return there - len(self._rows)

    def list(self, *, undelivered: bool = True, limit: int | None = None) -> Sequence[OutboxEntry]:
        """Entries, newest first."""
        with self._lock:
            rows = [entry for _, entry in sorted(self._rows.items(), reverse=True)]
        return [entry for entry in rows if not undelivered or entry.delivered_at is None][:limit]
