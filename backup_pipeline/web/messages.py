"""Messages of the console: noted before a click is answered, sent after it, so that no channel holds a page up."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor

from backup_pipeline.core.alerts import Alert, Delivery, OutboxEntry
from backup_pipeline.core.ports import Ports
from backup_pipeline.operations.alerting import audit_deliveries, note, send_noted

logger = logging.getLogger(__name__)


class LaterAlerter:
    """The port `Alerter` of whoever clicks: what they cause is noted and told in the name of the program, by `ports`.

    It has no channels, so nothing is noted as the person, who may write no message. Should the process die before a
    message is sent, the outbox has it, and the next pass over that delivers it.
    """

    channels: Sequence[str] = ()

    def __init__(self, ports: Ports, senders: ThreadPoolExecutor) -> None:
        self._ports, self._senders = ports, senders

    def send(self, alert: Alert, only: Collection[str] | None = None) -> Sequence[Delivery]:
        """Note it now, and send it soon; no delivery is known yet."""
        self._senders.submit(_send, alert, note(alert, self._ports), self._ports)
        return ()


def _send(alert: Alert, noted: Sequence[OutboxEntry], ports: Ports) -> None:
    try:
        audit_deliveries(alert, send_noted(alert, noted, ports), ports)
    except Exception:  # nobody waits for the answer
        logger.exception("The message %r was not sent", alert.title)
