"""The server under the console: how long it waits for a request, how many connections it has, how it ends.

uvicorn waits for ever for a request that somebody has begun, takes every connection, and ends when the last stream
does. Whoever sends a letter a minute, or opens connections and says nothing, would keep everybody else out.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

logger = logging.getLogger(__name__)

_TOO_LATE = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_FULL = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nretry-after: 10\r\nconnection: close\r\n\r\n"


@dataclass(frozen=True)
class ServerLimits:
    """What the server limits of those who ask.

    Seconds until a request is whole, from its first byte or the connection's beginning; connections at once, the 200
    streams of events among them; seconds that open answers have when it ends.
    """

    request_s: float = 20.0
    connections: int = 600
    ending_s: int = 5


LIMITS = ServerLimits()


def console_server(application: Any, host: str, port: int, limits: ServerLimits = LIMITS) -> uvicorn.Server:
    """The server, not started yet. The head of a request has at most 16 KiB, which h11 sees to."""
    given = limits

    class Protocol(LimitedProtocol):
        limits = given

    return uvicorn.Server(
        uvicorn.Config(
            application,
            host=host,
            port=port,
            http=Protocol,
            ws="none",
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=limits.ending_s,
        )
    )


class LimitedProtocol(H11Protocol):
    """A connection that ends when a request that was begun is not whole in time, or when there are too many."""

    limits = LIMITS
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, and wait for its first request."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            logger.warning("More than %d connections: one was turned away.", self.limits.connections)
            transport.write(_FULL)
            transport.close()
            return
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take what came; the time runs from the first byte of a request until its last."""
        super().data_received(data)
        if self._is_whole():
            self._stop_waiting()
        else:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _is_whole(self) -> bool:
        """Whether no part of a request is awaited: what came last was the end of one, or nothing came after it."""
        if self.conn.their_state is h11.IDLE:
            return not self.conn.trailing_data[0]
        return self.conn.their_state is not h11.SEND_BODY

    def _wait(self) -> None:
        if self._deadline is None and not self.transport.is_closing():
            self._deadline = self.loop.call_later(self.limits.request_s, self._too_late)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_late(self) -> None:
        self._deadline = None
        if self.transport.is_closing():
            return
        logger.info("A request of %s was not whole within %g s.", self.client, self.limits.request_s)
        if self.conn.our_state is h11.IDLE:  # no answer has begun
            self.transport.write(_TOO_LATE)
        self.transport.close()
