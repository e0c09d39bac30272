"""The due times of the ledger in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from backup_pipeline.core.due import FULL, KnownDues, Settlement, why_dropped
from backup_pipeline.core.ledger import Attempt, Status
from backup_pipeline.core.schedule import is_missed, until_now
from backup_pipeline.ledger.errors import already_there, check_begins


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
