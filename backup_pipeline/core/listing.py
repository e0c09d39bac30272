"""Lists of backups for people: which rows are wanted, where in the list somebody is, and what there is in all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from backup_pipeline.core.errors import UsageError
from backup_pipeline.core.ledger import Attempt, Status
from backup_pipeline.core.names import Kind, Trigger

GONE = (Status.EXPIRED, Status.DELETED)
SHOWN = tuple(status for status in Status if status not in {Status.EXPECTED, *GONE})
"""What a list shows unless somebody wants something else: what is there, and what was tried."""


@dataclass(frozen=True)
class BackupFilter:
    """Which rows of `backup_logs` are wanted: those that fit everything that is given. Times are UTC.

    `text` is looked for in the id, the file's name, the actor, the reason and the error, without case. Incremental
    backups of businesses are there for who asks for that kind, or for a text.
    """

    catalog: str | None = None
    statuses: tuple[Status, ...] = SHOWN
    type: Trigger | None = None
    kind: Kind | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str = ""


_POSITION = re.compile(r"(?P<at>\d{8}T\d{6}\.\d{6})Z~(?P<id>.+)", re.DOTALL)


@dataclass(frozen=True)
class Position:
    """A row of a list that is ordered by time and id, newest first: what is older comes after it."""

    created_at: datetime
    backup_id: str

    def __str__(self) -> str:
        return f"{self.created_at.astimezone(UTC):%Y%m%dT%H%M%S.%f}Z~{self.backup_id}"


def position_of(row: Attempt) -> Position:
    """Where the row stands."""
    return Position(row.created_at, row.backup_id)


def parse_position(text: str) -> Position:
    """The position as its text has it; UsageError when it is none."""
    match = _POSITION.fullmatch(text)
    try:  # no column holds NUL, nor lone surrogates, which encode() refuses as a ValueError
        if match is not None and b"\0" not in match["id"].encode():
            return Position(datetime.strptime(f"{match['at']}+0000", "%Y%m%dT%H%M%S.%f%z"), match["id"])
    except ValueError:
        pass
    message = "That place in the list is not known."
    raise UsageError(message, do="Begin at the newest.")


@dataclass(frozen=True)
class BackupTotals:
    """The backups that are there: good ones with a bundle. `bytes` are those of their bundles."""

    backups: int = 0
    rows: int = 0
    bytes: int = 0
    by_type: Mapping[Trigger, int] | None = None

    def of(self, trigger: Trigger) -> int:
        """How many were made so."""
        return (self.by_type or {}).get(trigger, 0)


@dataclass(frozen=True)
class BackupPage:
    """Some rows of a list, and the position after which the rest comes; None where nothing does."""

    rows: tuple[Attempt, ...]
    following: Position | None = None
