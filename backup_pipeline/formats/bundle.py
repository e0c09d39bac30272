"""The bundle, a ZIP (archive.py), read again by ranges: its members, and as sheets, tables and JSON."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import math
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from backup_pipeline.core.errors import NotFoundError, VerificationError
from backup_pipeline.core.manifest import Manifest, TableEntry
from backup_pipeline.core.names import MOST_DIRECTORY, MOST_DOCUMENT, whole
from backup_pipeline.core.ports import OpenBundle
from backup_pipeline.formats.sheet import BOM, array_of, bytes_as_text, csv_title, far_texts, is_far

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


_OTHER_COPY = "Restore the bundle from another copy, or use another backup."
_CHUNK = 1 << 20
_PLAIN_PLACES = 6

ReadRange = Callable[[int, int], bytes]
"""Gives the bytes from `start`, `length` of them."""

_READ_AHEAD = 1 << 20


class _BeforeStartError(OSError):
    """A place before the first byte: zipfile looks there in archives that are too short, and expects an OSError."""


_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, _BeforeStartError)


class BundleReader:
    """The members of the ZIP of `size` bytes behind `read_range`; VerificationError when it is damaged.

    Errors of `read_range` itself pass through. Streams of several members may be read at the same time.
    """

    def __init__(self, read_range: ReadRange, size: int) -> None:
        ranges = _Ranges(read_range, size, MOST_DIRECTORY + 2 * _READ_AHEAD)
        with _damage("The bundle"):
            self._zip = zipfile.ZipFile(io.BufferedReader(ranges, _READ_AHEAD))
        ranges.most = None
        self._counts = Counter(self._zip.namelist())

    def names(self) -> tuple[str, ...]:
        """The members' paths, in the order of the archive."""
        return tuple(self._zip.namelist())

    def stream(self, name: str) -> Iterator[bytes]:
        """The bytes of a member in chunks; VerificationError, at the latest at its end, when its CRC-32 is wrong."""
        info = self._info(name)
        with _damage(f"Member {name} of the bundle"), self._zip.open(info) as member:
            while chunk := member.read(_CHUNK):
                yield chunk

    def read(self, name: str) -> bytes:
        """A whole member, as `stream` gives it: for the manifest, the schema, the README."""
        return whole(self.stream(name), MOST_DOCUMENT, f"Member {name} of the bundle")

    def _info(self, name: str) -> zipfile.ZipInfo:
        if self._counts[name] > 1:
            message = f"The bundle has {self._counts[name]} members {name}: which one is meant?"
            raise VerificationError(message, do=_OTHER_COPY)
        try:
            return self._zip.getinfo(name)
        except KeyError as error:
            message = f"The bundle has no member {name}."
            raise NotFoundError(message, do=f"It has: {', '.join(self.names())}.") from error


@contextmanager
def _damage(what: str) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        message = f"{what} is damaged: {error or type(error).__name__}."
        raise VerificationError(message, do=_OTHER_COPY) from error


class _Ranges(io.RawIOBase):
    """A file made of ranges, as zipfile wants it."""

    def __init__(self, read_range: ReadRange, size: int, most: int | None) -> None:
        """With `most`: no more bytes than that are read, until it is None."""
        super().__init__()
        self.most = most
        self._taken = 0
        self._read_range = read_range
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise _BeforeStartError(errno.EINVAL, f"place {base + offset} lies before the beginning")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        wanted = min(len(view), max(self._size - self._at, 0))
        self._taken += wanted
        if self.most is not None and self._taken > self.most:
            message = f"its directory has more than the {MOST_DIRECTORY:,} bytes that are read"
            raise zipfile.BadZipFile(message)
        data = self._read_range(self._at, wanted) if wanted else b""
        view[: len(data)] = data
        self._at += len(data)
        return len(data)


@dataclass(frozen=True)
class SheetFiles:
    """A sheet of a bundle: its name, and its CSV files in order (more than one when it was rolled over), as bytes.

    `kinds` are the Arrow types of its columns, as far as the manifest knows them; empty texts where it does not.
    """

    name: str
    files: Iterable[Iterable[bytes]]
    kinds: Sequence[str] = ()


@dataclass(frozen=True)
class TableRows:
    """A table of a bundle: its name, and its rows in order, piece by piece."""

    name: str
    pieces: Iterable[pa.Table]


