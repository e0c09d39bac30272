"""The ledger in the memory of one process: the contract of the real one without its server; a class a port."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

from backup_pipeline.core.alerts import (
    REMIND_EVERY,
    Alert,
    OutboxEntry,
    Thread,
    ThreadStep,
    claimed,
    failing,
    recovered,
    settled,
)
from backup_pipeline.core.anomalies import Shape
from backup_pipeline.core.copies import Copy, CopyStatus
from backup_pipeline.core.due import FULL, KnownDues, Settlement, why_dropped
from backup_pipeline.core.leases import Claim, Lease, Reading
from backup_pipeline.core.ledger import Attempt, AuditEvent, Hold, Outcome, Status, after, is_missed, until_now
from backup_pipeline.core.ports import Clock
from backup_pipeline.core.restore.requests import RestoreChange, RestoreRow, RestoreStatus, check_may_begin
from backup_pipeline.core.restore.requests import after as after_change
from backup_pipeline.core.statistics import ended_as
from backup_pipeline.core.verification import Verification
from backup_pipeline.ledger.connect import already_there, check_begins, no_such_entry, no_such_restore, not_there


class MemoryCopies:
    """The port `Copies` over a dictionary; safe from any thread."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], Copy] = {}
        self._lock = threading.Lock()

    def put(self, copy: Copy) -> None:
        """Write the row of a backup in a store, in place of what it said before."""
        with self._lock:
            self._rows[copy.backup_id, copy.store] = copy

    def get(self, backup_id: str, store: str) -> Copy | None:
        """The row of a backup in the store at a URL."""
        return self._rows.get((backup_id, store))

    def list(
        self,
        *,
        backup_id: str | None = None,
        catalog: str | None = None,
        store: str | None = None,
        status: CopyStatus | None = None,
    ) -> Sequence[Copy]:
        """Rows, the newest backup first: of one backup, catalog, store and status, or of all."""
        with self._lock:
            rows = sorted(self._rows.values(), key=lambda row: row.store)
        rows.sort(key=lambda row: row.backup_id, reverse=True)
        chosen = [row for row in rows if backup_id in (None, row.backup_id) and store in (None, row.store)]
        return [row for row in chosen if catalog in (None, row.catalog) and status in (None, row.status)]


class MemoryDues:
    """The port `Dues` over the rows of a ledger in memory, under its lock."""

    def __init__(self, rows: dict[str, Attempt], lock: threading.Lock) -> None:
        self._rows = rows
        self._lock = lock
        self._until: dict[str, datetime] = {}

    def settle(
        self, catalog: str, decide: Callable[[KnownDues], Settlement], *, since: datetime, now: datetime
    ) -> Settlement:
        """Write down what `decide` says; what of it was really written."""
        with self._lock:
            until = self._until.get(catalog)
            start = min(since, until or since)
            known = [row for row in self._of(catalog) if row.status is Status.EXPECTED or _latest(row) >= start]
            plan = decide(KnownDues(until, tuple(known)))
            expected = [row for row in plan.expected if self._add(row)]
            missed = [found for row in plan.missed if (found := self._miss(row, now)) is not None]
            for row in plan.dropped:
                self._rows[row.backup_id] = replace(
                    row, status=Status.CANCELED, finished_at=now, error_message=why_dropped(row)
                )
            self._until[catalog] = now
        return replace(plan, expected=tuple(expected), missed=tuple(missed))

    def abandon(self, catalog: str, why: str, *, idle_since: datetime, now: datetime) -> Sequence[Attempt]:
        """Cancel what is expected of a catalog that nobody has accounted for since `idle_since`."""
        with self._lock:
            until = self._until.get(catalog)
            if until is not None and until > idle_since:
                return []
            waiting = [row for row in self._of(catalog) if row.status is Status.EXPECTED]
            ended = [replace(row, status=Status.CANCELED, finished_at=now, error_message=why) for row in waiting]
            self._rows |= {row.backup_id: row for row in ended}
            return ended

    def take(self, attempt: Attempt) -> Attempt:
        """Begin the attempt, in the row of its due time where that is still expected."""
        check_begins(attempt)
        with self._lock:
            if attempt.backup_id in self._rows:
                raise already_there(attempt.backup_id)
            there = self._due(attempt) if attempt.due_at is not None else None
            if there is not None and _waits(there, attempt.created_at):
                del self._rows[there.backup_id]
            elif there is not None:
                attempt = replace(attempt, due_at=None)
            self._rows[attempt.backup_id] = attempt
        return attempt

    def since(self, catalog: str, at: datetime) -> Sequence[Attempt]:
        """The rows that were created, or due, at `at` or later, newest first."""
        with self._lock:
            return [row for row in self._of(catalog) if _latest(row) >= at]

    def newest_good(self, catalog: str, now: datetime) -> Attempt | None:
        """The newest good full backup that is not of the future."""
        with self._lock:
            good = (row for row in until_now(self._of(catalog), now) if row.kind == FULL and row.status.good)
            return next(good, None)

    def _of(self, catalog: str) -> list[Attempt]:
        rows = [row for row in self._rows.values() if row.catalog == catalog]
        return sorted(rows, key=lambda row: (row.created_at, row.backup_id), reverse=True)

    def _due(self, row: Attempt) -> Attempt | None:
        return next((found for found in self._of(row.catalog) if found.due_at == row.due_at), None)

    def _add(self, row: Attempt) -> bool:
        if self._due(row) is not None:
            return False
        self._rows[row.backup_id] = row
        return True

    def _miss(self, row: Attempt, now: datetime) -> Attempt | None:
        there = self._due(row)
        if there is not None and not _waits(there, now):
            return None
        found = replace(there or row, status=Status.MISSED, finished_at=now, error_message=row.error_message)
        self._rows[found.backup_id] = found
        return found


