"""What an export gives back for each table."""

from __future__ import annotations

from dataclasses import dataclass

from backup_pipeline.core.checks import Check
from backup_pipeline.core.errors import BackupError
from backup_pipeline.core.manifest import PartitionRecord


@dataclass(frozen=True)
class TableResult:
    """What became of one table: its partition and its checks, or the error.

    `preview` shows the first rows of the sheet as Markdown.
    """

    table: str
    partition: PartitionRecord | None
    checks: tuple[Check, ...] = ()
    preview: str = ""
    error: BackupError | None = None
