"""The heartbeat of a running backup or restore: says from a thread of its own that its owner is alive."""

from __future__ import annotations

import logging
import threading
from datetime import datetime, timedelta
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

from backup_pipeline.core.errors import LeaseLostError, LedgerError
from backup_pipeline.core.ports import Clock

EVERY = timedelta(seconds=10)
_LAST_BEAT_SECONDS = 5.0

K = TypeVar("K")
K_contra = TypeVar("K_contra", contravariant=True)

logger = logging.getLogger(__name__)


class Beaten(Protocol[K_contra]):
    """Where beats are written: the ledger by backup id, its restores by number."""

    def beat(self, of: K_contra, now: datetime, /) -> None:
        """Say that the owner is alive."""


class Heartbeat(Generic[K]):
    """Beats at once and then `every` so often, until its context ends.

    A ledger that is away for a while costs beats and a warning; one that refuses for good (no such row) stops the
    beating, as a lease that is lost does. Leaving waits at most five seconds for a beat that is under way.
    """

    def __init__(self, ledger: Beaten[K], of: K, *, clock: Clock, every: timedelta = EVERY) -> None:
        self._ledger = ledger
        self._of = of
        self._clock = clock
        self._every = every.total_seconds()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"heartbeat {of}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join(_LAST_BEAT_SECONDS)

    def _run(self) -> None:
        while self._beat() and not self._stopped.wait(self._every):
            pass

    def _beat(self) -> bool:
        """Whether to go on."""
        try:
            self._ledger.beat(self._of, self._clock())
        except (LedgerError, LeaseLostError) as error:
            logger.warning("No heartbeat for %s: %s", self._of, error)
            return error.transient
        return True
