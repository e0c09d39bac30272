"""Overview: how every system stands, what runs, what waits for somebody, and what is wrong; only read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from backup_pipeline.core.alerts import Thread
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.copies import CopyAge, CopyStatus, copy_age
from backup_pipeline.core.due import Day, DueState, Freshness, calendar, freshness, whole_days
from backup_pipeline.core.ledger import Attempt, Status
from backup_pipeline.core.ports import Ledger
from backup_pipeline.core.restore.requests import RestoreRow, RestoreStatus
from backup_pipeline.core.schedule import day_end, local_date
from backup_pipeline.core.scope import Scope
from backup_pipeline.core.verification import has_failed
from backup_pipeline.operations.browse import MONTH

_WAITS = (RestoreStatus.REQUESTED, RestoreStatus.APPROVED)


@dataclass(frozen=True)
class SystemState:
    """How one catalog stands.

    `newest` is its newest good full backup, `rehearsed` the one that a drill has restored last. `days` are those of a
    strip; before `known_since` (None: never) nothing is known of it. `second` is None where there is no second store.
    """

    catalog: Catalog
    freshness: Freshness
    newest: Attempt | None
    rehearsed: Attempt | None
    days: tuple[tuple[date, Day], ...]
    known_since: date | None
    second: CopyAge | None
    threads: tuple[Thread, ...]

    @property
    def damaged(self) -> bool:
        """Whether the newest good backup did not verify."""
        return self.newest is not None and has_failed(self.newest.verification)

    def before(self, day: date) -> bool:
        """Whether nothing is known of the catalog on that day."""
        return self.known_since is None or day < self.known_since


@dataclass(frozen=True)
class Overview:
    """Everything at `at`. `undelivered` counts alerts that have not reached people."""

    at: datetime
    systems: tuple[SystemState, ...]
    running: tuple[Attempt, ...]
    restores: tuple[RestoreRow, ...]
    undelivered: int

    @property
    def waiting(self) -> tuple[RestoreRow, ...]:
        """The restore requests that wait for a person."""
        return tuple(row for row in self.restores if row.status is not RestoreStatus.RUNNING)

    @property
    def newest(self) -> SystemState | None:
        """The system with the newest good backup of all."""
        known = [state for state in self.systems if state.newest is not None]
        return max(known, key=lambda state: state.newest.created_at if state.newest else self.at, default=None)

    @property
    def next(self) -> SystemState | None:
        """The system that is due next."""
        due = [state for state in self.systems if state.freshness.next_due is not None]
        return min(due, key=lambda state: state.freshness.next_due or self.at, default=None)


def overview(catalogs: Sequence[Catalog], ledger: Ledger, now: datetime, *, second: str | None = None) -> Overview:
    """How the `catalogs` stand; `second` is the URL of the second store. LedgerError when the ledger can not be read.

    The cost grows with what happened in a month, not with what was.
    """
    rehearsed = ledger.listings.rehearsed()
    threads = ledger.threads.list()
    names = {catalog.catalog for catalog in catalogs}
    return Overview(
        at=now,
        systems=tuple(
            _state(catalog, ledger, now, rehearsed.get(catalog.catalog), threads, second) for catalog in catalogs
        ),
        running=tuple(row for row in ledger.list(status=[Status.RUNNING]) if row.scope.catalog in names),
        restores=tuple(
            row for row in ledger.restores.list(status=[*_WAITS, RestoreStatus.RUNNING]) if row.scope.catalog in names
        ),
        undelivered=len(ledger.outbox.list()),
    )


def _state(
    catalog: Catalog,
    ledger: Ledger,
    now: datetime,
    rehearsed: Attempt | None,
    threads: Sequence[Thread],
    second: str | None,
) -> SystemState:
    newest = ledger.dues.newest_good(catalog.catalog, now)
    first_day = day_end(local_date(now, catalog.timezone) - timedelta(days=MONTH), catalog.timezone)
    rows = ledger.listings.days(catalog.catalog, min(first_day, newest.created_at) if newest else first_day)
    since = [
        row for row in rows if newest is None or max(row.created_at, row.due_at or row.created_at) >= newest.created_at
    ]
    stands = freshness(catalog, newest, since, now)
    shown = [row for row in rows if max(row.created_at, row.due_at or row.created_at) >= first_day]
    known = ledger.listings.first(catalog.catalog)
    return SystemState(
        catalog=catalog,
        freshness=stands,
        newest=newest,
        rehearsed=rehearsed,
        days=whole_days(catalog, calendar(catalog, shown, now, days=MONTH)),
        known_since=local_date(known, catalog.timezone) if known else None,
        second=_second(catalog, ledger, now, second, stands) if second else None,
        threads=tuple(thread for thread in threads if thread.scope.catalog == catalog.catalog and thread.opened_at),
    )


def _second(catalog: Catalog, ledger: Ledger, now: datetime, store: str, stands: Freshness) -> CopyAge:
    copies = ledger.copies.list(scope=Scope(catalog.catalog), store=store, status=CopyStatus.GOOD)
    return copy_age(catalog, store, copies, now, promised=bool(copies) or stands.state is not DueState.WAITING)


def problems(seen: Overview) -> Iterator[tuple[str, str]]:
    """What is wrong, the worst first: a severity (`failure`, `warning`) and a sentence without markup."""
    for state in seen.systems:
        title = state.catalog.title or state.catalog.catalog
        if state.freshness.overdue:
            yield "failure", f"{title} is overdue. {state.freshness.what}"
        if state.damaged and state.newest:
            yield "failure", f"The newest backup of {title}, {state.newest.backup_id}, did not verify."
    for state in seen.systems:
        yield from (("warning", sentence) for sentence in _warnings(state))
    if seen.undelivered:
        count = "1 alert has" if seen.undelivered == 1 else f"{seen.undelivered} alerts have"
        yield "warning", f"{count} not reached anybody."


def _warnings(state: SystemState) -> Iterator[str]:
    title = state.catalog.title or state.catalog.catalog
    if state.freshness.state is DueState.WAITING:
        yield f"{title} has no backup yet."
    if state.freshness.state is DueState.UNSCHEDULED:
        yield f"{title} has no schedule, so nothing is promised."
    if state.freshness.failed and not state.freshness.overdue:
        failed = "1 attempt has" if state.freshness.failed == 1 else f"{state.freshness.failed} attempts have"
        yield f"{failed} failed since the newest good backup of {title}."
    if state.freshness.missed and not state.freshness.overdue:
        yield f"{len(state.freshness.missed)} due time{'s were' if len(state.freshness.missed) > 1 else ' was'} missed."
    if state.second is not None and state.second.stale is not None:
        yield f"The second store has no new copy of {title}. {state.second.stale.what}"
    if state.threads and not state.freshness.overdue and not state.freshness.failed:
        topics = ", ".join(sorted({thread.topic for thread in state.threads}))
        yield f"An alert of {title} is open: {topics}."
