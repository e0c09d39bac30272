"""The watchman of the service: accounts for what is due each minute, and alerts, with or without Dagster's daemon."""

from __future__ import annotations

import logging
import threading
from types import TracebackType
from typing import Self

from backup_pipeline.core.secrets import redact
from backup_pipeline.settings import Settings
from backup_pipeline.wiring.watching import Watch, watch_all, watched

EVERY_S = 60.0

logger = logging.getLogger(__name__)


class Watchman:
    """Watches from a thread of its own until its context ends. Whatever goes wrong is logged, and tried again."""

    def __init__(self, settings: Settings, watch: Watch, *, every_s: float = EVERY_S) -> None:
        self._settings = settings
        self._watch = watch
        self._every_s = every_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchman", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join(5)

    def _run(self) -> None:
        while True:
            try:
                watch_all(watched(self._settings), self._watch)
            except Exception as error:  # noqa: BLE001  # the watch goes on: the ledger may be back in a minute
                logger.warning("Nobody knows whether every backup is there: %s", redact(str(error)))
            if self._stopped.wait(self._every_s):
                return
