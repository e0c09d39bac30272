"""Actor: who acts, as requests, leases, ledger rows and the audit name them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ActorKind(StrEnum):
    """How it is known who acts."""

    PERSON = "person"
    """Somebody who signed in."""
    KEY = "key"
    """A program with a key of its own."""
    COMMAND_LINE = "command_line"
    """A user of the operating system."""
    SCHEDULE = "schedule"
    DAGSTER = "dagster"
    """Whoever launched a run in Dagster, which asks nobody who he is."""
    PROGRAM = "program"
    """This program by itself: a sensor, the watchdog."""
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Actor:
    """Who acts: how that is known, and the name.

    As text, in the ledger and for people, a user of the operating system is the bare name; `schedule`, `catch-up`,
    `dagster`, `backup_pipeline` and `unknown` stand for themselves; everybody else is `<kind>:<name>`.
    """

    kind: ActorKind
    name: str

    def __str__(self) -> str:
        bare = self.kind is ActorKind.COMMAND_LINE and ":" not in self.name
        if _BY_NAME.get(self.name) == self or (bare and self.name not in _BY_NAME):
            return self.name
        return f"{self.kind}:{self.name}"


SCHEDULE = Actor(ActorKind.SCHEDULE, "schedule")
CATCH_UP = Actor(ActorKind.SCHEDULE, "catch-up")
DAGSTER = Actor(ActorKind.DAGSTER, "dagster")
PROGRAM = Actor(ActorKind.PROGRAM, "backup_pipeline")
NOBODY = Actor(ActorKind.UNKNOWN, "unknown")
"""Who did what nobody wrote down, or wrote down where it can not be read."""
_BY_NAME = {actor.name: actor for actor in (SCHEDULE, CATCH_UP, DAGSTER, PROGRAM, NOBODY)}


def command_line(name: str) -> Actor:
    """The user of the operating system with that name."""
    return Actor(ActorKind.COMMAND_LINE, name)


def parse_actor(text: str) -> Actor:
    """The actor written as `text`. Every text is one: without a known kind in front it is a user's name."""
    kind, colon, name = text.partition(":")
    if colon and kind in {*ActorKind}:
        return Actor(ActorKind(kind), name)
    return _BY_NAME.get(text) or command_line(text)
