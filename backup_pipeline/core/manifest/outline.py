"""What a manifest says to those without the key, and where it contradicts the ledger's row."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime

from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.manifest import (
    CIPHERTEXT,
    FORMAT_VERSION,
    EncryptionEntry,
    Manifest,
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


DISTRUST = (
    "Do not use it: somebody changed the store, or put another backup's files there. Take another backup, or its copy "
    "(`--store second`), and see who can write to the store; `backup-pipeline verify ID` tells all that differs."
)
"""What to do about a backup whose parts contradict each other."""


def disagreements(
    row: Attempt, manifest: StoredManifest | Outline, sha256: str, seal_key: str | None
) -> tuple[str, ...]:
    """What the manifest, which lies in the store with that SHA-256 and seal, says otherwise than the row.

    What the row does not know is not compared: one of an attempt that runs knows nothing yet. That the manifest is of
    this backup at all, its place says.
    """
    differing = [
        f"{name}: the manifest says {theirs}, the ledger {ours}" for name, ours, theirs in _pairs(row, manifest)
    ]
    if row.manifest_sha256 not in {None, sha256}:
        differing.append(f"manifest.json has the SHA-256 {sha256}, the ledger says {row.manifest_sha256}")
    if row.seal_key not in {None, seal_key}:
        now = f"is sealed with key {seal_key}" if seal_key else "has no seal"
        differing.append(f"manifest.json {now}, the ledger says that it is sealed with key {row.seal_key}")
    return tuple(differing)


def is_pinned(row: Attempt, sha256: str) -> bool:
    """Whether the row vouches for every byte of the manifest, and so for every file that the manifest names."""
    return row.manifest_sha256 == sha256


def inner_disagreement(inner: Manifest, outer: StoredManifest) -> str | None:
    """What the manifest inside a bundle says otherwise than the one beside it, or None."""
    beside = Manifest.model_validate(outer.model_dump(exclude={"bundle"}))
    if inner == beside:
        return None
    differ = [name for name in Manifest.model_fields if getattr(inner, name) != getattr(beside, name)]
    return f"differs from the manifest beside the bundle in: {', '.join(differ)}."


def _pairs(row: Attempt, manifest: StoredManifest | Outline) -> Iterator[tuple[str, object, object]]:
    """Whatever both know and do not say alike: name, the row's, the manifest's."""
    whole = manifest if isinstance(manifest, StoredManifest) else None
    taken_at = manifest.snapshot.taken_at if isinstance(manifest, StoredManifest) else manifest.snapshot_at
    pairs: dict[str, tuple[object, object]] = {
        "kind": (row.kind, manifest.kind),
        "snapshot": (row.snapshot_at, taken_at),
        "bundle": (row.file_name, manifest.bundle.name),
        "bundle's bytes": (row.file_size_bytes, manifest.bundle.bytes),
        "bundle's SHA-256": (row.sha256, manifest.bundle.sha256),
        "rows": (row.record_count, whole.totals.rows if whole else None),
    }
    for name, (ours, theirs) in pairs.items():
        if None not in {ours, theirs} and ours != theirs:
            yield name, ours, theirs
