"""Copy: a backup from the first store into the second, hashed as it passes, read back from there, manifest last."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from backup_pipeline.core.alerts import Alert, Say, Severity
from backup_pipeline.core.copies import Copy, CopyDecision, CopyStatus, decide_copies
from backup_pipeline.core.errors import (
    BackupError,
    CanceledError,
    LedgerError,
    NotFoundError,
    SettingsError,
    VerificationError,
)
from backup_pipeline.core.layout import BackupPlace
from backup_pipeline.core.ledger import GOOD, Attempt, AuditEvent
from backup_pipeline.core.manifest import StoredBundle
from backup_pipeline.core.ports import BytesMoved, Ports, Second, StageStarted, Store
from backup_pipeline.core.scope import Actor, Scope
from backup_pipeline.core.verification import Level, Verification, VerifyReport, newly_verified
from backup_pipeline.operations.alerting import tell
from backup_pipeline.operations.browse import bundle_place, open_unread, place_of
from backup_pipeline.operations.leases import reading
from backup_pipeline.operations.verify import VerifyRequest, verify_backup

logger = logging.getLogger(__name__)

TOPIC = "copy"
"""The thread of alerts about copies."""

_FIRST = "Verify this backup: the first store does not give back what was written. Copy another one."


@dataclass(frozen=True)
class CopyOrder:
    """Which backup is copied, the bundle as its row or its manifest has it, and who asks."""

    attempt: Attempt
    bundle: StoredBundle
    actor: Actor

    @property
    def place(self) -> BackupPlace:
        """Where it lies, in either store."""
        return place_of(self.attempt)


def order_of(attempt: Attempt, actor: Actor) -> CopyOrder:
    """The order to copy a finished backup; NotFoundError, with the reason, when it has no bundle."""
    bundle_place(attempt)
    bundle = StoredBundle(
        name=attempt.file_name or "-", bytes=attempt.file_size_bytes or 0, sha256=attempt.sha256 or ""
    )
    return CopyOrder(attempt, bundle, actor)


def copy_backup(order: CopyOrder, ports: Ports) -> Copy:
    """Copy the backup into the second store, and verify every byte of it there; the row that says how that went.

    What is there already and good is left as it is; what is there and damaged is replaced. The manifest comes last. A
    failure is a row, an audit row and an alert, one thread of alerts a catalog; the backup stays as good as it was.
    LedgerError when the ledger can not be written; SettingsError when there is no second store.
    """
    second = second_of(ports)
    row = Copy(
        backup_id=order.attempt.backup_id,
        scope=order.attempt.scope,
        store=second.url,
        status=CopyStatus.COPYING,
        at=ports.clock(),
        owner=ports.owner,
    )
    ports.ledger.copies.put(row)
    try:
        total = _copy(order, ports, second.store)
    except BackupError as error:
        ended = _failed(row, error, order, ports)
        tell(copy_alert(ended, error, order.attempt), ports)
        return ended
    except BaseException:
        _failed(row, CanceledError("The copy was stopped."), order, ports)
        raise
    return _good(row, total, order, ports)


def second_of(ports: Ports) -> Second:
    """The second destination; SettingsError when there is none."""
    if ports.second is None:
        message = "There is no second store: BACKUP_SECOND_STORE is not set."
        raise SettingsError(message, do="Set it to s3://bucket/prefix or file:///path; docs/s3.md says more.")
    return ports.second


def _copy(order: CopyOrder, ports: Ports, second: Store) -> int:
    """Copy bundle and manifest; the bytes that are there then."""
    opened = open_unread(order.attempt, order.place, ports.store)
    if opened.bundle != order.bundle:
        message = f"{ports.store.url}/{order.place.manifest} describes another bundle than the one that was made."
        raise VerificationError(message, do=_FIRST)
    key, manifest = opened.key, opened.document.data  # as it lies there, also when it is encrypted
    ports.progress.tell(StageStarted("copy", order.bundle.bytes))
    _put(key, order.bundle.sha256, lambda: ports.store.stream(key), ports, second)
    _put(order.place.manifest, opened.document.sha256, lambda: iter([manifest]), ports, second)
    return order.bundle.bytes + len(manifest)


def _put(key: str, sha256: str, read: Callable[[], Iterator[bytes]], ports: Ports, second: Store) -> None:
    """One object: written unless it is there and good, then read back and compared."""
    there = second.head(key) is not None
    if there and _sha256(second, key, ports) == sha256:
        return
    where = f"{ports.store.url}/{key}"
    second.keep(key, _compared(read(), sha256, where, ports), replace=there)
    seen = _sha256(second, key, ports)
    if seen != sha256:
        with suppress(BackupError):
            second.delete([key])
        message = f"{second.url}/{key} did not come back as it was written: its SHA-256 is {seen}, not {sha256}."
        raise VerificationError(message, do="Copy it again; if it repeats, look at the second store.")


def _compared(chunks: Iterator[bytes], sha256: str, where: str, ports: Ports) -> Iterator[bytes]:
    """The chunks; VerificationError before the end when they are not what they should be, so that nothing appears."""
    seen = hashlib.sha256()
    for chunk in chunks:
        seen.update(chunk)
        ports.progress.tell(BytesMoved(len(chunk)))
        yield chunk
    if seen.hexdigest() != sha256:
        message = f"{where} is damaged: its SHA-256 is {seen.hexdigest()}, not {sha256}. It was not copied."
        raise VerificationError(message, do=_FIRST)


def _sha256(store: Store, key: str, ports: Ports) -> str:
    seen = hashlib.sha256()
    for chunk in store.stream(key):
        seen.update(chunk)
        ports.progress.tell(BytesMoved(len(chunk)))
    return seen.hexdigest()


def _good(row: Copy, total: int, order: CopyOrder, ports: Ports) -> Copy:
    now = ports.clock()
    ended = replace(
        row,
        status=CopyStatus.GOOD,
        finished_at=now,
        bytes=total,
        sha256=order.bundle.sha256,
        verification=Verification(Level.BYTES, now),
    )
    ports.ledger.copies.put(ended)
    _audit(ended, order, ports, {"bytes": total})
    if ports.ledger.threads.recovered(ended.scope, TOPIC).say is Say.RECOVERY:
        tell(recovered_alert(ended), ports)
    return ended


def _failed(row: Copy, error: BackupError, order: CopyOrder, ports: Ports) -> Copy:
    ended = replace(row, status=CopyStatus.FAILED, finished_at=ports.clock(), error_message=str(error))
    ports.ledger.copies.put(ended)
    _audit(ended, order, ports, {"error": error.what})
    return ended


def _audit(row: Copy, order: CopyOrder, ports: Ports, detail: dict[str, object]) -> None:
    facts = {"store": row.store, "status": str(row.status), **detail}
    ports.ledger.audit(AuditEvent(ports.clock(), order.actor, "copy", row.backup_id, facts))


def copy_alert(row: Copy, error: BackupError, attempt: Attempt) -> Alert:
    """What people are told of a copy that failed."""
    return Alert(
        severity=Severity.WARNING,
        title=f"Copy to the second store failed: {row.scope} for {attempt.partition_date}",
        what=f"The backup is good in the first store, but it is not in {row.store}. {error.what}",
        do=f"{error.do or 'Correct the cause.'} Then run `backup-pipeline copy --missing`.",
        scope=row.scope,
        backup_id=row.backup_id,
        run_id=attempt.run_id,
        at=row.at,
        topic=TOPIC,
    )


def recovered_alert(row: Copy) -> Alert:
    """What people are told once a copy went well after others had failed."""
    return Alert(
        severity=Severity.INFO,
        title=f"Copies to the second store work again: {row.scope}",
        what=f"Backup {row.backup_id} is in {row.store}, and every byte of it was compared there.",
        do="See that no older one is missing: `backup-pipeline copy --missing --dry-run`.",
        scope=row.scope,
        backup_id=row.backup_id,
        at=row.at,
    )


def copy_after(order: CopyOrder, ports: Ports) -> str | None:
    """Copy a backup that was just made, where there is a second store; a warning for its row when that failed.

    Whatever the second store or the ledger do, the backup is made: only being stopped comes out.
    """
    if ports.second is None:
        return None
    try:
        row = copy_backup(order, ports)
    except (LedgerError, SettingsError) as error:
        logger.warning("The backup was not copied to the second store: %s", error)
        return f"It was not copied to {ports.second.url}: {error.what}"
    if row.status is CopyStatus.GOOD:
        return None
    reason = (row.error_message or "").partition("\n")[0].removesuffix(".")
    return f"It was not copied to {row.store}: {reason}. `backup-pipeline copy --missing` tries again."


def missing_copies(ports: Ports, scope: Scope | None = None) -> Sequence[CopyDecision]:
    """What is to be done about each good backup, with the reason; nothing is touched."""
    url = second_of(ports).url
    attempts = ports.ledger.list(scope=scope, status=sorted(GOOD))
    copies = ports.ledger.copies.list(scope=scope, store=url)
    return decide_copies(attempts, copies, now=ports.clock(), host=ports.owner.host, alive=ports.alive)


def copy_missing(decisions: Sequence[CopyDecision], ports: Ports, *, actor: Actor) -> Iterator[Copy]:
    """Copy what is wanted, one after the other; each row as it ended. One that fails does not stop the others."""
    for decision in decisions:
        if decision.wanted:
            yield copy_backup(order_of(decision.attempt, actor), ports)


def verify_copy(attempt: Attempt, request: VerifyRequest, ports: Ports, *, actor: Actor) -> VerifyReport:
    """Verify the backup in the second store (`ports` work on it) as `verify_attempt` does in the first.

    A copy that nothing was known of, and that is good, gets its row. NotFoundError when the backup was never copied.
    """
    place = bundle_place(attempt)
    second = second_of(ports)
    row = ports.ledger.copies.get(attempt.backup_id, second.url)
    if row is None and ports.store.head(place.manifest) is None:
        message = f"Backup {attempt.backup_id} is not in {second.url}: it was never copied."
        raise NotFoundError(message, do=f"Copy it: `backup-pipeline copy {attempt.backup_id}`.")
    with reading(attempt.backup_id, "verify", actor, ports):
        report = verify_backup(place, request, ports, row=attempt)
    now = ports.clock()
    findings = [f"{finding.object}: {finding.message}" for finding in report.findings]
    detail = {"store": second.url, "reached": report.reached, "findings": findings}
    ports.ledger.audit(AuditEvent(now, actor, "verify", attempt.backup_id, detail))
    ended = _after(row or _unknown(attempt, second, now), attempt, report, now)
    if ended != row:
        ports.ledger.copies.put(ended)
    return report


def _unknown(attempt: Attempt, second: Second, now: datetime) -> Copy:
    return Copy(attempt.backup_id, attempt.scope, second.url, CopyStatus.FAILED, now)


def _after(row: Copy, attempt: Attempt, report: VerifyReport, now: datetime) -> Copy:
    """The row after a verification. Whatever it said, a copy whose bytes were all compared and are right is good."""
    kept = newly_verified(row.verification, report, now)
    if kept is not None:
        row = replace(row, verification=kept)
    if report.passed and report.level is not None and report.level >= Level.BYTES:
        return replace(
            row,
            status=CopyStatus.GOOD,
            finished_at=row.finished_at or now,
            sha256=attempt.sha256,
            bytes=row.bytes or report.bytes,
            error_message=None,
        )
    return row
