"""All sheets of a bundle as one Excel workbook (ECMA-376, SpreadsheetML), in flat memory.

The rows of a sheet are made in C, out of the bytes of its CSV, and deflated on several cores.
"""

from __future__ import annotations

import codecs
import ctypes
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import islice
from typing import IO
from xml.sax.saxutils import escape, quoteattr

from isal import isal_zlib

from backup_pipeline.core.layout import Member, bytes_member
from backup_pipeline.formats.archive import BlockDeflate, deflate_pool, zip_chunks
from backup_pipeline.formats.bundle import SheetFiles
from backup_pipeline.formats.cells import Cell, LongText, RecordReader
from backup_pipeline.formats.sheet import BOM, unguarded
from backup_pipeline.native import library

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
_LOOKED_AT = 200
_WIDEST, _LONGEST, _FILTER_BUTTON = 60, 200, 3
_EDGES = re.compile(r"^[\s']+|[\s']+$")
_RESERVED = {"history"}
_PIECE = 256 << 10
"""Bytes of CSV that are looked at together; a record that is longer is made in Python, which holds less of it."""
_ROOM = 4 << 20
"""Bytes of XML that come of them at most."""
_OLDEST = datetime(1980, 1, 1, tzinfo=UTC)
"""The time of each part of a workbook: the same sheets give the same bytes."""
_DAY_ZERO = datetime(1899, 12, 30)  # noqa: DTZ001  a spreadsheet's times have no zone
_DAY_S = 86_400


def write_xlsx(target: IO[bytes], sheets: Iterable[SheetFiles], *, max_rows: int = MAX_ROWS) -> None:
    """Write `sheets` as one workbook into `target`, in flat memory.

    Numbers, dates and booleans keep their kind; text is text, never a formula. A sheet with more lines than `max_rows`
    goes on in further ones, each with the titles. A text that Excel can not hold (32,767 signs) is cut and says so;
    signs that its format has not become U+FFFD. The apostrophe that guards a text in the CSV is not in the cell: there
    a text is never a formula, also after somebody edits it. VerificationError for a file that is no CSV of ours.
    """
    with tempfile.TemporaryFile() as spool:  # without a name: nothing is left of it, however this ends
        book = _Book(spool)
        for sheet in sheets:
            book.add(sheet, max_rows)
        if not book.pages:
            book.add(SheetFiles("Empty", ()), max_rows)
        target.writelines(zip_chunks(book.members()))


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


@dataclass(frozen=True)
class _Page:
    """A worksheet: its title, how many columns and lines it has, and where its XML lies, deflated."""

    title: str
    columns: int
    lines: int
    start: int
    packed: int
    size: int
    crc32: int


class _Book:
    """The worksheets so far, deflated in `spool`."""

    def __init__(self, spool: IO[bytes]) -> None:
        self.pages: list[_Page] = []
        self._spool = spool
        self._formats = list(_FORMATS)
        self._taken: set[str] = set()

    def add(self, sheet: SheetFiles, max_rows: int) -> None:
        """A worksheet, and further ones where it has more lines than one may have."""
        records = _Records(sheet.files)
        styles = [self._style(_number_format(kind)) for kind in sheet.kinds]
        more = True
        while more:
            page = _Packing(self._spool)
            page.write(_page_head(records.titles, records.at_hand()))
            lines = 1
            for xml, rows in records.rows(2, max_rows - 1, styles):
                page.write(xml)
                lines += rows
            self.pages.append(page.closed(sheet_title(sheet.name, self._taken), len(records.titles), lines))
            more = records.more()

    def members(self) -> Iterator[Member]:
        """The parts of the workbook."""
        for path, text in _parts(self.pages, self._formats):
            yield bytes_member(path, _OLDEST, (_XML + text).encode())
        for number, page in enumerate(self.pages, 1):
            chunks, path = self._deflated(page), f"xl/worksheets/sheet{number}.xml"
            yield Member(path, _OLDEST, chunks, page.size, page.crc32, stored=False, packed=page.packed)

    def _deflated(self, page: _Page) -> Iterator[bytes]:
        self._spool.seek(page.start)
        for start in range(0, page.packed, _ROOM):
            yield self._spool.read(min(_ROOM, page.packed - start))

    def _style(self, number_format: str) -> int:
        """The number of the style of numbers in this format."""
        if number_format not in self._formats[len(_FORMATS) :] and number_format != _FORMATS[0]:
            self._formats.append(number_format)
        return 0 if number_format == _FORMATS[0] else self._formats.index(number_format, len(_FORMATS))


