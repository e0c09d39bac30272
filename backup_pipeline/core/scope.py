"""What a piece of work is about, and who acts: values that requests, leases, rows and alerts carry."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from enum import StrEnum

from backup_pipeline.core.names import catalog_folder, windows_device

BUSINESSES = "businesses"
_BEFORE_RESTORE = "_before_restore"
_BUSINESS = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,62}[A-Za-z0-9_-])?")


class Purpose(StrEnum):
    """What backups are made for. Those of different purposes lie apart, and are never compared with each other."""

    BACKUP = "backup"
    SAFETY = "safety"
    """To have what a restore may change as it was before."""
    TICK = "tick"
    """To protect the businesses of a catalog all at once: of leases, never of a backup, which is of one of them."""


@dataclass(frozen=True)
class Scope:
    """A catalog, one of its businesses (None: all of them, or a catalog without any), and a purpose.

    ValueError for a name that can be no folder, or a catalog's that ends as the folders of safety backups do.
    """

    catalog: str
    business: str | None = field(default=None, kw_only=True)
    purpose: Purpose = field(default=Purpose.BACKUP, kw_only=True)

    def __post_init__(self) -> None:
        catalog_folder(self.catalog)
        if self.catalog.endswith(_BEFORE_RESTORE):
            message = f"{self.catalog!r} is not a catalog's name: {_BEFORE_RESTORE} ends the folders of safety backups"
            raise ValueError(message)
        if self.business is not None:
            business_folder(self.business)

    @property
    def folder(self) -> str:
        """Its folder in the store, without a closing slash: `isp`, `isp_before_restore`, `isp/businesses/42`."""
        catalog = f"{self.catalog}{_BEFORE_RESTORE}" if self.purpose is Purpose.SAFETY else self.catalog
        if self.purpose is Purpose.TICK:
            return f"{catalog}/{BUSINESSES}"
        return catalog if self.business is None else f"{catalog}/{BUSINESSES}/{self.business}"

    @property
    def key(self) -> str:
        """Its name in leases and alert threads, the same in every version: its folder."""
        return self.folder

    @property
    def safety(self) -> Scope:
        """The scope of what is backed up before a restore of this one."""
        return replace(self, purpose=Purpose.SAFETY)

    def __str__(self) -> str:
        return self.folder


def business_folder(text: str) -> str:
    """`text`, if it can be a business's key: a folder in the store; else ValueError."""
    if not _BUSINESS.fullmatch(text) or windows_device(text):
        message = f"{text!r} is not a business's key: up to 64 of A-Z, a-z, 0-9, _ . and -, a letter or digit first"
        raise ValueError(message)
    return text


def parse_scope(key: str) -> Scope:
    """The scope of a `Scope.key`; ValueError when it is none."""
    folder, slash, rest = key.partition("/")
    kind, below, business = rest.partition("/")
    if kind == BUSINESSES and not below:
        return Scope(folder, purpose=Purpose.TICK)
    if slash and kind != BUSINESSES:
        message = f"{key!r} names neither a catalog nor one of its businesses"
        raise ValueError(message)
    purpose = Purpose.SAFETY if folder.endswith(_BEFORE_RESTORE) else Purpose.BACKUP
    return Scope(folder.removesuffix(_BEFORE_RESTORE), business=business if slash else None, purpose=purpose)


def described_scope(catalog: str, business: str | None, purpose: Purpose) -> Scope:
    """The scope that a document describes: one of before 1.5 has the folder of a safety backup as its catalog."""
    if catalog.endswith(_BEFORE_RESTORE):
        return replace(parse_scope(catalog), business=business)
    return Scope(catalog, business=business, purpose=purpose)


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

    @property
    def for_people(self) -> str:
        """As it stands where people read: somebody who signed in by name alone, everybody else as in the ledger."""
        return self.name if self.kind is ActorKind.PERSON else str(self)

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


_PERSON_BEFORE = re.compile(rf"\b{ActorKind.PERSON}:(?=[^\s:])")


def as_people_read(text: str) -> str:
    """A text that the program wrote, such as an audit row's, with people who signed in by name alone."""
    return _PERSON_BEFORE.sub("", text)


def parse_actor(text: str) -> Actor:
    """The actor written as `text`. Every text is one: without a known kind in front it is a user's name."""
    kind, colon, name = text.partition(":")
    if colon and kind in {*ActorKind}:
        return Actor(ActorKind(kind), name)
    return _BY_NAME.get(text) or command_line(text)
