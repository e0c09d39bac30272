"""The port to who reads which backup of a ledger."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from backup_pipeline.core.readings import Reading


class Readings(Protocol):
    """Who reads which backup. One that gives no sign ends by itself, by the ledger's own clock.

    Every failure is a LedgerError.
    """

    def begin(self, reading: Reading, life: timedelta) -> Reading:
        """Note a reading, for `life` from now on; with its number. Those that are over are forgotten."""

    def renew(self, number: int, life: timedelta) -> None:
        """Extend a reading; nothing happens when it is forgotten by now."""

    def end(self, number: int) -> None:
        """Forget a reading."""

    def list(self) -> Sequence[Reading]:
        """Those that are not over, the oldest first."""
