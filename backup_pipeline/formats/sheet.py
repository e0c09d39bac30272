"""The sheet for people: a table's rows as CSV files that each open whole in a spreadsheet. Not the restore copy."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from enum import IntEnum
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backup_pipeline.core.errors import BackupError
from backup_pipeline.core.layout import sheet_name
from backup_pipeline.core.manifest import FileEntry, StoredFile
from backup_pipeline.core.plans import DAYS_BEFORE_2000, US_PER_DAY, SheetPlan
from backup_pipeline.formats.archive import GzippedFile
from backup_pipeline.formats.parquet import PartsWriter
from backup_pipeline.formats.streams import HashingFile
from backup_pipeline.native import library

_CYCLE_YEARS = 400
_CYCLE_DAYS = 146_097
_FAR_YEAR = 32_000
_FAR_DAYS = (_FAR_YEAR - 2_000) // _CYCLE_YEARS * _CYCLE_DAYS + DAYS_BEFORE_2000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def is_far(values: pa.Array) -> pa.BooleanArray | None:
    """Which of `values` are too far for Arrow's calendar; None when none is, or when they are no dates."""
    if pa.types.is_timestamp(values.type):
        limit, number = _FAR_DAYS * US_PER_DAY, pa.int64()
    elif pa.types.is_date32(values.type):
        limit, number = _FAR_DAYS, pa.int32()
    else:
        return None
    numbers = values.view(number)
    latest = pc.max(numbers).as_py()
    if latest is None or latest < limit:
        return None
    return pc.fill_null(pc.greater_equal(numbers, limit), False)  # noqa: FBT003  a value, not a flag


def far_texts(values: pa.Array, timezone: str, *, fractions: bool = False, offset: bool = False) -> pa.StringArray:
    """`values` (dates, or timestamps in µs) in the form of `cells`, with µs if `fractions`; right in any year AD.

    With `offset` instants end with how far their local time is from UTC.
    """
    day_only = pa.types.is_date32(values.type)
    numbers = values.view(pa.int32() if day_only else pa.int64()).to_pylist()
    form = (
        "-%m-%d"
        if day_only
        else f"-%m-%d %H:%M:%S{'.%f' if fractions else ''}{'%z' if offset and values.type.tz else ''}"
    )
    unit = US_PER_DAY if day_only else 1
    zone = ZoneInfo(timezone) if not day_only and values.type.tz else UTC
    texts = (None if number is None else _text(number * unit, zone, form) for number in numbers)
    return pa.array(texts, pa.string())


