"""One alert channel: an Apprise URL, the name it is shown under, and the secrets in it that must never be shown."""

from __future__ import annotations

import logging
import re
import threading
from collections import Counter
from collections.abc import Collection, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from urllib.parse import parse_qsl, unquote, urlsplit

import apprise
from apprise import Apprise, AppriseAsset, NotifyBase
from apprise.manager_plugins import NotificationManager

from backup_pipeline.core.alerts import Alert, Delivery, Severity
from backup_pipeline.core.errors import in_our_words
from backup_pipeline.core.text import redact, visible

_EVERY_SERVICE = "Its form for every service is in Apprise's documentation, or `apprise --details` lists it."
_MAIL = {"mailto", "mailtos"}
_WORTH_HIDING = 4
"""Characters. Hiding shorter parts of a URL would garble every message; a password is hidden whatever its length."""


def asset() -> AppriseAsset:
    """How Apprise shall behave: in the thread that calls it, because its own executors keep a process alive."""
    return AppriseAsset(app_id="backup_pipeline", async_mode=False, service_timeout=0, interpret_emojis=False)


@dataclass(frozen=True)
class Channel:
    """`name` is fit for people; `url` and `secrets` are not. `error` says why the URL is none, or is None."""

    url: str = field(repr=False)
    name: str
    secrets: tuple[str, ...] = field(default=(), repr=False)
    error: str | None = None

    def redact(self, text: str) -> str:
        """`text` without the secrets of this channel."""
        return redact(text, *self.secrets)


def parse_channel(url: str, position: int) -> Channel:
    """The channel of an Apprise URL; one that is malformed is named by its `position` and its scheme alone."""
    scheme = _scheme(url)
    unnamed = f"channel {position} ({f'{scheme}://' if scheme else 'no URL'})"
    try:
        plugin = Apprise.instantiate(url, asset=asset())
        if plugin is None:
            return Channel(url, unnamed, error=_advice(scheme))
        name = _name(plugin)
        return Channel(url, name, _secrets(url, name, str(plugin.password or "")))
    except Exception as error:  # noqa: BLE001 - a hundred services take URLs apart; an alert raises for none of them
        return Channel(url, unnamed, error=f"This {scheme}:// URL can not be read ({type(error).__name__}).")


def named_apart(channels: Sequence[Channel]) -> tuple[Channel, ...]:
    """The channels, no two of one name: two hooks of one server differ only in what is not shown."""
    seen: Counter[str] = Counter()
    apart = []
    for channel in channels:
        seen[channel.name] += 1
        number = seen[channel.name]
        apart.append(channel if number == 1 else replace(channel, name=f"{channel.name} ({number})"))
    return tuple(apart)


def _name(plugin: NotifyBase) -> str:
    """What Apprise itself would show, without the query; of the path only the addresses of a mail.

    The path of a webhook, the topic of a push service: they are secrets as often as not.
    """
    parts = urlsplit(str(plugin.url(privacy=True)))  # type: ignore[no-untyped-call]
    path = unquote(parts.path).strip("/") if parts.scheme in _MAIL else ""
    return f"{parts.scheme}://{parts.netloc}/{path}".rstrip("/")


def _secrets(url: str, name: str, password: str) -> tuple[str, ...]:
    """Every part of `url` that `name` does not show, as written and decoded."""
    address, _, query = url.partition("://")[2].partition("?")
    parts = re.split(r"[/:@#]+", address) + [value for _, value in parse_qsl(query, keep_blank_values=True)]
    shown = set(re.split(r"[/:@#]+", name))
    hidden = {part for raw in parts for part in (raw, unquote(raw)) if len(part) >= _WORTH_HIDING and part not in shown}
    return tuple(sorted(hidden | ({password} if password else set())))


def _scheme(url: str) -> str:
    match = re.match(r"\s*([a-z][a-z0-9]{1,24})://", url, re.IGNORECASE)
    return match[1].lower() if match else ""


def _advice(scheme: str) -> str:
    services = NotificationManager()  # type: ignore[no-untyped-call]
    if not scheme:
        return (
            f"This is no Apprise URL: it does not begin with a service such as mailto:// or slack://. {_EVERY_SERVICE}"
        )
    if scheme not in services:
        return f"Apprise knows no service {scheme}://. {_EVERY_SERVICE}"
    forms = [form.replace("{schema}", scheme) for form in services[scheme].templates]
    known = " or ".join(sorted(forms, key=len)[-3:])
    sender = " Without a user it needs a sender: ?from=backup@example.com." if scheme in _MAIL else ""
    return f"This {scheme}:// URL lacks a part or has a wrong one. It can be {known}.{sender}"


logger = logging.getLogger(__name__)


TIMEOUT = timedelta(seconds=20)

_NOTIFY_TYPES = {
    Severity.INFO: apprise.NotifyType.INFO,
    Severity.WARNING: apprise.NotifyType.WARNING,
    Severity.FAILURE: apprise.NotifyType.FAILURE,
}
_WORDS = {Severity.INFO: "INFO", Severity.WARNING: "WARNING", Severity.FAILURE: "FAILED"}


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
    return visible(" ".join(f"[backup {alert.scope}] {_WORDS[alert.severity]}: {alert.title}".split()))


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
    messages = [
        " ".join(entry.message.split())
        for entry in sent.logs()
        if entry.level not in {"DEBUG", "INFO", "TRACE"} or " Exception: " in entry.message
    ]
    return " ".join(dict.fromkeys(messages)) or "Apprise gave no reason."
