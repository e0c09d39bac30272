"""Opening a backup for reading: its row, its manifest and its bundle compared with each other before anybody uses it.

Whoever reads a backup (restore, drill, download, url, copy, rendering) goes through here, so that what a store's owner
forged is noticed by each of them alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from backup_pipeline.core.agreement import DISTRUST, disagreements, inner_disagreement, is_pinned
from backup_pipeline.core.bundle import MANIFEST_PATH
from backup_pipeline.core.errors import DecryptError, NotFoundError, VerificationError
from backup_pipeline.core.key_seal import seal_in
from backup_pipeline.core.layout import BackupPlace
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.limits import MOST_DOCUMENT, whole
from backup_pipeline.core.manifest import StoredBundle, StoredManifest, read_inner_manifest, read_manifest
from backup_pipeline.core.outline import Outline, hidden, read_outline
from backup_pipeline.core.ports import Formats, Store
from backup_pipeline.core.progress import BytesMoved, Progress, StageStarted
from backup_pipeline.operations.ranges import Ranges

M = TypeVar("M", StoredManifest, Outline, StoredManifest | Outline)
_OTHER = "Use another backup; `backup-pipeline verify` says what is damaged."


@dataclass(frozen=True)
class Document(Generic[M]):
    """A manifest: its bytes as they lie in the store, and what it says, or what its outline says."""

    data: bytes
    manifest: M

    @property
    def sha256(self) -> str:
        """The SHA-256 of its bytes."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def seal_key(self) -> str | None:
        """The id of the key that sealed it; None without a seal. That the seal is right, the store has checked."""
        seal = seal_in(self.data, self.manifest.backup_id)
        return seal.key if seal else None


@dataclass(frozen=True)
class OpenBackup(Generic[M]):
    """A backup whose row, manifest and stored object agree, as far as that shows without reading the bundle.

    `pinned`: the ledger vouches for the manifest, and so for every file whose SHA-256 the manifest names. Else (a row
    from before the ledger kept that hash) it vouches for the bundle as a whole: `check_unpinned` compares it.
    """

    attempt: Attempt
    place: BackupPlace
    document: Document[M]

    @property
    def manifest(self) -> M:
        """What the manifest says."""
        return self.document.manifest

    @property
    def pinned(self) -> bool:
        """Whether the ledger vouches for the manifest."""
        return is_pinned(self.attempt, self.document.sha256)

    @property
    def bundle(self) -> StoredBundle:
        """The bundle as row and manifest have it."""
        return self.manifest.bundle

    @property
    def key(self) -> str:
        """The key of the bundle."""
        return self.place.bundle(self.bundle.name)


def open_backup(attempt: Attempt, place: BackupPlace, store: Store) -> OpenBackup[StoredManifest]:
    """The backup of `attempt` at `place`, its manifest whole; DecryptError when no key here opens it.

    NotFoundError when manifest or bundle are missing; VerificationError, saying who says what, when ledger, manifest
    and stored object contradict each other.
    """
    opened = known_manifest(attempt, place, store)
    _check_size(opened, store)
    return opened


def open_unread(attempt: Attempt, place: BackupPlace, store: Store) -> OpenBackup[StoredManifest | Outline]:
    """As `open_backup`, for those who need no key: of an encrypted manifest its outline will do."""
    document = read_document(place, store)
    opened = OpenBackup(attempt, place, _agreed(attempt, document, store.url))
    _check_size(opened, store)
    return opened


def known_manifest(attempt: Attempt, place: BackupPlace, store: Store) -> OpenBackup[StoredManifest]:
    """As `open_backup`, without a look at the bundle."""
    document = read_whole_document(place, store)
    return OpenBackup(attempt, place, _agreed(attempt, document, store.url))


def read_whole_document(place: BackupPlace, store: Store) -> Document[StoredManifest]:
    """The manifest at `place`; NotFoundError when it is missing, DecryptError when no key here opens it.

    VerificationError when it is damaged, or that of another backup.
    """
    data, where = _read(place, store)
    manifest = read_manifest(store.opened(place.manifest, data), where)
    _check_place(manifest, place, where)
    return Document(data, manifest)


def read_document(place: BackupPlace, store: Store) -> Document[StoredManifest | Outline]:
    """The manifest at `place` or, when no key here opens it, its outline; errors as in `read_whole_document`."""
    data, where = _read(place, store)
    found: StoredManifest | Outline
    try:
        found = read_manifest(store.opened(place.manifest, data), where)
    except DecryptError:
        found = read_outline(data, where)
    _check_place(found, place, where)
    return Document(data, found)


