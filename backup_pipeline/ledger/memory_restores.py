"""The restore requests of the ledger in memory."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from backup_pipeline.core.restore.requests import RestoreChange, RestoreRow, RestoreStatus, after, check_may_begin
from backup_pipeline.ledger.errors import no_such_restore


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
            self._rows[number] = after(self._row(number), change)
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
