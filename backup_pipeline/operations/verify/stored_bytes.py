"""Level 1: the stored bytes are those that were written. The bundle as a whole or, of a sample, entry by entry."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from backup_pipeline.core.errors import NotFoundError
from backup_pipeline.core.progress import BytesMoved, StageStarted
from backup_pipeline.core.verification import Finding, Level, LevelReport
from backup_pipeline.operations.verify.asked import StoredBytes, Subject, VerifyPorts
from backup_pipeline.operations.verify.members import member_problem, opened_bundle

_STAGE = "bytes"


def whole_bytes(at: StoredBytes, ports: VerifyPorts) -> LevelReport:
    """The bundle, read whole, compared with the manifest's SHA-256."""
    ports.progress.tell(StageStarted(_STAGE, at.size))
    seen, read = hashlib.sha256(), 0
    try:
        for chunk in ports.store.stream(at.key):
            if at.deadline.over():
                why = f"{at.deadline}, {read:,} of {at.size:,} bytes read"
                return LevelReport(Level.BYTES, (), (at.key,), why)
            seen.update(chunk)
            read += len(chunk)
            ports.progress.tell(BytesMoved(len(chunk)))
    except NotFoundError as error:
        return _found(at, error.what)
    if seen.hexdigest() == at.sha256:
        return LevelReport(Level.BYTES, (at.key,))
    return _found(at, f"has the SHA-256 {seen.hexdigest()}; the manifest says {at.sha256}.")


def entry_bytes(at: Subject, ports: VerifyPorts) -> LevelReport:
    """The entries of the sample's tables, each compared with its SHA-256; the others are left out."""
    bundle, damage = opened_bundle(at, ports, Level.BYTES, _STAGE)
    if bundle is None:
        return damage
    looked, findings = [], []
    left, why = [at.member(name) for table in at.left_out() for name in _names(at, table.name)], at.sample
    for name in (name for table in at.tables for name in _names(at, table.name)):
        if at.deadline.over():
            left, why = [*left, at.member(name)], f"{at.sample}, {at.deadline}"
            continue
        looked.append(at.member(name))
        if problem := member_problem(bundle, name, at.manifest.entries[name]):
            findings.append(Finding(Level.BYTES, at.member(name), problem))
    return LevelReport(Level.BYTES, tuple(looked), tuple(left), why, tuple(findings))


def _names(at: Subject, table: str) -> Iterator[str]:
    entry = next(entry for entry in at.manifest.tables if entry.name == table)
    yield from (name for kind in ("parquet", "csv") for _, name in at.files(entry, kind) if name)


def _found(at: StoredBytes, message: str) -> LevelReport:
    return LevelReport(Level.BYTES, (at.key,), findings=(Finding(Level.BYTES, at.key, message),))
