"""What happens, while it happens: one connection of the process listens, every open page is told what it may see.

    GET /events      text/event-stream; `Last-Event-ID` says where to go on

An event's number is its id. Numbers grow in the order of the commits (`SqlEvents`), so that a page which comes back
reads on after the last one that it had, and misses none. The stream itself is only a bell: each page reads its events
from the ledger as its own person, whose rights decide.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

from backup_pipeline.core.access.sessions import digest
from backup_pipeline.core.errors import LedgerError
from backup_pipeline.core.ports import Ledger
from backup_pipeline.core.ports.runs import Announcements, Events
from backup_pipeline.core.runs import RealtimeEvent
from backup_pipeline.operations.background import Background
from backup_pipeline.web.answers import AnswerError
from backup_pipeline.web.people import Visitor, console_access, session_token, signed_in

logger = logging.getLogger(__name__)

MOST_STREAMS = 200
MOST_OF_A_SESSION = 8
"""Open pages of one browser; one that opens more is told to come back."""
_AT_ONCE = 200
_LOOK_EVERY_S = 5.0
"""Also without a bell: behind a pooler nobody hears one."""
_HEARD_WITHIN_S = 0.5
"""Whoever listens to the ledger hears nothing else meanwhile, not even that the server ends."""
_ASK_AGAIN_S = 10.0
"""So often a stream looks whether its session still is one."""
_RETRY_MS = 3000


class EventHub(Background):
    """Listens for the whole process, in a thread of its own, and rings for every stream that waits.

    Its context is the life of the server. `rings` counts; a stream that saw a count waits until there is another.
    """

    def __init__(self, events: Callable[[], Events]) -> None:
        super().__init__(("events", self._listen), leave_within_s=_HEARD_WITHIN_S + 1)
        self._events = events
        self._lock = threading.Lock()
        self._bells: set[Callable[[], None]] = set()
        self._sessions: Counter[int] = Counter()

    def _listen(self) -> None:
        announced = self._events().announcements()
        try:
            while not self.stopping.is_set():
                self._wait_for_news(announced)  # what was announced or not: a look costs little
                self.wake()
        finally:
            announced.close()

    def _wait_for_news(self, announced: Announcements) -> None:
        until = time.monotonic() + _LOOK_EVERY_S
        while not self.stopping.is_set() and time.monotonic() < until:
            if announced.wait(_HEARD_WITHIN_S):
                return

    def wake(self) -> None:
        """Ring for every stream that waits."""
        with self._lock:
            bells = list(self._bells)
        for bell in bells:
            bell()

    def enter(self, session: int) -> bool:
        """Take a place for one more stream of a session; whether there is one."""
        with self._lock:
            full = self._sessions.total() >= MOST_STREAMS or self._sessions[session] >= MOST_OF_A_SESSION
            if not full:
                self._sessions[session] += 1
            return not full

    def leave(self, session: int) -> None:
        """Give the place back."""
        with self._lock:
            self._sessions[session] -= 1
            if self._sessions[session] <= 0:
                del self._sessions[session]

    def hang(self, bell: Callable[[], None]) -> None:
        """Call `bell`, from another thread, whenever something may have happened."""
        with self._lock:
            self._bells.add(bell)

    def take_down(self, bell: Callable[[], None]) -> None:
        """Call it no more."""
        with self._lock:
            self._bells.discard(bell)


def _place(request: Request, visitor: Annotated[Visitor, Depends(signed_in)]) -> Iterator[EventHub]:
    yield from place_among_streams(request, visitor.session.number)


def place_among_streams(request: Request, number: int) -> Iterator[EventHub]:
    """A place among the streams of a session, or of a key (its number below zero), until the answer has ended.

    503 when there is none, and none is kept for whoever went away.
    """
    hub: EventHub = request.app.state.events
    if not hub.enter(number):
        do = "Close the streams that nobody reads, or come back in 30 seconds; with `Last-Event-ID` nothing is missed."
        raise AnswerError(503, "Too many streams are open.", do=do, headers={"Retry-After": "30"})
    try:
        yield hub
    finally:
        hub.leave(number)


def _start(visitor: Annotated[Visitor, Depends(signed_in)], last_event_id: Annotated[str, Header()] = "") -> int:
    return first_number(visitor.ledger, last_event_id)


def first_number(ledger: Ledger, last_event_id: str) -> int:
    """The number to go on after: the one that is named, else the newest there is.

    It is asked for before the answer begins: who is told that the stream is open, and looks, misses nothing between.
    """
    if last_event_id.isdecimal() and len(last_event_id) < 19:
        return int(last_event_id)
    try:
        return ledger.events.newest()
    except LedgerError:
        return 0


router = APIRouter()


@router.get("/events", response_class=EventSourceResponse)
async def events(
    request: Request,
    visitor: Annotated[Visitor, Depends(signed_in)],
    hub: Annotated[EventHub, Depends(_place)],
    start: Annotated[int, Depends(_start)],
) -> AsyncIterator[ServerSentEvent]:
    """What happens from now on, or since the event that is named, until the session ends."""
    async for event in happening(hub, visitor.ledger, start, lambda: _may_listen(request)):
        yield event


async def happening(
    hub: EventHub, ledger: Ledger, number: int, may_listen: Callable[[], bool]
) -> AsyncIterator[ServerSentEvent]:
    """What the ledger shows of what happens after the event of a number.

    As long as `may_listen`, which is asked every ten seconds, says so.
    """
    rung = asyncio.Event()
    loop = asyncio.get_running_loop()

    def bell() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(rung.set)

    hub.hang(bell)
    try:
        yield ServerSentEvent(comment="open", retry=_RETRY_MS, id=str(number))
        while not hub.stopping.is_set() and await asyncio.to_thread(may_listen):
            until = loop.time() + _ASK_AGAIN_S
            while (left := until - loop.time()) > 0 and not hub.stopping.is_set():
                rung.clear()
                for event in await asyncio.to_thread(_news, ledger, number):
                    number = event.number
                    yield _sent_event(event)
                await _rung_within(rung, left)
    finally:
        hub.take_down(bell)


def _may_listen(request: Request) -> bool:
    """Whether the session is one still. To listen is no use of it: a page that is left open keeps nobody signed in."""
    access = console_access(request)
    try:
        known = access.access.sessions.of_token(digest(session_token(request)))
    except LedgerError:
        return True  # nothing is read for anybody until it is back
    return known is not None and known[0].is_alive(access.clock()) and known[1].disabled_at is None


def _news(ledger: Ledger, number: int) -> Sequence[RealtimeEvent]:
    """What the asker may see of it; nothing while the ledger is away: it is still there when that is back."""
    try:
        return ledger.events.since(number, _AT_ONCE)
    except LedgerError as trouble:
        logger.info("Events are not read: %s", trouble.what)
        return ()


async def _rung_within(rung: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(rung.wait(), seconds)
    except TimeoutError:
        return


def _sent_event(event: RealtimeEvent) -> ServerSentEvent:
    document = {"kind": event.kind, "catalog": event.catalog, "business": event.business, "subject": event.subject}
    return ServerSentEvent(data={**event.detail, **document, "at": event.at.isoformat()}, id=str(event.number))
