"""A sheet's CSV read back cell by cell, with what no CSV library tells: whether a cell was quoted, that is, a text."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from datetime import date, datetime

from backup_pipeline.core.errors import VerificationError

Cell = str | int | float | bool | date | datetime | None

_CELL = re.compile(r'(?:"(?P<text>[^"]*(?:""[^"]*)*)"|(?P<plain>[^",\r\n]*))(?P<end>,|\r\n)')
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_DAY = re.compile(r"\d{4}-\d\d-\d\d(?P<time> \d\d:\d\d:\d\d)?")
_EXACT_DIGITS = 15
"""A spreadsheet's numbers are doubles."""


def csv_cells(chunks: Iterable[bytes]) -> Iterator[list[Cell]]:
    """The records of a CSV file, the titles first, as values that a spreadsheet holds exactly.

    Texts stay texts, whatever they look like. A number of more than 15 digits is a text, else it would be rounded.
    VerificationError when the file is no CSV of ours, or cut off.
    """
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    row: list[Cell] = []
    rest = ""
    for chunk in chunks:
        text, at = rest + decoder.decode(chunk), 0
        while match := _CELL.match(text, at):
            at = match.end()
            row.append(_value(match))
            if match["end"] != ",":
                yield row
                row = []
        rest = text[at:]
    if rest or row:
        message = f"A sheet of the bundle ends in the middle of a record: {rest[:80]!r}"
        raise VerificationError(message, do="Restore the bundle from another copy, or use another backup.")


def _value(match: re.Match[str]) -> Cell:
    if (text := match["text"]) is not None:
        return text.replace('""', '"')
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
