"""Where things lie in the store: the keys of bundles, manifests, partitions and schemas (docs/format.md)."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum

from backup_pipeline.core.errors import VerificationError
from backup_pipeline.core.keys import encrypted_name, is_gzipped
from backup_pipeline.core.manifest import FileEntry, TableEntry
from backup_pipeline.core.names import safe_file_name
from backup_pipeline.core.scope import BUSINESSES, Scope, parse_scope

MANIFEST_NAME = "manifest.json"
HOLD_NAME = "hold.json"
PARTITION_NAME = "partition.json"
VERIFICATIONS = "verifications"
"""The folder for what verifications unpack, beside those in which attempts make their files."""
DRILLS = "drills"
"""The folder for drills among those; a drill that was killed leaves its own there until the next one."""
RESTORES = "restores"
"""The folder for restores among those, on this machine, in which attempts make their files."""
RENDERINGS = "renderings"
"""The folder among those for renderings that wait to be downloaded, in a folder a request."""
QUERIES = "queries"
"""The folder among those for the tables that are queried."""


@dataclass(frozen=True)
class PartitionPlace:
    """The folder of one table's files for one date."""

    scope: Scope
    table: str
    day: date

    @property
    def prefix(self) -> str:
        """The folder's key, with its closing slash."""
        return f"{tables_prefix(self.scope)}{self.table}/backup_date={self.day.isoformat()}/"

    @property
    def record(self) -> str:
        """The key of the partition's record, written last and deleted first: a partition exists when it does."""
        return self.prefix + PARTITION_NAME

    def file(self, name: str) -> str:
        """The key of one of its files."""
        return self.prefix + name


@dataclass(frozen=True)
class BackupPlace:
    """The folder of one backup: its bundle, and its manifest."""

    scope: Scope
    day: date
    backup_id: str

    @property
    def prefix(self) -> str:
        """The folder's key, with its closing slash."""
        return f"{backups_prefix(self.scope)}backup_date={self.day.isoformat()}/{self.backup_id}/"

    @property
    def manifest(self) -> str:
        """The key of the manifest, written last: a backup exists when it does."""
        return self.prefix + MANIFEST_NAME

    @property
    def hold(self) -> str:
        """The key of what says that somebody holds the backup; it is there as long as the hold is."""
        return self.prefix + HOLD_NAME

    def bundle(self, name: str) -> str:
        """The key of the bundle."""
        return self.prefix + name


def backups_prefix(scope: Scope) -> str:
    """The folder of all backups of a scope."""
    return f"{scope.folder}/backups/"


def tables_prefix(scope: Scope) -> str:
    """The folder of all partitions of a scope."""
    return f"{scope.folder}/tables/"


def schema_prefix(scope: Scope) -> str:
    """The folder of the schemas of all dates of a scope."""
    return f"{scope.folder}/schema/"


def schema_key(scope: Scope, day: date) -> str:
    """The key of the schema of a date, beside its partitions."""
    return f"{scope.folder}/schema/backup_date={day.isoformat()}/schema.sql"


def split_key(key: str) -> tuple[Scope, str] | None:
    """The scope that a key of a store belongs to, and the rest behind its folder; None for one that is none of ours."""
    parts = key.split("/")
    depth = 3 if parts[1:2] == [BUSINESSES] else 1
    try:
        return parse_scope("/".join(parts[:depth])), "/".join(parts[depth:])
    except ValueError:
        return None


def is_schema(key: str) -> bool:
    """Whether a key is one of `schema_key`."""
    return "/schema/backup_date=" in key and key.endswith("/schema.sql")


def parquet_name(part: int) -> str:
    """The name of a Parquet part in its partition."""
    return f"part-{part:05d}.parquet"


def sheet_name(part: int) -> str:
    """The name of a CSV part in its partition."""
    return f"sheet-{part:05d}.csv"


README_PATH = "README.txt"
SCHEMA_PATH = "schema.sql"
MANIFEST_PATH = MANIFEST_NAME


@dataclass(frozen=True)
class Member:
    """A file of a bundle: its path, time, content, and what the content must add up to.

    `stored` members lie in the ZIP as they are, so that one of them can be read by range; the others are deflated. With
    `packed` the chunks are that already: so many bytes of a DEFLATE stream; size and CRC-32 are those of its content.
    """

    path: str
    modified: datetime
    chunks: Iterable[bytes]
    size: int
    crc32: int
    stored: bool
    packed: int | None = None


def bytes_member(path: str, modified: datetime, content: bytes) -> Member:
    """A member whose content is at hand."""
    return Member(path, modified, (content,), len(content), zlib.crc32(content), stored=False)


