"""Calls as they are counted: refused keys are answered from memory, and what each call came to goes into the log."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from http import HTTPStatus

from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backup_pipeline.core.access.api_keys import Admission, Call, Refused
from backup_pipeline.core.access.sessions import PersonIdentity
from backup_pipeline.core.errors import BackupError
from backup_pipeline.core.ports import Ports
from backup_pipeline.operations.background import Background
from backup_pipeline.web.answers import AnswerError, is_api

logger = logging.getLogger(__name__)

WRITE_EVERY_S = 10.0
"""So often refused calls are written down; a key whose limit was raised works again after it, too."""
_KEEP_EVERY_S = 3600.0
_ADD_UP_EVERY_S = 300.0
_LIFE = timedelta(days=90)
_ANSWERS_KEPT = timedelta(hours=24)


@dataclass(frozen=True)
class _Full:
    """A key that had its calls: until when it is not looked at, and when there is room again (monotonic seconds)."""

    admission: Admission
    until: float
    room_at: float


class CallMeter(Background):
    """Remembers which keys had their calls, and adds up what it refuses; safe from any thread.

    Its context is the life of the server: a thread writes the sums each ten seconds, and what is left at the end.
    """

    def __init__(self, ports: Ports, *, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__(("api calls", self._run))
        self._ports, self._now = ports, now
        self._lock = threading.Lock()
        self._full: dict[str, _Full] = {}
        self._sums: dict[tuple[int, str], Refused] = {}
        self._kept = self._add_up_at = float("-inf")

    def remember(self, digest: str, admission: Admission) -> None:
        """That the key of that digest had its calls: for a while nobody looks again."""
        if admission.free_at is None:
            return
        now, wait = self._now(), (admission.free_at - admission.at).total_seconds()
        with self._lock:
            self._full[digest] = _Full(admission, now + min(wait, WRITE_EVERY_S), now + wait)

    def check(self, digest: str, call: Call) -> None:
        """AnswerError 429, and the call added to the sums, as long as the key is known to have had its calls."""
        now = self._now()
        with self._lock:
            full = self._full.get(digest)
            if full is None:
                return
            if now >= full.until:
                del self._full[digest]
                return
            self._add(full.admission, call)
        raise too_many(full.admission, full.room_at - now)

    def _add(self, admission: Admission, call: Call) -> None:
        place = (admission.key.number, call.route)
        before = self._sums.get(place)
        if before is None:
            self._sums[place] = Refused(*place, self._ports.clock(), 1, call.address)
        else:
            self._sums[place] = replace(before, calls=before.calls + 1, address=call.address)

    def write(self) -> None:
        """Write the sums down, a row for a key and a route; they are kept where the ledger is away."""
        with self._lock:
            sums, self._sums = self._sums, {}
        try:
            self._ports.ledger.as_person(PersonIdentity()).access.usage.refused(list(sums.values()))
        except BackupError as trouble:
            logger.warning("Refused calls could not be written down: %s", trouble.what)
            with self._lock:
                for place, each in sums.items():
                    later = self._sums.get(place)
                    self._sums[place] = replace(each, calls=each.calls + (later.calls if later else 0))

    def _run(self) -> None:
        while not self.stopping.wait(WRITE_EVERY_S):
            self.write()
            self._add_up()
            if self._now() - self._kept > _KEEP_EVERY_S:
                self._kept = self._now()
                self._tidy()
        self.write()

    def _add_up(self) -> None:
        """Add up the hours that are over: once at the beginning, then each as it ends."""
        if self._now() < self._add_up_at:
            return
        try:
            self._ports.ledger.as_person(PersonIdentity()).access.usage.add_up()
            self._add_up_at = self._now() + _ADD_UP_EVERY_S
        except BackupError as trouble:
            logger.warning("The calls of past hours could not be added up: %s", trouble.what)

    def _tidy(self) -> None:
        try:
            access = self._ports.ledger.as_person(PersonIdentity()).access
            access.usage.keep(_LIFE)
            access.answers.forget(self._ports.clock() - _ANSWERS_KEPT)
        except BackupError as trouble:
            logger.warning("The log of calls could not be tidied: %s", trouble.what)


def check_room(admission: Admission) -> None:
    """AnswerError 429 where the call is above the limit."""
    if admission.free_at is not None:
        raise too_many(admission, (admission.free_at - admission.at).total_seconds())


def too_many(admission: Admission, wait: float) -> AnswerError:
    """The answer to a call above the limit: how many seconds until there is room."""
    seconds, limit = max(1, int(wait) + 1), admission.key.limit
    return AnswerError(
        429,
        f"Key {admission.key.name} had its {limit:,} calls of 60 minutes.",
        do=f"Wait {seconds} seconds, let a super admin raise the limit (page API keys), or use another key.",
        headers={
            "Retry-After": str(seconds),
            "RateLimit-Limit": str(limit),
            "RateLimit-Remaining": "0",
            "RateLimit-Reset": str(seconds),
        },
    )


class CallLog:
    """The ASGI application `app`; of each call with a key the log gets status, time and bytes once it was answered.

    Such an answer has `RateLimit-*` headers. A method that a path has not is told which ones it has: `methods` of it.
    """

    def __init__(self, app: ASGIApp, methods: Callable[[str], Sequence[str]]) -> None:
        self._app, self._methods = app, methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request."""
        if scope["type"] != "http" or not is_api(scope["path"]):
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        status, size, began = 500, 0, time.monotonic()

        async def sent(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message.get("headers", ()), *_limits(state.get("admission"))]
                if status == HTTPStatus.METHOD_NOT_ALLOWED:
                    headers = [each for each in headers if each[0] != b"allow"]
                    headers.append((b"allow", ", ".join(self._methods(scope["path"])).encode()))
                message = {**message, "headers": headers}
            size += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, sent)
        finally:
            admission, call = state.get("admission"), state.get("call")
            if admission is not None and call is not None and admission.allowed:
                ms = round((time.monotonic() - began) * 1_000)
                ledger = scope["app"].state.ports.ledger.as_person(PersonIdentity())
                await run_in_threadpool(_finish, ledger.access.usage.finish, admission, call, status, ms, size)


def _finish(
    finish: Callable[[Admission, Call, int, int, int], None],
    admission: Admission,
    call: Call,
    status: int,
    ms: int,
    size: int,
) -> None:
    try:
        finish(admission, call, status, ms, size)
    except BackupError as trouble:  # it was counted before; only what it came to is not known
        logger.warning("What call %s came to could not be written down: %s", call.request_id, trouble.what)


def _limits(admission: Admission | None) -> list[tuple[bytes, bytes]]:
    if admission is None or not admission.allowed:
        return []
    values = {"ratelimit-limit": admission.key.limit, "ratelimit-remaining": admission.remaining}
    return [(name.encode(), str(value).encode()) for name, value in values.items()]