def _text(microseconds: int, zone: tzinfo, form: str) -> str:
    cycles = max(microseconds // US_PER_DAY // _CYCLE_DAYS, 0)
    near = (_EPOCH + timedelta(microseconds=microseconds - cycles * _CYCLE_DAYS * US_PER_DAY)).astimezone(zone)
    return f"{near.year + cycles * _CYCLE_YEARS:04d}{near:{form}}"


GUARD = "'"
_UNSEEN = (
    r"[\x{00}-\x{20}\x{7F}-\x{A0}\x{AD}\x{61C}\x{1680}\x{180E}\x{2000}-\x{200F}\x{2028}-\x{202F}"
    r"\x{205F}-\x{2064}\x{2066}-\x{206F}\x{3000}\x{FEFF}]"
)
_SIGN = r"[=+\-@\x{FF1D}\x{FF0B}\x{FF0D}\x{FF20}]"
_DANGEROUS = rf"^(?:[\t\r\n]|{_UNSEEN}*{_SIGN})"
_NUMBER = r"^[+-]\$?[0-9][0-9,]*(?:\.[0-9]*)?$"

_SUSPECT = np.zeros(256, dtype=np.bool_)
_SUSPECT[[*range(0x21), *b"=+-@\x7f", 0xC2, 0xD8, 0xE1, 0xE2, 0xE3, 0xEF]] = True
"""The first bytes (UTF-8) with which a dangerous text can begin; few texts do, so this is looked at first."""


def harmless(texts: pa.StringArray) -> pa.StringArray:
    """`texts`, each that a spreadsheet would run guarded by an apostrophe; NULLs stay."""
    if not _any_suspect(texts):
        return texts
    dangerous = pc.match_substring_regex(texts, _DANGEROUS)
    guarded = pc.and_not(dangerous, pc.match_substring_regex(texts, _NUMBER))
    if not pc.any(guarded).as_py():
        return texts
    return pc.if_else(guarded, pc.binary_join_element_wise(array_of(GUARD)[0], texts, array_of("")[0]), texts)


def unguarded(text: str) -> str | None:
    """The text that was guarded to become `text`; None when it was not.

    One that had its apostrophe from the start, before a sign of danger, can not be told from a guarded one.
    """
    if not text.startswith(GUARD):
        return None
    bare = text.removeprefix(GUARD)
    return bare if harmless(array_of(bare))[0].as_py() == text else None


def array_of(text: str) -> pa.StringArray:
    """`text` as an array, made of its bytes: for a Python value pyarrow loads pandas, half a second of CPU."""
    data = text.encode()
    return pa.StringArray.from_buffers(1, pa.py_buffer(np.array([0, len(data)], np.int32)), pa.py_buffer(data))


def _any_suspect(texts: pa.StringArray) -> bool:
    _, offsets, data = texts.buffers()
    if data is None or not data.size or not len(texts):
        return False
    width = 8 if pa.types.is_large_string(texts.type) else 4
    wanted = _SUSPECT.ctypes.data
    return bool(library().begins_with(offsets.address, width, texts.offset, len(texts), data.address, wanted))


_LINE_END = 2
_SEPARATOR = 1
_QUOTES = 2


class CellForm(IntEnum):
    """What a column holds, and how it is printed: `enum form` of csv_rows.c."""

    BOOL = 0
    INTEGER = 1
    DECIMAL = 2
    DATE = 3
    TIME = 4
    TIMESTAMP = 5
    UUID = 6
    TEXT = 7
    BARE = 8


_WIDEST = {
    CellForm.BOOL: len("false"),
    CellForm.INTEGER: len(str(-(1 << 63))),
    CellForm.DECIMAL: 38 + len("-0."),
    CellForm.DATE: len("-5877641-06-23"),
    CellForm.TIME: len("23:59:59"),
    CellForm.TIMESTAMP: len("-292275-05-16 23:59:59"),
    CellForm.UUID: 36 + _QUOTES,
}


@dataclass(frozen=True)
class Cells:
    """A column, ready to be printed. The array's buffers must suit the form; `width` is that of integers or offsets."""

    form: CellForm
    array: pa.Array
    width: int = 0
    scale: int = 0

    @property
    def most_bytes(self) -> int:
        """How many bytes its cells can take, NULLs and separators included."""
        # Every byte of a text could be a quote, and would then be doubled.
        most = _WIDEST[self.form] * len(self.array) if self.form in _WIDEST else 2 * self.array.nbytes
        return most + (_SEPARATOR + _QUOTES) * len(self.array)


class _Cells(ctypes.Structure):
    """`struct cells` of csv_rows.c."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("form", "width", "scale", "first", "null_text")),
        *((name, ctypes.c_int64) for name in ("valid", "values", "text")),
        *((name, ctypes.c_int64) for name in ("day", "date_bytes")),
        ("date", ctypes.c_uint8 * 16),
    ]


def csv_lines(columns: Sequence[Cells], *, null_text: bool) -> pa.Buffer:
    """The lines of these columns, at least one, all of the same length; with `null_text` NULL is `""`."""
    rows = len(columns[0].array)
    out = pa.allocate_buffer(sum(column.most_bytes for column in columns) + _LINE_END * rows, resizable=True)
    table = (_Cells * len(columns))(*(_cells(column, null_text=null_text) for column in columns))
    size = library().write_lines(table, len(columns), rows, out.address)
    return out.slice(0, size)


def _cells(column: Cells, *, null_text: bool) -> _Cells:
    array = column.array
    valid, values, *text = (0 if buffer is None else buffer.address for buffer in array.buffers())
    return _Cells(
        form=column.form,
        width=column.width,
        scale=column.scale,
        first=array.offset,
        null_text=null_text,
        valid=valid if array.null_count else 0,
        values=values,
        text=text[0] if text else 0,
    )


_HEX = np.frombuffer(bytes(range(256)).hex().encode(), dtype=np.uint16)
"""Byte -> its two hexadecimal digits, as one number: one look-up a byte."""
_UUID_BYTES = 16
_UUID_GROUPS = ((0, 0, 8), (9, 8, 4), (14, 12, 4), (19, 16, 4), (24, 20, 12))
"""The groups of digits between the dashes: place in the text, place among the digits, length."""


def to_cells(values: pa.Array, timezone: str) -> Cells:
    """`values` as cells to be printed as described above; dates beyond year 32767 need `far_dates` instead."""
    kind = values.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return text_cells(harmless(values))
    return (
        _times(values, timezone)
        or _numbers(values)
        or _bytes(values)
        or text_cells(values.cast(pa.string()), CellForm.BARE)
    )


def text_cells(texts: pa.Array, form: CellForm = CellForm.TEXT) -> Cells:
    """Texts as they are: no sign is added but quotes, and not even those if `form` is BARE."""
    return Cells(form, texts, width=8 if pa.types.is_large_string(texts.type) else 4)


def _times(values: pa.Array, timezone: str) -> Cells | None:
    if pa.types.is_timestamp(values.type):
        return Cells(CellForm.TIMESTAMP, local_time(values, timezone).cast(pa.timestamp("us")))
    if pa.types.is_time(values.type):
        return Cells(CellForm.TIME, values.cast(pa.time64("us")))
    return Cells(CellForm.DATE, values) if pa.types.is_date32(values.type) else None


def _numbers(values: pa.Array) -> Cells | None:
    kind = values.type
    if pa.types.is_signed_integer(kind):
        return Cells(CellForm.INTEGER, values, width=kind.bit_width // 8)
    if pa.types.is_decimal128(kind) and kind.scale >= 0:
        return Cells(CellForm.DECIMAL, values, scale=kind.scale)
    return Cells(CellForm.BOOL, values) if pa.types.is_boolean(kind) else None


def _bytes(values: pa.Array) -> Cells | None:
    plain = values.storage if isinstance(values.type, pa.UuidType) else values
    if pa.types.is_fixed_size_binary(plain.type) and plain.type.byte_width == _UUID_BYTES:
        return Cells(CellForm.UUID, plain)
    return text_cells(_hexadecimal(plain)) if pa.types.is_binary(plain.type) else None


def bytes_as_text(values: pa.Array) -> pa.Array:
    """UUIDs in canonical form, bytea in hexadecimal; other values as they are."""
    if isinstance(values.type, pa.UuidType):
        return _uuids(values.storage)
    if pa.types.is_fixed_size_binary(values.type) and values.type.byte_width == _UUID_BYTES:
        return _uuids(values)
    return _hexadecimal(values) if pa.types.is_binary(values.type) else values


def local_time(values: pa.Array, timezone: str) -> pa.Array:
    """The wall clock of `timezone` at these instants; timestamps without a timezone as they are."""
    if values.type.tz is None:
        return values
    return pc.local_timestamp(values.cast(pa.timestamp(values.type.unit, timezone)))


def _uuids(values: pa.FixedSizeBinaryArray) -> pa.StringArray:
    count = len(values)
    raw = np.frombuffer(values.buffers()[1] or b"", np.uint8)
    raw = raw[values.offset * _UUID_BYTES : (values.offset + count) * _UUID_BYTES]
    text = np.full((count, 36), ord("-"), dtype=np.uint8)
    digits = _HEX[raw].view(np.uint8).reshape(count, 32)
    for place, first, length in _UUID_GROUPS:
        text[:, place : place + length] = digits[:, first : first + length]
    ends = np.arange(0, (count + 1) * 36, 36, dtype=np.int32)
    return _where_valid(values, pa.StringArray.from_buffers(count, pa.py_buffer(ends), pa.py_buffer(text)))


def _hexadecimal(values: pa.BinaryArray) -> pa.LargeStringArray:
    """Large strings: the digits take twice the room of the bytes, which can be more than a string array holds."""
    _, offsets, data = values.buffers()
    ends = np.frombuffer(offsets or b"", np.int32)[values.offset : values.offset + len(values) + 1].astype(np.int64)
    if not len(values) or data is None:
        return values.cast(pa.string()).cast(pa.large_string())
    digits = _HEX[np.frombuffer(data, np.uint8)[ends[0] : ends[-1]]].view(np.uint8)
    bare = pa.LargeStringArray.from_buffers(len(values), pa.py_buffer((ends - ends[0]) * 2), pa.py_buffer(digits))
    prefix, joint = array_of("\\x").cast(bare.type)[0], array_of("").cast(bare.type)[0]
    return _where_valid(values, pc.binary_join_element_wise(prefix, bare, joint))


def _where_valid(values: pa.Array, texts: pa.Array) -> pa.Array:
    return texts if not values.null_count else pc.if_else(values.is_valid(), texts, pa.nulls(1, texts.type)[0])


BOM = b"\xef\xbb\xbf"
"""Without it Excel takes the file for its regional encoding, and Bangla for noise."""
EOL = "\r\n"
_LINE_FEED = ord("\n")


def csv_header(titles: Iterable[str]) -> bytes:
    """The byte order mark and the line of titles."""
    return BOM + (",".join(csv_title(title) for title in titles) + EOL).encode()


def csv_title(title: str) -> str:
    """`title` as a cell: harmless, and quoted where it must be."""
    text: str = harmless(array_of(title))[0].as_py()
    return '"' + text.replace('"', '""') + '"' if not text or set(text) & set('",\r\n') else text


def csv_rows(batch: pa.RecordBatch, timezone: str) -> Iterator[pa.Buffer]:
    """The lines of `batch`. Texts are quoted, other values are not; NULL is nothing, an empty text is `""`.

    In a sheet of one column NULL is `""` as well: an empty line would be skipped by readers, and a row lost.
    """
    for start, stop, far in _stretches(batch):
        part = batch.slice(start, stop - start)
        if batch.num_columns:
            # A line of one column that is NULL would be empty, and skipped by readers: a row lost.
            yield csv_lines([_row_cells(c, timezone, far=far) for c in part.columns], null_text=batch.num_columns == 1)
        else:
            yield pa.py_buffer(EOL.encode() * part.num_rows)


def records(lines: Sequence[pa.Buffer], batch: pa.RecordBatch) -> int:
    """How many records the lines of `batch` are, counted in their bytes: line feeds, less those inside its texts."""
    ends: int = sum(library().count_byte(part.address, part.size, _LINE_FEED) for part in lines)
    return ends if ends == batch.num_rows else ends - sum(_line_feeds(column) for column in batch.columns)


def _line_feeds(column: pa.Array) -> int:
    return pc.sum(pc.count_substring(column, "\n")).as_py() or 0 if pa.types.is_string(column.type) else 0


def _row_cells(column: pa.Array, timezone: str, *, far: bool) -> Cells:
    if far and is_far(column) is not None:
        return text_cells(far_texts(column, timezone))
    return to_cells(column, timezone)


def _stretches(batch: pa.RecordBatch) -> Iterator[tuple[int, int, bool]]:
    """`batch` as stretches (start, stop, whether they have far dates).

    A row with a far date is rendered alone: its texts, and their quotes, must not depend on its neighbours.
    """
    masks = [mask for column in batch.columns if (mask := is_far(column)) is not None]
    start = 0
    for row in sorted({row for mask in masks for row in pc.indices_nonzero(mask).to_pylist()}):
        if row > start:
            yield start, row, False
        yield row, row + 1, True
        start = row + 1
    if start < batch.num_rows:
        yield start, batch.num_rows, False


ROWS_PER_FILE = 1_048_575
"""Excel shows 1,048,576 lines; the first is the header."""


class SheetWriter(PartsWriter):
    """Writes a table's pages as `sheet-00000.csv`, `sheet-00001.csv`, … (planned so: `.csv.gz`) into `directory`.

    Every file begins with a byte order mark and the titles, and has at most `rows_per_file` records. What it holds
    depends on the rows alone, not on how they were paged; `cells` says how values look. A page has each column of the
    sheet under its `field`. `first` is the number of the first file.
    """

    def __init__(
        self, directory: Path, sheet: SheetPlan, timezone: str, *, rows_per_file: int = ROWS_PER_FILE, first: int = 0
    ) -> None:
        super().__init__(directory)
        self._first = first
        self._sheet = sheet
        self._timezone = timezone
        self._rows_per_file = rows_per_file
        self._rows: list[int] = []
        """The records of each file, counted as they are written."""

    def _append(self, rows: pa.Table) -> None:
        page, start = self._columns(rows), 0
        while start < page.num_rows:
            if not self._files or self._rows[-1] == self._rows_per_file:
                self._open()
            part = page.slice(start, self._rows_per_file - self._rows[-1])
            self._add(part)
            start += part.num_rows

    def _finish(self) -> tuple[FileEntry, ...]:
        if not self._files:
            self._open()
        self._files[-1].close()
        return tuple(_entry(file, rows) for file, rows in zip(self._files, self._rows, strict=True))

    def _open(self) -> None:
        if self._files:
            self._files[-1].close()
        file = self._new_file(sheet_name(self._first + len(self._files)))
        self._rows.append(0)
        file.write(csv_header(column.title for column in self._sheet.columns))

    def _new_file(self, name: str) -> HashingFile:
        if not self._sheet.gzipped:
            return super()._new_file(name)
        self._files.append(GzippedFile(self._directory / name))
        return self._files[-1]

    def _add(self, rows: pa.Table) -> None:
        for batch in rows.to_batches():
            written = [*csv_rows(batch, self._timezone)]
            for lines in written:
                self._files[-1].write(lines)
            self._rows[-1] += records(written, batch)

    def _columns(self, rows: pa.Table) -> pa.Table:
        try:
            return rows.select([column.field for column in self._sheet.columns])
        except KeyError as error:
            message = f"A page of sheet {self._sheet.name} lacks a column: {error}"
            raise BackupError(message, do="Report it: reader and plan disagree about a column.") from error


def _entry(file: HashingFile, rows: int) -> FileEntry:
    if isinstance(file, GzippedFile):
        return FileEntry(
            name=file.name,
            format="csv",
            rows=rows,
            bytes=file.plain_bytes,
            sha256=file.plain_sha256,
            crc32=file.plain_crc32,
            gzipped=StoredFile(name=file.path.name, bytes=file.bytes, sha256=file.sha256, crc32=file.crc32),
        )
    return FileEntry(
        name=file.path.name, format="csv", rows=rows, bytes=file.bytes, sha256=file.sha256, crc32=file.crc32
    )
