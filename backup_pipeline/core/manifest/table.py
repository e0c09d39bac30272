"""A table in the manifest: where it came from, at which instant, what was written, and what was found about it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from pydantic import Field

from backup_pipeline.core.manifest.columns import ColumnEntry, ReferenceEntry, SequenceEntry, SheetColumnEntry
from backup_pipeline.core.manifest.files import FileEntry
from backup_pipeline.core.manifest.names import TableName
from backup_pipeline.core.manifest.written import Written


class SnapshotEntry(Written):
    """One consistent read view: PostgreSQL's snapshot id, when it was taken, the WAL position, the server."""

    id: str
    taken_at: datetime
    lsn: str
    server_version: str
    database: str


class CheckEntry(Written):
    """The outcome of a check."""

    name: str
    passed: bool
    message: str


class AnomalyEntry(Written):
    """Something unusual about a table (or, of `kind` orphans, one of its references) against earlier good backups.

    `message` says what is now, what is usual, and the change; `do` what to do next. `held` is the last good backup that
    shows how it was. `standing`: an earlier backup told it already, and nobody has released `held` since.
    """

    table: str
    kind: str
    subject: str = Field(default="", description="the column or the reference, where it is about one")
    now: int | str | None = None
    usual: int | str | None = None
    change: str
    message: str
    do: str
    severity: Literal["info", "warning"] = "warning"
    held: str | None = None
    standing: bool = False


class TableEntry(Written):
    """One table: where it came from, at which instant, what was written."""

    name: TableName
    relation: str
    sheet: str
    key: tuple[str, ...]
    order: str
    row_count: int
    snapshot: SnapshotEntry
    exported_by: str = Field(description="the backup id of the run that exported it")
    columns: tuple[ColumnEntry, ...]
    sheet_columns: tuple[str, ...]
    relation_id: tuple[str, str] | None = Field(default=None, description="schema and name; None before 1.1")
    relation_kind: str | None = Field(default=None, description="table, partitioned table, view, …; None before 1.1")
    inherited: bool = Field(default=False, description="whether other tables inherit from it; their rows are not here")
    extension: str = Field(default="", description="the extension that it belongs to; empty before 1.3")
    covers: tuple[tuple[str, str], ...] = Field(default=(), description="base tables that the relation stands for")
    references: tuple[ReferenceEntry, ...] = ()
    sequences: tuple[SequenceEntry, ...] = ()
    sheet_sources: tuple[SheetColumnEntry, ...] = Field(default=(), description="as sheet_columns; empty before 1.1")
    excluded_columns: Mapping[str, str] = {}
    notes: tuple[str, ...] = ()
    checks: tuple[CheckEntry, ...] = ()
    anomalies: tuple[AnomalyEntry, ...] = ()
    files: tuple[FileEntry, ...]
    seconds: float

    @property
    def bytes(self) -> int:
        """The bytes of all its files."""
        return sum(file.bytes for file in self.files)