def _waits(row: Attempt, now: datetime) -> bool:
    ahead = row.status is Status.MISSED and not is_missed(row, now)
    return row.status is Status.EXPECTED or ahead


def _latest(row: Attempt) -> datetime:
    return max(row.created_at, row.due_at or row.created_at)


class MemoryLeases:
    """The port `Leases` over a dictionary; safe from any thread. `clock` is the ledger's own."""

    def __init__(self, clock: Clock = lambda: datetime.now(UTC)) -> None:
        self._held: dict[str, Lease] = {}
        self._tokens: dict[str, int] = {}
        self._clock = clock
        self._lock = threading.Lock()

    def acquire(self, claim: Claim, life: timedelta, *, over: int | None = None) -> Lease:
        """Take the lease when it is free, has expired, or is held under the token `over`; the lease as it then is."""
        with self._lock:
            now = self._clock()
            held = self._held.get(claim.name)
            if held is not None and held.expires_at > now and held.token != over:
                return held
            token = self._tokens[claim.name] = self._tokens.get(claim.name, 0) + 1
            self._held[claim.name] = Lease(claim, token, now, now, now + life)
            return self._held[claim.name]

    def renew(self, lease: Lease, life: timedelta) -> Lease | None:
        """Extend the lease; None when it is another's by now, or nobody's."""
        with self._lock:
            held = self._held.get(lease.claim.name)
            if held is None or held.token != lease.token:
                return None
            now = self._clock()
            self._held[lease.claim.name] = renewed = replace(held, heartbeat_at=now, expires_at=now + life)
            return renewed

    def release(self, lease: Lease) -> None:
        """Give the lease back; nothing happens when it is another's by now."""
        with self._lock:
            held = self._held.get(lease.claim.name)
            if held is not None and held.token == lease.token:
                del self._held[lease.claim.name]

    def get(self, name: str) -> Lease | None:
        """The lease of `name`, also an expired one that nobody took; None when it is nobody's."""
        return self._held.get(name)

    def release_of(self, holder: str) -> None:
        """Give back what the work `holder` holds."""
        with self._lock:
            self._held = {name: held for name, held in self._held.items() if held.claim.holder != holder}


