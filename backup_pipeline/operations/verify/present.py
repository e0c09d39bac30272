"""Level 0: the manifest is whole and of this backup, the ledger agrees, and the bundle is there with its size."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from backup_pipeline.core.agreement import disagreements, is_pinned
from backup_pipeline.core.errors import DecryptError, NotFoundError, VerificationError
from backup_pipeline.core.layout import BackupPlace
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.limits import MOST_DOCUMENT
from backup_pipeline.core.limits import whole as joined
from backup_pipeline.core.manifest import StoredManifest, read_manifest
from backup_pipeline.core.outline import Outline, read_outline
from backup_pipeline.core.ports import Store
from backup_pipeline.core.verification import Finding, Level, LevelReport, Remark
from backup_pipeline.operations.open_backup import Document

_UNPINNED = (
    "is known to the ledger by the bundle's SHA-256 alone: the backup is older than the ledger's hash of manifests. "
    "Level 2 compares it with the manifest in the bundle."
)


def present(
    place: BackupPlace, store: Store, row: Attempt | None, *, whole: bool
) -> tuple[StoredManifest | Outline | None, int | None, LevelReport]:
    """The manifest and the size of the bundle in the store, None where they are not to be had, and what was found.

    `row` is what the ledger knows of the backup. Of an encrypted manifest that no key here opens the outline will do,
    unless the `whole` one is needed: DecryptError.
    """
    try:
        data = joined(store.stream(place.manifest), MOST_DOCUMENT, place.manifest)
        manifest = _read(place, data, store, whole=whole)
    except NotFoundError:
        return None, None, _report((place.manifest,), Finding(Level.PRESENT, place.manifest, "is missing."))
    except VerificationError as error:
        return None, None, _report((place.manifest,), Finding(Level.PRESENT, place.manifest, error.what))
    key, sha256 = place.bundle(manifest.bundle.name), hashlib.sha256(data).hexdigest()
    stored = store.head(key)
    findings = [*_misplaced(place, manifest), *_contradicting(place, row, manifest, data)]
    if stored is None:
        findings.append(Finding(Level.PRESENT, key, "is missing."))
    elif stored.size != manifest.bundle.bytes:
        message = f"has {stored.size:,} bytes; the manifest says {manifest.bundle.bytes:,}."
        findings.append(Finding(Level.PRESENT, key, message))
    unpinned = row is not None and not findings and not is_pinned(row, sha256)
    remarks = (Remark(Level.PRESENT, place.manifest, _UNPINNED),) if unpinned else ()
    return manifest, stored.size if stored else None, _report((place.manifest, key), *findings, remarks=remarks)


def _read(place: BackupPlace, data: bytes, store: Store, *, whole: bool) -> StoredManifest | Outline:
    try:
        return read_manifest(store.opened(place.manifest, data), place.manifest)
    except DecryptError:
        if whole:
            raise
        return read_outline(data, place.manifest)


def _report(looked_at: tuple[str, ...], *findings: Finding, remarks: tuple[Remark, ...] = ()) -> LevelReport:
    return LevelReport(Level.PRESENT, looked_at, findings=findings, remarks=remarks)


def _misplaced(place: BackupPlace, manifest: StoredManifest | Outline) -> Iterator[Finding]:
    said = (manifest.catalog, manifest.partition_date, manifest.backup_id)
    if said != (place.catalog, place.day, place.backup_id):
        message = "describes another backup: " + ", ".join(str(part) for part in said) + "."
        yield Finding(Level.PRESENT, place.manifest, message)


def _contradicting(
    place: BackupPlace, row: Attempt | None, manifest: StoredManifest | Outline, data: bytes
) -> Iterator[Finding]:
    document = Document(data, manifest)
    for differing in disagreements(row, manifest, document.sha256, document.seal_key) if row is not None else ():
        yield Finding(Level.PRESENT, place.manifest, f"and the ledger contradict each other: {differing}.")
