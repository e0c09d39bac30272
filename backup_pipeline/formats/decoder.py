"""The port `Decoder`: the files of format version 1, decoded and compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from backup_pipeline.core.decoding import Follow, Orphans, Pointing, SheetTask
from backup_pipeline.core.manifest import FileEntry, TableEntry
from backup_pipeline.formats.compare_sheet import Comparison
from backup_pipeline.formats.duck import open_duck, orphans
from backup_pipeline.formats.inspect_parquet import parquet_problems
from backup_pipeline.formats.memory import use_jemalloc


class FileDecoder:
    """Decodes a backup's files; what does not fit into memory goes into files under `spool`."""

    def __init__(self, spool: Path) -> None:
        """Choose the allocator, for the whole process."""
        use_jemalloc()
        self._spool = spool

    def parquet_problems(self, path: Path, file: FileEntry, table: TableEntry) -> Iterator[str]:
        """What is wrong with the Parquet file at `path`, decoded in full and compared with the manifest's entries."""
        return parquet_problems(path, file, table)

    @contextmanager
    def compare_sheet(self, task: SheetTask) -> Iterator[Comparison]:
        """Begin to make the sheet anew."""
        with open_duck(self._spool) as database:
            yield Comparison(task, database)

    def orphans(self, pointing: Pointing, rows: Sequence[Path], targets: Sequence[Path]) -> Orphans:
        """The rows of `rows` whose reference leads to none of the rows of `targets`."""
        with self.follower() as follow:
            return follow(pointing, rows, targets)

    @contextmanager
    def follower(self) -> Iterator[Follow]:
        """What `orphans` does, for many references in turn."""
        with open_duck(self._spool) as database:
            yield partial(orphans, database)
