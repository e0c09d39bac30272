"""How many attempts ended how, in memory: counted when asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from threading import Lock

from backup_pipeline.core.ledger import Attempt, Status
from backup_pipeline.core.statistics import ended_as


class MemoryTallies:
    """The port `Tallies` over the rows of a `MemoryLedger`."""

    def __init__(self, rows: Mapping[str, Attempt], lock: Lock) -> None:
        self._rows = rows
        self._lock = lock

    def ends(self) -> Mapping[tuple[str, Status], int]:
        """The attempts of each catalog that ended in a status."""
        with self._lock:
            ends = ((row.catalog, ended_as(row)) for row in self._rows.values())
            return Counter((catalog, end) for catalog, end in ends if end is not None)