class _Packing:
    """The XML of a worksheet, deflated into `spool` as it comes."""

    def __init__(self, spool: IO[bytes]) -> None:
        self._spool, self._deflate = spool, BlockDeflate(deflate_pool())
        self._start, self._size, self._crc32 = spool.tell(), 0, 0

    def write(self, xml: bytes) -> None:
        """Add to it."""
        self._size += len(xml)
        self._crc32 = isal_zlib.crc32(xml, self._crc32)
        self._spool.write(self._deflate.compress(xml))

    def closed(self, title: str, columns: int, lines: int) -> _Page:
        """The worksheet, finished."""
        area = f"A1:{_letters(columns - 1)}{lines}"
        filtered = f'<autoFilter ref="{area}"/>' if columns else ""
        self.write(f"</sheetData>{filtered}</worksheet>".encode())
        self._spool.write(self._deflate.flush())
        packed = self._spool.tell() - self._start
        return _Page(title, columns, lines, self._start, packed, self._size, self._crc32)


class _Records:
    """The records of a sheet's files, one after the other; `titles` are those of the first."""

    def __init__(self, files: Iterable[Iterable[bytes]]) -> None:
        self._files = iter(files)
        self._pieces: Iterator[bytes] = iter(())
        self._held, self._at = b"", 0
        self.titles = self._record() or [] if self._next_file() else []

    def more(self) -> bool:
        """Whether a record follows."""
        while self._at == len(self._held) and not self._fill():
            if not self._next_file():
                return False
            self._record()  # the titles again
        return True

    def at_hand(self) -> list[list[Cell]]:
        """The first of those that follow, as far as they are read already: what a page is laid out by."""
        if not self.more():
            return []
        self._fill()
        return list(islice(RecordReader().take(self._held[self._at :].decode(errors="ignore")), _LOOKED_AT))

    def rows(self, first: int, most: int, styles: Sequence[int]) -> Iterator[tuple[bytes, int]]:
        """The next records, at most so many, as rows numbered from `first` on: XML, and how many rows it has."""
        loop, end = _Loop(styles), first + most
        while first < end and self.more():
            done = loop.rows(self._held, self._at, first, end - first)
            self._at += done.taken
            if done.rows:
                yield loop.xml(done), done.rows
                first += done.rows
            elif done.odd or len(self._held) - self._at > _PIECE or not self._fill():
                record = self._odd(done.odd) if done.odd else self._record() or []
                yield _row(first, [_dressed(value, at, styles) for at, value in enumerate(record)]), 1
                first += 1

    def _next_file(self) -> bool:
        file = next(self._files, None)
        if file is None:
            return False
        self._pieces = _pieces(file)
        self._held, self._at = next(self._pieces, b"").removeprefix(BOM), 0
        return True

    def _fill(self) -> bool:
        """Hold more of the file; False at its end."""
        piece = next(self._pieces, b"")
        self._held, self._at = self._held[self._at :] + piece, 0
        return bool(piece)

    def _odd(self, size: int) -> list[Cell]:
        """The next record, of which the loop knows where it ends."""
        reader = RecordReader()
        record, rest = reader.first(self._held[self._at : self._at + size].decode())
        reader.end()
        self._at += size - len(rest.encode())
        return record or []

    def _record(self) -> list[Cell] | None:
        """The next record, whatever its length: read piece by piece, of a long text only the beginning is held."""
        reader, decoder = RecordReader(), codecs.getincrementaldecoder("utf-8")()
        while self._at < len(self._held) or self._fill():
            record, rest = reader.first(decoder.decode(self._held[self._at :]))
            self._at = len(self._held)
            if record is not None:
                self._held, self._at = rest.encode() + decoder.getstate()[0], 0
                return record
        reader.end()
        return None


def _pieces(chunks: Iterable[bytes]) -> Iterator[bytes]:
    held = bytearray()
    for chunk in chunks:
        held += chunk
        while len(held) >= _PIECE:
            yield bytes(held[:_PIECE])
            del held[:_PIECE]
    if held:
        yield bytes(held)


class _SheetRows(ctypes.Structure):
    """`struct sheet_rows` of xlsx_rows.c."""

    _fields_ = [
        (name, ctypes.c_int64) for name in ("text", "size", "out", "room", "styles", "columns", "row", "most")
    ] + [(name, ctypes.c_int64) for name in ("taken", "written", "rows", "odd")]


