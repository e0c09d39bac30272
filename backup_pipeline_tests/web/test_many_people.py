"""Fifty people at once, each with an open page: nobody meets an error, and everybody sees only what is theirs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from types import SimpleNamespace

import httpx
import pytest

from backup_pipeline import web
from backup_pipeline.cli import up
from backup_pipeline.cli.app import main
from backup_pipeline.core.access import NewUser, Role
from backup_pipeline.core.alerts import REMIND_EVERY
from backup_pipeline.core.ledger import Status
from backup_pipeline.core.scope import Scope
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline.operations.access import SignIn, begin_session
from backup_pipeline.operations.access.users import create_user
from backup_pipeline.wiring.ports import CONSOLE_CONNECTIONS
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.alerts.servers import free_port
from backup_pipeline_tests.ledger.attempts import attempt, outcome
from backup_pipeline_tests.ledger.restores import wish
from backup_pipeline_tests.servers.ledgers import ScratchLedger, new_ledger_of
from backup_pipeline_tests.web.people import Console, console_over
from backup_pipeline_tests.web.serving import served

PEOPLE, SLOW = 50, 8
LONGEST_S = 120.0
"""Far more than it takes: what waits for a connection for ever ends here."""


class ConsoleLedger(ScratchLedger):
    """The ledger with the connections of a console."""

    def __init__(self, url: str, *, remind_every: timedelta = REMIND_EVERY) -> None:
        SqlLedger.__init__(self, url, remind_every=remind_every, connections=CONSOLE_CONNECTIONS)
        self.url = url


@dataclass(frozen=True)
class Person:
    """Somebody with one business, and what is theirs alone."""

    number: int
    token: str
    request: int

    @property
    def business(self) -> str:
        return f"b{self.number}"

    @property
    def backup(self) -> str:
        return f"20261121T120000Z-full-{self.number:08x}"

    @property
    def secret(self) -> str:
        return f"secret-of-{self.number}."

    @property
    def words(self) -> tuple[str, ...]:
        """What no page of anybody else has."""
        return self.secret, self.backup, f'href="/requests/{self.request}"'


@dataclass(frozen=True)
class Crowd:
    """The people, and where their console is."""

    console: Console
    ledger: ScratchLedger
    people: Sequence[Person]
    url: str

    def client(self, person: Person) -> httpx.AsyncClient:
        headers = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}
        cookies = {"backup_session": person.token}
        return httpx.AsyncClient(base_url=self.url, headers=headers, cookies=cookies, timeout=60, trust_env=False)

    def neighbour(self, person: Person) -> Person:
        return self.people[(person.number + 1) % PEOPLE]


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowd]:
    ledger = new_ledger_of(ConsoleLedger)
    console = console_over(ledger, tmp_path_factory.mktemp("crowd"))
    people = [_person(console, ledger, number) for number in range(PEOPLE)]
    with console.app.state.events, served(console) as url:
        yield Crowd(console, ledger, people, url)


def _person(console: Console, ledger: ScratchLedger, number: int) -> Person:
    """A user with a session, a backup and a restore request of a business of their own."""
    new = NewUser(f"person-{number}.", Role.BUSINESS_ADMIN, businesses=(f"b{number}",))
    user = create_user(new, console.access, RAHIM)
    begun = begin_session(user, "password", SignIn("", ""), console.access)
    person = Person(number, begun.token, 0)
    scope = Scope("retail", business=person.business)
    ledger.begin(attempt(person.backup, scope=scope, reason=person.secret))
    ledger.end(person.backup, outcome(Status.SUCCESS, file_name="x.zip", record_count=5))
    row = ledger.restores.add(wish(backup_id=person.backup, scope=scope, reason=person.secret, actor=user.actor))
    return replace(person, request=row.id)


async def _clicks(crowd: Crowd, person: Person) -> None:
    """What one of them does; whatever is not as it should be fails."""
    other = crowd.neighbour(person)
    async with crowd.client(person) as client:
        for path in ("/", "/backups", f"/backups/{person.backup}", "/requests", f"/requests/{person.request}", "/runs"):
            answer = await client.get(path)
            assert answer.status_code == 200, (path, answer.text)
            theirs = {each.number for each in crowd.people if any(word in answer.text for word in each.words)}
            assert theirs == (set() if path in {"/", "/runs"} else {person.number}), path
        assert f"person-{person.number}." in (await client.get("/account")).text
        for path in (f"/backups/{other.backup}", f"/requests/{other.request}"):
            assert (await client.get(path)).status_code == 404, path
        answer = await client.post(f"/requests/{person.request}/take-back", data={"reason": "not needed"})
        assert answer.status_code == 303, answer.text


@asynccontextmanager
async def _listening(crowd: Crowd, person: Person, told: list[str], rung: asyncio.Event) -> AsyncIterator[None]:
    """An open page of the person: what it is `told`, and `rung` with the first of it."""
    opened = asyncio.Event()

    async def listen() -> None:
        async with crowd.client(person) as client, client.stream("GET", "/events") as answer:
            assert answer.status_code == 200
            async for line in answer.aiter_lines():
                opened.set()
                if line.startswith("data:"):
                    told.append(line)
                    rung.set()

    task = asyncio.create_task(listen())
    await opened.wait()
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _crowded(crowd: Crowd) -> list[list[str]]:
    """Everybody opens a page that listens, and clicks; what each page was told."""
    told: list[tuple[list[str], asyncio.Event]] = [([], asyncio.Event()) for _ in crowd.people]
    async with asyncio.timeout(LONGEST_S), AsyncExitStack() as pages:
        for person in crowd.people:
            await pages.enter_async_context(_listening(crowd, person, *told[person.number]))
        await asyncio.gather(*(_clicks(crowd, person) for person in crowd.people))
        await asyncio.gather(*(event.wait() for _, event in told))
    return [lines for lines, _ in told]


@pytest.mark.slow
def test_fifty_people_click_and_listen_at_once(crowd: Crowd) -> None:
    """Also while queries that take long, as of a big export, hold more connections than a run ever has."""
    with ExitStack() as slow:
        for _ in range(SLOW):
            slow.enter_context(crowd.ledger._transaction())
        told = asyncio.run(_crowded(crowd))
    for person in crowd.people:
        businesses = {line.partition('"business":')[2].partition(",")[0].strip(' "') for line in told[person.number]}
        assert businesses == {person.business}
    assert {row.status.value for row in crowd.ledger.restores.list()} == {"canceled"}


def test_the_console_is_served_over_a_ledger_with_so_many_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int | None] = []

    @contextmanager
    def opened(*, connections: int | None = None) -> Iterator[SimpleNamespace]:
        asked.append(connections)
        yield SimpleNamespace(settings=None, ledger=None)

    monkeypatch.setattr(up, "opened", opened)
    monkeypatch.setattr(web, "serve_console", lambda *_: None)
    assert main(["serve", "--port", str(free_port())]) == 0
    assert asked == [CONSOLE_CONNECTIONS]
