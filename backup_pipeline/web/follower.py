"""What the console does by itself, beside answering: it follows the runs that people asked for, and tidies up."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta
from types import TracebackType
from typing import Self

from backup_pipeline.core.errors import BackupError
from backup_pipeline.core.ports import Ports
from backup_pipeline.core.ports.runs import Launcher
from backup_pipeline.core.text import redact
from backup_pipeline.operations.download import sweep_renderings
from backup_pipeline.operations.mirror import send_observations
from backup_pipeline.operations.progress import KEPT
from backup_pipeline.operations.run_requests import follow_requests

logger = logging.getLogger(__name__)

EVERY_S = 2.0
_TIDY_EVERY = 300
"""Rounds."""
_EVENTS_KEPT = timedelta(days=7)
_OBSERVATIONS_KEPT = timedelta(days=30)


class Follower:
    """Follows from a thread of its own until its context ends. Whatever goes wrong is logged, and tried again."""

    def __init__(self, ports: Ports, launcher: Launcher, *, every_s: float = EVERY_S) -> None:
        self._ports, self._launcher, self._every_s = ports, launcher, every_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join(5)

    def _run(self) -> None:
        rounds = 0
        while not self._stopped.wait(self._every_s):
            try:
                follow_requests(self._ports, self._launcher)
                send_observations(self._ports, self._launcher)
                if rounds % _TIDY_EVERY == 0:
                    self._tidy()
            except BackupError as trouble:
                logger.info("What became of runs is not known: %s", trouble.what)
            except Exception as error:  # noqa: BLE001  # the next round may go well
                logger.warning("What became of runs is not known: %s", redact(str(error)))
            rounds += 1

    def _tidy(self) -> None:
        """Remove what nobody looks at any more."""
        now, ledger = self._ports.clock(), self._ports.ledger
        ledger.events.forget(now - _EVENTS_KEPT)
        ledger.progress.forget(now - KEPT)
        ledger.observations.forget(now - _OBSERVATIONS_KEPT)
        sweep_renderings(self._ports.spool, now)