def bundle_sheets(manifest: Manifest, bundle: OpenBundle) -> Iterator[SheetFiles]:
    """The sheets of a bundle, in the manifest's order. VerificationError where a file is not what it says."""
    paths = _paths(manifest)
    for table in manifest.tables:
        yield SheetFiles(table.sheet, _member_files(table, "csv", paths, bundle), sheet_kinds(table))


def sheet_kinds(table: TableEntry) -> Sequence[str]:
    """The Arrow type of each column of the table's sheet; empty for one that is masked."""
    own = {column.name: "" if column.masked else column.arrow_type for column in table.columns}
    if table.sheet_sources:
        return [source.arrow_type or own.get(source.column, "") for source in table.sheet_sources]
    return [own.get(title, "") for title in table.sheet_columns]


def bundle_tables(manifest: Manifest, bundle: OpenBundle) -> Iterator[TableRows]:
    """The tables of a bundle, in the manifest's order. VerificationError where a file is not what it says."""
    paths = _paths(manifest)
    for table in manifest.tables:
        files = _member_files(table, "parquet", paths, bundle)
        yield TableRows(table.name, chain.from_iterable(parquet_rows(file) for file in files))


def parquet_rows(chunks: Iterable[bytes]) -> Iterator[pa.Table]:
    """The row groups of the Parquet file that `chunks` make up; it is put into a temporary file, not into memory."""
    with tempfile.TemporaryFile() as spool:
        for chunk in chunks:
            spool.write(chunk)
        spool.seek(0)
        try:
            with pq.ParquetFile(spool) as file:
                for group in range(file.num_row_groups):
                    yield file.read_row_group(group)
        except pa.ArrowException as error:
            message = f"A Parquet file of the bundle can not be read: {error}"
            raise VerificationError(message, do=_OTHER_COPY) from error


def _paths(manifest: Manifest) -> Mapping[str, str]:
    """SHA-256 -> the path of a member with it.

    A file is looked up so because a sheet's name in the bundle may be one of the catalog's choice; should two members
    have the same SHA-256, they have the same bytes too.
    """
    return {sha256: path for path, sha256 in manifest.entries.items()}


def _member_files(
    table: TableEntry, wanted: str, paths: Mapping[str, str], bundle: OpenBundle
) -> Iterator[Iterator[bytes]]:
    """The table's files of the format `wanted`, as streams that compare themselves with the manifest."""
    for file in table.files:
        if file.format != wanted:
            continue
        if file.sha256 not in paths:
            message = f"The manifest names no member of the bundle for {file.name} of table {table.name}."
            raise VerificationError(message, do=_OTHER_COPY)
        yield _stream(bundle, paths[file.sha256], file.sha256)


def _stream(bundle: OpenBundle, path: str, sha256: str) -> Iterator[bytes]:
    seen = hashlib.sha256()
    for chunk in bundle.stream(path):
        seen.update(chunk)
        yield chunk
    if seen.hexdigest() != sha256:
        message = f"Member {path} of the bundle has the SHA-256 {seen.hexdigest()}; the manifest says {sha256}."
        raise VerificationError(message, do=_OTHER_COPY)


def json_chunks(manifest: Mapping[str, object], tables: Iterable[TableRows]) -> Iterator[bytes]:
    """The document `{"manifest": {…}, "tables": {"<name>": [{…}, …], …}}` as UTF-8, a row a line."""
    yield f'{{"manifest": {_json(manifest)},\n"tables": {{'.encode()
    for number, table in enumerate(tables):
        yield ((",\n" if number else "\n") + _json(table.name) + ": [").encode()
        comma = b"\n"
        for batch in (batch for piece in table.pieces for batch in piece.to_batches(max_chunksize=10_000)):
            yield comma
            yield _objects(batch)
            comma = b",\n"
        yield b"]"
    yield b"\n}}\n"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, default=str)


def _objects(batch: pa.RecordBatch) -> bytes:
    """The rows as objects, a row a line, made a column at a time: row by row takes three times as long."""
    pieces: list[pa.Array] = []
    for number, (name, column) in enumerate(zip(batch.schema.names, batch.columns, strict=True)):
        pieces += [array_of(f"{', ' if number else '{'}{_json(name)}: ")[0], _json_texts(column)]
    rows = pc.binary_join_element_wise(*pieces, array_of("}")[0], array_of("")[0]) if pieces else None
    return (
        b",\n".join(rows.cast(pa.binary()).to_pylist()) if rows is not None else b",\n".join([b"{}"] * batch.num_rows)
    )


