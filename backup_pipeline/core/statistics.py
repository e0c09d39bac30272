"""Numbers about backups: a catalog's statistics and forecast, from the rows of the ledger, and the metrics of all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import combinations
from math import ceil
from statistics import median, median_low
from typing import Literal

from backup_pipeline.core.copies import Copy
from backup_pipeline.core.ledger import Attempt, Status, until_now
from backup_pipeline.core.names import Kind, parse_backup_id
from backup_pipeline.core.restore.requests import RestoreRow, RestoreStatus
from backup_pipeline.core.schedule import is_future
from backup_pipeline.core.scope import Scope
from backup_pipeline.core.verification import Level, Verification

_GONE = frozenset({Status.EXPIRED, Status.DELETED})
_WENT_WRONG = frozenset({Status.FAILED, Status.MISSED})
_DAY = timedelta(days=1)
_POINTS = 90
"""At most so many points make a slope: all pairs of them are looked at."""
_FEWEST = 3


@dataclass(frozen=True)
class Sizes:
    """Bytes of the bundles that are there."""

    total: int
    newest: int
    median: int
    largest: int


@dataclass(frozen=True)
class Durations:
    """Seconds from start to end of the good backups."""

    median: float
    p95: float


@dataclass(frozen=True)
class Growth:
    """A table: rows and bytes in the newest backup, and how many come a day; None before that can be said."""

    rows: int
    bytes: int | None
    rows_per_day: float | None
    bytes_per_day: float | None


@dataclass(frozen=True)
class SizeForecast:
    """In `days` from now: how many backups there will be, and their bytes."""

    days: int
    backups: int
    bytes: int


@dataclass(frozen=True)
class Statistics:
    """One catalog's backups, seen `at`.

    `backups`, `by_type`, `by_kind` and `sizes` are of those that are there now. Attempts and their ends, `durations`
    and growth are of the last `days`; what is only expected is no attempt. `success_rate` leaves out what runs, or was
    canceled by somebody. `forecast_basis` says what the forecast rests on, or why there is none.
    """

    catalog: str
    at: datetime
    days: int
    backups: int
    rows: int
    by_type: Mapping[str, int]
    by_kind: Mapping[str, int]
    held: int
    attempts: int
    ends: Mapping[str, int]
    success_rate: float | None
    sizes: Sizes | None
    durations: Durations | None
    tables: Mapping[str, Growth] = field(default_factory=dict)
    forecast: tuple[SizeForecast, ...] = ()
    forecast_basis: str = ""
    stored: Mapping[str, int] | None = None


def statistics_of(scope: Scope, rows: Sequence[Attempt], *, now: datetime, days: int) -> Statistics:
    """The statistics of the rows of one scope, without a forecast; `rows` may hold those of others."""
    own = sorted((row for row in rows if row.scope == scope), key=lambda row: (row.created_at, row.backup_id))
    past = until_now(own, now)
    begun = (row for row in past if row.status is not Status.EXPECTED)
    recent = [row for row in begun if row.created_at > now - timedelta(days=days)]
    there = bundles(own)
    ends = Counter(end for row in recent if (end := ended_as(row)) is not None)
    good = [row for row in recent if _was_good(row)]
    judged = len(good) + sum(ends[status] for status in _WENT_WRONG)
    return Statistics(
        catalog=str(scope),
        at=now,
        days=days,
        backups=len(there),
        rows=sum(row.record_count or 0 for row in there),
        by_type=dict(Counter(row.type for row in there)),
        by_kind=dict(Counter(row.kind for row in there)),
        held=sum(row.hold is not None and row.hold.lasts(now) for row in there),
        attempts=len(recent),
        ends={str(status): count for status, count in ends.items()},
        success_rate=len(good) / judged if judged else None,
        sizes=_sizes(there, bundles(past)),
        durations=_durations(good),
        tables=_growth([row for row in good if row.table_counts], bundles(past)),
    )


def bundles(rows: Sequence[Attempt]) -> list[Attempt]:
    """The rows of backups that are there: good ones with a bundle."""
    return [row for row in rows if row.status.good and row.kind.bundled]


def ended_as(row: Attempt) -> Status | None:
    """How the attempt ended, also when its backup is gone by now; None while it has not."""
    if row.status in {Status.RUNNING, Status.EXPECTED}:
        return None
    if row.status in _GONE:
        good = Status.SUCCESS_WITH_WARNINGS if row.warnings else Status.SUCCESS
        return good if row.sha256 else Status.FAILED
    return row.status


def robust_slope(points: Sequence[tuple[datetime, float]]) -> float | None:
    """How much the values grow a day: the median of the slopes between all pairs, which a few odd ones do not move.

    None for fewer than three points, and for points of less than a day.
    """
    if len(points) < _FEWEST or points[-1][0] - points[0][0] < _DAY:
        return None
    every = ceil(len(points) / _POINTS)
    chosen = [*points[-1::-every]][::-1]
    pairs = ((b[1] - a[1], (b[0] - a[0]) / _DAY) for a, b in combinations(chosen, 2))
    slopes = [rise / run for rise, run in pairs if run > 0]
    return median(slopes) if slopes else None


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of them do not exceed (nearest rank)."""
    return sorted(values)[max(0, ceil(share * len(values)) - 1)]


