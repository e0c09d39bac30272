"""From the URLs of channels to who tells people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from backup_pipeline.alerts.log import LogAlerter
from backup_pipeline.core.ports import Alerter


def alerter_for(urls: Sequence[str], *, timeout: timedelta) -> Alerter:
    """The alerter of these Apprise URLs; without any, one that writes alerts into the log."""
    if not urls:
        return LogAlerter()
    from backup_pipeline.alerts.apprise import AppriseAlerter  # it knows a hundred services, and takes long to load

    return AppriseAlerter(urls, timeout=timeout)
