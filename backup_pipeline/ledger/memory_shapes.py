"""The shapes of backups, in the ledger in memory."""

from __future__ import annotations

from backup_pipeline.core.anomalies import Shape


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
