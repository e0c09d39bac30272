"""All sheets of a bundle as one Excel workbook."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import date, datetime
from itertools import chain, islice
from pathlib import Path
from typing import IO
from zipfile import ZIP_DEFLATED, ZipFile

from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.styles import Font
from openpyxl.styles.cell_style import StyleArray
from openpyxl.utils import get_column_letter
from openpyxl.worksheet._write_only import WriteOnlyWorksheet
from openpyxl.writer.excel import ExcelWriter

from backup_pipeline.core.errors import VerificationError
from backup_pipeline.formats.bundle import SheetFiles
from backup_pipeline.formats.sheet import unguarded

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
    reader = _Reader()
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


class _Reader:
    """Takes texts, gives records; what is not whole yet is kept, and never looked at twice."""

    def __init__(self) -> None:
        self._row: list[Cell] = []
        self._rest = ""
        self._open: _OpenText | None = None

    def take(self, text: str) -> Iterator[list[Cell]]:
        """The records that end in `text`."""
        text, position = self._rest + text, 0
        while (cell := self._cell(text, position)) is not None:
            value, position, ends = cell
            self._row.append(value)
            if ends:
                yield self._row
                self._row = []
        self._rest = text[self._at(text, position) :]
        if len(self._rest) > _MOST_REST:
            raise _no_csv(self._rest)

    def end(self) -> None:
        """VerificationError when something is left."""
        if self._rest or self._row or self._open is not None:
            raise _no_csv(self._rest)

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


MAX_ROWS = 1_048_576
_MAX_TITLE = 31
_MAX_TEXT = 32_767
_FORBIDDEN = re.compile(r"[\[\]:*?/\\\x00-\x1f\ufffe\uffff]")
_NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
"""What XML 1.0 has no way to write."""
_ESCAPE = re.compile(r"_(?=x[0-9A-Fa-f]{4}_)")
_SCALE = re.compile(r"decimal\d+\(\d+, (-?\d+)\)")
_MOST_DECIMALS = 30
"""Of a number format."""
_LOOKED_AT, _WEIGHT = 200, 1_000_000
_WIDEST, _LONGEST, _FILTER_BUTTON = 60, 200, 3
_EDGES = re.compile(r"^[\s']+|[\s']+$")
_RESERVED = {"history"}


def write_xlsx(target: IO[bytes], sheets: Iterable[SheetFiles], *, max_rows: int = MAX_ROWS) -> None:
    """Write `sheets` as one workbook into `target`, in flat memory.

    Numbers, dates and booleans keep their kind; text is text, never a formula. A sheet with more lines than `max_rows`
    goes on in further ones, each with the titles. A text that Excel can not hold (32,767 signs) is cut and says so;
    signs that its format has not become U+FFFD. The apostrophe that guards a text in the CSV is not in the cell: there
    a text is never a formula, also after somebody edits it.
    """
    book = Workbook(write_only=True)
    with _without_leftovers(book):
        taken: set[str] = set()
        for sheet in sheets:
            _add_sheet(book, sheet, taken, max_rows)
        if not taken:
            _new_sheet(book, "Empty")
        # Not Workbook.save: after an error it leaves an archive that writes on into a closed file.
        with ZipFile(target, "w", ZIP_DEFLATED) as archive:
            ExcelWriter(book, archive).save()


def sheet_title(name: str, taken: set[str]) -> str:
    """A title that Excel accepts for `name`, and not yet in `taken` (in small letters), to which it is added."""
    clean = _EDGES.sub("", _FORBIDDEN.sub("_", name)) or "Sheet"
    number = 1
    while True:
        suffix = f" ({number})" if number > 1 else ""
        title = _cut(clean, _MAX_TITLE - len(suffix)) + suffix
        if title.casefold() not in taken | _RESERVED:
            taken.add(title.casefold())
            return title
        number += 1


def _cut(text: str, units: int) -> str:
    """Excel counts UTF-16 units: an emoji is two."""
    return _EDGES.sub("", text.encode("utf-16-le")[: 2 * units].decode("utf-16-le", errors="ignore"))


@contextmanager
def _without_leftovers(book: Workbook) -> Iterator[None]:
    """Removes openpyxl's temporary files: after an error it keeps them, rows and all, until the process ends."""
    try:
        yield
    finally:
        for page in book.worksheets:
            _discard(page)


def _discard(page: WriteOnlyWorksheet) -> None:
    writer = page._writer
    if writer is None or not Path(writer.out).exists():
        return
    if not page.closed:
        with suppress(Exception):  # it can be in the middle of a row
            page.close()
    writer.cleanup()


def _add_sheet(book: Workbook, sheet: SheetFiles, taken: set[str], max_rows: int) -> None:
    records = chain.from_iterable(_records(sheet))
    titles = next(records, [])
    more = True
    while more:
        page = _new_sheet(book, sheet_title(sheet.name, taken))
        first = _first(records)
        _lay_out(page, titles, first)
        styles = _Styles(page, sheet.kinds)
        page.append([styles.title(_shown(title)) for title in titles])
        rows = 1
        for record in islice(chain(first, records), max_rows - 1):
            page.append([styles.cell(at, value) for at, value in enumerate(record)])
            rows += 1
        rest = first[max_rows - 1 :]
        page.auto_filter.ref = f"A1:{get_column_letter(max(len(titles), 1))}{rows}"
        page.close()  # Else each sheet would keep a file open until the end.
        following = rest or list(islice(records, 1))
        more = bool(following)
        records = chain(following, records)


