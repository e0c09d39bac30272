"""Removing objects from a store, and what may stay all the same: locks, versions, refusals, unfinished uploads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from backup_pipeline.core.ports import StoredObject


class Why(StrEnum):
    """Why an object, or its bytes, are still there."""

    LOCKED = "locked"
    VERSIONED = "versioned"
    DENIED = "denied"
    FAILED = "failed"


class Versions(StrEnum):
    """What to do about earlier versions, where a bucket keeps them: a delete there only hides an object.

    REPORT tells of each that its bytes stay, LEAVE says nothing because the bucket's own lifecycle rule removes them,
    REMOVE removes them too.
    """

    REPORT = "report"
    LEAVE = "leave"
    REMOVE = "remove"


@dataclass(frozen=True)
class Left:
    """An object of which something is left, why, and what a person can do about it.

    `hidden` says whether it is gone for everybody who lists or reads the store: only its bytes are left.
    """

    key: str
    why: Why
    message: str
    do: str
    hidden: bool = False

    def as_json(self) -> dict[str, object]:
        """The same as JSON."""
        return {"key": self.key, "why": self.why.value, "message": self.message, "do": self.do, "hidden": self.hidden}


@dataclass(frozen=True)
class Unfinished:
    """What a writer left that died: an upload that was never completed, or a file that never got its name.

    `key` is where it was to appear, or how the store calls it; `token` is the store's own name for it.
    """

    key: str
    begun: datetime
    token: str


class Removals(Protocol):
    """How objects leave a store. Only a store that does not answer at all raises (StoreUnavailableError)."""

    def locked(self, keys: Sequence[str]) -> Sequence[Left]:
        """Those of the objects that are locked now: to delete them would fail, or hide them and free nothing."""

    def remove(self, keys: Sequence[str], versions: Versions) -> Sequence[Left]:
        """Delete the objects, each by itself; those of which something is left. A missing object is no error."""

    def hidden(self, prefix: str) -> Iterator[StoredObject]:
        """The objects that were deleted and are only hidden: their keys, the bytes of all their versions."""

    def unfinished(self, prefix: str) -> Iterator[Unfinished]:
        """What dead writers may have left of objects whose key starts with `prefix`, those of living ones too."""

    def discard(self, found: Unfinished) -> Left | None:
        """Remove it; what is left of it, if it could not be. One that is being written at this moment stays."""
