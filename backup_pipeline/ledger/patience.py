"""Patience with the ledger: a connection on which no answer comes is given up, so that nobody waits for ever."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any, TypeVar

import psycopg
from sqlalchemy import Engine, event

ANSWER_SECONDS = 45.0
"""More than the server lets a statement run: it is the first to say so, unless no word of it arrives."""

T = TypeVar("T")


class _PatientConnection(psycopg.Connection[Any]):
    """Waits for any one answer so long and no longer; then it is closed, and OperationalError."""

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **more: Any) -> T:
        return super().wait(_in_time(gen, ANSWER_SECONDS, self.pgconn.finish), *args, **more)


def be_patient(engine: Engine) -> Engine:
    """Let `engine` wait for an answer no longer than `ANSWER_SECONDS`."""
    event.listen(engine, "do_connect", lambda _, __, words, names: _PatientConnection.connect(*words, **names))
    return engine


def _in_time(wanted: Generator[Any, Any, T], seconds: float, give_up: Callable[[], None]) -> Generator[Any, Any, T]:
    """`wanted`, as psycopg drives it: with what the socket is ready for, or with nothing when an interval is over."""
    end = time.monotonic() + seconds
    try:
        state = next(wanted)
        while True:
            ready = yield state
            if not ready and time.monotonic() > end:
                give_up()
                message = f"no answer came within {seconds:g} s"
                raise psycopg.OperationalError(message)
            state = wanted.send(ready)
    except StopIteration as done:
        answer: T = done.value
        return answer