def _first(records: Iterator[list[Cell]]) -> list[list[Cell]]:
    """Records to look at before the sheet is laid out: few, and no more than a few texts can weigh."""
    first: list[list[Cell]] = []
    weight = 0
    while len(first) < _LOOKED_AT and weight < _WEIGHT:
        record = next(records, None)
        if record is None:
            break
        first.append(record)
        weight += sum(len(value) for value in record if isinstance(value, str))
    return first


def _lay_out(page: WriteOnlyWorksheet, titles: Sequence[Cell], first: Sequence[Sequence[Cell]]) -> None:
    """Freeze the titles, and make columns as wide as what their first rows show."""
    page.freeze_panes = "A2"
    for index, title in enumerate(titles):
        shown = [_length(title) + _FILTER_BUTTON, *(_length(record[index]) for record in first if index < len(record))]
        page.column_dimensions[get_column_letter(index + 1)].width = min(max(shown) + 1, _WIDEST)


def _length(value: Cell) -> int:
    """How many signs of a value stand side by side."""
    if isinstance(value, datetime):
        return len("2026-11-21 00:00:00")
    text = str(value) if value is not None else ""
    return max((len(line) for line in text[:_LONGEST].splitlines()), default=0)


class _Styles:
    """The cells of one sheet: titles in bold, numbers with their column's decimals, dates as dates, texts as texts.

    A style is made once a sheet and shared by its cells: to make one for each takes longer than to write it.
    """

    def __init__(self, page: WriteOnlyWorksheet, kinds: Sequence[str]) -> None:
        self._page = page
        self._numbers = [_style(page, number_format=_number_format(kind)) for kind in kinds]
        self._general = _style(page)
        self._day = _style(page, number_format="yyyy-mm-dd")
        self._moment = _style(page, number_format="yyyy-mm-dd hh:mm:ss")
        self._text = _style(page, number_format="@")
        # What a spreadsheet would take for a formula, once somebody edits the cell: shown without a mark, kept as text.
        self._quoted = _style(page, number_format="@", quotePrefix=True)
        self._bold = _style(page, font=Font(bold=True))

    def title(self, text: Cell) -> object:
        """A cell of the first row."""
        return self._cell(text if text is not None else "", self._bold)

    def cell(self, column: int, value: Cell) -> object:
        """A cell of the column `at`."""
        if value is None:
            return None
        if isinstance(value, str):
            bare = unguarded(value)
            if bare is not None and isinstance(value, LongText):
                bare = LongText.of(bare, value.signs - 1)
            return self._cell(_fit(bare if bare is not None else value), self._text if bare is None else self._quoted)
        if isinstance(value, datetime):
            return self._cell(value, self._moment)
        if isinstance(value, date):
            return self._cell(value, self._day)
        number = not isinstance(value, bool) and column < len(self._numbers)
        return self._cell(value, self._numbers[column] if number else self._general)

    def _cell(self, value: Cell, style: StyleArray) -> WriteOnlyCell:
        cell = WriteOnlyCell(self._page, value)
        if isinstance(value, str):
            cell.data_type = "s"  # Else openpyxl takes a text that begins with = for a formula.
        cell._style = style
        return cell


def _style(page: WriteOnlyWorksheet, **wanted: object) -> StyleArray:
    cell = WriteOnlyCell(page)
    for name, value in wanted.items():
        setattr(cell, name, value)
    return cell._style


def _number_format(kind: str) -> str:
    """How numbers of an Arrow type are shown: with all decimals of the column's scale, integers without any."""
    if scale := _SCALE.fullmatch(kind):
        decimals = min(max(int(scale[1]), 0), _MOST_DECIMALS)
        return f"0.{'0' * decimals}" if decimals else "0"
    return "0" if kind.startswith(("int", "uint")) else "General"


def _records(sheet: SheetFiles) -> Iterator[Iterable[list[Cell]]]:
    """The records of all files, with the titles of the first only."""
    for number, file in enumerate(sheet.files):
        yield islice(csv_cells(file), 1 if number else 0, None)


def _new_sheet(book: Workbook, title: str) -> WriteOnlyWorksheet:
    page = book.create_sheet(title)
    if not isinstance(page, WriteOnlyWorksheet):
        raise TypeError(page)
    return page


def _shown(title: Cell) -> Cell:
    """A title as it is called, without what guards it in the CSV."""
    if not isinstance(title, str):
        return title
    bare = unguarded(title)
    return _fit(title if bare is None else bare)


def _fit(text: str) -> str:
    """`text` as the format can hold it: the signs that XML has not are U+FFFD, `_x0041_` stays what it is."""
    signs = text.signs if isinstance(text, LongText) else len(text)
    text = _NO_XML.sub("\ufffd", text)
    if len(text.encode("utf-16-le")) > 2 * _MAX_TEXT:
        note = f"… (cut: {signs:,} signs)"
        text = text.encode("utf-16-le")[: 2 * (_MAX_TEXT - len(note))].decode("utf-16-le", errors="ignore") + note
    # A spreadsheet reads _xHHHH_ as the sign of that number.
    return _ESCAPE.sub("_x005F_", text)