def _json_texts(column: pa.Array) -> pa.Array:
    """The values of a column as JSON writes them, those of `json_values`; NULL is null."""
    kind = column.type
    if pa.types.is_boolean(kind) or (pa.types.is_integer(kind) and not pa.types.is_int64(kind)):
        texts = column.cast(pa.string())
    elif pa.types.is_int64(kind) or pa.types.is_time(kind) or _prints_plain(kind):
        texts = _quoted(column.cast(pa.string()))
    elif (pa.types.is_timestamp(kind) or pa.types.is_date(kind)) and is_far(column) is None:
        texts = _quoted(pc.replace_substring(column.cast(pa.string()), " ", "T"))
    elif (plain := _escaped(bytes_as_text(column))) is not None:
        texts = _quoted(plain)
    else:
        return pa.array([_json(value) for value in json_values(column)], pa.string())
    return pc.if_else(texts.is_valid(), texts, array_of("null")[0]) if texts.null_count else texts


def _prints_plain(kind: pa.DataType) -> bool:
    """Whether Arrow prints decimals of this type without an exponent: it has one from the seventh place on."""
    return bool(pa.types.is_decimal(kind) and 0 <= kind.scale <= _PLAIN_PLACES)


def _escaped(texts: pa.Array) -> pa.Array | None:
    """Texts as they stand between quotes; None for what are none, and where one has signs that need a number."""
    if pa.types.is_large_string(texts.type):
        texts = texts.cast(pa.string())
    if not pa.types.is_string(texts.type) or pc.any(pc.match_substring_regex(texts, r"[\x00-\x1f]")).as_py():
        return None
    return pc.replace_substring(pc.replace_substring(texts, "\\", "\\\\"), '"', '\\"')


def _quoted(texts: pa.Array) -> pa.Array:
    quote = array_of('"')[0]
    return pc.binary_join_element_wise(quote, texts, quote, array_of("")[0])


def json_values(column: pa.Array) -> list[object]:
    """The values of a column as JSON has them: what is no text, number or truth value there is a text, exact."""
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _iso(column)
    if pa.types.is_decimal(kind):
        return [None if value is None else f"{value:f}" for value in column.to_pylist()]
    if pa.types.is_int64(kind) or pa.types.is_time(kind):
        return list(column.cast(pa.string()).to_pylist())
    if pa.types.is_floating(kind):
        return [finite(value) for value in column.to_pylist()]
    return list(bytes_as_text(column).to_pylist())


def _iso(column: pa.Array) -> list[object]:
    far = is_far(column) is not None
    texts = far_texts(column, "UTC", fractions=True) if far else column.cast(pa.string())
    zone = "Z" if pa.types.is_timestamp(column.type) and column.type.tz else ""
    return [None if text is None else text.replace(" ", "T").removesuffix("Z") + zone for text in texts.to_pylist()]


def finite(value: float | None) -> object:
    """A number as JSON can have it: what is not finite is a text."""
    if value is None or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def combined_csv(sheets: Iterable[SheetFiles]) -> Iterator[bytes]:
    """The bytes of one CSV: for each sheet the line `### Name ###`, its titles and records, and an empty line."""
    yield BOM
    for number, sheet in enumerate(sheets):
        yield (("\r\n" if number else "") + csv_title(f"### {sheet.name} ###") + "\r\n").encode()
        for part, file in enumerate(sheet.files):
            chunks = _without(BOM, file)
            yield from _without_titles(chunks) if part else chunks


def _without(head: bytes, chunks: Iterable[bytes]) -> Iterator[bytes]:
    start = b""
    rest = iter(chunks)
    for chunk in rest:
        start += chunk
        if len(start) >= len(head):
            break
    yield start.removeprefix(head)
    yield from rest


def _without_titles(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """What follows the first line break outside quotes: a title may hold one too."""
    start = b""
    rest = iter(chunks)
    for chunk in rest:
        start += chunk
        if (end := _first_line(start)) is not None:
            yield start[end:]
            break
    yield from rest


def _first_line(data: bytes) -> int | None:
    end = data.find(b"\r\n")
    while end >= 0:
        if data.count(b'"', 0, end) % 2 == 0:
            return end + 2
        end = data.find(b"\r\n", end + 2)
    return None
