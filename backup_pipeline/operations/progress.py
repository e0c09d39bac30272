"""How far runs are: written into the ledger while they go on, for whoever looks on; said in words; and their logs."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from backup_pipeline.core.errors import BackupError, NotFoundError
from backup_pipeline.core.ports import (
    BytesMoved,
    Clock,
    Event,
    Ledger,
    PageWritten,
    Progress,
    StageStarted,
    TableFinished,
    TablesPlanned,
    TableStarted,
    Waiting,
)
from backup_pipeline.core.ports.runs import Launcher, ProgressRows
from backup_pipeline.core.runs import OPEN, RunLine, RunPhase, RunProgress, RunRequest
from backup_pipeline.core.scope import Scope
from backup_pipeline.core.text import redact
from backup_pipeline.operations.background import Background

logger = logging.getLogger(__name__)

EVERY_S = 1.0
SILENT_AFTER = timedelta(seconds=90)
"""A row that was not written since belongs to a run that died, or that stands still: nothing is said of its end."""
KEPT = timedelta(days=2)
MOST_LINES = 200
"""Of a run's log a page shows so many, the newest."""
_LOGS_KEPT = 16
_READS_AT_A_LOOK = 10
_OTHERS_READ_S = 1.0


class RunWatch(Background):
    """The port `Progress` of a run: its row in `run_progress`, written at most once a second by a thread of its own.

    Whoever tells it something waits for nothing: a few numbers change under a lock. A ledger that is away costs the
    row, never the run. Its context ends the row; a run that dies leaves it as it was.
    """

    def __init__(
        self, rows: Callable[[], ProgressRows], run_id: str, scope: Scope, clock: Clock, *, every_s: float = EVERY_S
    ) -> None:
        super().__init__(("progress", self._write_on))
        self._rows, self._clock, self._every_s = rows, clock, every_s
        self._lock = threading.Lock()
        self._told = threading.Event()
        self._state = RunProgress(run_id, scope, started_at=clock(), updated_at=clock())
        self._tables: dict[str, tuple[int, int]] = {}

    def wake(self) -> None:
        """Let the last row be written."""
        self._told.set()

    def tell(self, event: Event) -> None:
        """Take note of an event."""
        with self._lock:
            match event:
                case PageWritten():
                    self._tables[event.table] = (self._tables.get(event.table, (0, 0))[0] + event.rows, event.bytes)
                case BytesMoved():
                    self._state = replace(self._state, bytes=self._state.bytes + event.bytes)
                case _:
                    self._state = self._after(event)
        self._told.set()

    def _after(self, event: Event) -> RunProgress:
        match event:
            case StageStarted():
                self._tables.clear()
                return RunProgress(
                    self._state.run_id, self._state.scope, self._clock(), self._clock(),
                    stage=event.stage, total_bytes=event.total_bytes or None,
                )  # fmt: skip
            case TablesPlanned():
                total = event.estimated_rows
                return replace(self._state, stage="tables", tables_total=event.tables, estimated_rows=total)
            case TableStarted():
                self._tables[event.table] = (0, 0)
                return replace(self._state, table=event.table, message="")
            case TableFinished():
                self._tables[event.table] = (event.rows, event.bytes)
                return replace(self._state, tables_done=self._state.tables_done + 1)
            case Waiting():
                return replace(self._state, message=redact(event.message))
        return self._state

    def _write_on(self) -> None:
        """Write what is new, then rest for the rest of the second; the last time when the run ends."""
        while True:
            self._told.wait()
            self._told.clear()
            over = self.stopping.is_set()
            try:
                self._rows().put(self._present(over=over))
            except BackupError as trouble:
                logger.info("How far the run is can not be written down: %s", trouble.what)
            if over or self.stopping.wait(self._every_s):
                if over:
                    return
                self._told.set()

    def _present(self, *, over: bool) -> RunProgress:
        now = self._clock()
        with self._lock:
            state, tables = self._state, list(self._tables.values())
        if tables:
            state = replace(state, rows=sum(rows for rows, _ in tables), bytes=sum(size for _, size in tables))
        return replace(state, updated_at=now, finished_at=now if over else None)


@dataclass(frozen=True)
class Both:
    """Two that listen to a run."""

    first: Progress
    second: Progress

    def tell(self, event: Event) -> None:
        """Tell both."""
        self.first.tell(event)
        self.second.tell(event)


