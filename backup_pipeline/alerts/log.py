"""Alerts into the log: what is left when no channel is configured."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from backup_pipeline.core.alerts import LOG_CHANNEL, Alert, Delivery

logger = logging.getLogger(__name__)


class LogAlerter:
    """The port `Alerter` over the process's own log, at error level whatever the severity, so that it is seen."""

    def send(self, alert: Alert) -> Sequence[Delivery]:
        """Log the alert, and that nobody else was told; one delivery, to `log`."""
        logger.error(
            "[backup %s] %s\n%s\nNobody was told: BACKUP_ALERT_URLS is not set. Set it to Apprise URLs, such as "
            "mailtos://user:password@smtp.example.com?to=ops@example.com.",
            alert.catalog,
            alert.title,
            alert.body(),
        )
        return [Delivery(LOG_CHANNEL)]
