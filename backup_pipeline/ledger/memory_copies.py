"""The copies of backups in other stores, in the ledger in memory."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from backup_pipeline.core.copies import Copy, CopyStatus


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
