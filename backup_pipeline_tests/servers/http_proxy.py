"""An HTTP proxy on loopback that forwards to one upstream and misbehaves on demand: 503, silence, refusal, a cut."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import urlsplit

CHUNK = 1 << 16
UPSTREAM_SECONDS = 60
SLOW_DOWN = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "expect"}

When = Callable[[str, str], bool]


def always(method: str, path: str) -> bool:
    return True


@dataclass
class Trouble:
    """What happens to the next `times` requests that `when` picks by method and path; None: to all of them.

    `status` answers so; `stall` answers nothing until the trouble is cleared; `cut_request` and `cut_response` close
    the connection once so many bytes of the body have passed.
    """

    when: When = always
    times: int | None = None
    status: int | None = None
    body: bytes = SLOW_DOWN
    stall: bool = False
    cut_request: int | None = None
    cut_response: int | None = None
    met: int = 0
    over: threading.Event = field(default_factory=threading.Event, repr=False)


class HttpProxy:
    """Forwards to the URL `upstream`. Its endpoint stays the same over `stop` (connections are refused) and `start`.

    The Host header passes as it came, so that signed requests stay valid. `seen` has every request's method and path.
    """

    def __init__(self, upstream: str) -> None:
        self.upstream = urlsplit(upstream)
        self.port = 0
        self.seen: list[tuple[str, str]] = []
        self._troubles: list[Trouble] = []
        self._lock = threading.Lock()
        self._server: _Server | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()
        self.stop()

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen, at the port of last time if there was one."""
        self._server = _Server(self, self.port)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """Refuse connections from now on, and cut those that are open."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server.cut()
            self._server = None

    def on(self, trouble: Trouble) -> Trouble:
        """Plan `trouble`; its `met` counts the requests it has met."""
        with self._lock:
            self._troubles.append(trouble)
        return trouble

    def clear(self) -> None:
        """Behave again, and let the stalled requests go on."""
        with self._lock:
            for trouble in self._troubles:
                trouble.over.set()
            self._troubles.clear()

    def meet(self, method: str, path: str) -> Trouble | None:
        """Note the request, and say what happens to it."""
        with self._lock:
            self.seen.append((method, path))
            for trouble in self._troubles:
                if (trouble.times is None or trouble.met < trouble.times) and trouble.when(method, path):
                    trouble.met += 1
                    return trouble
        return None


class _Server(ThreadingHTTPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, proxy: HttpProxy, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.proxy = proxy
        self._open: set[socket.socket] = set()

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        if isinstance(request, socket.socket):
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        if isinstance(request, socket.socket):
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news."""

    def cut(self) -> None:
        for connection in tuple(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
        """Quiet."""

    def forward(self) -> None:
        trouble = self.server.proxy.meet(self.command, self.path)
        body = self._body(None if trouble is None else trouble.cut_request)
        if body is None:
            self._cut()
        elif trouble is not None and trouble.stall:
            trouble.over.wait()
            self._cut()
        elif trouble is not None and trouble.status is not None:
            self._answer(trouble.status, trouble.body)
        else:
            self._pass(body, None if trouble is None else trouble.cut_response)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = forward  # noqa: N815 - names of the base class

    def _body(self, most: int | None) -> bytes | None:
        length = int(self.headers.get("Content-Length", 0))
        if most is not None and length > most:
            self.rfile.read(most)
            return None
        return self.rfile.read(length)

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _pass(self, body: bytes, most: int | None) -> None:
        upstream = self.server.proxy.upstream
        connection = http.client.HTTPConnection(upstream.hostname or "", upstream.port, timeout=UPSTREAM_SECONDS)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in HOP_BY_HOP:
                    connection.putheader(name, value)
            connection.endheaders(body or None)
            self._return(connection.getresponse(), most)
        except (OSError, http.client.HTTPException):
            self._cut()
        finally:
            connection.close()

    def _return(self, response: http.client.HTTPResponse, most: int | None) -> None:
        self.send_response_only(response.status, response.reason)
        for name, value in response.getheaders():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        length = response.getheader("Content-Length")
        content = None if length is not None else response.read()
        if content is not None:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if content:
            self.wfile.write(content)
        sent = 0
        while content is None and (chunk := response.read(CHUNK)):
            passed = chunk if most is None else chunk[: most - sent]
            self.wfile.write(passed)
            sent += len(passed)
            if len(passed) < len(chunk):
                self._cut()
                return

    def _cut(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
