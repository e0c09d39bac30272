"""The ports to people and watchers outside: alerts and pings."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from backup_pipeline.core.alerts import Alert, Delivery
    from backup_pipeline.core.pings import Signal


class Alerter(Protocol):
    """Tells people. Never raises: a dead channel is a fact to report, not a failure of a backup."""

    @property
    def channels(self) -> Sequence[str]:
        """The names of the channels, without secrets; no two are the same."""

    def send(self, alert: Alert, only: Collection[str] | None = None) -> Sequence[Delivery]:
        """Send to every channel, or `only` to those; one delivery, good or bad, per channel."""


class Pinger(Protocol):
    """Signals to a watcher outside. Never raises, and is quick: a dead watcher never holds a backup up."""

    def ping(self, signal: Signal, catalog: str, text: str) -> Delivery | None:
        """Send the signal; what became of it, None when nobody wants to know."""
