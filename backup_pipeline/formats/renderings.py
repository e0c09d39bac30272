"""What renderings are made from: the sheets and tables of a bundle, as streams."""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import pyarrow as pa
import pyarrow.parquet as pq

from backup_pipeline.core.errors import VerificationError
from backup_pipeline.core.manifest import Manifest, TableEntry
from backup_pipeline.core.ports import OpenBundle
from backup_pipeline.formats.csv_rows import bytes_as_text, far_texts, is_far

_OTHER_COPY = "Restore the bundle from another copy, or use another backup."


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
        yield SheetFiles(table.sheet, _files(table, "csv", paths, bundle), sheet_kinds(table))


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
        files = _files(table, "parquet", paths, bundle)
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


def _files(table: TableEntry, wanted: str, paths: Mapping[str, str], bundle: OpenBundle) -> Iterator[Iterator[bytes]]:
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
        comma = "\n"
        for batch in (batch for piece in table.pieces for batch in piece.to_batches(max_chunksize=10_000)):
            yield (comma + ",\n".join(_objects(batch))).encode()
            comma = ",\n"
        yield b"]"
    yield b"\n}}\n"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, default=str)


def _objects(batch: pa.RecordBatch) -> Iterator[str]:
    names = batch.schema.names
    for values in zip(*(_values(column) for column in batch.columns), strict=True):
        yield _json(dict(zip(names, values, strict=True)))


def _values(column: pa.Array) -> list[object]:
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _iso(column)
    if pa.types.is_decimal(kind):
        return [None if value is None else f"{value:f}" for value in column.to_pylist()]
    if pa.types.is_int64(kind) or pa.types.is_time(kind):
        return list(column.cast(pa.string()).to_pylist())
    if pa.types.is_floating(kind):
        return [_finite(value) for value in column.to_pylist()]
    return list(bytes_as_text(column).to_pylist())


def _iso(column: pa.Array) -> list[object]:
    far = is_far(column) is not None
    texts = far_texts(column, "UTC", fractions=True) if far else column.cast(pa.string())
    zone = "Z" if pa.types.is_timestamp(column.type) and column.type.tz else ""
    return [None if text is None else text.replace(" ", "T").removesuffix("Z") + zone for text in texts.to_pylist()]


def _finite(value: float | None) -> object:
    if value is None or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
