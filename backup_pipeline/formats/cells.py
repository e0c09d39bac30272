"""A sheet's CSV read again, as values: what a spreadsheet holds exactly."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from datetime import date, datetime

from backup_pipeline.core.errors import VerificationError

Cell = str | int | float | bool | date | datetime | None

_CELL = re.compile(r'(?:"(?P<text>[^"]*(?:""[^"]*)*)"|(?P<plain>[^",\r\n]*))(?P<end>,|\r\n)')
_END = re.compile(r",|\r\n")
MOST_SIGNS = 40_000
"""More than the 32,767 that a cell of a workbook takes."""
_MOST_REST = 4 << 20
"""No cell without quotes is so long."""
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_DAY = re.compile(r"\d{4}-\d\d-\d\d(?P<time> \d\d:\d\d:\d\d)?")
_EXACT_DIGITS = 15
"""A spreadsheet's numbers are doubles."""


def csv_cells(chunks: Iterable[bytes]) -> Iterator[list[Cell]]:
    """The records of a CSV file, the titles first, as values that a spreadsheet holds exactly.

    Texts stay texts, whatever they look like; of one that is longer than any spreadsheet takes only the beginning is
    held, as a `LongText`. A number of more than 15 digits is a text, else it would be rounded. VerificationError when
    the file is no CSV of ours, or cut off.
    """
    reader = RecordReader()
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    for chunk in chunks:
        yield from reader.take(decoder.decode(chunk))
    reader.end()


class LongText(str):
    """The beginning of a text that has `signs` signs."""

    __slots__ = ("signs",)
    signs: int

    @classmethod
    def of(cls, beginning: str, signs: int) -> LongText:
        """The beginning of a text of so many signs."""
        text = cls(beginning)
        text.signs = signs
        return text


class RecordReader:
    """Takes texts, gives records; what is not whole yet is kept, and never looked at twice."""

    def __init__(self) -> None:
        self._row: list[Cell] = []
        self._rest = ""
        self._open: _OpenText | None = None

    def take(self, text: str) -> Iterator[list[Cell]]:
        """The records that end in `text`."""
        text, position = self._rest + text, 0
        while True:
            record, position = self._record(text, position)
            if record is None:
                return
            yield record

    def first(self, text: str) -> tuple[list[Cell] | None, str]:
        """The first record that ends in `text`, None when none does, and what of `text` is left to take."""
        text = self._rest + text
        record, position = self._record(text, 0)
        self._rest = self._rest if record is None else ""
        return record, "" if record is None else text[position:]

    def end(self) -> None:
        """VerificationError when something is left."""
        if self._rest or self._row or self._open is not None:
            raise _no_csv(self._rest)

    def _record(self, text: str, position: int) -> tuple[list[Cell] | None, int]:
        """The record that goes on at `position`, and where it ends; None, and it is kept, when it does not."""
        while (cell := self._cell(text, position)) is not None:
            value, position, ends = cell
            self._row.append(value)
            if ends:
                record, self._row = self._row, []
                return record, position
        self._rest = text[self._at(text, position) :]
        if len(self._rest) > _MOST_REST:
            raise _no_csv(self._rest)
        return None, len(text)

    def _cell(self, text: str, position: int) -> tuple[Cell, int, bool] | None:
        """The next cell, where it ends, and whether its record does; None when it goes on after `text`."""
        if self._open is None:
            if match := _CELL.match(text, position):
                return _value(match), match.end(), match["end"] != ","
            if text[position : position + 1] != '"':
                return None
            self._open, position = _OpenText(), position + 1
        position = self._open.take(text, position)
        end = _END.match(text, position) if self._open.closed else None
        if end is None:
            self._open.at = position
            return None
        value, self._open = self._open.value(), None
        return value, end.end(), end[0] != ","

    def _at(self, text: str, at: int) -> int:
        """Where what is left begins: behind what the open text has taken."""
        if self._open is None:
            return at
        if self._open.closed and len(text) - self._open.at > 1:
            raise _no_csv(text[self._open.at :])
        return self._open.at


class _OpenText:
    """A quoted text whose end has not come yet: its first signs, and how many there were; `at` is where it was left."""

    def __init__(self) -> None:
        self.closed = False
        self.at = 0
        self._parts: list[str] = []
        self._kept = 0
        self._signs = 0
        self._quote = False

    def take(self, text: str, position: int) -> int:
        """Take what belongs to it from `at` on; where that ends."""
        while not self.closed:
            if self._quote and position < len(text):  # the last sign of the text before
                self._quote, self.closed = False, text[position] != '"'
                if not self.closed:
                    self._add('"')
                    position += 1
                continue
            quote = text.find('"', position)
            self._add(text[position : quote if quote >= 0 else None])
            if quote < 0:
                return len(text)
            self._quote, position = True, quote + 1
            if position == len(text):
                return position
        return position

    def value(self) -> str:
        """The text, or its beginning."""
        text = "".join(self._parts)
        return text if self._signs == self._kept else LongText.of(text, self._signs)

    def _add(self, part: str) -> None:
        self._signs += len(part)
        if self._kept < MOST_SIGNS:
            self._parts.append(part[: MOST_SIGNS - self._kept])
            self._kept += len(self._parts[-1])


def _no_csv(rest: str) -> VerificationError:
    message = f"A sheet of the bundle ends in the middle of a record: {rest[:80]!r}"
    return VerificationError(message, do="Restore the bundle from another copy, or use another backup.")


def _value(match: re.Match[str]) -> Cell:
    if (text := match["text"]) is not None:
        text = text.replace('""', '"')
        return text if len(text) <= MOST_SIGNS else LongText.of(text[:MOST_SIGNS], len(text))
    plain = match["plain"]
    if plain in {"", "true", "false"}:
        return None if not plain else plain == "true"
    if _NUMBER.fullmatch(plain):
        return _number(plain)
    return _moment(plain)


def _number(plain: str) -> Cell:
    digits = plain.lstrip("-").replace(".", "").lstrip("0")
    if len(digits) > _EXACT_DIGITS:
        return plain
    return float(plain) if "." in plain else int(plain)


def _moment(plain: str) -> Cell:
    match = _DAY.fullmatch(plain)
    if not match or plain < "1901":  # Excel's calendar begins in 1900, and has a day too many in that year.
        return plain
    return datetime.fromisoformat(plain) if match["time"] else date.fromisoformat(plain)
