"""Runs that people ask for from outside of Dagster: the order, the request's row, how a run goes, what happened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from backup_pipeline.core.scope import Actor, Scope

REQUEST_TAG = "backup_pipeline/request"
"""On a run that was launched for a row of `run_requests`: its id. Whose run it is, that row says."""
USER_TAG = "user"
"""Who launched a run, as Dagster's UI shows it. Whoever launches one can write it: the ledger does not believe it."""


class RunVerb(StrEnum):
    """What a run is wanted for."""

    BACKUP = "backup"
    TABLES = "tables"
    VERIFY = "verify"
    DRILL = "drill"
    RESTORE = "restore"
    PRUNE = "prune"
    COPY = "copy"
    DELETE = "delete"
    RENDER = "render"
    ADOPT = "adopt"
    TICK = "tick"
    """Of all businesses that are due."""
    BUSINESS = "business"
    """A backup of one business."""


_JOBS = {
    RunVerb.BACKUP: "full_backup",
    RunVerb.TABLES: "tables_only",
    RunVerb.VERIFY: "verify",
    RunVerb.DRILL: "drill",
    RunVerb.RESTORE: "restore",
    RunVerb.PRUNE: "prune",
    RunVerb.DELETE: "delete",
    RunVerb.RENDER: "render",
    RunVerb.ADOPT: "adopt",
    RunVerb.TICK: "tick",
    RunVerb.BUSINESS: "business_backup",
}
_STEPS = {
    RunVerb.VERIFY: "verified",
    RunVerb.DRILL: "drilled",
    RunVerb.RESTORE: "restored",
    RunVerb.PRUNE: "pruned",
    RunVerb.DELETE: "deleted",
    RunVerb.RENDER: "rendered",
    RunVerb.ADOPT: "adopted",
    RunVerb.TICK: "ticked",
    RunVerb.BUSINESS: "business_backed_up",
}
COPY_JOB = "copy_missing_backups"
"""The job that copies what the second store lacks: one for all catalogs."""


def job_name(catalog: str, verb: RunVerb) -> str:
    """The job of Dagster that does it."""
    return COPY_JOB if verb is RunVerb.COPY else f"{catalog}_{_JOBS[verb]}"


def step_name(catalog: str, verb: RunVerb) -> str:
    """The one step of a job that has one alone; its config is under this name."""
    return f"{catalog}_{_STEPS[verb]}"


def backup_steps(catalog: str) -> tuple[str, str]:
    """The steps of a backup: that of the tables, that of the bundle."""
    return f"{catalog}_tables", f"{catalog}_bundle"


class RequestStatus(StrEnum):
    """Where a run request stands. `requested`: it is not known yet whether Dagster has it."""

    REQUESTED = "requested"
    LAUNCHED = "launched"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELED = "canceled"
    REFUSED = "refused"

    @property
    def over(self) -> bool:
        """Whether nothing will come of it any more."""
        return self in OVER


OVER = frozenset({RequestStatus.DONE, RequestStatus.FAILED, RequestStatus.CANCELED, RequestStatus.REFUSED})
OPEN = tuple(status for status in RequestStatus if status not in OVER)
_LATER = frozenset({RequestStatus.LAUNCHED, RequestStatus.RUNNING, *OVER})
REQUEST_MOVES: Mapping[RequestStatus, frozenset[RequestStatus]] = {
    RequestStatus.REQUESTED: _LATER,
    RequestStatus.LAUNCHED: _LATER - {RequestStatus.REFUSED},
    RequestStatus.RUNNING: OVER - {RequestStatus.REFUSED} | {RequestStatus.RUNNING},
} | {status: frozenset() for status in OVER}
"""What a request may become. One that is over stays so, whatever arrives late."""

NOT_STARTED_AFTER = timedelta(minutes=3)
"""A request whose run has not begun by then is told to people."""
GIVEN_UP_AFTER = timedelta(minutes=10)
"""One of which Dagster knows nothing by then is refused: its run would not be let begin either."""


@dataclass(frozen=True)
class JobOrder:
    """A run to launch: the job, its config, the tables of the catalog that it is for (none: all), the partition.

    `assets` are the keys of the assets that are chosen, each as its path; none: those of the job. `tags` are those
    beside the request's own.
    """

    job: str
    config: Mapping[str, object] = field(default_factory=dict)
    assets: tuple[tuple[str, ...], ...] = ()
    partition: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """The same as JSON, so that it can be sent again."""
        return {
            "job": self.job,
            "config": dict(self.config),
            "assets": [list(path) for path in self.assets],
            "partition": self.partition,
            "tags": dict(self.tags),
        }


