"""What happens, told while it happens: to whom it may be told, without a gap, until the session ends."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest
import uvicorn

from backup_pipeline.core.ledger import Status
from backup_pipeline.web import events
from backup_pipeline_tests.ledger.attempts import attempt, outcome
from backup_pipeline_tests.orchestration.installation import until
from backup_pipeline_tests.servers.ledgers import new_ledger
from backup_pipeline_tests.web.deciding import Office, open_office


@dataclass
class Stream:
    """An open page: what it was told, in order."""

    told: list[dict[str, Any]] = field(default_factory=list)
    last_id: str = ""
    comments: int = 0
    status: int = 0
    open: bool = False
    ended: bool = False

    def subjects(self) -> list[str]:
        return [event["subject"] for event in self.told]


@dataclass
class Served:
    """The console of an office at a port, with its hub."""

    office: Office
    url: str

    @contextmanager
    def stream(self, name: str, last_id: str = "") -> Iterator[Stream]:
        stream = Stream()
        browser = self.office.as_(name)
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last_id} if last_id else {})}
        client = httpx.Client(base_url=self.url, cookies=dict(browser.cookies), timeout=60, trust_env=False)
        thread = threading.Thread(target=_read, args=(client, stream, headers), daemon=True)
        thread.start()
        until(lambda: stream.open or stream.ended, 20)
        try:
            yield stream
        finally:
            client.close()
            thread.join(5)

    def make(self, backup_id: str, business: str | None = None) -> None:
        """A backup that begins and ends: two events."""
        scope = replace(attempt().scope, business=business)
        self.office.ledger.begin(replace(attempt(backup_id), scope=scope))
        now = self.office.ledger.now()
        self.office.ledger.end(backup_id, replace(outcome(Status.SUCCESS, sha256="x"), finished_at=now))


def _read(client: httpx.Client, stream: Stream, headers: dict[str, str]) -> None:
    with suppress(httpx.HTTPError, RuntimeError), client.stream("GET", "/events", headers=headers) as response:
        stream.status = response.status_code
        for line in response.iter_lines():
            if line.startswith("data:"):
                stream.told.append(json.loads(line.removeprefix("data:")))
            elif line.startswith("id:"):
                stream.last_id = line.removeprefix("id:").strip()
            elif line.startswith(":"):
                stream.comments += 1
                stream.open = True
    stream.ended = True


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    office = open_office(new_ledger(), tmp_path_factory.mktemp("events"), days=1)
    app = office.console.app
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    with app.state.events:
        thread.start()
        until(lambda: server.started, 20)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Served(office, f"http://127.0.0.1:{port}")
    server.should_exit = True
    thread.join(20)


@pytest.mark.acceptance("3.18", "4.29")
def test_what_happens_is_told_at_once_and_in_order(served: Served) -> None:
    with served.stream("nila") as stream:
        began = time.monotonic()
        served.make("b1")
        until(lambda: len(stream.told) >= 2, 10)
        assert time.monotonic() - began < 5, "by the bell, not by the look that comes now and then"
    assert [(event["kind"], event["subject"], event["status"]) for event in stream.told] == [
        ("backup", "b1", "running"),
        ("backup", "b1", "success"),
    ]


@pytest.mark.acceptance("3.18")
def test_each_is_told_what_is_theirs_alone(served: Served) -> None:
    with served.stream("babul") as own, served.stream("rahim") as every:
        served.make("of-b2", "b2")
        served.make("of-all")
        served.make("of-b1", "b1")
        until(lambda: len(every.told) >= 6 and len(own.told) >= 2, 10)
    assert set(own.subjects()) == {"of-b1"}
    assert set(every.subjects()) == {"of-b1", "of-b2", "of-all"}


@pytest.mark.acceptance("3.18")
def test_a_page_that_comes_back_has_missed_nothing(served: Served) -> None:
    with served.stream("rahim") as first:
        served.make("before")
        until(lambda: len(first.told) >= 2, 10)
    served.make("meanwhile")
    with served.stream("rahim", first.last_id) as second:
        served.make("after")
        until(lambda: len(second.told) >= 4, 10)
    assert second.subjects() == ["meanwhile", "meanwhile", "after", "after"]


def test_nobody_hears_anything_without_a_session_or_after_it(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    assert httpx.get(f"{served.url}/events", trust_env=False).status_code == 303
    monkeypatch.setattr(events, "_ASK_AGAIN_S", 0.5)
    served.office.signed_in_anew("selina")
    with served.stream("selina") as stream:
        served.office.as_("selina").post("/logout")
        until(lambda: stream.ended, 10)
        served.make("secret")
        time.sleep(0.5)
    assert "secret" not in stream.subjects()


@pytest.mark.slow
def test_so_many_pages_and_no_more(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MOST_OF_A_SESSION", 1)
    served.office.signed_in_anew("karim")
    with served.stream("karim") as first:
        assert first.open
        with served.stream("karim") as second:
            until(lambda: second.ended, 10)
        assert (second.status, second.open) == (503, False)
        assert not first.ended

    def again() -> bool:
        with served.stream("karim") as third:
            return third.open

    until(again, 20, every=0.5)


def test_who_opens_all_streams_there_are_takes_nothing_but_those_and_they_come_back(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = served.office.console.app.state.events
    until(lambda: not hub._sessions, 60)  # those of the tests before
    monkeypatch.setattr(events, "MOST_STREAMS", 3)
    for name in ("karim", "nila"):
        served.office.signed_in_anew(name)
    with ExitStack() as opened:
        streams = [opened.enter_context(served.stream("karim")) for _ in range(3)]
        assert all(stream.open for stream in streams)
        with served.stream("nila") as turned_away:
            until(lambda: turned_away.ended, 10)
        assert turned_away.status == 503
        page = httpx.get(f"{served.url}/backups", cookies=dict(served.office.as_("nila").cookies), trust_env=False)
        assert page.status_code == 200, "the page asks now and then instead"

    def open_again() -> bool:
        with served.stream("nila") as stream:
            return stream.open

    until(open_again, 60, every=0.2)


def test_a_ledger_that_cuts_the_line_is_listened_to_again(served: Served) -> None:
    with served.stream("rahim") as stream:
        query = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'backup-pipeline events'"
        )
        served.office.ledger.execute(query)
        served.make("after-the-cut")
        until(lambda: len(stream.told) >= 2, 20)
    assert set(stream.subjects()) == {"after-the-cut"}
