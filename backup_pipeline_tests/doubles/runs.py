"""A Dagster for tests, as the port `Launcher` sees one: it keeps what it was sent, and can be away, silent or late."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from uuid import UUID

from backup_pipeline.core.errors import DagsterAwayError, LaunchUnsureError, NotFoundError, RefusedError
from backup_pipeline.core.runs import (
    CodeLocation,
    DaemonState,
    JobOrder,
    RunLine,
    RunLines,
    RunPhase,
    RunState,
    ScheduleState,
)

MIDNIGHT = datetime(2026, 11, 30, 18, tzinfo=UTC)


@dataclass
class FakeLauncher:
    """The port `Launcher`. `away`: it does not answer. `silent`: it does what a launch says, and does not answer.

    `lost`: a launch does not arrive at all, and no answer comes either. `refuses`: what it says to every launch.
    `lines` are those of the logs of runs, `lines_at_once` of them in an answer; `asked_after` the cursors that came.
    """

    away: bool = False
    silent: bool = False
    lost: bool = False
    refuses: str = ""
    runs: dict[str, RunState] = field(default_factory=dict)
    launched: list[tuple[JobOrder, str]] = field(default_factory=list)
    terminated: list[str] = field(default_factory=list)
    lines: dict[str, list[RunLine]] = field(default_factory=dict)
    lines_at_once: int = 500
    asked_after: list[str] = field(default_factory=list)
    observed: list[tuple[tuple[str, ...], str | None, str]] = field(default_factory=list)
    known_schedules: dict[str, ScheduleState] = field(
        default_factory=lambda: {
            "shop_daily": ScheduleState(
                "shop_daily", "shop_full_backup", "0 0 * * *", "Asia/Dhaka", running=True, next_ticks=(MIDNIGHT,)
            )
        }
    )
    known_daemons: Sequence[DaemonState] = (DaemonState("SCHEDULER", healthy=True, required=True),)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def launch(self, order: JobOrder, request: UUID, user: str) -> str:
        self._answer()
        if self.lost:
            raise LaunchUnsureError("no answer")
        if self.refuses:
            raise RefusedError(self.refuses)
        run_id = f"run-{next(self._numbers)}"
        self.launched.append((order, user))
        self.runs[run_id] = RunState(run_id, order.job, RunPhase.WAITING, str(request))
        if self.silent:
            raise LaunchUnsureError("no answer")
        return run_id

    def find(self, request: UUID) -> RunState | None:
        self._answer()
        return next((run for run in self.runs.values() if run.request == str(request)), None)

    def state(self, run_id: str) -> RunState | None:
        self._answer()
        return self.runs.get(run_id)

    def log(self, run_id: str, after: str = "") -> RunLines | None:
        self._answer()
        self.asked_after.append(after)
        if run_id not in self.runs:
            return None
        every, start = self.lines.get(run_id, []), int(after or 0)
        end = min(start + self.lines_at_once, len(every))
        return RunLines(tuple(every[start:end]), str(end), more=end < len(every))

    def become(self, phase: RunPhase, error: str = "") -> None:
        """Let every run be in that phase."""
        at = MIDNIGHT if phase in {RunPhase.DONE, RunPhase.FAILED, RunPhase.CANCELED} else None
        for run_id, run in self.runs.items():
            self.runs[run_id] = replace(run, phase=phase, error=error, finished_at=at)

    def terminate(self, run_id: str) -> None:
        self._answer()
        self.terminated.append(run_id)
        self.runs[run_id] = replace(self.runs[run_id], phase=RunPhase.CANCELED)

    def schedules(self) -> Sequence[ScheduleState]:
        self._answer()
        return list(self.known_schedules.values())

    def start_schedule(self, name: str) -> None:
        self._switch(name, running=True)

    def stop_schedule(self, name: str) -> None:
        self._switch(name, running=False)

    def _switch(self, name: str, *, running: bool) -> None:
        self._answer()
        if name not in self.known_schedules:
            message = f"There is no schedule {name} in Dagster."
            raise NotFoundError(message)
        self.known_schedules[name] = replace(self.known_schedules[name], running=running)

    def daemons(self) -> Sequence[DaemonState]:
        self._answer()
        return self.known_daemons

    def locations(self) -> Sequence[CodeLocation]:
        self._answer()
        return [CodeLocation("backup_pipeline")]

    def observe(self, asset: Sequence[str], partition: str | None, message: str) -> None:
        self._answer()
        self.observed.append((tuple(asset), partition, message))

    def _answer(self) -> None:
        if self.away:
            message = "Dagster at http://127.0.0.1:3000 does not answer: connection refused."
            raise DagsterAwayError(message, do="Start it.")
