"""Verification of a copy: the levels of `verify`, on the bytes of the second store; the copy's own row says it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from backup_pipeline.core.copies import Copy, CopyStatus
from backup_pipeline.core.errors import NotFoundError
from backup_pipeline.core.ledger import Attempt, AuditEvent
from backup_pipeline.core.ports import Ledger, Second
from backup_pipeline.core.verification import Level, VerifyReport
from backup_pipeline.core.verified import newly_verified
from backup_pipeline.operations.browse import bundle_place
from backup_pipeline.operations.verify import VerifyPorts, VerifyRequest, verify_backup


def verify_copy(
    attempt: Attempt, second: Second, request: VerifyRequest, ports: VerifyPorts, *, ledger: Ledger, actor: str
) -> VerifyReport:
    """Verify the backup in the second store (that of `ports`) as `verify_attempt` does in the first.

    A copy that nothing was known of, and that is good, gets its row. NotFoundError when the backup was never copied.
    """
    place = bundle_place(attempt)
    row = ledger.copies.get(attempt.backup_id, second.url)
    if row is None and ports.store.head(place.manifest) is None:
        message = f"Backup {attempt.backup_id} is not in {second.url}: it was never copied."
        raise NotFoundError(message, do=f"Copy it: `backup-pipeline copy {attempt.backup_id}`.")
    report = verify_backup(place, request, ports, row=attempt)
    now = ports.clock()
    findings = [f"{found.object}: {found.message}" for found in report.findings]
    detail = {"store": second.url, "reached": report.reached, "findings": findings}
    ledger.audit(AuditEvent(now, actor, "verify", attempt.backup_id, detail))
    ended = _after(row or _unknown(attempt, second, now), attempt, report, now)
    if ended != row:
        ledger.copies.put(ended)
    return report


def _unknown(attempt: Attempt, second: Second, now: datetime) -> Copy:
    return Copy(attempt.backup_id, attempt.catalog, second.url, CopyStatus.FAILED, now)


def _after(row: Copy, attempt: Attempt, report: VerifyReport, now: datetime) -> Copy:
    """The row after a verification. Whatever it said, a copy whose bytes were all compared and are right is good."""
    kept = newly_verified(row.verified, report, now)
    if kept is not None:
        row = replace(row, verification_level=kept.level, verified_at=kept.at)
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
