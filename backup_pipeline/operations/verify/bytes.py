"""What a verification is asked to do, which backup it is at, and the levels that look at bytes alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from backup_pipeline.core.errors import DecryptError, NotFoundError, VerificationError
from backup_pipeline.core.layout import BackupPlace
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.manifest import FileEntry, StoredManifest, TableEntry, read_manifest
from backup_pipeline.core.manifest.outline import Outline, disagreements, is_pinned, read_outline
from backup_pipeline.core.names import MOST_DOCUMENT, bounded
from backup_pipeline.core.names import whole as joined
from backup_pipeline.core.ports import BytesMoved, Clock, OpenBundle, Ports, StageStarted, Store
from backup_pipeline.core.verification import Finding, Level, LevelReport, Remark, Sample
from backup_pipeline.operations.browse import Document, Ranges


@dataclass(frozen=True)
class VerifyRequest:
    """How deep to look, at how much of it (`sample`, chosen by `seed`), and for how long at most."""

    level: Level = Level.CONTENTS
    sample: Sample | None = None
    seed: str = ""
    max_duration: timedelta | None = None


@dataclass(frozen=True)
class Deadline:
    """When to stop: between objects, so that what was looked at was looked at whole."""

    clock: Clock
    at: datetime | None
    duration: timedelta | None

    def over(self) -> bool:
        """Whether it has come."""
        return self.at is not None and self.clock() >= self.at

    def __str__(self) -> str:
        return f"stopped after {self.duration}"


@dataclass(frozen=True)
class StoredBytes:
    """A bundle as bytes: its key, how many there are, the SHA-256 they must have, and until when to look."""

    key: str
    size: int
    sha256: str
    deadline: Deadline


@dataclass(frozen=True)
class VerifySubject:
    """The backup under verification: where it lies, what its manifest says, which tables are looked at.

    `sample` is what to say of a choice that leaves tables out, empty when none is left out.
    """

    place: BackupPlace
    manifest: StoredManifest
    size: int
    tables: tuple[TableEntry, ...]
    sample: str
    deadline: Deadline

    @property
    def key(self) -> str:
        """The key of the bundle."""
        return self.place.bundle(self.manifest.bundle.name)

    @property
    def stored(self) -> StoredBytes:
        """The bundle as bytes."""
        return StoredBytes(self.key, self.size, self.manifest.bundle.sha256, self.deadline)

    def member(self, name: str) -> str:
        """How a member of the bundle is called in reports."""
        return f"{self.key}!{name}"

    def files(self, table: TableEntry, kind: str) -> Sequence[tuple[FileEntry, str]]:
        """The table's files of one format, each with its path in the bundle; no path when the manifest names none.

        A file is looked up by its SHA-256, because a sheet's name in the bundle may be one of the catalog's choice;
        should two members have the same, they have the same bytes too.
        """
        return [(file, self._paths.get(file.sha256, "")) for file in table.files if file.format == kind]

    @cached_property
    def _paths(self) -> Mapping[str, str]:
        """Made once: thousands of tables ask, some of them six times."""
        return {sha256: path for path, sha256 in self.manifest.entries.items()}

    def left_out(self) -> tuple[TableEntry, ...]:
        """The tables that are not in the sample."""
        looked_at = {table.name for table in self.tables}
        return tuple(table for table in self.manifest.tables if table.name not in looked_at)


def sampled(manifest: StoredManifest, request: VerifyRequest) -> tuple[tuple[TableEntry, ...], str]:
    """The tables to look at, and what to say of the choice: nothing when it leaves none out."""
    if request.sample is None:
        return manifest.tables, ""
    names = [table.name for table in manifest.tables]
    chosen = set(request.sample.chosen(names, of=manifest.backup_id, seed=request.seed))
    tables = tuple(table for table in manifest.tables if table.name in chosen)
    return tables, str(request.sample) if len(tables) < len(names) else ""


def opened_bundle(
    subject: VerifySubject, ports: Ports, level: Level, stage: str
) -> tuple[OpenBundle | None, LevelReport]:
    """The bundle, or None and the report that says why it can not be opened."""
    ports.progress.tell(StageStarted(stage, subject.size))
    ranges = Ranges(ports.store, subject.key, subject.size, ports.progress)
    try:
        return ports.formats.open_bundle(ranges.read, subject.size), LevelReport(level, ())
    except (NotFoundError, VerificationError) as error:
        return None, LevelReport(level, (subject.key,), findings=(Finding(level, subject.key, error.what),))


class Hashed:
    """A member's bytes, hashed as they are taken. `problem` reads what is left of them, and says what is wrong."""

    def __init__(self, bundle: OpenBundle, name: str, sha256: str | None, most: int | None = None) -> None:
        """With `most` bytes at most: what goes on after those is damaged."""
        chunks = bundle.stream(name)
        self._chunks = chunks if most is None else bounded(chunks, most, f"Member {name} of the bundle")
        self._seen = hashlib.sha256()
        self._sha256 = sha256
        self._damage: str | None = None

    def chunks(self) -> Iterator[bytes]:
        """The bytes; they end early where the member is damaged."""
        try:
            for chunk in self._chunks:
                self._seen.update(chunk)
                yield chunk
        except (NotFoundError, VerificationError) as error:
            self._damage = error.what

    def problem(self) -> str | None:
        """What is wrong with the bytes, or None."""
        for _ in self.chunks():
            pass
        if self._damage or self._sha256 in {None, self._seen.hexdigest()}:
            return self._damage
        return f"has the SHA-256 {self._seen.hexdigest()}; the manifest says {self._sha256}."


