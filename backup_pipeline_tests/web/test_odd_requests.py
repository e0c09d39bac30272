"""Requests that no browser sends: addresses that are none, forms without an end, half a request; none is a fault."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager, suppress

import httpx
import pytest

from backup_pipeline.web import MOST_BYTES
from backup_pipeline.web.rendering import local_path
from backup_pipeline.web.server import ServerLimits
from backup_pipeline.wiring.web_gate import gated
from backup_pipeline_tests.servers.ledgers import new_ledger
from backup_pipeline_tests.web.people import ADDRESS, Console, console_over
from backup_pipeline_tests.web.serving import served

NO_ADDRESSES = ("//[", "http://[", "//[::1", "http://a]b/", "//evil.example", "/\\evil.example", "\\evil.example")


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Console:
    console = console_over(new_ledger(), tmp_path_factory.mktemp("home"))
    console.user("nila")
    return console


@pytest.mark.parametrize("address", NO_ADDRESSES)
def test_an_address_that_is_none_of_ours_leads_nowhere(console: Console, address: str) -> None:
    assert local_path(address) == "/"
    browser = console.browser()
    assert browser.get("/login", params={"next": address}).status_code == 200
    form = {"name": "nila", "password": "copper kettle rain 41", "next": address}
    answer = browser.post("/login", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


@pytest.mark.parametrize("header", ["Referer", "Origin"])
def test_a_page_that_has_no_address_is_a_foreign_one(console: Console, header: str) -> None:
    application = gated(console.app, "127.0.0.1", console.settings)

    async def post(app: object, **headers: str) -> httpx.Response:
        transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url=ADDRESS) as web:
            return await web.post("/runs", headers=headers)

    assert asyncio.run(post(application, **{header: "http://["})).status_code == 403
    behind = asyncio.run(post(console.app, **{header: "http://["}))
    assert (behind.status_code, behind.headers["location"]) == (303, "/login?next=/")


def test_a_form_that_is_too_long_is_refused_before_it_is_read(console: Console) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(400):
            read += 2**16
            yield b"a" * 2**16

    async def post(**given: object) -> httpx.Response:
        transport = httpx.ASGITransport(console.app, client=("127.0.0.1", 50_000))
        kind = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html"}
        async with httpx.AsyncClient(transport=transport, base_url=ADDRESS, headers=kind) as web:
            return await web.post("/login", **given)  # type: ignore[arg-type]

    told = asyncio.run(post(content=b"name=" + b"a" * MOST_BYTES))
    assert told.status_code == 413
    untold = asyncio.run(post(content=endless()))
    assert untold.status_code == 413
    assert read <= MOST_BYTES + 2 * 2**16


SOON = ServerLimits(request_s=0.6, connections=12, ending_s=1)


@pytest.fixture(scope="module")
def port(console: Console) -> Iterator[int]:
    """The console at a port, with little limits."""
    with served(console, SOON) as address:
        yield int(address.rpartition(":")[2])


@contextmanager
def _connected(port: int, sent: bytes = b"") -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(sent)
        yield connection


def _rest(connection: socket.socket) -> bytes:
    """All that comes until the other side ends."""
    received = b""
    with suppress(ConnectionResetError):
        while part := connection.recv(2**16):
            received += part
    return received


def _get(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: 127.0.0.1:3001", *headers, "", ""]).encode()


HALF = {
    "nothing at all": b"",
    "half a head": b"GET /healthz HTTP/1.1\r\nHost: 127",
    "half a form": b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nname=",
}


@pytest.mark.parametrize("sent", HALF.values(), ids=HALF.keys())
def test_who_begins_a_request_and_does_not_end_it_is_not_waited_for(port: int, sent: bytes) -> None:
    began = time.monotonic()
    with _connected(port, sent) as connection:
        received = _rest(connection)
    assert time.monotonic() - began < 4
    assert b"408 Request Timeout" in received or b"name=" in sent
    assert b"200 OK" not in received


def test_nor_for_the_end_of_a_second_one(port: int) -> None:
    began = time.monotonic()
    with _connected(port, _get("/healthz")) as connection:
        assert b"200 OK" in connection.recv(2**16)
        connection.sendall(b"GET /healthz HT")
        assert b"408 Request Timeout" in _rest(connection)
    assert time.monotonic() - began < 4


def test_a_byte_now_and_then_gains_no_time(port: int) -> None:
    began = time.monotonic()
    with _connected(port, b"GET /healthz HTTP/1.1\r\n") as connection, suppress(OSError):
        while time.monotonic() - began < 8:
            connection.sendall(b"X-Slow: a\r\n")
            time.sleep(0.1)
    assert time.monotonic() - began < 4


def test_more_connections_than_it_bears_are_turned_away_and_others_answered_again(port: int) -> None:
    with ExitStack() as opened:
        for _ in range(SOON.connections):
            opened.enter_context(_connected(port, b"GET"))
        with _connected(port, _get("/healthz")) as late:
            assert b"503 Service Unavailable" in _rest(late)
    with _connected(port, _get("/healthz", "Connection: close")) as later:
        assert b"200 OK" in _rest(later)


SMUGGLED = {
    "two lengths": _get("/healthz", "Content-Length: 5", "Content-Length: 6") + b"hello",
    "a length that is none": _get("/healthz", "Content-Length: +5") + b"hello",
    "a name with a blank": _get("/healthz", "Content-Length : 5") + b"hello",
    "an endless head": _get("/healthz", f"X-Long: {'a' * 2**17}"),
    "no version": b"GET /healthz\r\n\r\n",
    "two hosts": _get("/healthz", "Host: evil.example"),
}


@pytest.mark.parametrize("sent", SMUGGLED.values(), ids=SMUGGLED.keys())
def test_what_two_servers_could_read_differently_is_no_request(port: int, sent: bytes) -> None:
    with _connected(port) as connection, suppress(ConnectionError):
        connection.sendall(sent)
        received = _rest(connection)
        assert received.startswith((b"HTTP/1.1 400", b"HTTP/1.1 421")), received[:60]
        assert received.count(b"HTTP/1.1") == 1


def test_a_length_beside_chunks_is_refused_and_hides_no_second_request(port: int) -> None:
    hidden = _get("/healthz", "X-Hidden: yes")
    sent = _get("/healthz", "Content-Length: 6", "Transfer-Encoding: chunked") + b"0\r\n\r\n" + hidden
    with _connected(port, sent) as connection:
        received = _rest(connection)
    assert received.startswith(b"HTTP/1.1 400")
    assert received.count(b"HTTP/1.1") == 1


def test_an_answer_may_take_as_long_as_it_takes_and_the_end_waits_a_moment(console: Console) -> None:
    token = console.signed_in(console.user("who waits")).cookies["backup_session"]
    with served(console, SOON) as address, _connected(int(address.rpartition(":")[2])) as stream:
        stream.sendall(_get("/events", f"Cookie: backup_session={token}"))
        assert b"200 OK" in stream.recv(2**16)
        stream.settimeout(3 * SOON.request_s)
        with pytest.raises(TimeoutError):
            _rest(stream)
        ended = time.monotonic()
    assert time.monotonic() - ended < 8, "a stream that nobody closes keeps no server from ending"