class _Loop:
    """The loop over records in C, and the room for what it writes."""

    def __init__(self, styles: Sequence[int]) -> None:
        self._styles = (ctypes.c_int64 * len(styles))(*styles)
        self._room = ctypes.create_string_buffer(_ROOM)

    def rows(self, text: bytes, at: int, row: int, most: int) -> _SheetRows:
        """Make rows of the records of `text` from `at` on: what came of it, until the next call."""
        start = ctypes.cast(ctypes.c_char_p(text), ctypes.c_void_p).value or 0
        given = _SheetRows(
            text=start + at,
            size=len(text) - at,
            out=ctypes.addressof(self._room),
            room=_ROOM,
            styles=ctypes.addressof(self._styles),
            columns=len(self._styles),
            row=row,
            most=most,
        )
        library().write_sheet(ctypes.byref(given))
        return given

    def xml(self, done: _SheetRows) -> bytes:
        """The rows."""
        return ctypes.string_at(self._room, done.written)


_TITLE, _DAY, _MOMENT, _TEXT, _QUOTED = range(1, 6)
"""`enum style` of xlsx_rows.c."""
_FORMATS = ("General", "General", "yyyy-mm-dd", "yyyy-mm-dd hh:mm:ss", "@", "@")
"""The number format of each; those of columns follow."""
_BUILT_IN = {"General": 0, "0": 1, "0.00": 2, "@": 49}
_FIRST_OWN = 164
"""The number of the first format that a workbook brings itself."""


def _dressed(value: Cell, column: int, styles: Sequence[int]) -> tuple[Cell, int]:
    """The value as it stands in its cell, and the style."""
    if isinstance(value, str):
        bare = unguarded(value)
        if bare is not None and isinstance(value, LongText):
            bare = LongText.of(bare, value.signs - 1)
        # What a spreadsheet would take for a formula, once somebody edits the cell: shown without a mark, kept as text.
        return (_fit(value), _TEXT) if bare is None else (_fit(bare), _QUOTED)
    if isinstance(value, datetime):
        return value, _MOMENT
    if isinstance(value, date):
        return value, _DAY
    number = value is not None and not isinstance(value, bool) and column < len(styles)
    return value, styles[column] if number else 0


def _row(number: int, cells: Iterable[tuple[Cell, int]]) -> bytes:
    """A row of values, each with its style."""
    inner = "".join(
        _cell(f"{_letters(at)}{number}", value, f' s="{style}"' if style else "")
        for at, (value, style) in enumerate(cells)
        if value is not None
    )
    return f'<row r="{number}">{inner}</row>'.encode()


def _cell(place: str, value: Cell, style: str) -> str:
    if isinstance(value, str):
        text = escape(value, {"\r": "&#13;"})
        return f'<c r="{place}"{style} t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'
    if isinstance(value, bool):
        return f'<c r="{place}"{style} t="b"><v>{int(value)}</v></c>'
    if isinstance(value, date):
        moment = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)  # noqa: DTZ001
        since = moment - _DAY_ZERO
        value = since.days + since.seconds / _DAY_S if since.seconds else since.days
    return f'<c r="{place}"{style}><v>{value}</v></c>'


def _letters(column: int) -> str:
    """The letters of a column: A for 0, Z for 25, AA for 26."""
    letters = ""
    column += 1
    while column > 0:
        column, letter = divmod(column - 1, 26)
        letters = chr(ord("A") + letter) + letters
    return letters


def _number_format(kind: str) -> str:
    """How numbers of an Arrow type are shown: with all decimals of the column's scale, integers without any."""
    if scale := _SCALE.fullmatch(kind):
        decimals = min(max(int(scale[1]), 0), _MOST_DECIMALS)
        return f"0.{'0' * decimals}" if decimals else "0"
    return "0" if kind.startswith(("int", "uint")) else "General"


def _shown(title: Cell) -> Cell:
    """A title as it is called, without what guards it in the CSV."""
    if not isinstance(title, str):
        return "" if title is None else title
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


_XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_KIND = "application/vnd.openxmlformats-officedocument.spreadsheetml"


def _page_head(titles: Sequence[Cell], records: Sequence[Sequence[Cell]]) -> bytes:
    """What stands before a worksheet's records: titles that stay in sight, columns as wide as what they show first."""
    frozen = '<pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" state="frozen"/><selection pane="bottomLeft"/>'
    columns = "".join(
        f'<col min="{at + 1}" max="{at + 1}" width="{_width(at, title, records)}" customWidth="1"/>'
        for at, title in enumerate(titles)
    )
    head = (
        f'{_XML}<worksheet xmlns="{_MAIN}"><sheetViews><sheetView workbookViewId="0">{frozen if titles else ""}'
        f"</sheetView></sheetViews>{f'<cols>{columns}</cols>' if titles else ''}<sheetData>"
    )
    return head.encode() + (_row(1, [(_shown(title), _TITLE) for title in titles]) if titles else b"")


