"""Is a catalog's newest good backup as new as its schedule promises? Everything that the watchers say of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from backup_pipeline.core.catalog import Catalog
from backup_pipeline.core.clocks import is_missed, until_now
from backup_pipeline.core.cron import last_due, next_due
from backup_pipeline.core.due import FULL
from backup_pipeline.core.errors import StaleError
from backup_pipeline.core.freshness import staleness
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.statuses import Status

_TRIED = frozenset({Status.FAILED, Status.CANCELED})


class State(StrEnum):
    """How a catalog stands."""

    FRESH = "fresh"
    OVERDUE = "overdue"
    WAITING = "waiting"
    """No backup yet, and none has been due."""
    UNSCHEDULED = "unscheduled"


@dataclass(frozen=True)
class Freshness:
    """How a catalog stands at `at`. Times are UTC; `due` is the last due time.

    `missed` and `failed` are counted since the newest good backup; `running` is the full one that is under way.
    """

    catalog: str
    state: State
    at: datetime
    due: datetime | None
    next_due: datetime | None
    newest: str | None
    newest_at: datetime | None
    age_s: int | None
    missed: tuple[datetime, ...]
    failed: int
    running: str | None
    what: str

    @property
    def overdue(self) -> bool:
        """Whether a backup should be there that is not."""
        return self.state is State.OVERDUE

    def error(self) -> StaleError:
        """The error of a catalog that is overdue."""
        return StaleError(self.what, do=DO)


DO = (
    "Look whether Dagster's daemon and code server run (`backup-pipeline up`), and at what was tried"
    " (`backup-pipeline list`). `backup-pipeline backup` makes one now, filed under today."
)


def freshness(catalog: Catalog, newest: Attempt | None, rows: Sequence[Attempt], now: datetime) -> Freshness:
    """How `catalog` stands. `rows` are those since its newest good full backup, of one without any all that are due."""
    full = [row for row in until_now(rows, now) if row.kind == FULL]
    missed = tuple(sorted(row.due_at for row in full if is_missed(row, now) and row.due_at is not None))
    failed = sum(row.status in _TRIED for row in full)
    running = next((row for row in full if row.status is Status.RUNNING), None)
    state, what = _state(catalog, newest, full, now)
    if state is State.OVERDUE:
        what = " ".join([what, *_more(missed, failed, running)])
    return Freshness(
        catalog=catalog.catalog,
        state=state,
        at=now,
        due=last_due(catalog.schedule, catalog.timezone, now) if catalog.schedule else None,
        next_due=next_due(catalog.schedule, catalog.timezone, now) if catalog.schedule else None,
        newest=newest.backup_id if newest else None,
        newest_at=newest.created_at if newest else None,
        age_s=max(0, int((now - newest.created_at).total_seconds())) if newest else None,
        missed=missed,
        failed=failed,
        running=running.backup_id if running else None,
        what=what,
    )


def _state(catalog: Catalog, newest: Attempt | None, rows: Sequence[Attempt], now: datetime) -> tuple[State, str]:
    if catalog.schedule is None:
        return State.UNSCHEDULED, f"Catalog {catalog.catalog} has no schedule, so nothing is promised."
    if newest is not None:
        stale = staleness(catalog, newest.created_at, now)
        began = f"The newest good backup of catalog {catalog.catalog} began {newest.created_at:%Y-%m-%d %H:%M} UTC."
        return (State.OVERDUE, stale.what) if stale else (State.FRESH, began)
    grace = timedelta(minutes=catalog.grace_minutes)
    first = min((row.due_at for row in rows if row.due_at is not None), default=None)
    if first is not None and first + grace <= now:
        what = f"Catalog {catalog.catalog} has no good backup, and the first was due {first:%Y-%m-%d %H:%M} UTC."
        return State.OVERDUE, what
    return State.WAITING, f"Catalog {catalog.catalog} has no backup yet, and none has been due."


def _more(missed: Sequence[datetime], failed: int, running: Attempt | None) -> list[str]:
    told = []
    if missed:
        days = "backup was missed" if len(missed) == 1 else "backups were missed"
        span = f"{missed[0]:%Y-%m-%d %H:%M}" + (f" to {missed[-1]:%Y-%m-%d %H:%M}" if len(missed) > 1 else "")
        told.append(f"{len(missed)} {days}, due {span} UTC.")
    if failed:
        told.append(f"{failed} {'attempt' if failed == 1 else 'attempts'} failed since.")
    if running is not None:
        told.append(f"One is running since {running.started_at:%Y-%m-%d %H:%M} UTC: {running.backup_id}.")
    return told
