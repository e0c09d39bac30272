"""The ports of webhooks: what the ledger keeps of them, and what sends them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from backup_pipeline.core.access.webhooks import NewWebhook, Webhook, WebhookDelivery
    from backup_pipeline.core.scope import Actor


class Webhooks(Protocol):
    """Webhooks, and what was sent to them. Every failure is a LedgerError."""

    def list(self) -> Sequence[Webhook]:
        """All, by name."""

    def get(self, number: int) -> Webhook | None:
        """The webhook of that number."""

    def add(self, webhook: NewWebhook, secret: str, actor: Actor, now: datetime) -> Webhook:
        """Keep a webhook, which gets what happens from now on; UsageError when the name is taken."""

    def switch(self, number: int, now: datetime, *, on: bool) -> Webhook | None:
        """Let it get events or not; one that is switched on gets what happens from then on. None where it stands so."""

    def remove(self, number: int) -> Webhook | None:
        """Forget it, and what was sent to it; what it was. None where there is none."""

    def note_events(self, now: datetime) -> int:
        """Note for each webhook the events since its last one, to be sent; how many. Of two at once one does."""

    def claim(self, now: datetime, *, without: Collection[int] = ()) -> tuple[Webhook, WebhookDelivery] | None:
        """The oldest delivery that is due, as this try counts it, for the caller alone for a while.

        Those of the webhooks `without` are left.
        """

    def settle(self, delivery: WebhookDelivery) -> None:
        """Write down what became of a try."""

    def deliveries(self, webhook: int, *, before: int | None = None, limit: int = 50) -> Sequence[WebhookDelivery]:
        """What was sent to a webhook, or is to be, newest first."""

    def again(self, webhook: int, delivery: int, now: datetime) -> WebhookDelivery | None:
        """Let a delivery be tried again at once, whatever became of it; None where there is none."""

    def forget(self, before: datetime) -> int:
        """Remove what was delivered or given up before; how many."""


class WebhookSender(Protocol):
    """Sends a body to a URL."""

    def check(self, url: str) -> None:
        """UsageError, or WebhookRefusedError, where nothing is sent to that URL."""

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """The status of the receiver's answer. WebhookRefusedError where none came, or the URL must not be asked."""
