"""What a bundle is made of: its members and where they stand in the ZIP (docs/format.md)."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from backup_pipeline.core.layout import MANIFEST_NAME
from backup_pipeline.core.manifest import FileEntry, TableEntry
from backup_pipeline.core.names import safe_file_name

README_PATH = "README.txt"
SCHEMA_PATH = "schema.sql"
MANIFEST_PATH = MANIFEST_NAME


@dataclass(frozen=True)
class Member:
    """A file of a bundle: its path, time, content, and what the content must add up to.

    `stored` members lie in the ZIP as they are, so that one of them can be read by range; the others are deflated.
    """

    path: str
    modified: datetime
    chunks: Iterable[bytes]
    size: int
    crc32: int
    stored: bool


def bytes_member(path: str, modified: datetime, content: bytes) -> Member:
    """A member whose content is at hand."""
    return Member(path, modified, (content,), len(content), zlib.crc32(content), stored=False)


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
