"""How much the backups of a catalog will take up: today's habits carried on, and what retention leaves of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.statistics import Forecast, bundles, robust_slope, taken
from backup_pipeline.core.statuses import Status
from backup_pipeline.core.verification import Level

HORIZONS = (30, 90, 365)
"""Days ahead."""
_MOST = 1_500
"""Backups of one habit to imagine at most: where a year has more, only as far ahead as they reach."""
_DAY = timedelta(days=1)

Keep = Callable[[Sequence[Attempt], datetime], Sequence[Attempt]]
"""Which of the backups are still there at an instant, as retention would have it."""


def keep_all(rows: Sequence[Attempt], _: datetime) -> Sequence[Attempt]:
    """Without a rule nothing is removed."""
    return rows


def forecast(rows: Sequence[Attempt], *, now: datetime, days: int, keep: Keep = keep_all) -> tuple[Forecast, ...]:
    """What 30, 90 and 365 days ahead bring, when backups go on as in the last `days`; empty without two days of them.

    Each kind and type of backup goes on by itself, as often as until now, and grows as it grew.
    """
    there = bundles(rows)
    habits = [habit for habit in _habits(there, now, days) if habit]
    coming = [row for habit in habits for row in habit]
    reach = min((habit[-1].created_at for habit in habits if len(habit) == _MOST), default=None)
    wanted = [days for days in HORIZONS if reach is None or now + timedelta(days=days) <= reach]
    return tuple(_at(there, coming, now, horizon, keep) for horizon in wanted) if coming else ()


def _at(there: Sequence[Attempt], coming: Sequence[Attempt], now: datetime, horizon: int, keep: Keep) -> Forecast:
    until = now + timedelta(days=horizon)
    left = keep([*there, *(row for row in coming if row.created_at <= until)], until)
    return Forecast(horizon, len(left), sum(row.file_size_bytes or 0 for row in left))


def _habits(there: Sequence[Attempt], now: datetime, days: int) -> Iterator[list[Attempt]]:
    recent = [row for row in there if taken(row) > now - timedelta(days=days)]
    for of in sorted({(row.type, row.kind) for row in recent}):
        yield _imagined(sorted((row for row in recent if (row.type, row.kind) == of), key=taken), now)


def _imagined(habit: Sequence[Attempt], now: datetime) -> list[Attempt]:
    """The backups that follow those of `habit`, at their pace; none from what is younger than two days."""
    first, last = habit[0], habit[-1]
    lasted = taken(last) - taken(first)
    if lasted < _DAY:
        return []
    pace = lasted / (len(habit) - 1)
    slope = robust_slope([(taken(row), float(row.file_size_bytes or 0)) for row in habit]) or 0.0
    count = min(_MOST, int(timedelta(days=HORIZONS[-1]) / pace))
    return [_next(last, now + pace * number, slope * (pace * number / _DAY)) for number in range(1, count + 1)]


def _next(last: Attempt, at: datetime, grown: float) -> Attempt:
    return replace(
        last,
        backup_id=f"{at:%Y%m%dT%H%M%SZ}-forecast",
        status=Status.SUCCESS,
        created_at=at,
        started_at=at,
        snapshot_at=at,
        finished_at=at,
        file_size_bytes=max(0, round((last.file_size_bytes or 0) + grown)),
        verification_level=str(Level.BYTES.value),
        verified_at=at,
        held_by=None,
        held_reason=None,
        held_until=None,
    )
