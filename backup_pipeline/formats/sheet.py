"""The sheet for people: a table's rows as CSV files that each open whole in a spreadsheet. Not the restore copy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from backup_pipeline.core.errors import BackupError
from backup_pipeline.core.layout import sheet_name
from backup_pipeline.core.manifest import FileEntry
from backup_pipeline.core.plans import SheetPlan
from backup_pipeline.formats.bundle import SheetFiles
from backup_pipeline.formats.csv_rows import BOM, csv_header, csv_rows, csv_title, records
from backup_pipeline.formats.parquet import PartsWriter
from backup_pipeline.formats.streams import HashingFile

ROWS_PER_FILE = 1_048_575
"""Excel shows 1,048,576 lines; the first is the header."""


class SheetWriter(PartsWriter):
    """Writes a table's pages as `sheet-00000.csv`, `sheet-00001.csv`, … into `directory`.

    Every file begins with a byte order mark and the titles, and has at most `rows_per_file` records. What it holds
    depends on the rows alone, not on how they were paged; `cells` says how values look. A page has each column of the
    sheet under its `field`.
    """

    def __init__(self, directory: Path, sheet: SheetPlan, timezone: str, *, rows_per_file: int = ROWS_PER_FILE) -> None:
        super().__init__(directory)
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
        file = self._new_file(sheet_name(len(self._files)))
        self._rows.append(0)
        file.write(csv_header(column.title for column in self._sheet.columns))

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
    return FileEntry(
        name=file.path.name, format="csv", rows=rows, bytes=file.bytes, sha256=file.sha256, crc32=file.crc32
    )


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
