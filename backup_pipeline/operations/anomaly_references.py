"""Rows that refer to none, counted while a backup is made: where nothing else enforces it, and where it is cheap."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from backup_pipeline.core.comparable import pointings
from backup_pipeline.core.decoding import Pointing
from backup_pipeline.core.errors import BackupError
from backup_pipeline.core.manifest import Manifest, TableEntry
from backup_pipeline.core.ports import Ports

logger = logging.getLogger(__name__)

CHEAP_ROWS = 1_000_000
"""Rows of both tables together up to which a reference is followed here; beyond, verification at level 3 does it."""


def count_orphans(manifest: Manifest, spool: Path | None, ports: Ports) -> Mapping[str, int]:
    """By reference, how many rows it leads nowhere: those that the database lets be, between files still in `spool`.

    What the database enforces can not be broken in one of its own snapshots, so it is not counted. Never raises for
    what it can not count: that reference is missing then.
    """
    if spool is None or ports.decoder is None:
        return {}
    wanted, found = list(_wanted(manifest, spool)), dict[str, int]()
    if not wanted:
        return found
    try:
        with ports.decoder(spool).follower() as follow:
            for pointing, rows, targets in wanted:
                found[str(pointing)] = follow(pointing, rows, targets).rows
    except BackupError as error:
        logger.warning("References are not followed to the end: %s", error)
    return found


def _wanted(manifest: Manifest, spool: Path) -> Iterator[tuple[Pointing, Sequence[Path], Sequence[Path]]]:
    """The references to follow, with the files of both their ends."""
    tables = {table.name: table for table in manifest.tables}
    for pointing in pointings(manifest, list(tables)):
        if pointing.why_not is not None or pointing.enforced:
            continue
        ends = (tables[pointing.table], tables[pointing.target])
        rows, targets = (_files(end, spool) for end in ends)
        if rows and targets and sum(end.row_count for end in ends) <= CHEAP_ROWS:
            yield pointing, rows, targets


def _files(table: TableEntry, spool: Path) -> list[Path]:
    """The table's Parquet files on this machine; none when one is missing."""
    files = [file for file in table.files if file.format == "parquet"]
    paths = [spool / table.name / file.name for file in files]
    here = all(path.is_file() and path.stat().st_size == file.bytes for path, file in zip(paths, files, strict=True))
    return paths if here else []
