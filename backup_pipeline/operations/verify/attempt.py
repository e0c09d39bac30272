"""Verification of an attempt of the ledger: its row and its audit say what came out."""

from __future__ import annotations

from backup_pipeline.core.ledger import Attempt, AuditEvent
from backup_pipeline.core.ports import Ledger
from backup_pipeline.core.verification import VerifyReport
from backup_pipeline.core.verified import Verified, newly_verified
from backup_pipeline.operations.browse import bundle_place
from backup_pipeline.operations.verify.asked import VerifyPorts, VerifyRequest
from backup_pipeline.operations.verify.backup import verify_backup


def verify_attempt(
    attempt: Attempt, request: VerifyRequest, ports: VerifyPorts, *, ledger: Ledger, actor: str
) -> VerifyReport:
    """Verify the backup of an attempt against its manifest and its ledger row; leaves an audit row with the outcome.

    The row keeps the level as `newly_verified` says. NotFoundError when the attempt never made a bundle, or its bundle
    was removed.
    """
    report = verify_backup(bundle_place(attempt), request, ports, row=attempt)
    now = ports.clock()
    ledger.audit(AuditEvent(now, actor, "verify", attempt.backup_id, _detail(report)))
    kept = newly_verified(Verified(attempt.verification_level, attempt.verified_at), report, now)
    if kept is not None:
        ledger.verified(attempt.backup_id, kept)
    return report


def _detail(report: VerifyReport) -> dict[str, object]:
    level = None if report.level is None else report.level.value
    findings = [f"{found.object}: {found.message}" for found in report.findings]
    return {"level": level, "reached": report.reached, "findings": findings}
