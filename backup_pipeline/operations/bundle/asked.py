"""What a bundle is asked to be."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from backup_pipeline.core.anomaly_history import History
from backup_pipeline.core.catalog import Catalog
from backup_pipeline.core.layout import PartitionPlace
from backup_pipeline.core.ledger import Attempt


@dataclass(frozen=True)
class BundleRequest:
    """Which tables' partitions to bundle, for which attempt.

    Files that this machine still has in `spool` (a folder a table) are read there instead of from the store. `history`
    is what the backup is compared with.
    """

    attempt: Attempt
    catalog: Catalog
    tables: tuple[str, ...]
    spool: Path | None = None
    history: History = field(default_factory=History)

    def place(self, table: str) -> PartitionPlace:
        """Where the partition of a table lies."""
        return PartitionPlace(self.catalog.catalog, table, self.attempt.partition_date)
