"""The port `Formats`: Parquet and CSV side by side, the ZIP bundle, its README, renderings, and tables read back."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Protocol

import pyarrow as pa

from backup_pipeline.core.keys import no_key
from backup_pipeline.core.layout import Member, Rendering
from backup_pipeline.core.manifest import FileEntry, Manifest, TableEntry
from backup_pipeline.core.plans import TablePlan
from backup_pipeline.core.ports import OpenBundle, TableWriter
from backup_pipeline.formats.bundle import (
    BundleReader,
    bundle_chunks,
    bundle_sheets,
    bundle_tables,
    combined_csv,
    json_chunks,
)
from backup_pipeline.formats.parquet import ParquetWriter
from backup_pipeline.formats.readme import readme_text
from backup_pipeline.formats.sheet import SheetWriter
from backup_pipeline.formats.streams import use_jemalloc
from backup_pipeline.formats.tables import copy_rows, read_rows
from backup_pipeline.lazy import lazily

with lazily():
    from backup_pipeline.formats import xlsx


_PAGES_WAITING = 2
"""How many pages a writer may be behind: this, and the size of a page, bound the memory."""


class FileWriter(Protocol):
    """Writes pages into the files of one format."""

    @property
    def bytes_written(self) -> int:
        """The bytes of its files so far."""

    def write(self, rows: pa.Table) -> None:
        """Add a page."""

    def close(self) -> tuple[FileEntry, ...]:
        """Finish the files."""

    def abort(self) -> None:
        """Remove the files."""


class SideBySideWriter:
    """The port `TableWriter`: hands each page to every writer and goes on; a writer's error comes with a later call."""

    def __init__(self, *writers: FileWriter) -> None:
        self._lanes = [_Lane(writer) for writer in writers]
        self._closed = False

    @property
    def bytes_written(self) -> int:
        """The bytes of all files so far."""
        return sum(lane.bytes_written for lane in self._lanes)

    def write(self, rows: pa.Table) -> None:
        """Hand a page to every writer; waits while one of them is too far behind."""
        for lane in self._lanes:
            lane.write(rows)

    def close(self) -> tuple[FileEntry, ...]:
        """Finish the files, when every page is in them."""
        entries = tuple(entry for lane in self._lanes for entry in lane.close())
        self._closed = True
        return entries

    def abort(self) -> None:
        """Remove the files, unless `close` finished them."""
        if not self._closed:
            for lane in self._lanes:
                lane.abort()


class _Lane:
    """One writer and its thread, which starts with the first page: small tables should cost no thread for nothing."""

    def __init__(self, writer: FileWriter) -> None:
        self._writer = writer
        self._pool: ThreadPoolExecutor | None = None
        self._pending: deque[Future[None]] = deque()

    @property
    def bytes_written(self) -> int:
        return self._writer.bytes_written

    def write(self, rows: pa.Table) -> None:
        self._pool = self._pool or ThreadPoolExecutor(max_workers=1, thread_name_prefix="writer")
        while len(self._pending) >= _PAGES_WAITING:
            self._pending.popleft().result()
        self._pending.append(self._pool.submit(self._writer.write, rows))

    def close(self) -> tuple[FileEntry, ...]:
        while self._pending:
            self._pending.popleft().result()
        self._end()
        return self._writer.close()

    def abort(self) -> None:
        for future in self._pending:
            future.cancel()
        self._end()
        self._writer.abort()

    def _end(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True)


class FileFormats:
    """The file formats of format version 1 (docs/format.md)."""

    def __init__(self) -> None:
        """Choose the allocator, for the whole process."""
        use_jemalloc()

    @property
    def recipients(self) -> tuple[str, ...]:
        """Nobody in particular: the files are not encrypted."""
        return ()

    def writer(self, plan: TablePlan, directory: Path, timezone: str) -> TableWriter:
        """A writer of `plan`'s Parquet and CSV files into `directory`; sheet times in `timezone`."""
        return SideBySideWriter(ParquetWriter(directory, plan), SheetWriter(directory, plan.sheet, timezone))

    def bundle(self, members: Iterable[Member]) -> Iterator[bytes]:
        """The members as the bytes of one ZIP, streamed."""
        return bundle_chunks(members)

    def open_bundle(self, read_range: Callable[[int, int], bytes], size: int) -> OpenBundle:
        """The bundle of `size` bytes that `read_range(start, length)` reads."""
        return BundleReader(read_range, size)

    def readme(self, manifest: Manifest, schema: str) -> str:
        """The README of a bundle whose DDL is `schema`."""
        return readme_text(manifest, schema)

    def render(self, kind: Rendering, manifest: Manifest, bundle: OpenBundle, target: BinaryIO) -> None:
        """Write the backup that `manifest` describes and `bundle` holds into `target`, in the form `kind`."""
        match kind:
            case Rendering.XLSX:
                xlsx.write_xlsx(target, bundle_sheets(manifest, bundle))
            case Rendering.CSV:
                target.writelines(combined_csv(bundle_sheets(manifest, bundle)))
            case Rendering.JSON:
                target.writelines(json_chunks(manifest.model_dump(mode="json"), bundle_tables(manifest, bundle)))

    def copy_rows(self, file: Path, columns: Sequence[str], binary: Sequence[str] | None = None) -> Iterator[bytes]:
        """The rows of the Parquet file at `file` as CSV for PostgreSQL's COPY, `columns` in this order."""
        return copy_rows(file, columns, binary)

    def decrypted(self, chunks: Iterable[bytes], what: str, recipients: Sequence[str]) -> Iterator[bytes]:
        """Nothing is decrypted here: DecryptError."""
        raise no_key(what, recipients, ())

    def rows(self, files: Iterable[tuple[FileEntry, bytes]], table: TableEntry, where: str) -> pa.Table:
        """The rows of the plain Parquet `files` of `table`, as they were written."""
        return read_rows(files, table, where)
