"""Where alerts go: Apprise's channels, or the program's own log where none is set."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from datetime import timedelta

from backup_pipeline.core.alerts import LOG_CHANNEL, Alert, Delivery
from backup_pipeline.core.ports import Alerter

logger = logging.getLogger(__name__)


class LogAlerter:
    """The port `Alerter` over the process's own log, at error level whatever the severity, so that it is seen."""

    channels: Sequence[str] = (LOG_CHANNEL,)

    def send(self, alert: Alert, only: Collection[str] | None = None) -> Sequence[Delivery]:
        """Log the alert, and that nobody else was told; one delivery, to `log`."""
        if only is not None and LOG_CHANNEL not in only:
            return []
        logger.error(
            "[backup %s] %s\n%s\nNobody was told: BACKUP_ALERT_URLS is not set. Set it to Apprise URLs, such as "
            "mailtos://user:password@smtp.example.com?to=ops@example.com.",
            alert.catalog,
            alert.title,
            alert.body(),
        )
        return [Delivery(LOG_CHANNEL)]


def alerter_for(urls: Sequence[str], *, timeout: timedelta) -> Alerter:
    """The alerter of these Apprise URLs; without any, one that writes alerts into the log."""
    if not urls:
        return LogAlerter()
    from backup_pipeline.alerts.channels import AppriseAlerter

    return AppriseAlerter(urls, timeout=timeout)
