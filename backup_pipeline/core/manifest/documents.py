"""The documents themselves: the manifest in a bundle, the one beside it, and the record of a partition."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Literal

from pydantic import Field

from backup_pipeline.core.manifest.columns import OtherSequenceEntry
from backup_pipeline.core.manifest.files import EncryptionEntry
from backup_pipeline.core.manifest.names import BackupIdText, BundlePath, CatalogName, FileName, Timezone
from backup_pipeline.core.manifest.table import AnomalyEntry, SnapshotEntry, TableEntry
from backup_pipeline.core.manifest.written import FORMAT_VERSION, Written


class NotHeldEntry(Written):
    """Something that is not in the backup although somebody may think so; `severity` info where it is decided about."""

    about: str
    message: str
    do: str = ""
    severity: Literal["info", "warning"] = "warning"


class PartitionRecord(Written):
    """What lies beside a partition's files: the partition exists when this does."""

    format_version: str = FORMAT_VERSION
    catalog: CatalogName
    partition_date: date
    late: bool = False
    sheet_file: FileName | None = None
    table: TableEntry
    unlisted: tuple[str, ...] = ()
    excluded: Mapping[str, str] = {}
    sequences: tuple[OtherSequenceEntry, ...] = ()
    not_held: tuple[NotHeldEntry, ...] = ()
    encryption: EncryptionEntry | None = None
    schema_sha256: str | None = Field(default=None, description="of the schema.sql of its run; None before 1.4")


class Totals(Written):
    """Sums over the tables."""

    tables: int
    rows: int
    files: int
    bytes: int


class ExcludedEntry(Written):
    """A table that is left out on purpose."""

    table: str
    reason: str


class Manifest(Written):
    """The description of a bundle. `consistent` says whether all tables show the same instant."""

    format_version: str = FORMAT_VERSION
    backup_id: BackupIdText
    catalog: CatalogName
    title: str = ""
    kind: str
    type: Literal["manual", "automatic"]
    created_by: str
    reason: str = ""
    status: str
    consistent: bool
    late: bool = False
    partition_date: date
    timezone: Timezone
    started_at: datetime
    finished_at: datetime
    snapshot: SnapshotEntry
    tables: tuple[TableEntry, ...]
    excluded: tuple[ExcludedEntry, ...] = ()
    unlisted: tuple[str, ...] = ()
    sequences: tuple[OtherSequenceEntry, ...] = Field(default=(), description="those that number no table's column")
    not_held: tuple[NotHeldEntry, ...] = Field(default=(), description="what somebody may think is in it, and is not")
    warnings: tuple[str, ...] = ()
    anomalies: tuple[AnomalyEntry, ...] = Field(default=(), description="those that no table's own entry tells")
    orphans: Mapping[str, int] = Field(default={}, description="reference -> rows that it leads nowhere, as counted")
    broken: Mapping[str, int] = Field(default={}, description="enforced reference -> rows that break it in the source")
    totals: Totals
    bundle_name: FileName
    entries: Mapping[BundlePath, str] = Field(description="path in the bundle -> SHA-256 of its bytes, decrypted")
    encryption: EncryptionEntry | None = None
    pipeline_version: str
    run_id: str | None = None

    @property
    def findings(self) -> tuple[AnomalyEntry, ...]:
        """Everything unusual about the backup: its tables' anomalies, and its own."""
        return (*(one for table in self.tables for one in table.anomalies), *self.anomalies)


class StoredBundle(Written):
    """What the manifest beside the bundle adds: the bundle's own bytes."""

    name: FileName
    bytes: int
    sha256: str


class StoredManifest(Manifest):
    """The manifest beside the bundle: the one inside, and the size and SHA-256 of the bundle itself."""

    bundle: StoredBundle
