"""Sends webhooks over HTTP: to the address that was looked at, within seconds, and nowhere that an answer leads to."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

import httpx

from backup_pipeline.core.access.webhooks import WebhookRefusedError, check_addresses, check_url
from backup_pipeline.core.errors import in_our_words

_TIMEOUT_S = 10.0
"""To connect, and for each piece of the answer; of the answer the status alone is read."""


class HttpWebhookSender:
    """The port `WebhookSender`. `private`: receivers in private networks, and over plain HTTP, are allowed."""

    def __init__(self, *, private: bool = False) -> None:
        self._private = private

    def check(self, url: str) -> None:
        """UsageError, or WebhookRefusedError, where nothing is sent to that URL."""
        check_url(url, private=self._private)
        self._address(url)

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """The status of the receiver's answer."""
        check_url(url, private=self._private)
        parts = urlsplit(url)
        # Asked at the address that was looked at: a name that means another one a moment later leads nowhere else.
        target = httpx.URL(url).copy_with(host=self._address(url))
        named = {**headers, "Host": parts.netloc}
        try:
            with httpx.Client(timeout=_TIMEOUT_S, follow_redirects=False, trust_env=False) as client:
                request = client.build_request(
                    "POST", target, headers=named, content=body, extensions={"sni_hostname": parts.hostname}
                )
                answer = client.send(request, stream=True)
                answer.close()
                return answer.status_code
        except (httpx.HTTPError, OSError) as error:
            message = f"{parts.hostname} could not be asked: {in_our_words(error)}"
            raise WebhookRefusedError(message, do="Look whether the receiver runs.") from error

    def _address(self, url: str) -> str:
        """The address of the URL's host; WebhookRefusedError where it has none, or one that must not be asked."""
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        try:
            known = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            message = f"{host} has no address: {in_our_words(error)}"
            raise WebhookRefusedError(message, do="Correct the URL, or look at the name server.") from error
        addresses = [str(each[4][0]) for each in known]
        if not self._private:
            check_addresses(host, addresses)
        return addresses[0]