@dataclass(frozen=True)
class WorkNow:
    """Something that is asked for and not over, or goes on: its request, where it has one; how far it is, if known."""

    scope: Scope
    request: RunRequest | None
    progress: RunProgress | None

    @property
    def in_words(self) -> str:
        """How far it is: `18 of 24 tables, 171,202 rows, about 4 s left`; nothing that nobody can know."""
        return progress_in_words(self.progress) if self.progress else ""


def progress_in_words(progress: RunProgress) -> str:
    """How far a run is, with what is known alone."""
    parts = []
    if progress.tables_total is not None:
        parts.append(f"{progress.tables_done} of {progress.tables_total} tables")
    if progress.rows:
        parts.append(f"{progress.rows:,} rows")
    if progress.total_bytes:
        parts.append(f"{progress.bytes:,} of {progress.total_bytes:,} bytes")
    left = progress.seconds_left
    if left is not None:
        parts.append(f"about {left:.0f} s left" if left < 90 else f"about {left / 60:.0f} min left")
    return ", ".join(parts)


def work_now(ledger: Ledger, now: datetime) -> Sequence[WorkNow]:
    """What is asked for and not over, and what goes on without a request; the newest first, in two queries.

    Progress that is older than `SILENT_AFTER` is left out. LedgerError when it can not be read.
    """
    alive = {row.run_id: row for row in ledger.progress.list() if now - row.updated_at < SILENT_AFTER}
    asked_for = [
        WorkNow(row.scope, row, alive.pop(row.run_id, None) if row.run_id else None)
        for row in ledger.run_requests.list(status=OPEN)
    ]
    return [*asked_for, *(WorkNow(row.scope, None, row) for row in alive.values())]


@dataclass(frozen=True)
class LogEnd:
    """The newest lines of a run's log, the newest first; how many there are; whether more came than could be read."""

    lines: Sequence[RunLine]
    lines_in_all: int
    behind: bool = False


@dataclass
class _FollowedLog:
    """What was read of a run's log so far."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    cursor: str = ""
    newest: deque[RunLine] = field(default_factory=lambda: deque(maxlen=MOST_LINES))
    lines_in_all: int = 0
    behind: bool = False

    def read_on(self, run_id: str, launcher: Launcher) -> bool:
        """Read what is new, and no more than some thousand lines of it; False where Dagster knows no such run."""
        for _ in range(_READS_AT_A_LOOK):
            answer = launcher.log(run_id, self.cursor)
            if answer is None:
                return False
            self.newest.extend(answer.lines)
            self.lines_in_all += len(answer.lines)
            self.cursor, self.behind = answer.cursor, answer.more
            if not answer.more:
                break
        return True

    @property
    def end(self) -> LogEnd:
        return LogEnd(tuple(reversed(self.newest)), self.lines_in_all, self.behind)


class RunLogs:
    """The ends of the logs that people look at, for all pages of a process; each look reads what is new alone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._logs: OrderedDict[str, _FollowedLog] = OrderedDict()

    def of(self, run_id: str, launcher: Launcher) -> LogEnd | None:
        """The end of a run's log; None where Dagster does not know it. DagsterAwayError, RefusedError as of `log`.

        While somebody else reads the same log, what was read so far.
        """
        with self._lock:
            followed = self._logs.setdefault(run_id, _FollowedLog())
            self._logs.move_to_end(run_id)
            while len(self._logs) > _LOGS_KEPT:
                self._logs.popitem(last=False)
        if not followed.lock.acquire(timeout=_OTHERS_READ_S):
            return followed.end
        try:
            return followed.end if followed.read_on(run_id, launcher) else None
        finally:
            followed.lock.release()


def log_lines(run_id: str, launcher: Launcher, *, follow: bool, pause: Callable[[], object]) -> Iterator[RunLine]:
    """Every line of a run's log; with `follow` until the run is over, with a pause where there is nothing new.

    NotFoundError where Dagster does not know the run.
    """
    cursor, over = "", not follow
    while True:
        answer = launcher.log(run_id, cursor)
        if answer is None:
            message = f"Dagster knows no run {run_id}."
            raise NotFoundError(message, do="`backup-pipeline runs list` names those that people asked for.")
        yield from answer.lines
        cursor = answer.cursor
        if answer.more:
            continue
        if over:
            return
        state = launcher.state(run_id)
        over = state is None or state.phase not in {RunPhase.WAITING, RunPhase.RUNNING}
        if not over:
            pause()
