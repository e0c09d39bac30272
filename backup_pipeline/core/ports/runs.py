"""The ports to runs: Dagster as it is seen from outside, and what the ledger keeps of requests, progress and events."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from uuid import UUID

    from backup_pipeline.core.runs import (
        CodeLocation,
        DaemonState,
        JobOrder,
        Observation,
        RealtimeEvent,
        RequestChange,
        RequestStatus,
        RunLines,
        RunProgress,
        RunRequest,
        RunState,
        ScheduleState,
    )


class Launcher(Protocol):
    """Launches, watches and stops runs of Dagster, from outside.

    Each method answers within a bounded time. DagsterAwayError when Dagster does not answer; LaunchUnsureError where
    it may have understood all the same; RefusedError when it answers that it will not.
    """

    def launch(self, order: JobOrder, request: UUID, user: str) -> str:
        """Launch a run, tagged with the request and the user; its id. Launching the same twice makes two runs."""

    def find(self, request: UUID) -> RunState | None:
        """The oldest run that is tagged with the request."""

    def state(self, run_id: str) -> RunState | None:
        """The run; None when Dagster does not know it, or not any more."""

    def log(self, run_id: str, after: str = "") -> RunLines | None:
        """Some hundred lines of the run's log, from its beginning or `after` a cursor; None as of `state`."""

    def terminate(self, run_id: str) -> None:
        """Stop a run; RefusedError when it is over. A run that waits is canceled at once."""

    def schedules(self) -> Sequence[ScheduleState]:
        """Every schedule of the code location, by name."""

    def start_schedule(self, name: str) -> None:
        """Let a schedule run; nothing happens when it does."""

    def stop_schedule(self, name: str) -> None:
        """Stop a schedule; nothing happens when it is stopped."""

    def daemons(self) -> Sequence[DaemonState]:
        """The daemons."""

    def locations(self) -> Sequence[CodeLocation]:
        """Where the jobs are loaded from, and whether they were."""

    def observe(self, asset: Sequence[str], partition: str | None, message: str) -> None:
        """Note something in the history of an asset (its key as a path), without a run."""


class RunRequests(Protocol):
    """The run requests of a ledger. Every failure is a LedgerError."""

    def add(self, request: RunRequest) -> tuple[RunRequest, bool]:
        """Add a row; the row, and whether it is new: one with this id that is there already stays as it is."""

    def change(self, request: UUID, change: RequestChange) -> RunRequest:
        """Write `change` into the row, and give it back. A move that is not allowed leaves the row as it is."""

    def take(self, request: UUID, now: datetime, again_after: timedelta) -> bool:
        """Whether the caller may send it to Dagster: of all who ask at once one, and the next not before a while."""

    def claim(self, request: UUID, run_id: str, now: datetime) -> RunRequest | None:
        """Let a run begin for the request: the row, `running`, with this run in it.

        None where it is over, another run's, or not there: of many runs for a request one gets it, whoever asks.
        """

    def get(self, request: UUID) -> RunRequest | None:
        """The row with an id."""

    def of_run(self, run_id: str) -> RunRequest | None:
        """The row that a run was launched for."""

    def forget_examples(self, before: datetime) -> int:
        """Take the rows of examples out of plans that nobody has asked for since; of how many."""

    def list(
        self, *, catalog: str | None = None, status: Collection[RequestStatus] = (), limit: int | None = None
    ) -> Sequence[RunRequest]:
        """Rows, newest first."""


class ProgressRows(Protocol):
    """How far runs are. Every failure is a LedgerError."""

    def put(self, progress: RunProgress) -> None:
        """Write the row of a run, in place of what it said before."""

    def list(self, *, running: bool = True) -> Sequence[RunProgress]:
        """Rows, the newest run first; also those of runs that ended unless only the `running` are wanted."""

    def forget(self, before: datetime) -> int:
        """Remove the rows that were not written since; how many."""


class Announcements(Protocol):
    """The news that something happened, as one connection hears it."""

    def wait(self, seconds: float) -> bool:
        """Whether something may have happened since the last call; waits for it at most so long. Never raises."""

    def close(self) -> None:
        """Give the connection back."""


class Events(Protocol):
    """What happened, in the order in which it was committed. Every failure is a LedgerError."""

    def announcements(self) -> Announcements:
        """What tells that there are new ones. Nothing connects before it is waited for."""

    def since(self, number: int, limit: int) -> Sequence[RealtimeEvent]:
        """Events after that number, the oldest first."""

    def newest(self) -> int:
        """The number of the newest one; 0 when there is none."""

    def forget(self, before: datetime) -> int:
        """Remove older ones; how many."""


class Observations(Protocol):
    """What Dagster is yet to be told, in the order in which it happened. Every failure is a LedgerError."""

    def add(self, observation: Observation, now: datetime) -> None:
        """Note it, to be sent."""

    def claim(self) -> tuple[int, Observation] | None:
        """The oldest that was not sent, with its number; None when there is none. What failed often is left out."""

    def settle(self, number: int, error: str | None, now: datetime, *, away: bool = False) -> None:
        """Write down that it was sent, or why not. That Dagster was `away` does not count as a try."""

    def forget(self, before: datetime) -> int:
        """Remove older ones, sent or given up; how many."""