class MemoryOutbox:
    """The port `Outbox` over a dictionary; safe from any thread."""

    def __init__(self) -> None:
        self._rows: dict[int, OutboxEntry] = {}
        self._last = 0
        self._lock = threading.Lock()

    def add(self, alert: Alert, channels: Sequence[str], now: datetime) -> Sequence[OutboxEntry]:
        """Note the alert for each channel, claimed by whoever adds it."""
        with self._lock:
            first = self._last + 1
            added = [
                claimed(OutboxEntry(number, alert, channel, created_at=now, next_try_at=now), now)
                for number, channel in enumerate(channels, first)
            ]
            self._rows |= {entry.id: entry for entry in added}
            self._last += len(added)
        return added

    def claim(self, now: datetime, *, without: Collection[str] = (), early: bool = False) -> OutboxEntry | None:
        """Take the oldest undelivered entry that is due, or `early` any that nobody else has, to deliver it."""
        with self._lock:
            for number in sorted(self._rows):
                entry = self._rows[number]
                if entry.free(now, early=early) and entry.channel not in without:
                    self._rows[number] = claimed(entry, now)
                    return self._rows[number]
        return None

    def settle(self, number: int, error: str | None, now: datetime) -> OutboxEntry:
        """Write down what became of an attempt."""
        with self._lock:
            if number not in self._rows:
                raise no_such_entry(number)
            self._rows[number] = settled(self._rows[number], error, now)
            return self._rows[number]

    def forget(self, before: datetime) -> int:
        """Remove what was delivered before that time; how many."""
        with self._lock:
            there = len(self._rows)
            self._rows = {
                number: entry
                for number, entry in self._rows.items()
                if entry.delivered_at is None or entry.delivered_at >= before
            }
            return there - len(self._rows)

    def list(self, *, undelivered: bool = True, limit: int | None = None) -> Sequence[OutboxEntry]:
        """Entries, newest first."""
        with self._lock:
            rows = [entry for _, entry in sorted(self._rows.items(), reverse=True)]
        return [entry for entry in rows if not undelivered or entry.delivered_at is None][:limit]


class MemoryReadings:
    """The port `Readings` over a dictionary; safe from any thread. `clock` is the ledger's own."""

    def __init__(self, clock: Clock = lambda: datetime.now(UTC)) -> None:
        self._rows: dict[int, Reading] = {}
        self._numbers = count(1)
        self._clock = clock
        self._lock = threading.Lock()

    def begin(self, reading: Reading, life: timedelta) -> Reading:
        """Note a reading; with its number."""
        with self._lock:
            now = self._clock()
            begun = replace(reading, number=next(self._numbers), began_at=now, expires_at=now + life)
            self._rows = {row.number: row for row in self._living()} | {begun.number: begun}
            return begun

    def renew(self, number: int, life: timedelta) -> None:
        """Extend a reading."""
        with self._lock:
            if number in self._rows:
                self._rows[number] = replace(self._rows[number], expires_at=self._clock() + life)

    def end(self, number: int) -> None:
        """Forget a reading."""
        with self._lock:
            self._rows.pop(number, None)

    def list(self) -> Sequence[Reading]:
        """Those that are not over, the oldest first."""
        with self._lock:
            return self._living()

    def _living(self) -> Sequence[Reading]:
        now = self._clock()
        return [row for row in self._rows.values() if row.expires_at is not None and row.expires_at > now]