def kept_document(manifest: StoredManifest, place: BackupPlace, store: Store) -> Document[StoredManifest]:
    """What was written as `manifest` a moment ago, read back; VerificationError when it is something else.

    Of an encrypted one the outline is compared: no key is used here.
    """
    data, where = _read(place, store)
    found = hidden(data, where) or read_manifest(data, where)
    same = (
        found.backup_id == manifest.backup_id and found.bundle == manifest.bundle
        if isinstance(found, Outline)
        else found == manifest
    )
    if not same:
        message = f"{where} did not come back from the store as it was written."
        raise VerificationError(message, do="Run the bundle again; if it repeats, look at the store.")
    return Document(data, manifest)


def compared(opened: OpenBackup[M], store: Store, progress: Progress) -> Iterator[bytes]:
    """The bundle's bytes; VerificationError at their end when they are not those that row and manifest name."""
    seen = hashlib.sha256()
    for chunk in store.stream(opened.key):
        seen.update(chunk)
        progress.tell(BytesMoved(len(chunk)))
        yield chunk
    if seen.hexdigest() != opened.bundle.sha256:
        where, digest = f"{store.url}/{opened.key}", seen.hexdigest()
        message = (
            f"{where} is damaged: its SHA-256 is {digest}; the manifest and the ledger say {opened.bundle.sha256}."
        )
        raise VerificationError(message, do=_OTHER)


def check_bytes(opened: OpenBackup[M], store: Store, progress: Progress) -> None:
    """Read the whole bundle; VerificationError when it is not the one that row and manifest name."""
    progress.tell(StageStarted("check", opened.bundle.bytes))
    for _ in compared(opened, store, progress):
        pass


def check_unpinned(opened: OpenBackup[StoredManifest], store: Store, formats: Formats, progress: Progress) -> None:
    """Of a backup whose manifest nobody vouches for: the whole bundle, and the manifest inside it against the other.

    The ledger has the SHA-256 of the bundle, so the manifest inside is the one that was written.
    """
    if opened.pinned:
        return
    check_bytes(opened, store, progress)
    ranges = Ranges(store, opened.key, opened.bundle.bytes, progress, window=256 << 10)
    bundle = formats.open_bundle(ranges.read, opened.bundle.bytes)
    inner = read_inner_manifest(
        whole(bundle.stream(MANIFEST_PATH), MOST_DOCUMENT, MANIFEST_PATH), f"{opened.key}!{MANIFEST_PATH}"
    )
    if problem := inner_disagreement(inner, opened.manifest):
        message = f"{store.url}/{opened.key}!{MANIFEST_PATH} {problem}"
        raise VerificationError(message, do=DISTRUST)


def _read(place: BackupPlace, store: Store) -> tuple[bytes, str]:
    where = f"{store.url}/{place.manifest}"
    try:
        return whole(store.stream(place.manifest), MOST_DOCUMENT, where), where
    except NotFoundError as error:
        message = f"Backup {place.backup_id} has no manifest in the store: {where} is missing."
        raise NotFoundError(message, do="Check that BACKUP_STORE is the store it was made in.") from error


def _check_place(found: StoredManifest | Outline, place: BackupPlace, where: str) -> None:
    said = (found.catalog, found.partition_date, found.backup_id)
    if said != (place.catalog, place.day, place.backup_id):
        message = f"{where} describes another backup: {', '.join(str(part) for part in said)}."
        raise VerificationError(message, do=DISTRUST)


def _agreed(attempt: Attempt, document: Document[M], url: str) -> Document[M]:
    if differing := disagreements(attempt, document.manifest, document.sha256, document.seal_key):
        what = "; ".join(differing)
        message = f"Ledger and manifest of backup {attempt.backup_id} contradict each other in {url}. {what}."
        raise VerificationError(message, do=DISTRUST)
    return document


def _check_size(opened: OpenBackup[M], store: Store) -> None:
    stored, bundle = store.head(opened.key), opened.bundle
    if stored is None:
        message = f"{store.url}/{opened.key} is missing."
        raise NotFoundError(message, do="Use another backup; `backup-pipeline list` shows those that are there.")
    if stored.size != bundle.bytes:
        message = f"{store.url}/{opened.key} is damaged: {stored.size:,} bytes; the manifest says {bundle.bytes:,}."
        raise VerificationError(message, do=_OTHER)
