"""The port to the tallies of a ledger: how many attempts ended how."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from backup_pipeline.core.statuses import Status


class Tallies(Protocol):
    """How many attempts ended how, since there is a ledger. Every failure is a LedgerError."""

    def ends(self) -> Mapping[tuple[str, Status], int]:
        """The attempts of each catalog that ended in a status, also those whose backup is gone by now.

        The cost does not grow with the attempts.
        """
