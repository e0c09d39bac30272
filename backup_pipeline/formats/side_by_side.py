"""One page, two writers: Parquet and CSV are made at the same time, each in a thread of its own."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import pyarrow as pa

from backup_pipeline.core.manifest import FileEntry

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