class MemoryRestores:
    """The port `Restores` over a dictionary; safe from any thread."""

    def __init__(self) -> None:
        self._rows: dict[int, RestoreRow] = {}
        self._lock = threading.Lock()

    def add(self, row: RestoreRow) -> RestoreRow:
        """Add a request; LedgerError unless it is `requested`. Gives the row with its number."""
        check_may_begin(row)
        with self._lock:
            added = replace(row, id=len(self._rows) + 1)
            self._rows[added.id] = added
        return added

    def change(self, number: int, change: RestoreChange) -> RestoreRow:
        """Write `change` into the row; LedgerError for a move that is not allowed."""
        with self._lock:
            self._rows[number] = after_change(self._row(number), change)
            return self._rows[number]

    def beat(self, number: int, now: datetime, /) -> None:
        """Move the heartbeat of a running restore to `now`; one that does not run keeps its last."""
        with self._lock:
            row = self._row(number)
            if row.status is RestoreStatus.RUNNING:
                self._rows[number] = replace(row, heartbeat_at=now)

    def get(self, number: int) -> RestoreRow | None:
        """The row of a number."""
        return self._rows.get(number)

    def list(
        self,
        *,
        catalog: str | None = None,
        status: Sequence[RestoreStatus] = (),
        run_id: str | None = None,
        limit: int | None = None,
    ) -> Sequence[RestoreRow]:
        """Rows, newest first: of one catalog or all, with one of `status` or any, of one run or any."""
        with self._lock:
            rows = [row for _, row in sorted(self._rows.items(), reverse=True)]
        chosen = (row for row in rows if catalog in (None, row.catalog) and run_id in (None, row.run_id))
        return [row for row in chosen if not status or row.status in status][:limit]

    def _row(self, number: int) -> RestoreRow:
        if number not in self._rows:
            raise no_such_restore(number)
        return self._rows[number]


class MemoryShapes:
    """The port `Shapes` over a dictionary; safe from any thread."""

    def __init__(self) -> None:
        self._shapes: dict[str, Shape] = {}

    def put(self, shape: Shape) -> None:
        """Keep the shape of a backup, in place of one kept before."""
        self._shapes[shape.backup_id] = shape

    def get(self, backup_id: str) -> Shape | None:
        """The shape of a backup; None where none was kept."""
        return self._shapes.get(backup_id)


class MemoryTallies:
    """The port `Tallies` over the rows of a `MemoryLedger`."""

    def __init__(self, rows: Mapping[str, Attempt], lock: threading.Lock) -> None:
        self._rows = rows
        self._lock = lock

    def ends(self) -> Mapping[tuple[str, Status], int]:
        """The attempts of each catalog that ended in a status."""
        with self._lock:
            ends = ((row.catalog, ended_as(row)) for row in self._rows.values())
            return Counter((catalog, end) for catalog, end in ends if end is not None)


class MemoryThreads:
    """The port `Threads` over a dictionary; safe from any thread."""

    def __init__(self, remind_every: timedelta = REMIND_EVERY) -> None:
        self._remind_every = remind_every
        self._rows: dict[tuple[str, str], Thread] = {}
        self._lock = threading.Lock()

    def failing(self, catalog: str, topic: str, now: datetime, failures: int, *, heard: bool = True) -> ThreadStep:
        """Add `failures`; what people are told of them."""
        with self._lock:
            return self._write(failing(self._row(catalog, topic), now, failures, self._remind_every, heard=heard))

    def recovered(self, catalog: str, topic: str) -> ThreadStep:
        """Close the thread; whether people are told."""
        with self._lock:
            return self._write(recovered(self._row(catalog, topic)))

    def list(self) -> Sequence[Thread]:
        """The threads that are open, the oldest first."""
        with self._lock:
            rows = [(row.opened_at, row) for row in self._rows.values() if row.opened_at is not None]
        return [row for _, row in sorted(rows, key=lambda pair: pair[0])]

    def _row(self, catalog: str, topic: str) -> Thread:
        return self._rows.get((catalog, topic), Thread(catalog, topic))

    def _write(self, step: ThreadStep) -> ThreadStep:
        self._rows[step.after.catalog, step.after.topic] = step.after
        return step


