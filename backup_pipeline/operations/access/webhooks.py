"""Webhooks: made, switched, and served: what happens is noted for each, sent, and tried again until it is taken."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from backup_pipeline.core.access.webhooks import (
    NewWebhook,
    Webhook,
    WebhookDelivery,
    new_secret,
    settled_delivery,
    signed_headers,
)
from backup_pipeline.core.errors import BackupError, LedgerError, NotFoundError, RefusedError
from backup_pipeline.core.ledger import AuditEvent
from backup_pipeline.core.ports import Clock, Ledger
from backup_pipeline.core.ports.webhooks import WebhookSender
from backup_pipeline.core.runs import RealtimeEvent
from backup_pipeline.core.scope import Actor
from backup_pipeline.operations.access import Sealer
from backup_pipeline.operations.background import Background

logger = logging.getLogger(__name__)

_EVERY_S = 2.0
_AT_ONCE = 100
_KEPT = timedelta(days=30)
_TIDY_EVERY = timedelta(hours=1)


@dataclass(frozen=True)
class WebhookPorts:
    """What webhooks need: the ledger for whoever asks, a clock, the seal of secrets, and what sends."""

    ledger: Ledger
    clock: Clock
    sealer: Sealer
    sender: WebhookSender

    def audit(self, actor: Actor, action: str, webhook: Webhook, **detail: object) -> None:
        """Add an audit row."""
        event = AuditEvent(self.clock(), actor, action, detail={"webhook": webhook.name, **detail})
        self.ledger.audit(event)


def create_webhook(wanted: NewWebhook, ports: WebhookPorts, actor: Actor) -> tuple[Webhook, str]:
    """A new webhook, and its secret, which is shown only now. UsageError, or another, for a URL not to be asked."""
    ports.sender.check(wanted.url)
    secret = new_secret()
    webhook = ports.ledger.webhooks.add(wanted, ports.sealer.seal(secret), actor, ports.clock())
    ports.audit(actor, "webhook_made", webhook, url=webhook.url, kinds=list(webhook.kinds), business=webhook.business)
    return webhook, secret


def switch_webhook(number: int, ports: WebhookPorts, actor: Actor, *, on: bool) -> Webhook:
    """Let a webhook get events or not; NotFoundError where there is none that stands otherwise."""
    webhook = ports.ledger.webhooks.switch(number, ports.clock(), on=on)
    if webhook is None:
        message = f"There is no webhook {number} that could be switched {'on' if on else 'off'}."
        raise NotFoundError(message, do="The page Webhooks lists them.")
    ports.audit(actor, "webhook_on" if on else "webhook_off", webhook)
    return webhook


def remove_webhook(number: int, ports: WebhookPorts, actor: Actor) -> Webhook:
    """Forget a webhook, and what was sent to it; its name is free again. NotFoundError where there is none."""
    webhook = ports.ledger.webhooks.remove(number)
    if webhook is None:
        raise _no_webhook(number)
    ports.audit(actor, "webhook_removed", webhook, url=webhook.url)
    return webhook


def try_webhook(number: int, ports: WebhookPorts, actor: Actor) -> WebhookDelivery:
    """Send an event of the kind `test`, now and once; what became of it, which is kept in the audit alone.

    NotFoundError where there is no such webhook. One that is switched off is asked all the same.
    """
    webhook = ports.ledger.webhooks.get(number)
    if webhook is None:
        raise _no_webhook(number)
    now = ports.clock()
    # Below zero, where no event of the ledger is; another for each test, or the receiver takes it for the same.
    event = RealtimeEvent(-int(now.timestamp() * 1000), now, "test", None, webhook.business, webhook.name)
    tried = _tried(webhook, WebhookDelivery(0, webhook.number, event, now, attempts=1), ports)
    ports.audit(actor, "webhook_tested", webhook, status=tried.status, error=tried.last_error)
    return tried


def _no_webhook(number: int) -> NotFoundError:
    message = f"There is no webhook {number}."
    return NotFoundError(message, do="The page Webhooks lists them.")


def webhook_named(name: str, ports: WebhookPorts) -> Webhook:
    """The webhook of that name, case aside, or of that number; NotFoundError where there is none."""
    for webhook in ports.ledger.webhooks.list():
        if webhook.name.lower() == name.strip().lower() or str(webhook.number) == name:
            return webhook
    message = f"There is no webhook {name}."
    raise NotFoundError(message, do="`backup-pipeline webhooks list` names them.")


def send_again(number: int, delivery: int, ports: WebhookPorts, actor: Actor) -> WebhookDelivery:
    """Let a delivery be tried again at once; NotFoundError where there is none, RefusedError while it gets nothing."""
    webhook = ports.ledger.webhooks.get(number)
    if webhook is not None and webhook.disabled_at is not None:
        message = f"{webhook.name} is switched off: nothing is sent to it."
        raise RefusedError(message, do="Switch it on first.")
    again = ports.ledger.webhooks.again(number, delivery, ports.clock()) if webhook is not None else None
    if webhook is None or again is None:
        message = f"There is no delivery {delivery} of webhook {number}."
        raise NotFoundError(message, do="It may have been removed since: they are kept for 30 days.")
    ports.audit(actor, "webhook_sent_again", webhook, event=again.event.number)
    return again


def serve_webhooks(ports: WebhookPorts, going_on: Callable[[], bool] = lambda: True) -> int:
    """Note what has happened, and send what is due; how many were tried. LedgerError when the ledger is away.

    A receiver that gives no answer is left alone until the next time: the others do not wait for it again and again.
    """
    webhooks, tried = ports.ledger.webhooks, 0
    silent: set[int] = set()
    webhooks.note_events(ports.clock())
    while tried < _AT_ONCE and going_on():
        claimed = webhooks.claim(ports.clock(), without=silent)
        if claimed is None:
            break
        delivery = _tried(*claimed, ports)
        webhooks.settle(delivery)
        tried += 1
        if delivery.status is None:
            silent.add(delivery.webhook)
    return tried


def _tried(webhook: Webhook, delivery: WebhookDelivery, ports: WebhookPorts) -> WebhookDelivery:
    status = None
    try:
        secret = ports.sealer.unseal(webhook.secret)
        headers = signed_headers(delivery, secret, ports.clock())
        status = ports.sender.post(webhook.url, headers, delivery.body)
        error = None if 200 <= status < 300 else f"The receiver answered {status}."
    except BackupError as trouble:
        error = trouble.what
    return settled_delivery(delivery, ports.clock(), status=status, error=error)


class WebhookCourier(Background):
    """Serves the webhooks from a thread of its own until its context ends; what goes wrong is tried again."""

    def __init__(self, ports: WebhookPorts, *, every_s: float = _EVERY_S) -> None:
        super().__init__(("webhooks", self._run))
        self._ports, self._every_s = ports, every_s
        self._tidied: datetime | None = None

    def _run(self) -> None:
        while not self.stopping.wait(self._every_s):
            try:
                serve_webhooks(self._ports, lambda: not self.stopping.is_set())
                self._tidy(self._ports.clock())
            except LedgerError as trouble:
                logger.info("Webhooks wait: %s", trouble.what)
            except Exception:  # the next round may go well
                logger.exception("Webhooks could not be served")

    def _tidy(self, now: datetime) -> None:
        if self._tidied is None or now - self._tidied > _TIDY_EVERY:
            self._tidied = now
            self._ports.ledger.webhooks.forget(now - _KEPT)
