"""The port to what a ledger knows of copies in other stores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from backup_pipeline.core.copies import Copy, CopyStatus


class Copies(Protocol):
    """The copies of backups in other stores, as a ledger knows them. Every failure is a LedgerError."""

    def put(self, copy: Copy) -> None:
        """Write the row of a backup in a store, in place of what it said before."""

    def get(self, backup_id: str, store: str) -> Copy | None:
        """The row of a backup in the store at a URL."""

    def list(
        self,
        *,
        backup_id: str | None = None,
        catalog: str | None = None,
        store: str | None = None,
        status: CopyStatus | None = None,
    ) -> Sequence[Copy]:
        """Rows, the newest backup first: of one backup, catalog, store and status, or of all."""
