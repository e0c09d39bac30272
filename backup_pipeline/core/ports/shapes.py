"""The port to what backups looked like, as a ledger keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from backup_pipeline.core.shape import Shape


class Shapes(Protocol):
    """What backups looked like, to compare the next ones with. Every failure is a LedgerError."""

    def put(self, shape: Shape) -> None:
        """Keep the shape of a backup, in place of one kept before."""

    def get(self, backup_id: str) -> Shape | None:
        """The shape of a backup; None where none was kept."""
