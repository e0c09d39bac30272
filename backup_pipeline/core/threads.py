"""Threads of alerts: what keeps going wrong is told at once, then at most once an interval; its end is told once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

REMIND_EVERY = timedelta(hours=24)
"""How often people are reminded, where no setting says otherwise."""


class Say(StrEnum):
    """What people are told of a thread."""

    FIRST = "first"
    REMINDER = "reminder"
    RECOVERY = "recovery"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Thread:
    """What goes wrong again and again in a catalog. `opened_at` is None while nothing is wrong.

    `failures` counts them since then; `told` of them were known to people at `told_at`. `heard`: it was told to
    somebody, and not to the program's own log alone.
    """

    catalog: str
    topic: str
    opened_at: datetime | None = None
    failures: int = 0
    told: int = 0
    told_at: datetime | None = None
    heard: bool = True


@dataclass(frozen=True)
class Step:
    """A thread before and after something happened, and what people are told of that."""

    before: Thread
    after: Thread
    say: Say


def failing(thread: Thread, now: datetime, failures: int, remind_every: timedelta, *, heard: bool = True) -> Step:
    """The thread after `failures` more; 0 when nothing new went wrong, but what did is not over yet.

    `heard`: there is a channel besides the log. Whoever has such a channel for the first time is told at once.
    """
    count = thread.failures + failures
    told = count if heard else 0
    if thread.opened_at is None:
        fresh = Thread(thread.catalog, thread.topic, now, failures, told=told, told_at=now, heard=heard)
        return Step(thread, fresh, Say.FIRST)
    unheard = heard and not thread.heard
    if thread.told_at is None or now - thread.told_at >= remind_every or unheard:
        after = replace(thread, failures=count, told=told or thread.told, told_at=now, heard=heard or thread.heard)
        return Step(thread, after, Say.REMINDER)
    return Step(thread, replace(thread, failures=count), Say.NOTHING)


def recovered(thread: Thread) -> Step:
    """The thread once it went well again."""
    if thread.opened_at is None:
        return Step(thread, thread, Say.NOTHING)
    return Step(thread, Thread(thread.catalog, thread.topic), Say.RECOVERY)
