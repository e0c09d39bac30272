"""The present: by the system's clock, and by the ledger's, which is the same for every machine that writes into it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from backup_pipeline.core.errors import BackupError
from backup_pipeline.core.ports import Clock, Ledger

_ASK_AGAIN_S = 600.0
_ASK_AGAIN_AFTER_ERROR_S = 30.0


def utc_now() -> datetime:
    """The present instant in UTC, as this machine has it."""
    return datetime.now(UTC)


class LedgerClock:
    """The present by the ledger's clock: asked for at the first call and every ten minutes, counted on in between.

    While the ledger does not answer it is this machine's. Safe from any thread.
    """

    def __init__(
        self, ledger: Ledger, machine: Clock | None = None, elapsed: Callable[[], float] = time.monotonic
    ) -> None:
        self._ledger = ledger
        self._machine = machine or utc_now
        self._elapsed = elapsed
        self._lock = threading.Lock()
        self._theirs: datetime | None = None
        self._read_at = 0.0
        self._next_at = elapsed()

    def __call__(self) -> datetime:
        """The present instant, in UTC."""
        with self._lock:
            if self._elapsed() >= self._next_at:
                self._ask()
            if self._theirs is None:
                return self._machine()
            return self._theirs + timedelta(seconds=self._elapsed() - self._read_at)

    def drift(self) -> timedelta:
        """How much this machine's clock is ahead of the ledger's; less than nothing when it is behind."""
        truth = self()
        return self._machine() - truth

    def _ask(self) -> None:
        before = self._elapsed()
        try:
            theirs = self._ledger.now()
        except BackupError:
            self._next_at = self._elapsed() + _ASK_AGAIN_AFTER_ERROR_S
            return
        self._read_at = (before + self._elapsed()) / 2
        self._theirs = theirs
        self._next_at = self._elapsed() + _ASK_AGAIN_S