class MemoryLedger:
    """The port `Ledger` over a dictionary; safe from any thread. `clock` is the ledger's own."""

    def __init__(self, *, remind_every: timedelta = REMIND_EVERY, clock: Clock = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._rows: dict[str, Attempt] = {}
        self._audits: list[AuditEvent] = []
        self._lock = threading.Lock()
        self.restores = MemoryRestores()
        self.dues = MemoryDues(self._rows, self._lock)
        self.threads = MemoryThreads(remind_every)
        self.leases = MemoryLeases()
        self.outbox = MemoryOutbox()
        self.copies = MemoryCopies()
        self.shapes = MemoryShapes()
        self.readings = MemoryReadings()
        self.tallies = MemoryTallies(self._rows, self._lock)

    def now(self) -> datetime:
        """The present by its clock."""
        return self._clock()

    def begin(self, attempt: Attempt) -> None:
        """Add the attempt's row; LedgerError unless it is `running`, or when its backup id is there already."""
        check_begins(attempt)
        with self._lock:
            if attempt.backup_id in self._rows:
                raise already_there(attempt.backup_id)
            self._rows[attempt.backup_id] = attempt

    def beat(self, backup_id: str, now: datetime) -> None:
        """Move the heartbeat of a running attempt to `now`; one that has ended keeps its last."""
        with self._lock:
            row = self._row(backup_id)
            if row.status is Status.RUNNING:
                self._rows[backup_id] = replace(row, heartbeat_at=now)

    def end(self, backup_id: str, outcome: Outcome) -> None:
        """Write `outcome` into the row; LedgerError for a move that `statuses` does not allow."""
        with self._lock:
            self._rows[backup_id] = after(self._row(backup_id), outcome)
            self.leases.release_of(backup_id)

    def verified(self, backup_id: str, verification: Verification) -> None:
        """Write the level and the time of a verification into the row."""
        with self._lock:
            self._rows[backup_id] = replace(self._row(backup_id), verification=verification)

    def hold(self, backup_id: str, hold: Hold | None) -> None:
        """Write a hold into the row, or that there is none."""
        with self._lock:
            self._rows[backup_id] = replace(self._row(backup_id), hold=hold)

    def expires(self, backup_id: str, at: datetime | None) -> None:
        """Write into the row when the rules let the backup go at the earliest."""
        with self._lock:
            self._rows[backup_id] = replace(self._row(backup_id), expires_at=at)

    def get(self, backup_id: str) -> Attempt | None:
        """The row of a backup id."""
        return self._rows.get(backup_id)

    def of_run(self, run_id: str) -> Attempt | None:
        """The newest row that belongs to a Dagster run."""
        return next(iter(self._select(lambda row: row.run_id == run_id)), None)

    def last_good(self, catalog: str, before: datetime | None = None) -> Attempt | None:
        """The newest good full or selective backup of `catalog` with counted tables, created before `before`."""

        def comparable(row: Attempt) -> bool:
            bundle = row.kind in {"full", "selective"} and row.status.good and bool(row.table_counts)
            return row.catalog == catalog and bundle and (before is None or row.created_at < before)

        return next(iter(self._select(comparable)), None)

    def list(
        self,
        *,
        catalog: str | None = None,
        status: Sequence[Status] = (),
        since: datetime | None = None,
        limit: int | None = None,
    ) -> Sequence[Attempt]:
        """Rows, newest first: of one catalog or all, with one of `status` or any, at most `limit`."""

        def wanted(row: Attempt) -> bool:
            young = since is None or row.created_at > since
            return young and catalog in (None, row.catalog) and (not status or row.status in status)

        return self._select(wanted)[:limit]

    def adopt(self, rows: Sequence[Attempt], events: Sequence[AuditEvent]) -> None:
        """Write whole rows, in place of those of the same backups, and their audit rows with them."""
        with self._lock:
            self._rows.update({row.backup_id: row for row in rows})
            self._audits.extend(events)

    def audit(self, event: AuditEvent) -> None:
        """Add an audit row."""
        with self._lock:
            self._audits.append(event)

    def audits(self, backup_id: str | None = None, *, limit: int | None = None) -> Sequence[AuditEvent]:
        """Audit rows, newest first: of one backup or all, at most `limit`."""
        with self._lock:
            return [event for event in reversed(self._audits) if backup_id in (None, event.backup_id)][:limit]

    def _row(self, backup_id: str) -> Attempt:
        if backup_id not in self._rows:
            raise not_there(backup_id)
        return self._rows[backup_id]

    def _select(self, wanted: Callable[[Attempt], bool]) -> Sequence[Attempt]:
        with self._lock:
            rows = sorted(self._rows.values(), key=lambda row: (row.created_at, row.backup_id), reverse=True)
        return [row for row in rows if wanted(row)]