def taken(row: Attempt) -> datetime:
    """The instant that a backup shows."""
    return (row.snapshot_at or row.started_at).astimezone(UTC)


def _was_good(row: Attempt) -> bool:
    end = ended_as(row)
    return end is not None and end.good


def _sizes(there: Sequence[Attempt], past: Sequence[Attempt]) -> Sizes | None:
    """Of all that is `there`; the newest is one of `past`, where there is any."""
    sizes, newest = ([row.file_size_bytes for row in rows if row.file_size_bytes is not None] for rows in (there, past))
    return Sizes(sum(sizes), (newest or sizes)[-1], median_low(sizes), max(sizes)) if sizes else None


def _durations(good: Sequence[Attempt]) -> Durations | None:
    """Of backups: a run for partitions alone has no bundle to wait for."""
    ended = [row for row in good if row.finished_at is not None and row.kind.bundled]
    seconds = [(row.finished_at - row.started_at).total_seconds() for row in ended if row.finished_at]
    return Durations(round(median(seconds), 3), round(percentile(seconds, 0.95), 3)) if seconds else None


def _growth(good: Sequence[Attempt], there: Sequence[Attempt]) -> dict[str, Growth]:
    """Each table of the newest backup that holds it, the largest first."""
    newest: dict[str, Attempt] = {}
    for row in sorted([*good, *there], key=taken, reverse=True):
        if not row.table_counts.keys() <= newest.keys():  # of thousands of backups nearly all hold the same tables
            newest = dict.fromkeys(row.table_counts, row) | newest
    in_order = sorted(((taken(row), row) for row in good), key=lambda item: item[0])
    growth = {
        table: Growth(
            rows=row.table_counts[table],
            bytes=row.table_bytes.get(table),
            rows_per_day=_slope_of((at, row.table_counts.get(table)) for at, row in in_order),
            bytes_per_day=_slope_of((at, row.table_bytes.get(table)) for at, row in in_order),
        )
        for table, row in newest.items()
    }
    return dict(sorted(growth.items(), key=lambda item: (-item[1].rows, item[0])))


def _slope_of(values: Iterable[tuple[datetime, int | None]]) -> float | None:
    slope = robust_slope([(at, float(value)) for at, value in values if value is not None])
    return None if slope is None else round(slope, 3)


HORIZONS = (30, 90, 365)
"""Days ahead."""
_MOST = 1_500
"""Backups of one habit to imagine at most: where a year has more, only as far ahead as they reach."""

Keep = Callable[[Sequence[Attempt], datetime], Sequence[Attempt]]
"""Which of the backups are still there at an instant, as retention would have it."""


def keep_all(rows: Sequence[Attempt], _: datetime) -> Sequence[Attempt]:
    """Without a rule nothing is removed."""
    return rows


def forecast(rows: Sequence[Attempt], *, now: datetime, days: int, keep: Keep = keep_all) -> tuple[SizeForecast, ...]:
    """What 30, 90 and 365 days ahead bring, when backups go on as in the last `days`; empty without two days of them.

    Each kind and type of backup goes on by itself, as often as until now, and grows as it grew.
    """
    there = bundles(rows)
    habits = [habit for habit in _habits(there, now, days) if habit]
    coming = [row for habit in habits for row in habit]
    reach = min((habit[-1].created_at for habit in habits if len(habit) == _MOST), default=None)
    wanted = [days for days in HORIZONS if reach is None or now + timedelta(days=days) <= reach]
    return tuple(_at(there, coming, now, horizon, keep) for horizon in wanted) if coming else ()


def _at(there: Sequence[Attempt], coming: Sequence[Attempt], now: datetime, horizon: int, keep: Keep) -> SizeForecast:
    until = now + timedelta(days=horizon)
    left = keep([*there, *(row for row in coming if row.created_at <= until)], until)
    return SizeForecast(horizon, len(left), sum(row.file_size_bytes or 0 for row in left))


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
        verification=Verification(Level.BYTES, at),
        hold=None,
    )


