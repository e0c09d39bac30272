"""The outline: what a manifest says to those without the key; the rest lies in it, encrypted (docs/format.md)."""

from __future__ import annotations

from datetime import date, datetime

from backup_pipeline.core.manifest import (
    CIPHERTEXT,
    FORMAT_VERSION,
    EncryptionEntry,
    PartitionRecord,
    StoredBundle,
    StoredManifest,
    read_manifest,
    read_partition,
    sealed,
    unsealed,
    validated,
)
from backup_pipeline.core.manifest.documents import BackupIdText, BusinessKey, CatalogName, Timezone, WrittenManifest
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.core.scope import Purpose, Scope, described_scope

_IS_BACKUP = "backup_id"


class Outline(WrittenManifest):
    """A backup as anybody may know it: which one, when, its status, the bundle's bytes, and who can read the rest.

    `ciphertext` is the whole manifest, as an age file in its ASCII form.
    """

    format_version: str = FORMAT_VERSION
    backup_id: BackupIdText
    catalog: CatalogName
    business: BusinessKey | None = None
    purpose: Purpose = Purpose.BACKUP
    kind: Kind
    type: Trigger
    status: str
    consistent: bool
    late: bool = False
    partition_date: date
    timezone: Timezone
    started_at: datetime
    finished_at: datetime
    snapshot_at: datetime
    pipeline_version: str
    run_id: str | None = None
    bundle: StoredBundle
    encryption: EncryptionEntry
    ciphertext: str

    @property
    def scope(self) -> Scope:
        """What it is a backup of."""
        return described_scope(self.catalog, self.business, self.purpose)


class PartitionOutline(WrittenManifest):
    """A partition as anybody may know it; `ciphertext` is its whole record."""

    format_version: str = FORMAT_VERSION
    catalog: CatalogName
    business: BusinessKey | None = None
    purpose: Purpose = Purpose.BACKUP
    partition_date: date
    encryption: EncryptionEntry
    ciphertext: str


def outline(manifest: StoredManifest, recipients: tuple[str, ...], ciphertext: str) -> bytes:
    """The document that stands for `manifest` in the store, `ciphertext` being the manifest for the recipients."""
    written = Outline(
        format_version=manifest.format_version,
        backup_id=manifest.backup_id,
        catalog=manifest.catalog,
        business=manifest.business,
        purpose=manifest.purpose,
        kind=manifest.kind,
        type=manifest.type,
        status=manifest.status,
        consistent=manifest.consistent,
        late=manifest.late,
        partition_date=manifest.partition_date,
        timezone=manifest.timezone,
        started_at=manifest.started_at,
        finished_at=manifest.finished_at,
        snapshot_at=manifest.snapshot.taken_at,
        pipeline_version=manifest.pipeline_version,
        run_id=manifest.run_id,
        bundle=manifest.bundle,
        encryption=EncryptionEntry(recipients=recipients),
        ciphertext=ciphertext,
    )
    return sealed(written.model_dump(mode="json"))


def partition_outline(record: PartitionRecord, recipients: tuple[str, ...], ciphertext: str) -> bytes:
    """The document that stands for a partition's `record` in the store."""
    written = PartitionOutline(
        format_version=record.format_version,
        catalog=record.catalog,
        business=record.business,
        purpose=record.purpose,
        partition_date=record.partition_date,
        encryption=EncryptionEntry(recipients=recipients),
        ciphertext=ciphertext,
    )
    return sealed(written.model_dump(mode="json"))


def concealed(data: bytes, where: str, recipients: tuple[str, ...], ciphertext: str) -> bytes:
    """The outline of the manifest or record in `data`, `ciphertext` being `data` for the recipients."""
    if _IS_BACKUP in unsealed(data, where):
        return outline(read_manifest(data, where), recipients, ciphertext)
    return partition_outline(read_partition(data, where), recipients, ciphertext)


def hidden(data: bytes, where: str) -> Outline | PartitionOutline | None:
    """The outline in `data`; None when it is a document that anybody can read. VerificationError as in reading one."""
    body = unsealed(data, where)
    if CIPHERTEXT not in body:
        return None
    if _IS_BACKUP in body:
        return validated(Outline, body, where)
    return validated(PartitionOutline, body, where)


def read_outline(data: bytes, where: str) -> Outline:
    """The outline of a backup stored as `data`; VerificationError when it is none, or was changed."""
    return validated(Outline, unsealed(data, where), where)
