"""The gate in front of a web server: what `core.web_gate` refuses never reaches the application behind it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from backup_pipeline.core.web_gate import AllowedHosts, Refusal, WebRequest, allowed_hosts, refusal
from backup_pipeline.settings import Settings

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

# Browsers keep what is read here from other sites: not in a frame, not as a script or a picture.
_CLOSED = ((b"x-frame-options", b"SAMEORIGIN"), (b"cross-origin-resource-policy", b"same-origin"))
_POLICY_VIOLATION = 1008

logger = logging.getLogger(__name__)


def gated(application: Application, host: str, settings: Settings) -> Application:
    """The application behind the gate, for a server that listens on `host`."""
    return Gate(application, allowed_hosts(host, settings.allowed_hosts, settings.dagster_url))


class Gate:
    """An ASGI application that asks `core.web_gate` first, and passes on what may pass."""

    def __init__(self, application: Application, allowed: AllowedHosts) -> None:
        self._application = application
        self._allowed = allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, or have it answered."""
        if scope["type"] not in {"http", "websocket"}:
            await self._application(scope, receive, send)
            return
        request = _request(scope)
        refused = refusal(request, self._allowed)
        if refused is None:
            await self._application(scope, receive, _closed(send))
            return
        logger.warning("Refused %s %s: %s", request.method, request.path, refused.message)
        await _refuse(scope, send, refused)


def _request(scope: Scope) -> WebRequest:
    headers: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    method = "WEBSOCKET" if scope["type"] == "websocket" else str(scope["method"]).upper()
    return WebRequest(method, scope["path"], scope.get("query_string", b"").decode("latin-1"), headers)


async def _refuse(scope: Scope, send: Send, refused: Refusal) -> None:
    if scope["type"] == "websocket":
        # Before the handshake is accepted: the server answers it with 403.
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
        return
    body = f"{refused.message}\n".encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode()), *_CLOSED]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def _closed(send: Send) -> Send:
    async def closed(message: Message) -> None:
        if message["type"] == "http.response.start":
            there = {name.lower() for name, _ in message.get("headers", ())}
            more = [(name, value) for name, value in _CLOSED if name not in there]
            message = {**message, "headers": [*message.get("headers", ()), *more]}
        await send(message)

    return closed
