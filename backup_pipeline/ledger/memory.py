"""The ledger in the memory of one process, for tests: the contract of the real one without its server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from backup_pipeline.core.alerts import REMIND_EVERY
from backup_pipeline.core.ledger import Attempt, AuditEvent, Hold, Outcome, Status, after
from backup_pipeline.core.ports import Clock
from backup_pipeline.core.verification import Verified
from backup_pipeline.ledger.errors import already_there, check_begins, not_there
from backup_pipeline.ledger.memory_copies import MemoryCopies
from backup_pipeline.ledger.memory_dues import MemoryDues
from backup_pipeline.ledger.memory_leases import MemoryLeases
from backup_pipeline.ledger.memory_outbox import MemoryOutbox
from backup_pipeline.ledger.memory_readings import MemoryReadings
from backup_pipeline.ledger.memory_restores import MemoryRestores
from backup_pipeline.ledger.memory_shapes import MemoryShapes
from backup_pipeline.ledger.memory_tallies import MemoryTallies
from backup_pipeline.ledger.memory_threads import MemoryThreads


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

    def verified(self, backup_id: str, verified: Verified) -> None:
        """Write the level and the time of a verification into the row."""
        with self._lock:
            row = self._row(backup_id)
            self._rows[backup_id] = replace(row, verification_level=verified.level, verified_at=verified.at)

    def hold(self, backup_id: str, hold: Hold | None) -> None:
        """Write a hold into the row, or that there is none."""
        held = hold or Hold("", "")
        with self._lock:
            self._rows[backup_id] = replace(
                self._row(backup_id),
                held_by=held.by or None,
                held_reason=held.reason if hold else None,
                held_until=held.until,
            )

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
