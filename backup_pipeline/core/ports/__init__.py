"""The ports: what operations ask of a source, the file formats, a store and a ledger (a file each), and of people.

`postgres`, `formats`, `stores`, `ledger` and `alerts` implement them; tests run one contract suite over every
implementation of a port.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from backup_pipeline.core.alerts import NoPings
from backup_pipeline.core.ports.database import Page, RestoreTarget, Snapshot, Source, TargetSession
from backup_pipeline.core.ports.files import Formats, OpenBundle, Second, Store, StoredObject, TableWriter
from backup_pipeline.core.ports.ledger import (
    Copies,
    Downloads,
    Dues,
    Leases,
    Ledger,
    Listings,
    Outbox,
    Readings,
    Restores,
    Shapes,
    Tallies,
    Threads,
)

if TYPE_CHECKING:
    from backup_pipeline.core.alerts import Alert, Delivery, Signal
    from backup_pipeline.core.comparison import Decoder
    from backup_pipeline.core.ledger import Owner
    from backup_pipeline.core.retention.prune import Removals

__all__ = [
    "Alerter",
    "Clock",
    "Copies",
    "Downloads",
    "Dues",
    "Formats",
    "Leases",
    "Ledger",
    "Listings",
    "OpenBundle",
    "Outbox",
    "Page",
    "Pinger",
    "Ports",
    "Readings",
    "RestoreTarget",
    "Restores",
    "Second",
    "Shapes",
    "Snapshot",
    "Source",
    "Store",
    "StoredObject",
    "TableWriter",
    "Tallies",
    "TargetSession",
    "Threads",
]

Clock = Callable[[], datetime]
"""Gives the present instant, timezone-aware."""


@dataclass(frozen=True)
class Ports:
    """Everything an operation reaches the world through; what one verb needs besides is an argument of that verb.

    `store` is the one that is worked on, and `second` gets each backup after it has it; None where there is no second
    destination. `removals` says how objects leave a store. `spool` is a folder for files in the making, and `decoder`
    reads those of a backup; what does not fit into memory goes into files under the folder it is given. `workers` is
    how many tables are exported side by side.

    `owner` is this process; `alive` tells whether a process lives, as far as can be told: without it, every one does.
    `clock` is the ledger's; `drift` says how much that of this machine is ahead of it. `salt` gives a random number for
    a backup id. `console_url` is where people find the console; None where nobody said so.
    """

    source: Source
    formats: Formats
    store: Store
    ledger: Ledger
    alerter: Alerter
    progress: Progress
    clock: Clock
    salt: Callable[[], int]
    owner: Owner
    spool: Path
    decoder: Callable[[Path], Decoder]
    removals: Callable[[Store], Removals]
    second: Second | None = None
    pinger: Pinger = field(default_factory=NoPings)
    alive: Callable[[Owner], bool] = lambda _: True
    drift: Callable[[], timedelta] = timedelta
    workers: int = 1
    console_url: str | None = None


@dataclass(frozen=True)
class TableStarted:
    """A table's export begins; `estimated_rows` is what the database guesses, `sheet` its title for people."""

    table: str
    estimated_rows: int
    sheet: str = ""


@dataclass(frozen=True)
class PageWritten:
    """A page went through the writers: its rows, and the bytes of files it made (uncounted until the file closes)."""

    table: str
    rows: int
    bytes: int


@dataclass(frozen=True)
class TableFinished:
    """A table's export ended: with its numbers, or with an error."""

    table: str
    sheet: str
    rows: int
    bytes: int
    seconds: float
    error: str | None = None


@dataclass(frozen=True)
class StageStarted:
    """The run reached a stage that is not a table: `snapshot`, `bundle`, `check`."""

    stage: str
    total_bytes: int = 0


@dataclass(frozen=True)
class TablesPlanned:
    """So many tables are about to be read, with about so many rows together, as the database guesses; None: unknown."""

    tables: int
    estimated_rows: int | None


@dataclass(frozen=True)
class BytesMoved:
    """Bytes of the present stage that are done."""

    bytes: int


@dataclass(frozen=True)
class Waiting:
    """The run stands still: for what, as a sentence."""

    message: str


Event = TablesPlanned | TableStarted | PageWritten | TableFinished | StageStarted | BytesMoved | Waiting


class Progress(Protocol):
    """Listens to a run. Called from several threads; must return at once and never raise."""

    def tell(self, event: Event) -> None:
        """Take note of an event."""


class Silence:
    """Progress that nobody watches."""

    def tell(self, event: Event) -> None:
        """Ignore the event."""


class Alerter(Protocol):
    """Tells people. Never raises: a dead channel is a fact to report, not a failure of a backup."""

    @property
    def channels(self) -> Sequence[str]:
        """The names of the channels, without secrets; no two are the same."""

    def send(self, alert: Alert, only: Collection[str] | None = None) -> Sequence[Delivery]:
        """Send to every channel, or `only` to those; one delivery, good or bad, per channel."""


class Pinger(Protocol):
    """Signals to a watcher outside. Never raises, and is quick: a dead watcher never holds a backup up."""

    def ping(self, signal: Signal, catalog: str, text: str) -> Delivery | None:
        """Send the signal; what became of it, None when nobody wants to know."""
