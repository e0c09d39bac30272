"""Where alerts go: Apprise's channels (`channels`), the program's own log where none is set, and dead-man pings."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as LateError
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, build_opener

from backup_pipeline.core.alerts import LOG_CHANNEL, Alert, Delivery, Signal
from backup_pipeline.core.errors import in_our_words
from backup_pipeline.core.ports import Alerter
from backup_pipeline.core.text import redact
from backup_pipeline.lazy import lazily

with lazily():
    from backup_pipeline.alerts import channels


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
            alert.scope,
            alert.title,
            alert.body(),
        )
        return [Delivery(LOG_CHANNEL)]


def alerter_for(urls: Sequence[str], *, timeout: timedelta) -> Alerter:
    """The alerter of these Apprise URLs; without any, one that writes alerts into the log."""
    if not urls:
        return LogAlerter()
    return channels.AppriseAlerter(urls, timeout=timeout)


_LONGEST_BODY = 1000


_WEB = {"http", "https"}


@dataclass(frozen=True)
class PingUrls:
    """The URL of each signal, and those of catalogs that have their own, by catalog."""

    every: Mapping[Signal, str] = field(repr=False)
    own: Mapping[tuple[Signal, str], str] = field(default_factory=dict, repr=False)

    def of(self, signal: Signal, catalog: str) -> str | None:
        """The URL to ask; None when nobody wants to know."""
        return self.own.get((signal, catalog)) or self.every.get(signal)


class HttpPinger:
    """The port `Pinger` over HTTP. Never raises, and takes no longer than `timeout`, whatever the server does.

    With the method POST the text is the body; a GET has none. The path of a URL is a secret as often as not, so only
    its host is ever named.
    """

    def __init__(self, urls: PingUrls, *, method: str = "GET", timeout: timedelta = timedelta(seconds=5)) -> None:
        self._urls = urls
        self._method = method
        self._timeout = timeout.total_seconds()

    def ping(self, signal: Signal, catalog: str, text: str) -> Delivery | None:
        """Send the signal; what became of it, None when no URL is set for it."""
        url = self._urls.of(signal, catalog)
        if not url:
            return None
        sent: Future[str | None] = Future()
        name = f"ping {signal}"
        threading.Thread(target=lambda: sent.set_result(self._send(url, text)), name=name, daemon=True).start()
        try:
            error = sent.result(self._timeout)
        except LateError:
            error = f"No answer within {self._timeout:g} seconds."
        if error:
            logger.warning("The %s ping of %s was not taken by %s: %s", signal, catalog, place_of(url), error)
        return Delivery(place_of(url), error)

    def _send(self, url: str, text: str) -> str | None:
        """What went wrong, without secrets, or None."""
        try:
            if urlsplit(url).scheme not in _WEB:
                return "This is no http:// or https:// URL."
            body = text.encode()[:_LONGEST_BODY] if self._method == "POST" else None
            request = Request(url, data=body, method=self._method)  # noqa: S310  # the scheme was just looked at
            request.add_header("User-Agent", "backup-pipeline")
            with build_opener().open(request, timeout=self._timeout):
                return None
        except HTTPError as error:
            error.close()
            return f"It answered {error.code} {error.reason}."
        except URLError as error:
            return redact(str(error.reason), *_ping_secrets(url))
        except Exception as error:  # noqa: BLE001 - a server may answer anything, a ping must not stop a backup
            return redact(in_our_words(error), *_ping_secrets(url))


def place_of(url: str) -> str:
    """The scheme and host of a URL, fit for people."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "a malformed URL"
    return f"{parts.scheme or 'no scheme'}://{parts.hostname or ''}{port}"


def _ping_secrets(url: str) -> tuple[str, ...]:
    try:
        parts = urlsplit(url)
    except ValueError:
        return (url,)
    return tuple(part for part in (url, parts.path.strip("/"), parts.query, parts.password) if part)
