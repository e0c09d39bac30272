"""A proxy on loopback in front of PostgreSQL or an S3 server, which does harm at a chosen place in what is said.

    with FaultProxy(server_url) as proxy:                  # postgresql://… or http://…
        fault = proxy.on(Fault(Reset(), r"COPY .*goods", Answering(1000)))
        … connect to proxy.through(server_url) …
        assert fault.fired

Bytes pass unchanged, the Host header too: a request signed for the proxy's own endpoint stays valid where the server
takes the host from that header.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

from backup_pipeline_tests.faults.fault import Fault, Said
from backup_pipeline_tests.faults.passage import Passage
from backup_pipeline_tests.faults.streams import HttpClient, HttpServer, PostgresClient, PostgresServer, Stream, Talk

START_SECONDS = 10


@dataclass
class FaultProxy:
    """Forwards to the host and port of the URL `upstream`; its own port stays the same for its life.

    Safe to use from any thread while traffic passes. `said` has all that clients said, in order.
    """

    upstream: str
    port: int = 0
    _said: list[Said] = field(default_factory=list)
    _faults: list[Fault] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop, repr=False)
    _server: asyncio.Server | None = field(default=None, repr=False)
    _passages: dict[Passage, asyncio.Task[None]] = field(default_factory=dict, repr=False)
    _connections: int = 0

    def __enter__(self) -> Self:
        """Listen."""
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault proxy", daemon=True)
        self._thread.start()
        self.accept()
        return self

    def __exit__(self, *_: object) -> None:
        """Refuse connections, and reset those that are open."""
        self.clear()
        self.refuse()
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(START_SECONDS)
        self._loop.close()

    @property
    def url(self) -> str:
        """The URL of `upstream`, by way of this proxy."""
        return self.through(self.upstream)

    @property
    def said(self) -> list[Said]:
        """All that clients said up to now."""
        with self._lock:
            return list(self._said)

    def through(self, url: str) -> str:
        """The same URL with this proxy's host and port."""
        parts = urlsplit(url)
        user, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{user}{at}127.0.0.1:{self.port}"))

    def on(self, fault: Fault) -> Fault:
        """Plan `fault`: what is said from now on counts for it."""
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """Plan nothing any more, and release what is stalled. Open connections stay."""
        with self._lock:
            gone, self._faults = self._faults, []
        for fault in gone:
            fault.release()

    def forget(self) -> None:
        """Empty `said`."""
        with self._lock:
            self._said.clear()

    def refuse(self) -> None:
        """Refuse new connections; those that are open stay."""
        self._run(self._stop_listening())

    def accept(self) -> None:
        """Take connections (again)."""
        self._run(self._listen())

    def cut(self) -> None:
        """Reset every open connection."""
        self._run(self._reset_all())

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(START_SECONDS)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _reset_all(self) -> None:
        tasks = list(self._passages.items())
        for passage, task in tasks:
            passage.reset()
            task.cancel()
        await asyncio.gather(*(task for _, task in tasks), return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        number = self._connections
        passage = Passage(reader, writer, *self._streams(), meet=lambda text, values: self._meet(text, values, number))
        task = asyncio.current_task()
        assert task is not None
        self._passages[passage] = task
        try:
            to = urlsplit(self.upstream)
            await passage.run(str(to.hostname), int(to.port or 0))
        except asyncio.CancelledError:
            """It was cut."""
        finally:
            del self._passages[passage]

    def _streams(self) -> tuple[Stream, Stream]:
        talk = Talk()
        if self.upstream.startswith("http"):
            return HttpClient(talk), HttpServer(talk)
        return PostgresClient(talk), PostgresServer(talk)

    def _meet(self, text: str, values: str, connection: int) -> tuple[Said, list[Fault]]:
        """Note what was said, and tell which faults it meets."""
        said = Said(text, values, connection, time.monotonic())
        with self._lock:
            self._said.append(said)
            return said, [fault for fault in self._faults if fault.meets(said)]
