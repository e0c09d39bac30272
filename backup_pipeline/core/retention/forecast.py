"""What the rules let go in the days to come: the clean-ups of the schedule, played through one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.due import due_row
from backup_pipeline.core.ledger import Attempt, Status
from backup_pipeline.core.retention import (
    ALONE,
    RetentionBasis,
    StandIns,
    Verdict,
    plan_retention,
)
from backup_pipeline.core.schedule import due_times
from backup_pipeline.core.scope import Scope
from backup_pipeline.core.verification import Level, Verification

_TAKES = timedelta(minutes=1)
"""How long a backup that is yet to come is thought to take."""
MOST_AHEAD = 2_000
"""So many backups to come are thought of: of a schedule of every minute, no more."""


@dataclass(frozen=True)
class Departure:
    """A backup that goes at a clean-up to come, and why. `expected`: it is yet to be made."""

    attempt: Attempt
    at: datetime
    reasons: tuple[str, ...]
    expected: bool = False


@dataclass(frozen=True)
class Forecast:
    """The clean-ups between `made_at` and `until`, and what goes at them, if backups are made and verified as planned.

    If backups stop, less goes and never more: the newest good one stays whatever the rules say.
    """

    made_at: datetime
    until: datetime
    cleanups: tuple[datetime, ...]
    departures: tuple[Departure, ...]


def forecast_retention(
    catalog: Catalog, scope: Scope, rows: Sequence[Attempt], basis: RetentionBasis, *, days: int = 30
) -> Forecast:
    """Play the catalog's clean-ups of the next `days` through, over the `rows` of `scope`.

    What a clean-up finds in the store is not known ahead: a backup whose successor is damaged by then stays.
    """
    until = basis.now + timedelta(days=days)
    line, zone = catalog.retention.schedule, basis.timezone
    cleanups = tuple(due_times(line, zone, after=basis.now, until=until)) if line else ()
    known = {row.backup_id for row in rows}
    left = [row for row in rows if row.status.good]
    coming = list(_coming(catalog, scope, basis.now, until))
    departures: list[Departure] = []
    for at in cleanups:
        made = sum(row.started_at + _TAKES <= at for row in coming)
        left, coming = [*left, *coming[:made]], coming[made:]
        gone = [verdict for verdict in verdicts_at(left, replace(basis, now=at)) if verdict.removed]
        departures += [
            Departure(each.attempt, at, each.reasons, expected=each.attempt.backup_id not in known)
            for each in reversed(gone)
        ]
        lost = {each.attempt.backup_id for each in gone}
        left = [row for row in left if row.backup_id not in lost]
    return Forecast(basis.now, until, cleanups, tuple(departures))


def verdicts_at(rows: Sequence[Attempt], basis: RetentionBasis) -> Sequence[Verdict]:
    """As `plan_retention`; what would have no successor among those that stay is kept, as a clean-up keeps it."""
    while True:
        verdicts = plan_retention(rows, basis)
        kept = StandIns([verdict.attempt for verdict in verdicts if not verdict.removed], basis)
        alone = {each.attempt.backup_id: ALONE for each in verdicts if each.removed and not kept.any_of(each.attempt)}
        if not alone:
            return verdicts
        basis = replace(basis, claims={**alone, **basis.claims})


def going_now(rows: Sequence[Attempt], basis: RetentionBasis) -> Sequence[Departure]:
    """What a clean-up at this moment would take, by rules and ledger; the oldest first."""
    gone = [verdict for verdict in verdicts_at(rows, basis) if verdict.removed]
    return [Departure(each.attempt, basis.now, each.reasons) for each in reversed(gone)]


def _coming(catalog: Catalog, scope: Scope, now: datetime, until: datetime) -> Iterator[Attempt]:
    """The backups that the schedule makes of `scope`, each good and verified."""
    if catalog.schedule is None or scope != Scope(catalog.catalog):
        return
    tables = dict.fromkeys(catalog.tables, 1)
    for due in islice(due_times(catalog.schedule, catalog.timezone, after=now, until=until), MOST_AHEAD):
        finished = due + _TAKES
        yield replace(
            due_row(catalog, due),
            status=Status.SUCCESS,
            finished_at=finished,
            snapshot_at=due,
            table_counts=tables,
            verification=Verification(Level.BYTES, finished),
        )
