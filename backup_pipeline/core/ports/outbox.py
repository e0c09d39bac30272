"""The port to the alerts of a ledger that are to be delivered."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from backup_pipeline.core.alerts import Alert
    from backup_pipeline.core.outbox import Entry


class Outbox(Protocol):
    """Alerts that are to be delivered, one entry a channel, and what became of them. Every failure is a LedgerError."""

    def add(self, alert: Alert, channels: Sequence[str], now: datetime) -> Sequence[Entry]:
        """Note the alert for each channel, claimed by whoever adds it."""

    def claim(self, now: datetime, *, without: Collection[str] = (), early: bool = False) -> Entry | None:
        """Take the oldest undelivered entry that is due, or `early` any that nobody else has, to deliver it.

        Nobody else gets it until the claim ends. None when there is none, besides those for the channels `without`.
        """

    def settle(self, number: int, error: str | None, now: datetime) -> Entry:
        """Write down what became of an attempt: delivered without an `error`, else to be tried again, or given up."""

    def forget(self, before: datetime) -> int:
        """Remove what was delivered before that time; how many. What was not delivered stays for ever."""

    def list(self, *, undelivered: bool = True, limit: int | None = None) -> Sequence[Entry]:
        """Entries, newest first; also the delivered ones unless only those `undelivered` are wanted."""
