"""The chain of the audit: each row has the SHA-256 of what it says and of the row before it.

A row that was changed, added in between or taken out breaks it. What was cut off at the end, a chain can not know by
itself: whoever keeps the hash of a row elsewhere sees whether that row is still there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from backup_pipeline.core.ledger import AuditEvent


@dataclass(frozen=True)
class AuditEntry:
    """A row of `backup_audit`: its number, what it says, and its place in the chain.

    `texts` is what the row says as the ledger writes it, in the order in which it goes into the hash; None is nothing.
    """

    number: int
    event: AuditEvent
    texts: tuple[str | None, ...] = ()
    previous: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class AuditFilter:
    """Which rows of the audit are wanted; what is empty is no condition. `words` are looked for in the detail."""

    actor: str = ""
    action: str = ""
    backup_id: str = ""
    words: str = ""
    since: datetime | None = None
    before: datetime | None = None


def entry_sha256(previous: str, texts: Iterable[str | None]) -> str:
    """The hash of a row after `previous`: each text with its length in front, so that none can be part of another."""
    content = "".join("-" if text is None else f"{len(text)}:{text}" for text in (previous, *texts))
    return hashlib.sha256(content.encode()).hexdigest()


class Break(NamedTuple):
    """The first row that does not fit, and why."""

    number: int
    at: datetime
    why: str


@dataclass(frozen=True)
class ChainReport:
    """What looking at the whole chain came to. `newest` is the last row's number and hash; `broken` None: it holds.

    `expected` says whether the row with a hash that somebody kept is there; None where nobody asked.
    """

    rows: int
    newest: tuple[int, str] | None = None
    broken: Break | None = None
    expected: bool | None = None

    @property
    def holds(self) -> bool:
        """Whether nothing is wrong."""
        return self.broken is None and self.expected is not False


@dataclass
class ChainCheck:
    """Looks at the rows one after the other, in the order of their numbers."""

    expect: str | None = None
    _rows: int = field(default=0, init=False)
    _last: AuditEntry | None = field(default=None, init=False)
    _broken: Break | None = field(default=None, init=False)
    _met: bool = field(default=False, init=False)

    def look(self, entry: AuditEntry) -> None:
        """Take the next row into account."""
        self._rows += 1
        before = self._last.sha256 if self._last else ""
        if self._broken is None and (why := _why_broken(entry, before)):
            self._broken = Break(entry.number, entry.event.at, why)
        self._met = self._met or entry.sha256 == self.expect
        self._last = entry

    def report(self) -> ChainReport:
        """What it came to."""
        newest = (self._last.number, self._last.sha256) if self._last else None
        return ChainReport(self._rows, newest, self._broken, self._met if self.expect is not None else None)


def _why_broken(entry: AuditEntry, before: str) -> str:
    if entry.previous != before:
        return "a row before it was taken out, added or changed" if before else "rows before it were taken out"
    if entry.sha256 != entry_sha256(entry.previous, entry.texts):
        return "what it says is not what was written"
    return ""