def read_order(document: Mapping[str, Any]) -> JobOrder:
    """The order that `as_json` gave."""
    assets = tuple(tuple(path) for path in document["assets"])
    return JobOrder(document["job"], document["config"], assets, document["partition"], document["tags"])


@dataclass(frozen=True)
class RunRequest:
    """A row of `run_requests`: who wants which run, why, and what became of it. Times are UTC.

    `detail` is what is wanted, as JSON; `command` the same for the command line; `result` what the run came to, such as
    a plan. `alerted_at` says when people heard that it does not begin.
    """

    id: UUID
    scope: Scope
    verb: RunVerb
    actor: Actor
    created_at: datetime
    status: RequestStatus = RequestStatus.REQUESTED
    reason: str = ""
    detail: Mapping[str, object] = field(default_factory=dict)
    command: str = ""
    run_id: str | None = None
    launched_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    alerted_at: datetime | None = None
    error_message: str | None = None
    result: Mapping[str, object] | None = None


@dataclass(frozen=True)
class RequestChange:
    """What is written into a row of `run_requests`; None leaves a column as it is. `status` moves as is allowed."""

    status: RequestStatus | None = None
    run_id: str | None = None
    launched_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    alerted_at: datetime | None = None
    error_message: str | None = None
    result: Mapping[str, object] | None = None


class RunPhase(StrEnum):
    """Where a run stands in Dagster, as far as it matters outside."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELED = "canceled"


@dataclass(frozen=True)
class RunState:
    """A run of Dagster. `request` is the id in its tag, as it stands there; times are UTC."""

    run_id: str
    job: str
    phase: RunPhase
    request: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: str = ""


@dataclass(frozen=True)
class RunLine:
    """A line of a run's log: when (UTC), how much it matters (`debug` to `critical`), of which step, what it says.

    `step` is empty where it is the run's own. `text` is without secrets, and may have several lines.
    """

    at: datetime
    level: str
    step: str
    text: str


@dataclass(frozen=True)
class RunLines:
    """Lines of a run's log, the oldest first; `cursor` is where to go on, `more` whether something is there already."""

    lines: tuple[RunLine, ...]
    cursor: str
    more: bool = False


@dataclass(frozen=True)
class ScheduleState:
    """A schedule of Dagster: its cron in a timezone, whether it runs, its next times and the last (UTC)."""

    name: str
    job: str
    cron: str
    timezone: str
    running: bool
    next_ticks: tuple[datetime, ...] = ()
    last_tick: datetime | None = None
    last_error: str = ""


@dataclass(frozen=True)
class DaemonState:
    """A daemon of Dagster; healthy when it gave a sign lately and no error."""

    name: str
    healthy: bool
    required: bool
    last_sign: datetime | None = None
    error: str = ""

    @property
    def silent(self) -> bool:
        """Whether it is needed, and gives no sign."""
        return self.required and not self.healthy


@dataclass(frozen=True)
class CodeLocation:
    """Where Dagster loads the jobs from; `error` says why it could not, `loading` that it is at it."""

    name: str
    loading: bool = False
    error: str = ""


@dataclass(frozen=True)
class RunProgress:
    """How far a run is: a row of `run_progress`. What can not be known is None.

    `rows` and `bytes` are those of the present stage; `total_bytes` belongs to a stage that moves a known number of
    bytes, `tables_total` and `estimated_rows` to the export of tables.
    """

    run_id: str
    scope: Scope
    started_at: datetime
    updated_at: datetime
    stage: str = ""
    table: str = ""
    tables_done: int = 0
    tables_total: int | None = None
    rows: int = 0
    estimated_rows: int | None = None
    bytes: int = 0
    total_bytes: int | None = None
    message: str = ""
    finished_at: datetime | None = None

    @property
    def seconds_left(self) -> float | None:
        """About how long the present stage goes on, by what it did so far; None where nobody can know.

        Not before two seconds and a twentieth of the work: an earlier guess is none.
        """
        done, whole = (self.bytes, self.total_bytes) if self.total_bytes else (self.rows, self.estimated_rows)
        passed = (self.updated_at - self.started_at).total_seconds()
        if not whole or passed < 2 or done * 20 < whole:
            return None
        return max(passed * (whole - done) / done, 0.0) if done < whole else None


@dataclass(frozen=True)
class RealtimeEvent:
    """Something that happened: a row of `realtime_events`. Numbers grow in the order of the commits."""

    number: int
    at: datetime
    kind: str
    catalog: str | None
    business: str | None
    subject: str
    detail: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Observation:
    """A decision about a backup, for the history of an asset in Dagster: the key as a path, the partition."""

    catalog: str
    asset: tuple[str, ...]
    message: str
    partition: str | None = None
