"""Dead-man pings against a real HTTP server: what is sent, and that nothing a server does holds a backup up."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler

import pytest

from backup_pipeline.alerts import HttpPinger, PingUrls
from backup_pipeline.core.alerts import Delivery, NoPings, Signal
from backup_pipeline.settings import Settings
from backup_pipeline.wiring.ports import open_settings_pinger
from backup_pipeline_tests.alerts.servers import free_port, stalling_server
from backup_pipeline_tests.servers.serving import served


@dataclass
class Switch:
    """A dead-man's switch: what it was asked, and what it answers."""

    port: int = 0
    answer: int = 200
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def _switch() -> Iterator[Switch]:
    switch = Switch()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            switch.asked.append((self.command, self.path, body.decode()))
            self.send_response(switch.answer)
            self.end_headers()

        do_POST = do_GET  # noqa: N815 - http.server's name

    with served(Handler) as switch.port:
        yield switch


@pytest.fixture
def switch() -> Iterator[Switch]:
    with _switch() as made:
        yield made


def _pinger(url: str, **more: object) -> HttpPinger:
    return HttpPinger(PingUrls(dict.fromkeys(Signal, f"{url}/t0ken-1234")), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("signal", list(Signal))
def test_a_get_has_no_body(switch: Switch, signal: Signal) -> None:
    assert _pinger(switch.url).ping(signal, "isp", "began") == Delivery(switch.url)
    assert switch.asked == [("GET", "/t0ken-1234", "")]


def test_a_post_says_what_happened(switch: Switch) -> None:
    _pinger(switch.url, method="POST").ping(Signal.FAIL, "isp", "গ্রাহক failed")
    assert switch.asked == [("POST", "/t0ken-1234", "গ্রাহক failed")]


@pytest.mark.parametrize("answer", [404, 500])
def test_what_the_server_refuses_is_told_without_the_path(switch: Switch, answer: int) -> None:
    switch.answer = answer
    found = _pinger(switch.url).ping(Signal.START, "isp", "")
    assert found is not None
    assert str(answer) in (found.error or "")
    assert "t0ken" not in repr(found)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:{port}", "gopher://127.0.0.1", "no url", "http://[::1", "file:///etc"]
)
def test_a_server_that_is_not_there_and_a_url_that_is_none_are_errors(url: str) -> None:
    found = _pinger(url.format(port=free_port())).ping(Signal.SUCCESS, "isp", "")
    assert found is not None
    assert found.error
    assert "t0ken" not in repr(found)


def test_a_server_that_never_answers_is_not_waited_for() -> None:
    with stalling_server() as port:
        start = time.monotonic()
        found = _pinger(f"http://127.0.0.1:{port}", timeout=timedelta(seconds=0.3)).ping(Signal.START, "isp", "")
        assert time.monotonic() - start < 2
    assert found is not None
    assert found.error


def test_a_catalog_may_have_urls_of_its_own(switch: Switch) -> None:
    urls = PingUrls({Signal.START: f"{switch.url}/all"}, {(Signal.START, "isp"): f"{switch.url}/isp"})
    pinger = HttpPinger(urls)
    pinger.ping(Signal.START, "isp", "")
    pinger.ping(Signal.START, "retail", "")
    assert pinger.ping(Signal.FAIL, "isp", "") is None
    assert [path for _, path, _ in switch.asked] == ["/isp", "/all"]


def test_the_settings_say_who_is_asked(switch: Switch, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(open_settings_pinger(Settings()), NoPings)
    monkeypatch.setenv("BACKUP_PING_SUCCESS_URL", f"{switch.url}/all")
    monkeypatch.setenv("BACKUP_PING_SUCCESS_URL_ISP_CUSTOMERS", f"{switch.url}/own")
    monkeypatch.setenv("BACKUP_PING_METHOD", "POST")
    settings = Settings()
    assert "/own" not in repr(settings)
    pinger = open_settings_pinger(settings)
    for catalog in ("isp", "isp_customers"):
        pinger.ping(Signal.SUCCESS, catalog, "good")
    assert pinger.ping(Signal.START, "isp", "") is None
    assert switch.asked == [("POST", "/all", "good"), ("POST", "/own", "good")]
