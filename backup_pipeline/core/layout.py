"""Where things lie in the store: the keys of bundles, manifests, partitions and schemas (docs/format.md)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

MANIFEST_NAME = "manifest.json"
HOLD_NAME = "hold.json"
PARTITION_NAME = "partition.json"
VERIFICATIONS = "verifications"
"""The folder for what verifications unpack, beside those in which attempts make their files."""
DRILLS = "drills"
"""The folder for drills among those; a drill that was killed leaves its own there until the next one."""
RESTORES = "restores"
"""The folder for restores among those, on this machine, in which attempts make their files."""


@dataclass(frozen=True)
class PartitionPlace:
    """The folder of one table's files for one date."""

    catalog: str
    table: str
    day: date

    @property
    def prefix(self) -> str:
        """The folder's key, with its closing slash."""
        return f"{self.catalog}/tables/{self.table}/backup_date={self.day.isoformat()}/"

    @property
    def record(self) -> str:
        """The key of the partition's record, written last and deleted first: a partition exists when it does."""
        return self.prefix + PARTITION_NAME

    def file(self, name: str) -> str:
        """The key of one of its files."""
        return self.prefix + name


@dataclass(frozen=True)
class BackupPlace:
    """The folder of one backup: its bundle, and its manifest."""

    catalog: str
    day: date
    backup_id: str

    @property
    def prefix(self) -> str:
        """The folder's key, with its closing slash."""
        return f"{backups_prefix(self.catalog)}backup_date={self.day.isoformat()}/{self.backup_id}/"

    @property
    def manifest(self) -> str:
        """The key of the manifest, written last: a backup exists when it does."""
        return self.prefix + MANIFEST_NAME

    @property
    def hold(self) -> str:
        """The key of what says that somebody holds the backup; it is there as long as the hold is."""
        return self.prefix + HOLD_NAME

    def bundle(self, name: str) -> str:
        """The key of the bundle."""
        return self.prefix + name


def backups_prefix(catalog: str) -> str:
    """The folder of all backups of a catalog."""
    return f"{catalog}/backups/"


def tables_prefix(catalog: str) -> str:
    """The folder of all partitions of a catalog."""
    return f"{catalog}/tables/"


def schema_prefix(catalog: str) -> str:
    """The folder of the schemas of all dates of a catalog."""
    return f"{catalog}/schema/"


def schema_key(catalog: str, day: date) -> str:
    """The key of the schema of a date, beside its partitions."""
    return f"{catalog}/schema/backup_date={day.isoformat()}/schema.sql"


def is_schema(key: str) -> bool:
    """Whether a key is one of `schema_key`."""
    return "/schema/backup_date=" in key and key.endswith("/schema.sql")


def parquet_name(part: int) -> str:
    """The name of a Parquet part in its partition."""
    return f"part-{part:05d}.parquet"


def sheet_name(part: int) -> str:
    """The name of a CSV part in its partition."""
    return f"sheet-{part:05d}.csv"
