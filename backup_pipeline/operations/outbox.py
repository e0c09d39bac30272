"""Delivering alerts through the outbox: noted in the ledger, sent at once, and tried again until somebody is told."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from backup_pipeline.core.alerts import Alert, Delivery
from backup_pipeline.core.errors import LedgerError, SettingsError
from backup_pipeline.core.ledger import AuditEvent
from backup_pipeline.core.outbox import Entry, told_late

if TYPE_CHECKING:
    from backup_pipeline.operations.telling import Voice

PASS = timedelta(seconds=30)
"""How long one pass over the outbox goes on; a sensor's tick may not take longer than a minute."""

logger = logging.getLogger(__name__)


def send(alert: Alert, ports: Voice) -> Sequence[Delivery]:
    """Note the alert for each channel, send it, and note what became of it; without the ledger, only send.

    Whoever dies in between leaves it noted: it is then sent again once the claim ends, so people may hear it twice.
    """
    noted = _noted(alert, ports)
    deliveries = ports.alerter.send(alert)
    errors = {delivery.channel: delivery.error for delivery in deliveries}
    try:
        for entry in noted:
            ports.ledger.outbox.settle(entry.id, errors.get(entry.channel, "It was not sent."), ports.clock())
    except (LedgerError, SettingsError) as trouble:
        logger.warning("What became of the alert %r is not noted, it may be sent twice: %s", alert.title, trouble)
    return deliveries


def deliver(ports: Voice, *, early: bool = False, within: timedelta = PASS) -> Sequence[Entry]:
    """Deliver what is due, oldest first, or `early` all that is undelivered; the entries as they then stand.

    A channel that fails is left alone for the rest of the pass, and nothing new is begun after `within`. LedgerError
    when the ledger fails.
    """
    ends = ports.clock() + within
    dead: set[str] = set()
    tried: list[Entry] = []
    while ports.clock() < ends:
        entry = ports.ledger.outbox.claim(ports.clock(), without=dead, early=early)
        if entry is None:
            break
        error = _error_of(entry, ports)
        tried.append(_settled(entry, error, ports))
        dead |= {entry.channel} if error else set()
    return tried


def _noted(alert: Alert, ports: Voice) -> Sequence[Entry]:
    try:
        return ports.ledger.outbox.add(alert, ports.alerter.channels, ports.clock())
    except (LedgerError, SettingsError) as trouble:
        logger.warning("The alert %r is not noted, and sent only once: %s", alert.title, trouble)
        return ()


def _error_of(entry: Entry, ports: Voice) -> str | None:
    """Send one entry to its channel; what went wrong, or None."""
    for delivery in ports.alerter.send(told_late(entry), [entry.channel]):
        return delivery.error
    return "This channel is not configured any more (BACKUP_ALERT_URLS)."


def _settled(entry: Entry, error: str | None, ports: Voice) -> Entry:
    """Note the outcome; the audit gets an end, and not each of many attempts."""
    now = ports.clock()
    settled = ports.ledger.outbox.settle(entry.id, error, now)
    if not settled.open:
        detail = {"channel": entry.channel, "error": error, "title": entry.alert.title, "attempts": entry.attempts}
        ports.ledger.audit(AuditEvent(now, "backup_pipeline", "alert", entry.alert.backup_id, detail))
    return settled