def member_problem(bundle: OpenBundle, name: str, sha256: str | None, most: int | None = None) -> str | None:
    """What is wrong with the bytes of a member, or None."""
    return Hashed(bundle, name, sha256, most).problem()


_STAGE = "bytes"


def whole_bytes(stored: StoredBytes, ports: Ports) -> LevelReport:
    """The bundle, read whole, compared with the manifest's SHA-256."""
    ports.progress.tell(StageStarted(_STAGE, stored.size))
    seen, read = hashlib.sha256(), 0
    try:
        for chunk in ports.store.stream(stored.key):
            if stored.deadline.over():
                why = f"{stored.deadline}, {read:,} of {stored.size:,} bytes read"
                return LevelReport(Level.BYTES, (), (stored.key,), why)
            seen.update(chunk)
            read += len(chunk)
            ports.progress.tell(BytesMoved(len(chunk)))
    except NotFoundError as error:
        return _damaged(stored, error.what)
    if seen.hexdigest() == stored.sha256:
        return LevelReport(Level.BYTES, (stored.key,))
    return _damaged(stored, f"has the SHA-256 {seen.hexdigest()}; the manifest says {stored.sha256}.")


def entry_bytes(subject: VerifySubject, ports: Ports) -> LevelReport:
    """The entries of the sample's tables, each compared with its SHA-256; the others are left out."""
    bundle, damage = opened_bundle(subject, ports, Level.BYTES, _STAGE)
    if bundle is None:
        return damage
    looked, findings = [], []
    left, why = (
        [subject.member(name) for table in subject.left_out() for name in _names(subject, table)],
        subject.sample,
    )
    for name in (name for table in subject.tables for name in _names(subject, table)):
        if subject.deadline.over():
            left, why = [*left, subject.member(name)], f"{subject.sample}, {subject.deadline}"
            continue
        looked.append(subject.member(name))
        if problem := member_problem(bundle, name, subject.manifest.entries[name]):
            findings.append(Finding(Level.BYTES, subject.member(name), problem))
    return LevelReport(Level.BYTES, tuple(looked), tuple(left), why, tuple(findings))


def _names(subject: VerifySubject, table: TableEntry) -> Iterator[str]:
    yield from (name for kind in ("parquet", "csv") for _, name in subject.files(table, kind) if name)


def _damaged(stored: StoredBytes, message: str) -> LevelReport:
    return LevelReport(Level.BYTES, (stored.key,), findings=(Finding(Level.BYTES, stored.key, message),))


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
    said = (manifest.scope, manifest.partition_date, manifest.backup_id)
    if said != (place.scope, place.day, place.backup_id):
        message = "describes another backup: " + ", ".join(str(part) for part in said) + "."
        yield Finding(Level.PRESENT, place.manifest, message)


def _contradicting(
    place: BackupPlace, row: Attempt | None, manifest: StoredManifest | Outline, data: bytes
) -> Iterator[Finding]:
    document = Document(data, manifest)
    for differing in disagreements(row, manifest, document.sha256, document.seal_key) if row is not None else ():
        yield Finding(Level.PRESENT, place.manifest, f"contradicts the ledger: {differing}.")