Labels = Mapping[str, str]
_ENDS = (Status.SUCCESS, Status.SUCCESS_WITH_WARNINGS, Status.FAILED, Status.CANCELED, Status.MISSED)


@dataclass(frozen=True)
class MetricSample:
    """A value, and what it is of."""

    labels: Labels
    value: float


@dataclass(frozen=True)
class Metric:
    """A name with its unit in it, one sentence, and the values. A counter's name ends in `_total` when it is shown."""

    name: str
    kind: Literal["gauge", "counter"]
    help: str
    labels: tuple[str, ...]
    samples: tuple[MetricSample, ...]


@dataclass(frozen=True)
class Standing:
    """A catalog in a destination: the seconds since its newest good full backup there began, None without one.

    `fresh`: it is as new as the schedule promises; None where nothing is promised (yet).
    """

    catalog: str
    destination: str
    age_s: float | None
    fresh: bool | None


@dataclass(frozen=True)
class KnownStates:
    """What the metrics are made of; nothing of it grows with the attempts of the past.

    `attempts` are the rows of what is there and of what runs, `ends` how many attempts of each catalog ended how,
    `copies` the good ones, `restores` at least the newest that was done of each catalog. `standings` say how old and
    how fresh each destination is; `destination` is the URL of the first store, `now` the present.
    """

    attempts: Sequence[Attempt]
    ends: Mapping[tuple[Scope, Status], int]
    copies: Sequence[Copy]
    restores: Sequence[RestoreRow]
    standings: Sequence[Standing]
    destination: str
    now: datetime


def metrics_of(known: KnownStates) -> tuple[Metric, ...]:
    """Every metric. Labels are catalogs, tables, stores and statuses: never a backup, a person or a business."""
    return tuple(
        Metric(name, kind, help_text, labels, tuple(of(known))) for name, kind, help_text, labels, of in _METRICS
    )


def _scopes(known: KnownStates) -> Sequence[Scope]:
    """Those of whole catalogs: a label for each business would be one for each customer."""
    named = {row.scope for row in known.attempts} | {scope for scope, _ in known.ends}
    named |= {Scope(standing.catalog) for standing in known.standings}
    return sorted((scope for scope in named if scope.business is None), key=str)


def _newest(known: KnownStates) -> Iterator[tuple[str, Attempt]]:
    """The newest good full backup of each catalog that has one."""
    for scope in _scopes(known):
        there = until_now(bundles(known.attempts), known.now)
        own = (row for row in there if row.scope == scope and row.kind is Kind.FULL)
        newest = max(own, key=lambda row: (row.created_at, row.backup_id), default=None)
        if newest is not None:
            yield str(scope), newest


def _last_success(known: KnownStates) -> Iterator[MetricSample]:
    for catalog, newest in _newest(known):
        yield MetricSample({"catalog": catalog, "destination": known.destination}, taken(newest).timestamp())
    copied_at: dict[tuple[str, str], float] = {}
    for copy in known.copies:
        if copy.good and parse_backup_id(copy.backup_id).kind is Kind.FULL and not is_future(copy.made_at, known.now):
            place = (str(copy.scope), copy.store)
            copied_at[place] = max(copied_at.get(place, 0.0), copy.made_at.timestamp())
    for (catalog, store), seconds in sorted(copied_at.items()):
        yield MetricSample({"catalog": catalog, "destination": store}, seconds)


def _of_standings(of: Callable[[Standing], float | None]) -> Callable[[KnownStates], Iterator[MetricSample]]:
    def samples(known: KnownStates) -> Iterator[MetricSample]:
        for standing in known.standings:
            value = of(standing)
            if value is not None:
                yield MetricSample({"catalog": standing.catalog, "destination": standing.destination}, value)

    return samples


def _last_verified(known: KnownStates) -> Iterator[MetricSample]:
    """A verification that found something is none."""
    for scope in _scopes(known):
        own = [row.verification for row in bundles(known.attempts) if row.scope == scope]
        times = [verification.at for verification in own if verification is not None and verification.passed]
        passed = [at.timestamp() for at in times if not is_future(at, known.now)]
        if passed:
            yield MetricSample({"catalog": str(scope)}, max(passed))


def _of_newest(of: Callable[[Attempt], float | None]) -> Callable[[KnownStates], Iterator[MetricSample]]:
    def samples(known: KnownStates) -> Iterator[MetricSample]:
        for catalog, newest in _newest(known):
            value = of(newest)
            if value is not None:
                yield MetricSample({"catalog": catalog}, value)

    return samples


