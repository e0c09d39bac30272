"""What a running backup tells about itself, and the port that listens."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from backup_pipeline.core.alerts import Alert, Delivery, Signal


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
class BytesMoved:
    """Bytes of the present stage that are done."""

    bytes: int


@dataclass(frozen=True)
class Waiting:
    """The run stands still: for what, as a sentence."""

    message: str


Event = TableStarted | PageWritten | TableFinished | StageStarted | BytesMoved | Waiting


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
