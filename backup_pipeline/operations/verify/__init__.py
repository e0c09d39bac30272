"""Verification of one backup, level by level: is what lies in the store what the manifest says?

Damage is a finding, never an error: StoreError means "not known". `bytes.py` and `contents.py` are the levels.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from backup_pipeline.core.alerts import Alert, Severity
from backup_pipeline.core.errors import BackupError, NotFoundError, VerificationError
from backup_pipeline.core.layout import MANIFEST_PATH, VERIFICATIONS, BackupPlace
from backup_pipeline.core.ledger import Attempt, AuditEvent
from backup_pipeline.core.manifest import PartitionRecord, StoredManifest
from backup_pipeline.core.manifest.outline import Outline
from backup_pipeline.core.ports import Ports
from backup_pipeline.core.scope import Actor, Scope
from backup_pipeline.core.verification import Level, LevelReport, VerifyReport, newly_verified
from backup_pipeline.operations.browse import Ranges, bundle_place
from backup_pipeline.operations.leases import reading
from backup_pipeline.operations.read import ReadRequest, stored_partition
from backup_pipeline.operations.verify.bytes import (
    Deadline,
    StoredBytes,
    VerifyRequest,
    VerifySubject,
    entry_bytes,
    opened_bundle,
    present,
    sampled,
    whole_bytes,
)
from backup_pipeline.operations.verify.contents import Contents, references

__all__ = ["VerifyRequest", "verification_alert", "verify_attempt", "verify_backup", "verify_partition"]

_LITTLE = 256 << 10
_ABANDONED = timedelta(days=2)
"""A verification that was killed leaves its folder; one that lives writes into it all the time."""


def verify_backup(
    place: BackupPlace, request: VerifyRequest, ports: Ports, *, row: Attempt | None = None
) -> VerifyReport:
    """Check the backup at `place` up to the wanted level, or as far as the time allows.

    A finding does not stop it: the deeper levels name what is damaged. `row` is what the ledger knows of the backup, so
    that an exchanged pair of bundle and manifest is seen too.

    The levels up to `bytes` need no key, also of an encrypted backup, whose bytes are then read whole, whatever the
    sample. DecryptError when a deeper one is wanted, and no key here opens it.
    """
    started = ports.clock()
    manifest, size, seen = present(place, ports.store, row, whole=request.level >= Level.CONTENTS)
    levels, sample = [seen], None
    if isinstance(manifest, Outline) and size is not None and request.level >= Level.BYTES:
        key, until = place.bundle(manifest.bundle.name), _deadline(request, ports, started)
        levels = [seen, whole_bytes(StoredBytes(key, size, manifest.bundle.sha256, until), ports)]
    elif isinstance(manifest, StoredManifest) and size is not None:
        subject = _subject(place, manifest, size, request, ports, started)
        levels, sample = [seen, *_deeper(subject, request, ports)], subject.sample or None
    return VerifyReport(
        backup_id=place.backup_id,
        place=f"{ports.store.url}/{place.prefix}",
        wanted=request.level,
        levels=tuple(levels),
        bytes=size or 0,
        seconds=(ports.clock() - started).total_seconds(),
        sample=sample,
    )


def _subject(
    place: BackupPlace,
    manifest: StoredManifest,
    size: int,
    request: VerifyRequest,
    ports: Ports,
    started: datetime,
) -> VerifySubject:
    tables, sample = sampled(manifest, request)
    return VerifySubject(place, manifest, size, tables, sample, _deadline(request, ports, started))


def _deadline(request: VerifyRequest, ports: Ports, started: datetime) -> Deadline:
    until = started + request.max_duration if request.max_duration is not None else None
    return Deadline(ports.clock, until, request.max_duration)


def _check_key(subject: VerifySubject, ports: Ports) -> None:
    """DecryptError before much is read, when no key here opens an encrypted backup; damage the levels find."""
    with suppress(NotFoundError, VerificationError):
        ranges = Ranges(ports.store, subject.key, subject.size, ports.progress, window=_LITTLE)
        for _ in ports.formats.open_bundle(ranges.read, subject.size).stream(MANIFEST_PATH):
            pass


def _deeper(subject: VerifySubject, request: VerifyRequest, ports: Ports) -> Iterator[LevelReport]:
    if subject.manifest.encryption is not None and request.level >= Level.CONTENTS:
        _check_key(subject, ports)
    if request.level >= Level.BYTES:
        yield entry_bytes(subject, ports) if subject.sample else whole_bytes(subject.stored, ports)
    if request.level < Level.CONTENTS:
        return
    bundle, damage = opened_bundle(subject, ports, Level.CONTENTS, "contents")
    if bundle is None:
        yield damage
        return
    with _folder(ports.spool / VERIFICATIONS) as folder:
        contents = Contents(subject, bundle, folder, ports)
        yield contents.report(keep=request.level >= Level.REFERENCES)
        if request.level >= Level.REFERENCES:
            yield references(subject, contents.parquet, ports, contents.decoder)


@contextmanager
def _folder(parent: Path) -> Iterator[Path]:
    """A folder for files in the making, removed at the end; those that killed verifications left go first."""
    parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    for old in parent.iterdir():
        if time.time() - old.stat().st_mtime > _ABANDONED.total_seconds():
            shutil.rmtree(old, ignore_errors=True)
    with TemporaryDirectory(dir=parent, ignore_cleanup_errors=True) as name:
        yield Path(name)


def verify_attempt(attempt: Attempt, request: VerifyRequest, ports: Ports, *, actor: Actor) -> VerifyReport:
    """Verify the backup of an attempt against its manifest and its ledger row; leaves an audit row with the outcome.

    The row keeps the level as `newly_verified` says. NotFoundError when the attempt never made a bundle, or its bundle
    was removed.
    """
    place = bundle_place(attempt)
    with reading(attempt.backup_id, "verify", actor, ports):
        report = verify_backup(place, request, ports, row=attempt)
    now = ports.clock()
    ports.ledger.audit(AuditEvent(now, actor, "verify", attempt.backup_id, _detail(report)))
    kept = newly_verified(attempt.verification, report, now)
    if kept is not None:
        ports.ledger.verified(attempt.backup_id, kept)
    return report


def verification_alert(scope: Scope, error: BackupError, now: datetime, run_id: str, run_url: str) -> Alert:
    """What people are told of a run whose verification ended badly: something is damaged, or nothing is known."""
    return Alert(
        severity=Severity.FAILURE,
        title=f"Verification failed: {scope}",
        what=error.what,
        do=error.do or "Look at the run; then make another backup, and verify that.",
        scope=scope,
        run_id=run_id,
        run_url=run_url,
        at=now,
    )


def verify_partition(request: ReadRequest, ports: Ports) -> tuple[PartitionRecord, LevelReport]:
    """Read every file of a table's partition, and compare it with its record: whether it still is what was written.

    NotFoundError when there is no such partition; VerificationError when its record was changed.
    """
    place, record = stored_partition(request, store=ports.store, clock=ports.clock)
    files = [file.stored for file in record.table.files]
    without_end = Deadline(ports.clock, None, None)
    reports = [
        whole_bytes(StoredBytes(place.file(file.name), file.bytes, file.sha256, without_end), ports) for file in files
    ]
    looked_at = tuple(key for report in reports for key in report.looked_at)
    findings = tuple(finding for report in reports for finding in report.findings)
    return record, LevelReport(Level.BYTES, looked_at, findings=findings)


def _detail(report: VerifyReport) -> dict[str, object]:
    level = None if report.level is None else report.level.value
    findings = [f"{finding.object}: {finding.message}" for finding in report.findings]
    return {"level": level, "reached": report.reached, "findings": findings}
