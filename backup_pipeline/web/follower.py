"""What the console does by itself, beside answering: it follows runs, looks what is away, and tidies up."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import BackupError
from backup_pipeline.core.ports import Ports
from backup_pipeline.core.ports.runs import Launcher
from backup_pipeline.core.retention.prune import Versions
from backup_pipeline.core.runs import DaemonState
from backup_pipeline.core.scope import PROGRAM
from backup_pipeline.core.text import redact
from backup_pipeline.operations.background import Background
from backup_pipeline.operations.download import sweep_renderings
from backup_pipeline.operations.mirror import send_observations
from backup_pipeline.operations.progress import KEPT
from backup_pipeline.operations.retention.forecast import Forecasts
from backup_pipeline.operations.run_requests import follow_requests

logger = logging.getLogger(__name__)

EVERY_S = 2.0
LOOK_EVERY_S = 10.0
"""So often it is looked whether ledger, store and Dagster answer."""
_TIDY_EVERY_S = 600.0
_RECKON_EVERY_S = 3.0
_RECKONING_SHARE = 20
"""Of the time that this process has, reckoning ahead takes one part of so many at most."""
_EVENTS_KEPT = timedelta(days=7)
_OBSERVATIONS_KEPT = timedelta(days=30)
_STARTING = timedelta(minutes=2)
"""As long as a Dagster that has just been started may have no daemon yet."""


@dataclass(frozen=True)
class Away:
    """What does not answer, since when, why; what goes on without it, and what to type."""

    name: str
    since: datetime
    why: str
    works: str
    do: str


_WITHOUT: Mapping[str, tuple[str, str]] = {
    "The ledger": (
        "Nothing can be shown or decided here. What is in the store is safe.",
        "backup-pipeline doctor says what is wrong with it.",
    ),
    "The store": (
        "Lists, requests and approvals work; downloads, restores, verifications and new backups do not.",
        "backup-pipeline doctor says what is wrong with it.",
    ),
    "Dagster": (
        "Lists, downloads, holds and approvals work. What would be a run is refused, with the command to type instead.",
        "backup-pipeline up starts it; backup-pipeline backup works without it.",
    ),
    "Dagster's daemon": (
        "Runs that somebody asks for wait, and no schedule fires. Everything else works.",
        "backup-pipeline up starts it; backup-pipeline backup works without it.",
    ),
}


class Presence:
    """What is away at the moment, as it was seen last; safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._away: dict[str, Away] = {}
        self._began: datetime | None = None

    @property
    def away(self) -> Sequence[Away]:
        """What does not answer, what weighs most first."""
        with self._lock:
            return [self._away[name] for name in _WITHOUT if name in self._away]

    def look(self, ports: Ports, launcher: Launcher) -> None:
        """Ask each of them for something small."""
        now = ports.clock()
        self._began = self._began or now
        self._ask("The ledger", now, lambda: ports.ledger.events.newest())
        self._ask("The store", now, lambda: ports.store.head(".backup-pipeline-is-there"))
        daemons = list[DaemonState]()
        self._ask("Dagster", now, lambda: daemons.extend(launcher.daemons()))
        ill = [daemon for daemon in daemons if daemon.silent]
        if ill and now - self._began > _STARTING:
            self._note("Dagster's daemon", now, f"{', '.join(daemon.name for daemon in ill)}: no sign of life.")
        elif daemons:
            self._note("Dagster's daemon", now, "")

    def _ask(self, name: str, now: datetime, question: Callable[[], object]) -> None:
        try:
            question()
        except BackupError as error:
            self._note(name, now, redact(error.what))
        else:
            self._note(name, now, "")

    def _note(self, name: str, now: datetime, why: str) -> None:
        works, do = _WITHOUT[name]
        with self._lock:
            if not why:
                self._away.pop(name, None)
            elif name in self._away:
                self._away[name] = replace(self._away[name], why=why)
            else:
                self._away[name] = Away(name, now, why, works, do)


class Follower(Background):
    """Follows from a thread of its own until its context ends. Whatever goes wrong is logged, and tried again."""

    def __init__(self, ports: Ports, launcher: Launcher, standing: Presence, *, every_s: float = EVERY_S) -> None:
        super().__init__(("follower", self._follow), ("standing", self._look), leave_within_s=3)
        self._ports, self._launcher, self._standing, self._every_s = ports, launcher, standing, every_s

    def _follow(self) -> None:
        tidied = float("-inf")
        while not self.stopping.wait(self._every_s):
            self._quietly(lambda: follow_requests(self._ports, self._launcher))
            self._quietly(lambda: send_observations(self._ports, self._launcher))
            if time.monotonic() - tidied > _TIDY_EVERY_S:
                tidied = time.monotonic()
                self._quietly(self._tidy)

    def _look(self) -> None:
        while not self.stopping.is_set():
            self._quietly(lambda: self._standing.look(self._ports, self._launcher))
            self.stopping.wait(LOOK_EVERY_S)

    def _quietly(self, work: Callable[[], object]) -> None:
        try:
            work()
        except BackupError as trouble:
            logger.info("The console could not look after runs: %s", trouble.what)
        except Exception as error:  # noqa: BLE001  # the next round may go well
            logger.warning("The console could not look after runs: %s", redact(str(error)))

    def _tidy(self) -> None:
        """Remove what nobody looks at any more."""
        now, ledger = self._ports.clock(), self._ports.ledger
        ledger.events.forget(now - _EVENTS_KEPT)
        ledger.progress.forget(now - KEPT)
        ledger.observations.forget(now - _OBSERVATIONS_KEPT)
        sweep_renderings(self._ports.spool, now)


class Forecaster(Background):
    """Reckons what retention lets go, each time that backups have changed, so that nobody who looks waits for it."""

    def __init__(
        self, forecasts: Forecasts, catalogs: Callable[[], Mapping[str, Catalog]], ports: Ports, versions: Versions
    ) -> None:
        super().__init__(("forecasts", self._run), leave_within_s=3)
        self._forecasts, self._catalogs, self._ports, self._versions = forecasts, catalogs, ports, versions

    def _run(self) -> None:
        self._forecasts.ahead = True
        pause = 0.0
        while not self.stopping.wait(pause):
            began = time.monotonic()
            self._reckon()
            pause = max(_RECKON_EVERY_S, _RECKONING_SHARE * (time.monotonic() - began))
        self._forecasts.ahead = False

    def _reckon(self) -> None:
        try:
            for catalog in self._catalogs().values():
                if self.stopping.is_set():
                    return
                self._forecasts.reckon(catalog, PROGRAM, self._versions, self._ports)
        except BackupError as trouble:
            logger.info("What retention lets go could not be reckoned: %s", trouble.what)
        except Exception as error:  # noqa: BLE001  # the next round may go well
            logger.warning("What retention lets go could not be reckoned: %s", redact(str(error)))
