"""The manifest: the JSON that describes a bundle, and the record of a partition. docs/format.md is their contract.

Every number in them was counted on the way out, never assumed. Times are UTC.
"""

from backup_pipeline.core.manifest.columns import (
    ColumnEntry,
    OtherSequenceEntry,
    ReferenceEntry,
    SequenceEntry,
    SheetColumnEntry,
    StepEntry,
)
from backup_pipeline.core.manifest.documents import (
    ExcludedEntry,
    Manifest,
    NotHeldEntry,
    PartitionRecord,
    StoredBundle,
    StoredManifest,
    Totals,
)
from backup_pipeline.core.manifest.files import EncryptionEntry, FileEntry, StoredFile
from backup_pipeline.core.manifest.reading import (
    CIPHERTEXT,
    read_inner_manifest,
    read_manifest,
    read_partition,
    seal,
    validated,
)
from backup_pipeline.core.manifest.sealing import sealed, unsealed
from backup_pipeline.core.manifest.table import AnomalyEntry, CheckEntry, SnapshotEntry, TableEntry
from backup_pipeline.core.manifest.written import FORMAT_VERSION

__all__ = [
    "CIPHERTEXT",
    "FORMAT_VERSION",
    "AnomalyEntry",
    "CheckEntry",
    "ColumnEntry",
    "EncryptionEntry",
    "ExcludedEntry",
    "FileEntry",
    "Manifest",
    "NotHeldEntry",
    "OtherSequenceEntry",
    "PartitionRecord",
    "ReferenceEntry",
    "SequenceEntry",
    "SheetColumnEntry",
    "SnapshotEntry",
    "StepEntry",
    "StoredBundle",
    "StoredFile",
    "StoredManifest",
    "TableEntry",
    "Totals",
    "read_inner_manifest",
    "read_manifest",
    "read_partition",
    "seal",
    "sealed",
    "unsealed",
    "validated",
]
