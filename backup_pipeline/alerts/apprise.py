"""Alerts through Apprise: mail, chat, webhooks; every channel on its own, none waited for longer than agreed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Sequence
from concurrent.futures import Future, wait
from datetime import timedelta
from functools import cached_property

import apprise

from backup_pipeline.alerts.channel import Channel, asset, named_apart, parse_channel
from backup_pipeline.core.alerts import Alert, Delivery, Severity
from backup_pipeline.core.unforeseen import in_our_words
from backup_pipeline.core.visible import visible

TIMEOUT = timedelta(seconds=20)

_NOTIFY_TYPES = {
    Severity.INFO: apprise.NotifyType.INFO,
    Severity.WARNING: apprise.NotifyType.WARNING,
    Severity.FAILURE: apprise.NotifyType.FAILURE,
}
_WORDS = {Severity.INFO: "INFO", Severity.WARNING: "WARNING", Severity.FAILURE: "FAILED"}

logger = logging.getLogger(__name__)

_THREAD = "alert to "

# Apprise's log has the reason of a failure at debug level, and next to it URLs and payloads. It is read here and goes
# no further: what is worth telling is told by this module, without secrets. urllib3 logs the paths of its requests.
_apprise_logger = logging.getLogger("apprise")
_apprise_logger.addHandler(logging.NullHandler())
_apprise_logger.setLevel(logging.DEBUG)
_apprise_logger.propagate = False
logging.getLogger("urllib3.connectionpool").addFilter(lambda record: not str(record.threadName).startswith(_THREAD))


def title_of(alert: Alert) -> str:
    """`[backup isp] FAILED: customers could not be read`, on one line: it becomes the subject of a mail."""
    return visible(" ".join(f"[backup {alert.catalog}] {_WORDS[alert.severity]}: {alert.title}".split()))


class AppriseAlerter:
    """The port `Alerter` over Apprise URLs: one service object a URL, so that no dead channel hides another.

    A channel that has not answered after `timeout` is reported as such and left to a daemon thread. No failure raises:
    each is the `error` of its Delivery, and a warning in the log; secrets of the URLs are in neither.
    """

    def __init__(self, urls: Sequence[str], *, timeout: timedelta = TIMEOUT) -> None:
        self._urls = tuple(urls)
        self._timeout = timeout.total_seconds()

    @cached_property
    def _channels(self) -> tuple[Channel, ...]:
        """The channels of the URLs, malformed ones included; Apprise's services are loaded for the first time here."""
        return named_apart([parse_channel(url, position) for position, url in enumerate(self._urls, start=1)])

    @property
    def channels(self) -> Sequence[str]:
        """The names of the channels, in the order of the URLs."""
        return [channel.name for channel in self._channels]

    def send(self, alert: Alert, only: Collection[str] | None = None) -> Sequence[Delivery]:
        """Send to every channel at once, or `only` to those; one delivery a channel, in order, within `timeout`."""
        channels = [channel for channel in self._channels if only is None or channel.name in only]
        futures = [_start(channel, alert) for channel in channels]
        wait(futures, timeout=self._timeout)
        late = f"No answer within {self._timeout:g} seconds."
        errors = [future.result() if future.done() else late for future in futures]
        deliveries = [Delivery(channel.name, error) for channel, error in zip(channels, errors, strict=True)]
        for delivery in deliveries:
            if delivery.error:
                logger.warning("Alert %r was not delivered to %s: %s", alert.title, delivery.channel, delivery.error)
        return deliveries


def _start(channel: Channel, alert: Alert) -> Future[str | None]:
    """The error of the delivery, or None, once a thread of its own has it: a daemon, which keeps no process alive."""
    future: Future[str | None] = Future()
    send = threading.Thread(
        target=lambda: future.set_result(_deliver(channel, alert)), name=f"{_THREAD}{channel.name}", daemon=True
    )
    send.start()
    return future


def _deliver(channel: Channel, alert: Alert) -> str | None:
    """Send `alert`; what went wrong, without secrets, or None."""
    if channel.error:
        return channel.error
    try:
        # A new object each time: Apprise slows down one that has just sent.
        service = apprise.Apprise(asset=asset())
        service.add(channel.url)
        sent = service.notify(
            title=title_of(alert),
            body=alert.body(),
            body_format=apprise.NotifyFormat.TEXT,
            notify_type=_NOTIFY_TYPES[alert.severity],
            log_level=logging.DEBUG,
        )
        return None if sent else channel.redact(_reason(sent))
    except Exception as error:  # noqa: BLE001 - a hundred services may raise anything, an alert must not
        return channel.redact(in_our_words(error))


def _reason(sent: apprise.AppriseResult) -> str:
    """Apprise's warnings, and the exceptions that it mentions at debug level only."""
    told = [
        " ".join(entry.message.split())
        for entry in sent.logs()
        if entry.level not in {"DEBUG", "INFO", "TRACE"} or " Exception: " in entry.message
    ]
    return " ".join(dict.fromkeys(told)) or "Apprise gave no reason."
