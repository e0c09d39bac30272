"""The port to the threads of alerts of a ledger."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from backup_pipeline.core.threads import Step, Thread


class Threads(Protocol):
    """The threads of alerts of a ledger. Every failure is a LedgerError."""

    def failing(self, catalog: str, topic: str, now: datetime, failures: int, *, heard: bool = True) -> Step:
        """Add `failures` to a thread, or that it goes on; whether people are told, or, unless `heard`, the log."""

    def recovered(self, catalog: str, topic: str) -> Step:
        """Close a thread; whether people are told: of many that close it at once, one tells."""

    def list(self) -> Sequence[Thread]:
        """The threads that are open, the oldest first."""
