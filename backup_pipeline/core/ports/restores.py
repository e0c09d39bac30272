"""The port to the restore requests of a ledger."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from backup_pipeline.core.restore_requests import RestoreChange, RestoreRow, RestoreStatus


class Restores(Protocol):
    """The restore requests of a ledger. Every failure is a LedgerError."""

    def add(self, row: RestoreRow) -> RestoreRow:
        """Add a request, `requested`, before anything else is touched; the row with the number it was given."""

    def change(self, number: int, change: RestoreChange) -> RestoreRow:
        """Write `change` into the row, and give it back. Refuses a move that `restore_requests` does not allow."""

    def beat(self, number: int, now: datetime, /) -> None:
        """Say that the owner of a running restore is alive."""

    def get(self, number: int) -> RestoreRow | None:
        """The row of a number."""

    def list(
        self,
        *,
        catalog: str | None = None,
        status: Sequence[RestoreStatus] = (),
        run_id: str | None = None,
        limit: int | None = None,
    ) -> Sequence[RestoreRow]:
        """Rows, newest first."""
