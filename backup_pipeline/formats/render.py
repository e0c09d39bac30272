"""What renderings are made from: the sheets and tables of a bundle, as streams."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import pyarrow as pa
import pyarrow.parquet as pq

from backup_pipeline.core.errors import VerificationError
from backup_pipeline.core.manifest import Manifest, TableEntry
from backup_pipeline.core.ports import OpenBundle

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