def _width(column: int, title: Cell, records: Sequence[Sequence[Cell]]) -> int:
    lengths = (_length(record[column]) for record in records if column < len(record))
    return min(max(_length(title) + _FILTER_BUTTON, *lengths, 0) + 1, _WIDEST)


def _length(value: Cell) -> int:
    """How many signs of a value stand side by side."""
    if isinstance(value, datetime):
        return len("2026-11-21 00:00:00")
    text = str(value) if value is not None else ""
    return max((len(line) for line in text[:_LONGEST].splitlines()), default=0)


def _parts(pages: Sequence[_Page], formats: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The parts of the workbook that are not its worksheets: path and XML."""
    numbers = range(1, len(pages) + 1)
    sheets = "".join(
        f'<Override PartName="/xl/worksheets/sheet{n}.xml" ContentType="{_KIND}.worksheet+xml"/>' for n in numbers
    )
    yield (
        "[Content_Types].xml",
        f'<Types xmlns="{_PACKAGE}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{_KIND}.sheet.main+xml"/>'
        f'<Override PartName="/xl/styles.xml" ContentType="{_KIND}.styles+xml"/>{sheets}</Types>',
    )
    yield "_rels/.rels", _relations([("officeDocument", "xl/workbook.xml")])
    yield "xl/workbook.xml", _workbook(pages)
    targets = [*(("worksheet", f"worksheets/sheet{n}.xml") for n in numbers), ("styles", "styles.xml")]
    yield "xl/_rels/workbook.xml.rels", _relations(targets)
    yield "xl/styles.xml", _styles(formats)


def _relations(targets: Sequence[tuple[str, str]]) -> str:
    listed = "".join(
        f'<Relationship Id="rId{number}" Type="{_OFFICE}/{kind}" Target="{target}"/>'
        for number, (kind, target) in enumerate(targets, 1)
    )
    return f'<Relationships xmlns="{_PACKAGE}/relationships">{listed}</Relationships>'


def _workbook(pages: Sequence[_Page]) -> str:
    sheets = "".join(
        f'<sheet name={quoteattr(page.title)} sheetId="{number}" r:id="rId{number}"/>'
        for number, page in enumerate(pages, 1)
    )
    filters = "".join(
        f'<definedName name="_xlnm._FilterDatabase" localSheetId="{number}" hidden="1">{_reference(page)}</definedName>'
        for number, page in enumerate(pages)
        if page.columns
    )
    names = f"<definedNames>{filters}</definedNames>" if filters else ""
    return (
        f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><bookViews><workbookView/></bookViews>'
        f"<sheets>{sheets}</sheets>{names}</workbook>"
    )


def _reference(page: _Page) -> str:
    """All of a worksheet, as a formula names it."""
    title = page.title.replace("'", "''")
    return escape(f"'{title}'!$A$1:${_letters(page.columns - 1)}${page.lines}")


_PLAIN_FONT = ' fontId="0"'


def _styles(formats: Sequence[str]) -> str:
    own = [each for each in dict.fromkeys(formats) if each not in _BUILT_IN]
    numbers = _BUILT_IN | {each: _FIRST_OWN + at for at, each in enumerate(own)}
    listed = "".join(f'<numFmt numFmtId="{numbers[each]}" formatCode={quoteattr(each)}/>' for each in own)
    more = {_TITLE: ' fontId="1" applyFont="1"', _QUOTED: ' fontId="0" quotePrefix="1"'}
    kinds = "".join(
        f'<xf numFmtId="{numbers[each]}" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"'
        f"{more.get(at, _PLAIN_FONT)}/>"
        for at, each in enumerate(formats)
    )
    font = '<sz val="11"/><name val="Calibri"/><family val="2"/>'
    plain = '<xf numFmtId="0" fontId="0" fillId="0" borderId="0"/>'
    return (
        f'<styleSheet xmlns="{_MAIN}"><numFmts count="{len(own)}">{listed}</numFmts>'
        f'<fonts count="2"><font>{font}</font><font><b/>{font}</font></fonts>'
        '<fills count="2"><fill><patternFill patternType="none"/></fill>'
        '<fill><patternFill patternType="gray125"/></fill></fills>'
        '<borders count="1"><border><left/><right/><top/><bottom/><diagonal/></border></borders>'
        f'<cellStyleXfs count="1">{plain}</cellStyleXfs><cellXfs count="{len(formats)}">{kinds}</cellXfs>'
        '<cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles></styleSheet>'
    )
