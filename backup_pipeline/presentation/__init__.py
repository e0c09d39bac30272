"""What a report says, before anything draws it: facts, tables and notes, in the order in which people read them.

A builder (`presentation/backup.py`, `prune.py`, …) makes a `ReportDocument` of a report. A drawer (`terminal.py`,
`markdown.py`) draws any document: it alone knows colours, widths and what has to be escaped. Texts are as they came;
numbers, sizes and times are values, so that each medium can show them its own way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum, StrEnum
from typing import Any

from backup_pipeline.core.ports import StageStarted, TableFinished, TableStarted

Hide = Callable[[str], str]
"""Takes what is secret out of a text."""


def shown_whole(text: str) -> str:
    """Where nothing is secret."""
    return text


class Tone(StrEnum):
    """What a text means to its reader; each drawer has its own way to show it."""

    PLAIN = "plain"
    STRONG = "strong"
    QUIET = "quiet"
    PROVEN = "proven"
    GOOD = "good"
    ACTIVE = "active"
    PARTIAL = "partial"
    WARNING = "warning"
    WRONG = "wrong"
    FAILURE = "failure"


@dataclass(frozen=True)
class Bytes:
    """A size, or with `signed` how much a size grows."""

    count: float
    signed: bool = False


@dataclass(frozen=True)
class Number:
    """A number that is no plain count: so many digits after the point, `signed` with a sign also above zero."""

    value: float
    digits: int = 0
    signed: bool = False


@dataclass(frozen=True)
class Minute:
    """An instant of which seconds do not matter."""

    at: datetime


Value = str | int | Bytes | Number | Minute | datetime | date | None
"""What a cell or a fact holds. An `int` is a count; None is nothing."""


@dataclass(frozen=True)
class Span:
    """A value with what it means."""

    value: Value
    tone: Tone = Tone.PLAIN


Part = Value | Span


@dataclass(frozen=True)
class Sentence:
    """A sentence of its own."""

    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Item:
    """One of a list of sentences."""

    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Note:
    """A sentence with a word before it (`Warning`), what it is about, and what to do."""

    word: str
    tone: Tone
    text: str
    about: str = ""
    do: str = ""


@dataclass(frozen=True)
class Checks:
    """What was looked at, a line each: its state is the word of its note."""

    notes: tuple[Note, ...]


@dataclass(frozen=True)
class Fact:
    """A name and its value."""

    name: str
    value: Part


@dataclass(frozen=True)
class Facts:
    """Facts below each other."""

    facts: tuple[Fact, ...]


class Wrap(Enum):
    """When the cells of a column may be broken: what is copied or compared never is."""

    NEVER = "never"
    STACKED = "where columns are stacked"
    ALWAYS = "always"


@dataclass(frozen=True)
class TableColumn:
    """A column of a table. Where there is little room it stands below the column called `below`."""

    title: str
    right: bool = False
    wrap: Wrap = Wrap.NEVER
    below: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of cells, one for each column. No column has a title: there is no head. `total` is a last row, set apart."""

    columns: tuple[TableColumn, ...]
    rows: tuple[tuple[Part, ...], ...]
    title: str = ""
    total: tuple[Part, ...] = ()


@dataclass(frozen=True)
class DayGrid:
    """Of each row what became of it on each day, in one letter."""

    name: str
    days: tuple[date, ...]
    rows: tuple[tuple[str, tuple[Span, ...]], ...]


Block = Sentence | Item | Note | Checks | Facts | Table | DayGrid


@dataclass(frozen=True)
class Section:
    """What belongs together."""

    blocks: tuple[Block, ...]
    title: str = ""


@dataclass(frozen=True)
class ReportDocument:
    """A whole report. Sections are set apart from each other."""

    sections: tuple[Section, ...]

    def __add__(self, other: ReportDocument) -> ReportDocument:
        """Both, one after the other."""
        return ReportDocument(self.sections + other.sections)


