"""What remains of a drill: the level in the ledger's row, a row in the audit, and an alert when something is wrong."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from backup_pipeline.core.alerts import Alert, Severity
from backup_pipeline.core.drill import DrillReport
from backup_pipeline.core.errors import BackupError, CanceledError, LedgerError, SettingsError
from backup_pipeline.core.ledger import AuditEvent
from backup_pipeline.core.verification import Finding, Level, LevelReport, VerifyReport
from backup_pipeline.core.verified import Verified, newly_verified, passed
from backup_pipeline.operations.drill.asked import DrillPorts, DrillRequest
from backup_pipeline.operations.drill.rehearsed import Rehearsal
from backup_pipeline.operations.telling import Voice, tell

logger = logging.getLogger(__name__)

ACTION = "drill"
_RECENT = 200


def record(rehearsal: Rehearsal, request: DrillRequest, ports: DrillPorts) -> None:
    """Write down what a drill saw, and alert when it found something. Alerts come first: a ledger may be away."""
    report = rehearsal.report
    if not report.passed:
        tell(_found_alert(report, request), ports)
    _audit(request, ports, _told(report))
    before = Verified(request.attempt.verification_level, request.attempt.verified_at)
    now = ports.clock()
    kept = passed(Level.RESTORED, now) if report.passed else newly_verified(before, _with_drill(rehearsal), now)
    if kept is not None:
        ports.ledger.verified(request.attempt.backup_id, kept)


def record_fault(report: DrillReport, request: DrillRequest, ports: DrillPorts, outcome: BackupError) -> None:
    """Keep in the audit that a fault was injected and what came of it; no level, no alert."""
    _audit(request, ports, {"outcome": outcome.what, **_told(report)}, action=f"{ACTION} with injected fault")


def record_failure(error: BackupError, request: DrillRequest, ports: DrillPorts) -> None:
    """Keep in the audit that a drill could not be done, and alert; the backup's level stays as it is."""
    tell(_failed_alert(error, request), ports)
    _audit(request, ports, {"failed": error.what})


def end_drill_run(
    run_id: str, catalog: str, error: BackupError, voice: Voice, *, run_url: str | None = None
) -> Sequence[Alert]:
    """Alert of a Dagster run that ended without leaving a word in the audit; the alert, if there was any."""
    try:
        events = voice.ledger.audits(limit=_RECENT)
        known = any(event.action.startswith(ACTION) and event.detail.get("run_id") == run_id for event in events)
    except (LedgerError, SettingsError) as trouble:
        logger.warning("The audit of run %s can not be read: %s", run_id, trouble)
        known = False
    if known:
        return ()
    alert = Alert(
        severity=Severity.WARNING if isinstance(error, CanceledError) else Severity.FAILURE,
        title=_title(catalog, error),
        what=error.what,
        do=error.do or _AGAIN,
        catalog=catalog,
        run_id=run_id,
        run_url=run_url,
        at=voice.clock(),
    )
    tell(alert, voice)
    return (alert,)


_AGAIN = "Correct the cause, and run `backup-pipeline drill` again: until then nobody knows whether it can be restored."


def _audit(request: DrillRequest, ports: DrillPorts, detail: Mapping[str, object], *, action: str = ACTION) -> None:
    told = {**detail, "run_id": request.run_id} if request.run_id else dict(detail)
    ports.ledger.audit(AuditEvent(ports.clock(), request.actor, action, request.attempt.backup_id, told))


def _told(report: DrillReport) -> dict[str, object]:
    """What the audit says: for people in short, and the whole as `report`."""
    short = {
        "passed": report.passed,
        "verified": report.verified,
        "rows": report.rows,
        "seconds": round(report.seconds, 1),
        "predicted_restore_seconds": report.predicted_restore_seconds,
        "findings": [str(finding) for finding in report.findings],
    }
    return {**short, "report": report.as_json()}


def _with_drill(rehearsal: Rehearsal) -> VerifyReport:
    """The verification with what the drill found as its last level; one that failed before has its own findings."""
    verified, report = rehearsal.verified, rehearsal.report
    if not verified.passed:
        return verified
    findings = tuple(Finding(Level.RESTORED, found.about, found.message) for found in report.findings)
    level = LevelReport(Level.RESTORED, tuple(table.name for table in report.tables), findings=findings)
    return replace(verified, wanted=Level.RESTORED, levels=(*verified.levels, level))


def _found_alert(report: DrillReport, request: DrillRequest) -> Alert:
    error = report.error()
    tables = {found.about: found.message for found in report.findings}
    return _alert(request, f"Drill failed: {report.catalog}", error.what, error.do, tables)


def _failed_alert(error: BackupError, request: DrillRequest) -> Alert:
    return _alert(request, _title(request.attempt.catalog, error), error.what, error.do or _AGAIN, {})


def _title(catalog: str, error: BackupError) -> str:
    return f"Drill {'canceled' if isinstance(error, CanceledError) else 'failed'}: {catalog}"


def _alert(request: DrillRequest, title: str, what: str, do: str, tables: Mapping[str, str]) -> Alert:
    return Alert(
        severity=Severity.WARNING if "canceled" in title else Severity.FAILURE,
        title=title,
        what=what,
        do=do,
        catalog=request.attempt.catalog,
        backup_id=request.attempt.backup_id,
        run_id=request.run_id,
        run_url=request.run_url,
        at=request.attempt.created_at,
        tables=tables,
    )
