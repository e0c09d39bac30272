"""All sheets of a bundle as one Excel workbook."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, islice
from pathlib import Path
from typing import IO
from zipfile import ZIP_DEFLATED, ZipFile

from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
from openpyxl.worksheet._write_only import WriteOnlyWorksheet
from openpyxl.writer.excel import ExcelWriter

from backup_pipeline.formats.csv_cells import Cell, csv_cells
from backup_pipeline.formats.render import SheetFiles

MAX_ROWS = 1_048_576
_MAX_TITLE = 31
_MAX_TEXT = 32_767
_FORBIDDEN = re.compile(r"[\[\]:*?/\\\x00-\x1f]")
_EDGES = re.compile(r"^[\s']+|[\s']+$")
_RESERVED = {"history"}


def write_xlsx(target: IO[bytes], sheets: Iterable[SheetFiles], *, max_rows: int = MAX_ROWS) -> None:
    """Write `sheets` as one workbook into `target`, in flat memory.

    Numbers, dates and booleans keep their kind; text is text, never a formula. A sheet with more lines than `max_rows`
    goes on in further ones, each with the titles. A text that Excel can not hold (32,767 signs) is cut and says so;
    control signs, which its format forbids, become U+FFFD.
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
        page.append([_cell(page, title) for title in titles])
        for record in islice(records, max_rows - 1):
            page.append([_cell(page, value) for value in record])
        page.close()  # Else each sheet would keep a file open until the end.
        following = list(islice(records, 1))
        more = bool(following)
        records = chain(following, records)


def _records(sheet: SheetFiles) -> Iterator[Iterable[list[Cell]]]:
    """The records of all files, with the titles of the first only."""
    for number, file in enumerate(sheet.files):
        yield islice(csv_cells(file), 1 if number else 0, None)


def _new_sheet(book: Workbook, title: str) -> WriteOnlyWorksheet:
    page = book.create_sheet(title)
    if not isinstance(page, WriteOnlyWorksheet):
        raise TypeError(page)
    return page


def _cell(page: WriteOnlyWorksheet, value: Cell) -> object:
    if not isinstance(value, str):
        return value
    cell = WriteOnlyCell(page, _fit(value))
    cell.data_type = "s"  # Else openpyxl takes a text that begins with = for a formula.
    return cell


def _fit(text: str) -> str:
    text = ILLEGAL_CHARACTERS_RE.sub("\ufffd", text)
    if len(text.encode("utf-16-le")) <= 2 * _MAX_TEXT:
        return text
    note = f"… (cut: {len(text):,} signs)"
    return text.encode("utf-16-le")[: 2 * (_MAX_TEXT - len(note))].decode("utf-16-le", errors="ignore") + note