def document(*blocks: Block) -> ReportDocument:
    """A document of one section."""
    return ReportDocument((Section(blocks),))


def joined(documents: Iterable[ReportDocument]) -> ReportDocument:
    """All of them, one after the other."""
    return ReportDocument(tuple(section for each in documents for section in each.sections))


def line(*parts: Part) -> Sentence:
    """A sentence of these parts."""
    return Sentence(parts)


def item(*parts: Part) -> Item:
    """One of a list of sentences, of these parts."""
    return Item(parts)


def facts(pairs: Iterable[tuple[str, Part]]) -> Facts:
    """The facts that have a value."""
    return Facts(tuple(Fact(name, value) for name, value in pairs if text_of(value)))


def numbers(*titles: str) -> tuple[TableColumn, ...]:
    """Columns of numbers."""
    return tuple(TableColumn(title, right=True) for title in titles)


def texts(*titles: str) -> tuple[TableColumn, ...]:
    """Columns of short texts."""
    return tuple(TableColumn(title) for title in titles)


def prose(title: str) -> TableColumn:
    """A column of sentences."""
    return TableColumn(title, wrap=Wrap.ALWAYS)


def tone_of(part: Part) -> Tone:
    """What the part means."""
    return part.tone if isinstance(part, Span) else Tone.PLAIN


def value_of(part: Part) -> Value:
    """The part without what it means."""
    return part.value if isinstance(part, Span) else part


def text_of(part: Part) -> str:
    """The part in words, not escaped: `1,234`, `1.4 GB`, `2026-11-20 18:00:00 UTC`; nothing for None."""
    value = value_of(part)
    return _WORDS.get(type(value), str)(value)


_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")
_STEP = 1000
_MINUTE = 60


def size(count: float) -> str:
    """A number of bytes for people, in powers of a thousand: `1.4 GB`."""
    value, unit = abs(count), 0
    while value >= _STEP and unit < len(_UNITS) - 1:
        value, unit = value / _STEP, unit + 1
    sign = "-" if count < 0 else ""
    if unit:
        return f"{sign}{value:,.1f} {_UNITS[unit]}"
    return f"{sign}{value:,.0f} {'byte' if value == 1 else 'bytes'}"


def duration(seconds: float) -> str:
    """Seconds for people: `4.2 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    minutes, left = divmod(round(seconds), _MINUTE)
    hours, minutes = divmod(minutes, _MINUTE)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {left} s"


_WORDS: Mapping[type, Callable[[Any], str]] = {
    type(None): lambda _: "",
    int: lambda value: f"{value:,}",
    Bytes: lambda value: f"{'+' if value.signed and value.count > 0 else ''}{size(value.count)}",
    Number: lambda value: f"{value.value:{'+' if value.signed else ''},.{value.digits}f}",
    Minute: lambda value: f"{value.at:%Y-%m-%d %H:%M} UTC",
    datetime: lambda value: f"{value:%Y-%m-%d %H:%M:%S} UTC",
    date: date.isoformat,
}


_STAGES = {
    "snapshot": "opening the snapshot",
    "schema": "reading the definitions (pg_dump)",
    "bundle": "bundling into the store",
    "check": "reading the bundle back",
    "bytes": "reading the bundle",
    "contents": "decoding its contents",
    "references": "following references",
    "fetch": "fetching the tables from the store",
    "load": "loading the rows",
    "statistics": "making statistics",
    "download": "downloading the bundle",
    "render": "rendering the bundle",
}


def stage_name(event: StageStarted) -> str:
    """The stage as people call it."""
    return _STAGES.get(event.stage, event.stage)


def table_name(event: TableStarted | TableFinished) -> str:
    """The table as the database and the catalog call it, and the title of its sheet, which the files are called by."""
    return f"{event.table} ({event.sheet})" if event.sheet not in {"", event.table} else event.table
