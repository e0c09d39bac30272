"""Work that goes on beside other work, in threads of its own, until a context ends; heartbeats are such work."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Self

from backup_pipeline.core.errors import LeaseLostError, LedgerError

logger = logging.getLogger(__name__)

EVERY = timedelta(seconds=10)
_LEAVE_WITHIN_S = 5.0


class Background:
    """Does each of `works` (the thread's name, and what it runs) from the beginning of its context until its end.

    A work looks at `stopping` between its steps. Leaving sets it, wakes those that wait for something else (`wake`),
    and waits at most `leave_within_s` for each; a thread that stands still by then ends with the process.
    """

    def __init__(self, *works: tuple[str, Callable[[], None]], leave_within_s: float = _LEAVE_WITHIN_S) -> None:
        self.stopping = threading.Event()
        self._leave_within_s = leave_within_s
        self._threads = [threading.Thread(target=work, name=name, daemon=True) for name, work in works]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping.set()
        self.wake()
        for thread in self._threads:
            thread.join(self._leave_within_s)

    def wake(self) -> None:
        """Let a work that waits for something else than the end see that it has come. Most wait for nothing else."""


class Heartbeat(Background):
    """Calls `beat` at once and then `every` so often, until its context ends.

    A ledger that is away for a while costs beats and a warning; one that refuses for good (no such row) stops the
    beating, as a lease that is lost does. Leaving waits at most five seconds for a beat that is under way.
    """

    def __init__(self, beat: Callable[[], None], holder: str, *, every: timedelta = EVERY) -> None:
        super().__init__((f"heartbeat {holder}", self._run))
        self._call = beat
        self._holder = holder
        self._every = every.total_seconds()

    def _run(self) -> None:
        while self._beat() and not self.stopping.wait(self._every):
            pass

    def _beat(self) -> bool:
        """Whether to go on."""
        try:
            self._call()
        except (LedgerError, LeaseLostError) as error:
            logger.warning("No heartbeat for %s: %s", self._holder, error)
            return error.transient
        return True