def _seconds(row: Attempt) -> float | None:
    return (row.finished_at - row.started_at).total_seconds() if row.finished_at else None


def _of_tables(of: Callable[[Attempt], Mapping[str, int]]) -> Callable[[KnownStates], Iterator[MetricSample]]:
    def samples(known: KnownStates) -> Iterator[MetricSample]:
        for catalog, newest in _newest(known):
            for table, count in sorted(of(newest).items()):
                yield MetricSample({"catalog": catalog, "table": table}, count)

    return samples


def _runs(known: KnownStates) -> Iterator[MetricSample]:
    """Every status of every catalog, also those that never were: a series that appears late hides its first event."""
    for scope in _scopes(known):
        for status in _ENDS:
            yield MetricSample({"catalog": str(scope), "status": str(status)}, known.ends.get((scope, status), 0))


def _missed(known: KnownStates) -> Iterator[MetricSample]:
    for scope in _scopes(known):
        yield MetricSample({"catalog": str(scope)}, known.ends.get((scope, Status.MISSED), 0))


def _held(known: KnownStates) -> Iterator[MetricSample]:
    held = Counter(r.scope for r in bundles(known.attempts) if r.hold is not None and r.hold.lasts(known.now))
    yield from (MetricSample({"catalog": str(scope)}, held[scope]) for scope in _scopes(known))


def _stored(known: KnownStates) -> Iterator[MetricSample]:
    for scope in _scopes(known):
        own = [row for row in bundles(known.attempts) if row.scope == scope]
        yield MetricSample({"catalog": str(scope)}, sum(row.file_size_bytes or 0 for row in own))


def _restore(known: KnownStates) -> Iterator[MetricSample]:
    """The newest restore that was done, of each catalog."""
    done = sorted((row for row in known.restores if row.status is RestoreStatus.DONE), key=lambda row: row.id)
    newest = {str(row.scope): row for row in done if row.started_at and row.finished_at}
    for catalog, row in sorted(newest.items()):
        if row.started_at and row.finished_at:
            yield MetricSample({"catalog": catalog}, (row.finished_at - row.started_at).total_seconds())


_Row = tuple[str, Literal["gauge", "counter"], str, tuple[str, ...], Callable[[KnownStates], Iterator[MetricSample]]]
_CATALOG = ("catalog",)
_METRICS: tuple[_Row, ...] = (
    (
        "backup_last_success_timestamp_seconds",
        "gauge",
        "When the rows of the newest good full backup were read, by destination.",
        ("catalog", "destination"),
        _last_success,
    ),
    (
        "backup_age_seconds",
        "gauge",
        "How long ago the newest good full backup began, by destination.",
        ("catalog", "destination"),
        _of_standings(lambda standing: standing.age_s),
    ),
    (
        "backup_fresh",
        "gauge",
        "1 when it is as new as the catalog's schedule promises, else 0, by destination.",
        ("catalog", "destination"),
        _of_standings(lambda standing: standing.fresh),
    ),
    (
        "backup_last_verified_timestamp_seconds",
        "gauge",
        "When a backup last passed a verification.",
        _CATALOG,
        _last_verified,
    ),
    ("backup_duration_seconds", "gauge", "How long the newest good full backup took.", _CATALOG, _of_newest(_seconds)),
    (
        "backup_size_bytes",
        "gauge",
        "Bytes of the bundle of the newest good full backup.",
        _CATALOG,
        _of_newest(lambda row: row.file_size_bytes),
    ),
    (
        "backup_rows",
        "gauge",
        "Rows of a table in the newest good full backup.",
        ("catalog", "table"),
        _of_tables(lambda row: row.table_counts),
    ),
    (
        "backup_table_size_bytes",
        "gauge",
        "Bytes of a table's files in the newest good full backup.",
        ("catalog", "table"),
        _of_tables(lambda row: row.table_bytes),
    ),
    (
        "backup_warnings",
        "gauge",
        "Warnings of the newest good full backup.",
        _CATALOG,
        _of_newest(lambda row: len(row.warnings)),
    ),
    ("backup_runs", "counter", "Attempts, by how they ended.", ("catalog", "status"), _runs),
    ("backup_missed", "counter", "Backups that were due and did not happen.", _CATALOG, _missed),
    ("backup_held", "gauge", "Backups that are held.", _CATALOG, _held),
    ("backup_stored_bytes", "gauge", "Bytes of all bundles that are there.", _CATALOG, _stored),
    ("backup_restore_duration_seconds", "gauge", "How long the newest restore that was done took.", _CATALOG, _restore),
)
