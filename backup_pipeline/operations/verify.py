"""Verify: is what lies in the store what the manifest says? Every byte of it is read and compared."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from backup_pipeline.core.bundle import MANIFEST_PATH, README_PATH
from backup_pipeline.core.errors import NotFoundError, VerificationError
from backup_pipeline.core.layout import BackupPlace
from backup_pipeline.core.ledger import Attempt, AuditEvent
from backup_pipeline.core.manifest import Manifest, StoredManifest, read_inner_manifest, read_manifest
from backup_pipeline.core.ports import Clock, Formats, Ledger, OpenBundle, Store
from backup_pipeline.core.progress import BytesMoved, Progress, StageStarted
from backup_pipeline.operations.browse import bundle_place
from backup_pipeline.operations.ranges import Ranges


class Level(IntEnum):
    """How deep a check goes; each level includes those before it."""

    PRESENT = 0
    """The manifest is whole, and the bundle is there with the size it names."""
    BYTES = 1
    """The bundle, read whole from the store, has the manifest's SHA-256."""
    ENTRIES = 2
    """Every entry unpacks to the SHA-256 the manifest names, nothing is missing or extra, both manifests agree."""


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be: found at `level`, in `object` (a key, or a member as `key!member`)."""

    level: Level
    object: str
    message: str


@dataclass(frozen=True)
class VerifyReport:
    """What a verification saw. `level` is the deepest level reached without a finding, None when there is none.

    `objects` counts what was read and compared: manifest, bundle, and the bundle's entries; `bytes` what the bundle
    holds in the store.
    """

    backup_id: str
    place: str
    level: Level | None
    findings: tuple[Finding, ...]
    objects: int
    bytes: int
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether nothing was found wrong."""
        return not self.findings

    def error(self) -> VerificationError:
        """One error, naming the first finding, for whoever must fail on them."""
        first = self.findings[0]
        more = f" ({len(self.findings)} findings in all)" if len(self.findings) > 1 else ""
        message = f"Backup {self.backup_id} did not verify: {first.object} {first.message}{more}"
        return VerificationError(message, do="Do not rely on it: use another backup, and make a new one now.")


@dataclass(frozen=True)
class _Seen:
    """What a level found, and how many objects it looked at."""

    findings: tuple[Finding, ...]
    objects: int


def verify_attempt(
    attempt: Attempt, *, store: Store, formats: Formats, ledger: Ledger, progress: Progress, clock: Clock, actor: str
) -> VerifyReport:
    """Verify the backup of an attempt against its manifest and its ledger row; leaves an audit row with the outcome.

    NotFoundError when the attempt never made a bundle, or its bundle was removed.
    """
    place = bundle_place(attempt)
    report = verify_backup(
        place, store=store, formats=formats, progress=progress, clock=clock, known_sha256=attempt.sha256
    )
    detail = {"level": report.level, "findings": [f"{found.object}: {found.message}" for found in report.findings]}
    ledger.audit(AuditEvent(clock(), actor, "verify", attempt.backup_id, detail))
    return report


def verify_backup(
    place: BackupPlace,
    *,
    store: Store,
    formats: Formats,
    progress: Progress,
    clock: Clock,
    known_sha256: str | None = None,
) -> VerifyReport:
    """Check the backup at `place`, level by level. Damage is a finding, never an error: StoreError means "not known".

    `known_sha256` is the bundle's as somebody else remembers it (the ledger), so that an exchanged pair of bundle and
    manifest is seen too.
    """
    started = clock()
    levels: list[tuple[Level, _Seen]] = []
    manifest, size, seen = _present(place, store, known_sha256)
    levels.append((Level.PRESENT, seen))
    if manifest is not None and size is not None:
        key = place.bundle(manifest.bundle.name)
        levels.append((Level.BYTES, _bytes(key, size, manifest, store, progress)))
        levels.append((Level.ENTRIES, _entries(key, size, manifest, _Access(store, formats, progress))))
    findings = tuple(finding for _, level in levels for finding in level.findings)
    return VerifyReport(
        backup_id=place.backup_id,
        place=f"{store.url}/{place.prefix}",
        level=_reached(levels),
        findings=findings,
        objects=sum(level.objects for _, level in levels),
        bytes=size or 0,
        seconds=(clock() - started).total_seconds(),
    )


def _reached(levels: list[tuple[Level, _Seen]]) -> Level | None:
    reached = None
    for level, seen in levels:
        if seen.findings:
            break
        reached = level
    return reached


