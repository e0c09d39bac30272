"""A history for the demo: real small backups of past nights under a given clock, with what goes wrong in a month.

Every backup is made as any other is, from the database to the store; only the clock and the snapshot's time are given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import BackupError
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.manifest import SnapshotEntry
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.core.ports import Ports, Progress, Snapshot, Source
from backup_pipeline.core.schedule import due_times, local_date
from backup_pipeline.core.scope import SCHEDULE, Actor
from backup_pipeline.operations.attempts import Request, running_attempt
from backup_pipeline.operations.backup import bundle_attempt, export_attempt
from backup_pipeline.operations.health import account

DEMO_DATA = "demo data"
"""The reason of every backup of the history, by which whoever looks tells it from a real one."""
LEAST_DAYS = 10


class Night(StrEnum):
    """What a night of the history was like."""

    GOOD = "good"
    MISSED = "missed"
    LATE = "late"
    FAILED = "failed"
    ROWS_LOST = "rows lost"


@dataclass(frozen=True)
class HistoryNight:
    """A due time of the past, and what came of it."""

    due: datetime
    night: Night


def plan_history(catalog: Catalog, days: int, now: datetime, *, loses_rows: bool) -> Sequence[HistoryNight]:
    """The nights of the last `days` days: one missed, one late, one failed, and, with `loses_rows`, one of lost rows.

    What goes wrong lies between good nights; the last three are good, or of the lost rows.
    """
    line = catalog.schedule or "0 0 * * *"
    due = list(due_times(line, catalog.timezone, after=now - timedelta(days=days), until=now))
    kinds = dict.fromkeys(due, Night.GOOD)
    if len(due) >= LEAST_DAYS - 1:
        at = {Night.MISSED: len(due) // 4, Night.LATE: len(due) // 2, Night.FAILED: 2 * len(due) // 3}
        kinds |= {due[index]: night for night, index in at.items()}
        if loses_rows:
            kinds[due[-2]] = Night.ROWS_LOST
    return [HistoryNight(moment, night) for moment, night in kinds.items()]


class SourceAt:
    """The port `Source` over another one, whose snapshots say that they were taken when `clock` does."""

    def __init__(self, inner: Source, clock: Callable[[], datetime]) -> None:
        self._inner, self._clock = inner, clock

    @property
    def url(self) -> str:
        """Where it is, without its password."""
        return self._inner.url

    @contextmanager
    def snapshot(self, progress: Progress | None = None, *, lock_timeout_s: float | None = None) -> Iterator[Snapshot]:
        """As the inner source's, with another time."""
        with self._inner.snapshot(progress, lock_timeout_s=lock_timeout_s) as opened:
            opened.entry = opened.entry.model_copy(update={"taken_at": self._clock()})
            yield opened

    def joined(self, entry: SnapshotEntry, progress: Progress | None = None) -> AbstractContextManager[Snapshot]:
        """As the inner source's; `entry` has the other time already."""
        return self._inner.joined(entry, progress)


@dataclass(frozen=True)
class HistorySystem:
    """A catalog whose past is made: what changes in its database by day, and when many rows are lost.

    `ports` are real ones, without alerts; `broken` is a source that does not answer.
    """

    catalog: Catalog
    ports: Ports
    broken: Source
    grow: Callable[[int], None]
    lose_rows: Callable[[], None] | None
    person: Actor


@dataclass(frozen=True)
class _Step:
    """Something that happens `at` a time: a backup, of a source that is `broken`, or only a look at what is due."""

    at: datetime
    request: Request | None = None
    broken: bool = False
    loses_rows: bool = False


def make_history(
    system: HistorySystem, nights: Sequence[HistoryNight], elapsed: Callable[[], float], tell: Callable[[str], None]
) -> Sequence[Attempt]:
    """Make the backups of `nights`, and write down what is missing, one after the other in time; the good ones.

    `elapsed` counts seconds: durations are those that the backups really took.
    """
    made: list[Attempt] = []
    steps = sorted((step for night in nights for step in _steps(system, night)), key=lambda step: step.at)
    for number, step in enumerate(steps):
        system.grow(number)
        if step.loses_rows and system.lose_rows is not None:
            system.lose_rows()
        ports = _at(system, step.at, elapsed)
        if step.request is not None:
            made += _backed_up(step.request, replace(ports, source=system.broken) if step.broken else ports)
        account(system.catalog, ports)  # as the watchman does all the time
        if number % 7 == 0:
            tell(f"{system.catalog.catalog}: {step.at:%Y-%m-%d}")
    return made


def _steps(system: HistorySystem, night: HistoryNight) -> Iterator[_Step]:
    catalog, due = system.catalog, night.due
    day = local_date(due, catalog.timezone)
    request = Request(
        catalog, Kind.FULL, tuple(catalog.tables), day, Trigger.AUTOMATIC, SCHEDULE, DEMO_DATA, due_at=due
    )
    by_hand = replace(request, type=Trigger.MANUAL, actor=system.person, due_at=None)
    if night.night in {Night.MISSED, Night.LATE}:
        yield _Step(due + timedelta(minutes=catalog.grace_minutes + 5))
    match night.night:
        case Night.LATE:  # once its date is over, in every catalog
            reason = f"{DEMO_DATA}: the night's run did not start"
            yield _Step(due + timedelta(hours=27), replace(by_hand, reason=reason, late=True))
        case Night.FAILED:
            yield _Step(due, request, broken=True)
            reason = f"{DEMO_DATA}: again, after the database was back"
            yield _Step(due + timedelta(hours=3), replace(by_hand, reason=reason))
        case Night.GOOD | Night.ROWS_LOST:
            yield _Step(due + timedelta(seconds=20), request, loses_rows=night.night is Night.ROWS_LOST)


def _at(system: HistorySystem, at: datetime, elapsed: Callable[[], float]) -> Ports:
    """The ports at another time."""
    began = elapsed()

    def clock() -> datetime:
        return at + timedelta(seconds=elapsed() - began)

    return replace(system.ports, clock=clock, drift=timedelta, source=SourceAt(system.ports.source, clock))


def _backed_up(request: Request, ports: Ports) -> Iterator[Attempt]:
    """The backup of the request; nothing when it failed, which its row says."""
    with suppress(BackupError), running_attempt(request, ports) as work:
        for result in export_attempt(work):
            if result.error is not None:
                raise result.error
        bundle_attempt(work)
        if (row := ports.ledger.get(work.attempt.backup_id)) is not None:
            yield row
