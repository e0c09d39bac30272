"""What monitoring may ask for, as numbers with names: of the newest backups, of all attempts, and of restores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from backup_pipeline.core.copies import Copy
from backup_pipeline.core.ledger import Attempt, Status, until_now
from backup_pipeline.core.names import Kind, parse_backup_id
from backup_pipeline.core.restore.requests import RestoreRow, RestoreStatus
from backup_pipeline.core.schedule import is_future
from backup_pipeline.core.scope import Scope
from backup_pipeline.core.statistics import bundles

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
        labels = {"catalog": catalog, "destination": known.destination}
        yield MetricSample(labels, (newest.snapshot_at or newest.started_at).timestamp())
    copied_at: dict[tuple[str, str], float] = {}
    for copy in known.copies:
        if copy.good and parse_backup_id(copy.backup_id).kind is Kind.FULL and not is_future(copy.made_at, known.now):
            place = (str(copy.scope), copy.store)
            copied_at[place] = max(copied_at.get(place, 0.0), copy.made_at.timestamp())
    for (catalog, store), seconds in sorted(copied_at.items()):
        yield MetricSample({"catalog": catalog, "destination": store}, seconds)


def _ages(known: KnownStates) -> Iterator[MetricSample]:
    for standing in known.standings:
        if standing.age_s is not None:
            yield MetricSample({"catalog": standing.catalog, "destination": standing.destination}, standing.age_s)


def _fresh(known: KnownStates) -> Iterator[MetricSample]:
    for standing in known.standings:
        if standing.fresh is not None:
            yield MetricSample({"catalog": standing.catalog, "destination": standing.destination}, standing.fresh)


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


def _rows(known: KnownStates) -> Iterator[MetricSample]:
    for catalog, newest in _newest(known):
        for table, rows in sorted(newest.table_counts.items()):
            yield MetricSample({"catalog": catalog, "table": table}, rows)


def _table_bytes(known: KnownStates) -> Iterator[MetricSample]:
    for catalog, newest in _newest(known):
        for table, count in sorted(newest.table_bytes.items()):
            yield MetricSample({"catalog": catalog, "table": table}, count)


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
    newest: dict[str, RestoreRow] = {}
    for row in known.restores:
        if row.status is RestoreStatus.DONE and row.started_at and row.finished_at:
            newest[str(row.scope)] = max(newest.get(str(row.scope), row), row, key=lambda standing: standing.id)
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
        _ages,
    ),
    (
        "backup_fresh",
        "gauge",
        "1 when it is as new as the catalog's schedule promises, else 0, by destination.",
        ("catalog", "destination"),
        _fresh,
    ),
    (
        "backup_last_verified_timestamp_seconds",
        "gauge",
        "When a backup last passed a verification.",
        _CATALOG,
        _last_verified,
    ),
    (
        "backup_duration_seconds",
        "gauge",
        "How long the newest good full backup took.",
        _CATALOG,
        _of_newest(_seconds),
    ),
    (
        "backup_size_bytes",
        "gauge",
        "Bytes of the bundle of the newest good full backup.",
        _CATALOG,
        _of_newest(lambda row: row.file_size_bytes),
    ),
    ("backup_rows", "gauge", "Rows of a table in the newest good full backup.", ("catalog", "table"), _rows),
    (
        "backup_table_size_bytes",
        "gauge",
        "Bytes of a table's files in the newest good full backup.",
        ("catalog", "table"),
        _table_bytes,
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
    (
        "backup_restore_duration_seconds",
        "gauge",
        "How long the newest restore that was done took.",
        _CATALOG,
        _restore,
    ),
)