def _present(
    place: BackupPlace, store: Store, known_sha256: str | None
) -> tuple[StoredManifest | None, int | None, _Seen]:
    """The manifest and the bundle's size in the store, each None when it is not to be had; and what is wrong."""
    try:
        manifest = read_manifest(store.get(place.manifest), place.manifest)
    except (NotFoundError, VerificationError) as error:
        return None, None, _Seen((Finding(Level.PRESENT, place.manifest, error.what),), 1)
    findings = list(_misplaced(place, manifest, known_sha256))
    key = place.bundle(manifest.bundle.name)
    stored = store.head(key)
    if stored is None:
        findings.append(Finding(Level.PRESENT, key, "is missing."))
    elif stored.size != manifest.bundle.bytes:
        message = f"has {stored.size:,} bytes; the manifest says {manifest.bundle.bytes:,}."
        findings.append(Finding(Level.PRESENT, key, message))
    return manifest, stored.size if stored else None, _Seen(tuple(findings), 1)


def _misplaced(place: BackupPlace, manifest: StoredManifest, known_sha256: str | None) -> Iterator[Finding]:
    said = (manifest.catalog, manifest.partition_date, manifest.backup_id)
    if said != (place.catalog, place.day, place.backup_id):
        message = "describes another backup: " + ", ".join(str(part) for part in said) + "."
        yield Finding(Level.PRESENT, place.manifest, message)
    if known_sha256 is not None and known_sha256 != manifest.bundle.sha256:
        message = f"gives the bundle the SHA-256 {manifest.bundle.sha256}; the ledger says {known_sha256}."
        yield Finding(Level.PRESENT, place.manifest, message)


def _bytes(key: str, size: int, manifest: StoredManifest, store: Store, progress: Progress) -> _Seen:
    progress.tell(StageStarted("bytes", size))
    seen = hashlib.sha256()
    try:
        for chunk in store.stream(key):
            seen.update(chunk)
            progress.tell(BytesMoved(len(chunk)))
    except NotFoundError as error:
        return _Seen((Finding(Level.BYTES, key, error.what),), 1)
    if seen.hexdigest() == manifest.bundle.sha256:
        return _Seen((), 1)
    message = f"has the SHA-256 {seen.hexdigest()}; the manifest says {manifest.bundle.sha256}."
    return _Seen((Finding(Level.BYTES, key, message),), 1)


@dataclass(frozen=True)
class _Access:
    store: Store
    formats: Formats
    progress: Progress


def _entries(key: str, size: int, manifest: StoredManifest, access: _Access) -> _Seen:
    access.progress.tell(StageStarted("entries", size))
    ranges = Ranges(access.store, key, size, access.progress)
    try:
        bundle = access.formats.open_bundle(ranges.read, size)
        names = Counter(bundle.names())
    except (NotFoundError, VerificationError) as error:
        return _Seen((Finding(Level.ENTRIES, key, error.what),), 0)
    wanted = {**manifest.entries, MANIFEST_PATH: None, README_PATH: None}
    told: list[tuple[str, str | None]] = [(name, "is missing.") for name in wanted if name not in names]
    told += [(name, "is not in the manifest.") for name in names if name not in wanted]
    told += [(name, f"stands {count} times.") for name, count in names.items() if count > 1]
    there = [name for name in names if name in wanted]
    told += [(name, _member(bundle, name, wanted[name], manifest)) for name in there]
    findings = (Finding(Level.ENTRIES, f"{key}!{name}", message) for name, message in told if message)
    return _Seen(tuple(findings), len(there))


def _member(bundle: OpenBundle, name: str, sha256: str | None, manifest: StoredManifest) -> str | None:
    """What is wrong with a member, or None."""
    try:
        if name == MANIFEST_PATH:
            return _inner(b"".join(bundle.stream(name)), manifest)
        seen = hashlib.sha256()
        for chunk in bundle.stream(name):
            seen.update(chunk)
    except (NotFoundError, VerificationError) as error:
        return error.what
    if sha256 is None or seen.hexdigest() == sha256:
        return None
    return f"has the SHA-256 {seen.hexdigest()}; the manifest says {sha256}."


def _inner(data: bytes, manifest: StoredManifest) -> str | None:
    inner = read_inner_manifest(data, MANIFEST_PATH)
    outer = Manifest.model_validate(manifest.model_dump(exclude={"bundle"}))
    if inner == outer:
        return None
    differ = [name for name in Manifest.model_fields if getattr(inner, name) != getattr(outer, name)]
    return f"differs from the manifest beside the bundle in: {', '.join(differ)}."
