"""Sends webhooks over HTTP: to the address that was looked at, within seconds, and nowhere that an answer leads to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

import httpx

from backup_pipeline.core.access.webhooks import WebhookRefusedError, check_addresses, check_url
from backup_pipeline.core.errors import in_our_words

_TIMEOUT_S = 10.0
"""To connect, and for each piece of the answer; of the answer the status alone is read."""
_WHOLE_S = 20.0
"""For all of it: who answers a byte at a time would hold up everybody else's webhooks."""


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
        host, address = urlsplit(url).hostname, self._address(url)
        try:
            return asyncio.run(_post(url, address, headers, body))
        except TimeoutError as error:
            message = f"{host} gave no answer within {_WHOLE_S:g} seconds."
            raise WebhookRefusedError(message, do="Look what the receiver does so long.") from error
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            message = f"{host} could not be asked: {in_our_words(error)}"
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


async def _post(url: str, address: str, headers: Mapping[str, str], body: bytes) -> int:
    parts = urlsplit(url)
    # Asked at the address that was looked at: a name that means another one a moment later leads nowhere else.
    target = httpx.URL(url).copy_with(host=address)
    named = {**headers, "Host": parts.netloc}
    client = httpx.AsyncClient(timeout=_TIMEOUT_S, follow_redirects=False, trust_env=False)
    async with asyncio.timeout(_WHOLE_S), client:
        request = client.build_request(
            "POST", target, headers=named, content=body, extensions={"sni_hostname": parts.hostname}
        )
        answer = await client.send(request, stream=True)
        await answer.aclose()
        return answer.status_code