def file_member(file: FileEntry, path: str, modified: datetime, chunks: Iterable[bytes]) -> Member:
    """A file of a table, whose bytes `chunks` are as they lie in the store.

    Parquet and what is encrypted goes in as it is; of a gzipped sheet the DEFLATE stream does, without being made anew.
    """
    lies = file.stored
    if file.encrypted is None and file.gzipped is not None:
        packed, content = lies.bytes - GZIP_AROUND, _gzip_content(file, chunks)
        return Member(path, modified, content, file.bytes, file.crc32, stored=False, packed=packed)
    name = encrypted_name(path, gzipped=is_gzipped(lies.name)) if file.encrypted else path
    as_it_is = file.format == "parquet" or file.encrypted is not None
    return Member(name, modified, chunks, lies.bytes, lies.crc32, stored=as_it_is)


GZIP_HEAD = bytes([0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0xFF])
"""What a gzip file begins with (RFC 1952) that says neither name nor time, nor on which system it was made."""
GZIP_AROUND = len(GZIP_HEAD) + 8
"""Bytes of a gzip file around its DEFLATE stream."""


def gzip_tail(crc32: int, size: int) -> bytes:
    """What a gzip file ends with: the CRC-32 and, as far as 32 bits hold it, the size of its content."""
    return (crc32 & 0xFFFF_FFFF).to_bytes(4, "little") + (size & 0xFFFF_FFFF).to_bytes(4, "little")


def _gzip_content(file: FileEntry, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The DEFLATE stream of a gzipped file; VerificationError unless it is one of `file`, as we write them."""
    tail = gzip_tail(file.crc32, file.bytes)
    held, begun, ours = b"", False, True
    for chunk in chunks:
        held += chunk
        if not begun and len(held) >= GZIP_AROUND:
            begun, ours, held = True, held.startswith(GZIP_HEAD), held[len(GZIP_HEAD) :]
        if begun and ours:
            yield held[: -len(tail)]
        held = held[-len(tail) :] if begun else held
    if not ours or held != tail:
        message = f"{file.stored.name} is no gzip file of {file.name} as it was written."
        raise VerificationError(message, do="Export the table again, then make the bundle again.")


def member_paths(table: TableEntry, sheet_file: str | None) -> Iterator[tuple[FileEntry, str]]:
    """Where each of a table's files stands in the bundle.

    Parquet as `parquet/<table>/part-00000.parquet`; CSV as `sheets/<Sheet name>.csv`, further parts as
    `sheets/<Sheet name> (2).csv`. `sheet_file` replaces the sheet's file name.
    """
    sheets = 0
    for file in table.files:
        if file.format == "parquet":
            yield file, f"parquet/{table.name}/{file.name}"
            continue
        sheets += 1
        name = sheet_file or f"{safe_file_name(table.sheet)}.csv"
        stem, dot, ending = name.rpartition(".")
        yield file, f"sheets/{name}" if sheets == 1 else f"sheets/{stem} ({sheets}){dot}{ending}"


def tick_key(catalog: str, at: datetime, number: int) -> str:
    """What a tick that began at `at` says of every business: `retail/ticks/tick_date=2026-11-30/1405-17.json` (UTC)."""
    utc = at.astimezone(UTC)
    return f"{catalog}/ticks/tick_date={utc:%Y-%m-%d}/{utc:%H%M}-{number}.json"


def deleted_path(table: str) -> str:
    """Where the keys of a table's deleted rows stand in the bundle of an incremental backup."""
    return f"deleted/{table}.parquet"


class Rendering(StrEnum):
    """A form of a whole backup as one file. None of them is the restore copy: that is the Parquet of the bundle."""

    XLSX = "xlsx"
    """The sheets as one Excel workbook."""
    CSV = "csv"
    """The sheets as one CSV file, each under a heading."""
    JSON = "json"
    """The manifest, and the exact rows of every table."""
    JSON_ZIP = "json_zip"
    """A ZIP of one JSON file a table, as the car audio platform wrote it."""
    COMPREHENSIVE = "comprehensive"
    """One JSON document of all tables with its metadata, as the sales portal wrote it."""
    QUARANTINE = "quarantine"
    """The rows that break a rule about customers' data, as JSON."""

    def file_name(self, bundle_name: str) -> str:
        """What the file is called: as its bundle, with the ending of the form."""
        return f"{bundle_name.removesuffix('.zip')}.{self._ending}"

    @property
    def _ending(self) -> str:
        own = {
            Rendering.JSON_ZIP: "json.zip",
            Rendering.COMPREHENSIVE: "json",
            Rendering.QUARANTINE: "quarantine.json",
        }
        return own.get(self, str(self))
