"""Rows that refer to none, counted while a backup is made, where that is cheap.

A foreign key that the database enforces can be broken too: by triggers that were off, or by a damaged index.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from backup_pipeline.core.comparable import pointings
from backup_pipeline.core.decoding import Pointing
from backup_pipeline.core.errors import BackupError
from backup_pipeline.core.manifest import Manifest, TableEntry
from backup_pipeline.core.ports import Ports

logger = logging.getLogger(__name__)

CHEAP_ROWS = 1_000_000
"""Rows of both tables together up to which a reference is followed here; beyond, verification at level 3 does it."""


@dataclass(frozen=True)
class Counted:
    """How many rows each reference leads nowhere, of those that could be followed.

    `orphans` are those that the database lets be, 0 where there are none; `broken` those that it should enforce, where
    there are any.
    """

    orphans: Mapping[str, int] = field(default_factory=dict)
    broken: Mapping[str, int] = field(default_factory=dict)


def count_orphans(manifest: Manifest, spool: Path | None, ports: Ports) -> Counted:
    """Follow the references between files still in `spool`.

    Never raises for what it can not count: that reference is missing then.
    """
    if spool is None or ports.decoder is None:
        return Counted()
    wanted = list(_wanted(manifest, spool))
    orphans, broken = dict[str, int](), dict[str, int]()
    if not wanted:
        return Counted()
    try:
        with ports.decoder(spool).follower() as follow:
            for pointing, rows, targets in wanted:
                lost = follow(pointing, rows, targets).rows
                if not pointing.enforced:
                    orphans[str(pointing)] = lost
                elif lost:
                    broken[str(pointing)] = lost
    except BackupError as error:
        logger.warning("References are not followed to the end: %s", error)
    return Counted(orphans, broken)


def _wanted(manifest: Manifest, spool: Path) -> Iterator[tuple[Pointing, Sequence[Path], Sequence[Path]]]:
    """The references to follow, with the files of both their ends."""
    tables = {table.name: table for table in manifest.tables}
    for pointing in pointings(manifest, list(tables)):
        if pointing.why_not is not None:
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
