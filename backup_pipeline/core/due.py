"""Which backups should exist: due times, each accounted for by one row of the ledger; and the calendar of days."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import StrEnum

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import StaleError
from backup_pipeline.core.ledger import Attempt, Status, is_missed, of_future, until_now
from backup_pipeline.core.names import Kind, Trigger, new_backup_id
from backup_pipeline.core.schedule import day_end, due_times, is_future, last_due, local_date, next_due
from backup_pipeline.core.scope import SCHEDULE, Scope
from backup_pipeline.core.verification import Level, depth_of, has_failed


def staleness(catalog: Catalog, newest: datetime, now: datetime) -> StaleError | None:
    """The error of a catalog whose `newest` good backup (when it began) is older than its schedule allows, else None.

    A backup is due at each time of the schedule, and `grace_minutes` later it must have come. A catalog without a
    schedule promises nothing.
    """
    if catalog.schedule is None:
        return None
    grace = timedelta(minutes=catalog.grace_minutes)
    due = last_due(catalog.schedule, catalog.timezone, now - grace)
    if due is None or newest >= due:
        return None
    message = (
        f"The newest good backup of catalog {catalog.catalog} began {newest:%Y-%m-%d %H:%M} UTC, but one was due "
        f"{due:%Y-%m-%d %H:%M} UTC (schedule {catalog.schedule!r} in {catalog.timezone}, "
        f"{catalog.grace_minutes} minutes of grace)."
    )
    return StaleError(message, do="Run `backup-pipeline backup`; `backup-pipeline list` shows what was tried.")


FULL = Kind.FULL
"""The kind of backup that a schedule is for."""
START_WITHIN = timedelta(minutes=15)
"""How long a run may wait for its start, also where a catalog gives no grace."""
TRY_AGAIN_AFTER = timedelta(hours=1)
"""What failed is tried once more after this time, not at once: what stood in its way may be gone by then."""
GIVEN_UP_AFTER = timedelta(days=1)
"""When nobody has accounted for a catalog for so long, what is still expected of it is ended."""
NOTHING_BEGAN = frozenset({Status.EXPECTED, Status.MISSED})
"""The statuses of a due time to which no run belongs."""
_MOST = 1000
_LONGEST = timedelta(days=400)
"""Of an outage without end the newest due times are written down, no more than these."""


@dataclass(frozen=True)
class KnownDues:
    """What the ledger knows of a catalog: until when its due times were accounted for (None: never), and rows.

    The rows are those that are `expected`, and every one that was created, or due, since then.
    """

    accounted_until: datetime | None
    rows: tuple[Attempt, ...]


@dataclass(frozen=True)
class Settlement:
    """What to write down: rows `expected`, rows `missed`, `expected` rows to cancel, and why.

    `catch_up` is the due time that one run now should make up for, as far as that can be: it carries its own date.
    `failed` is the run that it tries again; None when none began.
    """

    expected: tuple[Attempt, ...] = ()
    missed: tuple[Attempt, ...] = ()
    dropped: tuple[Attempt, ...] = ()
    catch_up: datetime | None = None
    failed: Attempt | None = None
    reasons: tuple[str, ...] = ()


def start_deadline(catalog: Catalog, due: datetime) -> datetime:
    """Until when a run must have begun that counts as the one of `due`."""
    return due + max(timedelta(minutes=catalog.grace_minutes), START_WITHIN)


def due_at_start(catalog: Catalog, now: datetime) -> datetime | None:
    """The due time that a full backup which begins `now` is for; None when it is for none."""
    due = _last(catalog, now)
    return due if due is not None and now <= start_deadline(catalog, due) else None


def looked_back_to(catalog: Catalog, now: datetime) -> datetime:
    """Since when `settle` has to know the rows: the last due time, or now."""
    return _last(catalog, now) or now


def settle(catalog: Catalog, known: KnownDues, now: datetime) -> Settlement:
    """Account for every due time up to `now`, and for the next one.

    A due time whose run did not begin within the grace is `missed`, for good: a backup reads the rows of now. What the
    schedule does not name any more, and was not due yet when it was last looked at, is dropped. Before the first
    accounting nothing was due.
    """
    since = max(_accounted(catalog, known, now), now - _LONGEST)
    due = _due(catalog, since, now)
    rows = {row.due_at: row for row in known.rows if row.due_at is not None}
    waiting = [row for row in known.rows if _waits(row, now) and row.due_at is not None]
    dropped = [row for row in waiting if row.due_at is not None and row.due_at > since and row.due_at not in due]
    new = [due_row(catalog, at) for at in due if at not in rows]
    open_rows = sorted((row for row in (*waiting, *new) if row not in dropped), key=lambda row: row.created_at)
    missed = tuple(
        replace(row, error_message=_why_missed(catalog, row.due_at))
        for row in open_rows
        if row.due_at is not None and start_deadline(catalog, row.due_at) < now
    )
    catch_up, why = _catch_up(catalog, known.rows, missed, now)
    failed = _to_try_again(catalog, known.rows, now) if catch_up is None else None
    return Settlement(
        expected=tuple(row for row in new if row.due_at not in {one.due_at for one in missed}),
        missed=missed,
        dropped=tuple(dropped),
        catch_up=catch_up if failed is None else failed.due_at,
        failed=failed,
        reasons=(*_reasons(missed, dropped), *why, *([_why_again(failed)] if failed else [])),
    )


def due_row(catalog: Catalog, due: datetime) -> Attempt:
    """The row of a due time, before anything came of it. Two that make it at once make the same one."""
    salt = zlib.crc32(f"{catalog.catalog} {due.isoformat()}".encode())
    return Attempt(
        backup_id=str(new_backup_id(due, FULL, salt)),
        scope=Scope(catalog.catalog),
        kind=FULL,
        type=Trigger.AUTOMATIC,
        status=Status.EXPECTED,
        partition_date=local_date(due, catalog.timezone),
        created_at=due,
        started_at=due,
        actor=SCHEDULE,
        reason=f"due by the schedule {catalog.schedule}",
        due_at=due,
    )


def _accounted(catalog: Catalog, known: KnownDues, now: datetime) -> datetime:
    """Until when due times were accounted for; whoever did so later than now had a clock that was ahead."""
    until = known.accounted_until
    if until is None:
        return now
    return until if not is_future(until, now) else looked_back_to(catalog, now) - timedelta(seconds=1)


def _waits(row: Attempt, now: datetime) -> bool:
    """Whether a run may still take the row over: it is expected, or a clock that was ahead has missed it."""
    return row.status is Status.EXPECTED or (row.status is Status.MISSED and not is_missed(row, now))


def _due(catalog: Catalog, since: datetime, now: datetime) -> Sequence[datetime]:
    """The due times since then, the newest of very many, and the next one."""
    if catalog.schedule is None:
        return []
    past = list(due_times(catalog.schedule, catalog.timezone, after=since, until=now))
    following = next_due(catalog.schedule, catalog.timezone, now)
    return [*past[-_MOST:], *([following] if following else [])]


def _catch_up(
    catalog: Catalog, rows: Sequence[Attempt], missed: Sequence[Attempt], now: datetime
) -> tuple[datetime | None, Sequence[str]]:
    """One run for all that was missed, unless something was tried since the last due time."""
    due = _last(catalog, now)
    before = {row.due_at for row in rows if is_missed(row, now)}
    if due is None or due not in before | {row.due_at for row in missed}:
        return None, ()
    if any(row.kind == FULL and _begun_since(row, due, now) for row in rows):
        return None, (f"No catch-up run: a full backup has begun since {due:%Y-%m-%d %H:%M} UTC.",)
    day = local_date(now, catalog.timezone)
    return due, (
        f"One catch-up run is wanted, filed under {day}: a backup reads the rows of now, not those of a date missed.",
    )


def _begun_since(row: Attempt, due: datetime, now: datetime) -> bool:
    return row.created_at >= due and row.status not in NOTHING_BEGAN and not of_future(row, now)


def _to_try_again(catalog: Catalog, rows: Sequence[Attempt], now: datetime) -> Attempt | None:
    """The failed run of the last due time, when it is the only one since, it is over for a while, and still its day.

    So there is one more try, and no other: what that came to is a second run. Where the next due time is near, that
    one tries.
    """
    due = _last(catalog, now)
    tried = [row for row in rows if due and row.kind == FULL and row.status not in NOTHING_BEGAN]
    since = [row for row in tried if due and _begun_since(row, due, now)]
    if due is None or len(since) != 1:
        return None
    [run] = since
    over = run.finished_at is not None and now - run.finished_at >= TRY_AGAIN_AFTER
    its_day = local_date(now, catalog.timezone) == local_date(run.created_at, catalog.timezone)
    following = next_due(catalog.schedule, catalog.timezone, now) if catalog.schedule else None
    near = following is not None and following - now < TRY_AGAIN_AFTER
    failed = run.status is Status.FAILED and run.due_at == due
    return run if failed and over and its_day and not near else None


def _why_again(run: Attempt) -> str:
    return f"One more run is wanted today: {run.backup_id}, which was due {run.due_at:%Y-%m-%d %H:%M} UTC, failed."


def _last(catalog: Catalog, now: datetime) -> datetime | None:
    return last_due(catalog.schedule, catalog.timezone, now) if catalog.schedule else None


def _reasons(missed: Sequence[Attempt], dropped: Sequence[Attempt]) -> Iterator[str]:
    yield from (f"Missed: {row.error_message}" for row in missed)
    yield from (f"Dropped: {why_dropped(row)}" for row in dropped)


def why_dropped(row: Attempt) -> str:
    """What the row of a due time says that the schedule does not name any more."""
    return f"Nothing is due {row.due_at:%Y-%m-%d %H:%M} UTC any more: the schedule was changed."


def why_vanished(catalog: str) -> str:
    """What the row of a due time says whose catalog is in no configuration any more."""
    return f"The catalog {catalog} is no longer configured: nobody has accounted for its due times for a day."


def _why_missed(catalog: Catalog, due: datetime) -> str:
    until = start_deadline(catalog, due)
    return f"No run began for what was due {due:%Y-%m-%d %H:%M} UTC; it had until {until:%Y-%m-%d %H:%M} UTC."


_TRIED = frozenset({Status.FAILED, Status.CANCELED})


class DueState(StrEnum):
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
    state: DueState
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
        return self.state is DueState.OVERDUE

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
    if state is DueState.OVERDUE:
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


def _state(catalog: Catalog, newest: Attempt | None, rows: Sequence[Attempt], now: datetime) -> tuple[DueState, str]:
    if catalog.schedule is None:
        return DueState.UNSCHEDULED, f"Catalog {catalog.catalog} has no schedule, so nothing is promised."
    if newest is not None:
        stale = staleness(catalog, newest.created_at, now)
        began = f"The newest good backup of catalog {catalog.catalog} began {newest.created_at:%Y-%m-%d %H:%M} UTC."
        return (DueState.OVERDUE, stale.what) if stale else (DueState.FRESH, began)
    grace = timedelta(minutes=catalog.grace_minutes)
    first = min((row.due_at for row in rows if row.due_at is not None), default=None)
    if first is not None and first + grace <= now:
        what = f"Catalog {catalog.catalog} has no good backup, and the first was due {first:%Y-%m-%d %H:%M} UTC."
        return DueState.OVERDUE, what
    return DueState.WAITING, f"Catalog {catalog.catalog} has no backup yet, and none has been due."


def _more(missed: Sequence[datetime], failed: int, running: Attempt | None) -> list[str]:
    sentences = []
    if missed:
        days = "backup was missed" if len(missed) == 1 else "backups were missed"
        span = f"{missed[0]:%Y-%m-%d %H:%M}" + (f" to {missed[-1]:%Y-%m-%d %H:%M}" if len(missed) > 1 else "")
        sentences.append(f"{len(missed)} {days}, due {span} UTC.")
    if failed:
        sentences.append(f"{failed} {'attempt' if failed == 1 else 'attempts'} failed since.")
    if running is not None:
        sentences.append(f"One is running since {running.started_at:%Y-%m-%d %H:%M} UTC: {running.backup_id}.")
    return sentences


class Day(StrEnum):
    """What became of a table on a day, the best first."""

    VERIFIED = "verified"
    GOOD = "good"
    LATE = "late"
    PARTIAL = "partial"
    RUNNING = "running"
    EXPECTED = "expected"
    REMOVED = "removed"
    MISSED = "missed"
    NONE = "none"

    @property
    def letter(self) -> str:
        """One sign for it."""
        return _LETTERS[self]

    @property
    def meaning(self) -> str:
        """It in words."""
        return _MEANINGS[self]


_LETTERS = {
    Day.VERIFIED: "V",
    Day.GOOD: "G",
    Day.LATE: "L",
    Day.PARTIAL: "P",
    Day.RUNNING: "r",
    Day.EXPECTED: "e",
    Day.REMOVED: "x",
    Day.MISSED: "M",
    Day.NONE: "·",
}
_MEANINGS = {
    Day.VERIFIED: "in a good full backup whose contents were verified",
    Day.GOOD: "in a good full backup, read back when it was made",
    Day.LATE: "in a good full backup that began after its grace, or that shows rows of a later date",
    Day.PARTIAL: "only in a backup of some tables, or in one that was found damaged",
    Day.RUNNING: "a full backup is under way",
    Day.EXPECTED: "due, and there is time yet",
    Day.REMOVED: "its backup was there, and was removed since",
    Day.MISSED: "due, and not there",
    Day.NONE: "nothing was due",
}
_RANK = {day: number for number, day in enumerate(Day)}


@dataclass(frozen=True)
class Calendar:
    """The days, oldest first, and of each table what became of it on each of them."""

    catalog: str
    days: tuple[date, ...]
    tables: tuple[tuple[str, tuple[Day, ...]], ...]

    @property
    def seen(self) -> tuple[Day, ...]:
        """What occurs in it, the best first."""
        found = {day for _, days in self.tables for day in days}
        return tuple(day for day in Day if day in found)


def whole_days(catalog: Catalog, grid: Calendar) -> tuple[tuple[date, Day], ...]:
    """What became of the catalog on each day: the worst of its tables, those aside that the day knows nothing of."""
    own = [days for table, days in grid.tables if table in catalog.tables]
    columns = zip(*own, strict=True) if own else ([Day.NONE] for _ in grid.days)
    worst = (
        max((day for day in each if day is not Day.NONE), key=_RANK.__getitem__, default=Day.NONE) for each in columns
    )
    return tuple(zip(grid.days, worst, strict=True))


def calendar(catalog: Catalog, rows: Sequence[Attempt], now: datetime, *, days: int) -> Calendar:
    """The last `days` days up to today. `rows` are those of the catalog since the first of them.

    Before the first row that the ledger has, nothing was due as far as it knows.
    """
    today = local_date(now, catalog.timezone)
    shown = tuple(today - timedelta(days=back) for back in reversed(range(days)))
    tables = {*catalog.tables} | {table for row in rows if row.kind == FULL for table in row.table_counts}
    ordered = (*catalog.tables, *sorted(tables - set(catalog.tables)))
    by_day: dict[date, list[Attempt]] = {day: [] for day in shown}
    for row in rows:
        by_day.setdefault(row.partition_date, []).append(row)
    known_since = min((row.created_at for row in rows), default=now)
    due = {day: [at for at in _due_on(catalog, day) if at >= known_since] for day in shown}
    verdicts = {day: _verdicts(catalog, by_day[day], due[day]) for day in shown}
    gaps = {day: _gap(catalog, by_day[day], due[day], now) for day in shown}

    def of(table: str, day: date) -> Day:
        best = next((verdict for verdict, holds in verdicts[day] if holds is None or table in holds), None)
        return best if best is not None else (gaps[day] if table in catalog.tables else Day.NONE)

    grid = ((table, tuple(of(table, day) for day in shown)) for table in ordered)
    return Calendar(catalog.catalog, shown, tuple(grid))


def _verdicts(
    catalog: Catalog, own: Sequence[Attempt], due: Sequence[datetime]
) -> Sequence[tuple[Day, Collection[str] | None]]:
    """What the rows of a day say, the best first, and of which tables (None: of all).

    Nothing of those that came to nothing.
    """
    verdicts = [(verdict, _held(row)) for row in own if (verdict := _of_row(catalog, row, due)) is not None]
    return sorted(verdicts, key=lambda pair: _RANK[pair[0]])


def _held(row: Attempt) -> Collection[str] | None:
    return None if row.status is Status.RUNNING else (row.table_counts or row.tables_wanted)


def _of_row(catalog: Catalog, row: Attempt, due: Sequence[datetime]) -> Day | None:
    """What a row says of the tables that it holds; None when it says nothing, because it came to nothing."""
    if row.status is Status.RUNNING:
        return Day.RUNNING if row.kind == FULL else None
    if not row.status.good:
        return None
    if row.kind != FULL or has_failed(row.verification):
        return Day.PARTIAL
    if row.late or (row.due_at is None and due and row.created_at > start_deadline(catalog, due[0])):
        return Day.LATE
    return Day.VERIFIED if depth_of(row.verification) >= Level.CONTENTS else Day.GOOD


def _due_on(catalog: Catalog, day: date) -> Sequence[datetime]:
    if catalog.schedule is None:
        return []
    start = day_end(day - timedelta(days=1), catalog.timezone) - timedelta(microseconds=1)
    end = day_end(day, catalog.timezone) - timedelta(microseconds=1)
    return list(due_times(catalog.schedule, catalog.timezone, after=start, until=end))


def _gap(catalog: Catalog, own: Sequence[Attempt], due: Sequence[datetime], now: datetime) -> Day:
    """Where nothing holds a table that day: was anything due, and did the backups of that day know it?"""
    if any(row.kind == FULL and row.status.good for row in own):
        return Day.NONE
    rows = {row.due_at: row for row in own if row.due_at is not None}
    verdicts = [_of_due(catalog, at, rows.get(at), now) for at in {*rows, *due}]
    return min(verdicts, key=_RANK.__getitem__, default=Day.NONE)


def _of_due(catalog: Catalog, due: datetime, row: Attempt | None, now: datetime) -> Day:
    if row is not None and row.status is Status.CANCELED and row.run_id is None and row.owner is None:
        return Day.NONE  # the schedule was changed
    if row is not None and row.status in {Status.DELETED, Status.EXPIRED}:
        return Day.REMOVED
    if row is not None and row.status not in NOTHING_BEGAN:
        return Day.MISSED
    return Day.MISSED if now > start_deadline(catalog, due) else Day.EXPECTED
