"""Level 0: the manifest is whole and of this backup, and the bundle is there with the size that it names."""

from __future__ import annotations

from collections.abc import Iterator

from backup_pipeline.core.errors import DecryptError, NotFoundError, VerificationError
from backup_pipeline.core.layout import BackupPlace
from backup_pipeline.core.manifest import StoredManifest, read_manifest
from backup_pipeline.core.outline import Outline, read_outline
from backup_pipeline.core.ports import Store
from backup_pipeline.core.verification import Finding, Level, LevelReport


def present(
    place: BackupPlace, store: Store, known_sha256: str | None, *, whole: bool
) -> tuple[StoredManifest | Outline | None, int | None, LevelReport]:
    """The manifest and the size of the bundle in the store, None where they are not to be had, and what was found.

    Of an encrypted manifest that no key here opens the outline will do, unless the `whole` one is needed: DecryptError.
    """
    try:
        manifest = _read(place, store, whole=whole)
    except NotFoundError:
        return None, None, _report((place.manifest,), Finding(Level.PRESENT, place.manifest, "is missing."))
    except VerificationError as error:
        return None, None, _report((place.manifest,), Finding(Level.PRESENT, place.manifest, error.what))
    key = place.bundle(manifest.bundle.name)
    stored = store.head(key)
    findings = [*_misplaced(place, manifest, known_sha256)]
    if stored is None:
        findings.append(Finding(Level.PRESENT, key, "is missing."))
    elif stored.size != manifest.bundle.bytes:
        message = f"has {stored.size:,} bytes; the manifest says {manifest.bundle.bytes:,}."
        findings.append(Finding(Level.PRESENT, key, message))
    return manifest, stored.size if stored else None, _report((place.manifest, key), *findings)


def _read(place: BackupPlace, store: Store, *, whole: bool) -> StoredManifest | Outline:
    try:
        return read_manifest(store.get(place.manifest), place.manifest)
    except DecryptError:
        if whole:
            raise
        return read_outline(b"".join(store.stream(place.manifest)), place.manifest)


def _report(looked_at: tuple[str, ...], *findings: Finding) -> LevelReport:
    return LevelReport(Level.PRESENT, looked_at, findings=findings)


def _misplaced(place: BackupPlace, manifest: StoredManifest | Outline, known_sha256: str | None) -> Iterator[Finding]:
    said = (manifest.catalog, manifest.partition_date, manifest.backup_id)
    if said != (place.catalog, place.day, place.backup_id):
        message = "describes another backup: " + ", ".join(str(part) for part in said) + "."
        yield Finding(Level.PRESENT, place.manifest, message)
    if known_sha256 is not None and known_sha256 != manifest.bundle.sha256:
        message = f"gives the bundle the SHA-256 {manifest.bundle.sha256}; the ledger says {known_sha256}."
        yield Finding(Level.PRESENT, place.manifest, message)
