"""Drill: a backup restored into a scratch database, exported again, compared. What stays of it, and who is alerted."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from backup_pipeline.core.alerts import Alert, Severity
from backup_pipeline.core.drill import DrillReport, Fault, Injection, blind, noticed, unnoticed
from backup_pipeline.core.drill.objects import OpenSandbox
from backup_pipeline.core.due import staleness
from backup_pipeline.core.errors import (
    BackupError,
    CanceledError,
    DecryptError,
    LedgerError,
    NotFoundError,
    SettingsError,
    StaleError,
    UsageError,
    VerificationError,
    in_our_words,
)
from backup_pipeline.core.ledger import AuditEvent
from backup_pipeline.core.ports import Ports
from backup_pipeline.core.scope import Scope
from backup_pipeline.core.verification import (
    Finding,
    Level,
    LevelReport,
    Verification,
    VerifyReport,
    newly_verified,
)
from backup_pipeline.operations.alerting import tell
from backup_pipeline.operations.browse import bundle_place
from backup_pipeline.operations.drill.compare import DrillRequest
from backup_pipeline.operations.drill.rehearse import Rehearsal, rehearse
from backup_pipeline.operations.leases import reading

__all__ = ["DrillRequest", "drill", "drill_backup", "drill_with_fault", "end_drill_run"]

logger = logging.getLogger(__name__)

ACTION = "drill"
_RECENT = 200


def record(rehearsal: Rehearsal, request: DrillRequest, ports: Ports) -> None:
    """Write down what a drill saw, and alert when it found something. Alerts come first: a ledger may be away."""
    report = rehearsal.report
    if not report.passed:
        tell(_found_alert(report, request), ports)
    _audit(request, ports, _facts(report))
    before = request.attempt.verification
    now = ports.clock()
    kept = Verification(Level.RESTORED, now) if report.passed else newly_verified(before, _with_drill(rehearsal), now)
    if kept is not None:
        ports.ledger.verified(request.attempt.backup_id, kept)


def record_fault(report: DrillReport, request: DrillRequest, ports: Ports, outcome: BackupError) -> None:
    """Keep in the audit that a fault was injected and what came of it; no level, no alert."""
    _audit(request, ports, {"outcome": outcome.what, **_facts(report)}, action=f"{ACTION} with injected fault")


def record_failure(error: BackupError, request: DrillRequest, ports: Ports) -> None:
    """Keep in the audit that a drill could not be done, and alert; the backup's level stays as it is."""
    tell(_failed_alert(error, request), ports)
    _audit(request, ports, {"failed": error.what})


def end_drill_run(
    run_id: str, catalog: str, error: BackupError, ports: Ports, *, run_url: str | None = None
) -> Sequence[Alert]:
    """Alert of a Dagster run that ended without leaving a word in the audit; the alert, if there was any."""
    try:
        events = ports.ledger.audits(limit=_RECENT)
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
        scope=Scope(catalog),
        run_id=run_id,
        run_url=run_url,
        at=ports.clock(),
    )
    tell(alert, ports)
    return (alert,)


_AGAIN = "Correct the cause, and run `backup-pipeline drill` again: until then nobody knows whether it can be restored."


def _audit(request: DrillRequest, ports: Ports, detail: Mapping[str, object], *, action: str = ACTION) -> None:
    facts = {**detail, "run_id": request.run_id} if request.run_id else dict(detail)
    ports.ledger.audit(AuditEvent(ports.clock(), request.actor, action, request.attempt.backup_id, facts))


def _facts(report: DrillReport) -> dict[str, object]:
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
    findings = tuple(Finding(Level.RESTORED, finding.about, finding.message) for finding in report.findings)
    level = LevelReport(Level.RESTORED, tuple(table.name for table in report.tables), findings=findings)
    return replace(verified, wanted=Level.RESTORED, levels=(*verified.levels, level))


def _found_alert(report: DrillReport, request: DrillRequest) -> Alert:
    error = report.error()
    tables = {finding.about: finding.message for finding in report.findings}
    return _alert(request, f"Drill failed: {report.catalog}", error.what, error.do, tables)


def _failed_alert(error: BackupError, request: DrillRequest) -> Alert:
    return _alert(request, _title(str(request.attempt.scope), error), error.what, error.do or _AGAIN, {})


def _title(catalog: str, error: BackupError) -> str:
    return f"Drill {'canceled' if isinstance(error, CanceledError) else 'failed'}: {catalog}"


def _alert(request: DrillRequest, title: str, what: str, do: str, tables: Mapping[str, str]) -> Alert:
    return Alert(
        severity=Severity.WARNING if "canceled" in title else Severity.FAILURE,
        title=title,
        what=what,
        do=do,
        scope=request.attempt.scope,
        backup_id=request.attempt.backup_id,
        run_id=request.run_id,
        run_url=request.run_url,
        at=request.attempt.created_at,
        tables=tables,
    )


_SAID_BY_ITSELF = (VerificationError, DecryptError, NotFoundError, UsageError, CanceledError)
"""Errors that say by their exit code what they are; any other means that the drill failed."""


def drill_backup(
    request: DrillRequest, ports: Ports, open_sandbox: OpenSandbox
) -> tuple[DrillReport, BackupError | None]:
    """Drill the backup, with the request's fault where it has one: the report, and the error to end with, if any.

    Damage comes before age. The ledger has it and people know it by then. Raises what keeps it from being done.
    """
    if request.fault is not None:
        return drill_with_fault(request, ports, open_sandbox)
    report = drill(request, ports, open_sandbox)
    if not report.passed:
        return report, report.error()
    if report.stale is not None:
        again = "Run the full backup." if request.run_id else "Run `backup-pipeline backup`."
        return report, StaleError(report.stale, do=f"The backup itself can be restored. {again}")
    return report, None


def drill(request: DrillRequest, ports: Ports, open_sandbox: OpenSandbox) -> DrillReport:
    """Rehearse a restore of the backup; the ledger keeps what came out, and people hear of what is wrong.

    The report says what was found; `report.error()` is for whoever must fail on it. NotFoundError, which alerts nobody,
    when the attempt has no bundle. VerificationError when what verified a moment ago can not be read any more, and a
    BackupError when a step could not be done: both alert.
    """
    bundle_place(request.attempt)
    try:
        with reading(request.attempt.backup_id, "drill", request.actor, ports):
            rehearsal = rehearse(request, ports, open_sandbox)
    except BackupError as error:
        failed = as_drill_error(error, request)
        record_failure(failed, request, ports)
        raise failed from error
    except Exception as error:
        failed = as_drill_error(BackupError(in_our_words(error)), request)
        record_failure(failed, request, ports)
        raise
    rehearsal = _with_age(rehearsal, request, ports)
    record(rehearsal, request, ports)
    return rehearsal.report


def as_drill_error(error: BackupError, request: DrillRequest) -> BackupError:
    """The error as that of a drill: whatever a step calls it, the drill failed."""
    message = f"The drill of backup {request.attempt.backup_id} could not be done: {error.what}"
    kind = next((kind for kind in _SAID_BY_ITSELF if isinstance(error, kind)), BackupError)
    return kind(message, do=error.do or "Correct the cause, and run `backup-pipeline drill` again.")


def _with_age(rehearsal: Rehearsal, request: DrillRequest, ports: Ports) -> Rehearsal:
    """The rehearsal, with a word when the newest backup is too old; a catalog that is gone promises nothing."""
    if not request.newest or request.catalog is None:
        return rehearsal
    stale = staleness(request.catalog, request.attempt.created_at, ports.clock())
    return replace(rehearsal, report=replace(rehearsal.report, stale=stale.what if stale else None))


_OLDER = timedelta(days=366)


def drill_with_fault(request: DrillRequest, ports: Ports, open_sandbox: OpenSandbox) -> tuple[DrillReport, BackupError]:
    """Rehearse with the request's fault; the report, and the error with which the caller ends, whatever came out.

    VerificationError (StaleError for a stale one) when the fault was found, BackupError when the drill is blind.
    The backup in the store is only read; its row gets no level, and nobody is alerted.
    """
    bundle_place(request.attempt)
    report, outcome = (
        _stale(request, ports) if request.fault is Fault.STALE else _rehearsed(request, ports, open_sandbox)
    )
    record_fault(report, request, ports, outcome)
    return report, outcome


def _rehearsed(request: DrillRequest, ports: Ports, open_sandbox: OpenSandbox) -> tuple[DrillReport, BackupError]:
    try:
        with reading(request.attempt.backup_id, "drill", request.actor, ports):
            rehearsal = rehearse(request, ports, open_sandbox)
    except VerificationError as error:
        raise as_drill_error(error, request) from error
    report, injection = rehearsal.report, rehearsal.injection
    if injection is None:
        why = " ".join(str(finding) for finding in report.findings)
        message = f"No fault was injected into the drill of backup {report.backup_id}, which is not good: {why}"
        raise BackupError(message, do="Drill it without --inject first.")
    return report, unnoticed(report, injection) or noticed(report, injection)


def _stale(request: DrillRequest, ports: Ports) -> tuple[DrillReport, BackupError]:
    """The backup taken for one of last year: is that noticed?"""
    old = request.attempt.created_at - _OLDER
    injection = Injection(Fault.STALE, f"The backup was taken for one that began {old:%Y-%m-%d %H:%M} UTC.", "")
    report = DrillReport(
        backup_id=request.attempt.backup_id,
        catalog=str(request.attempt.scope),
        snapshot_at=request.attempt.snapshot_at,
        verified="not verified",
        bytes=0,
        injected=Fault.STALE,
    )
    stale = staleness(request.catalog, old, ports.clock()) if request.catalog else None
    if stale is None:
        why = (
            "its catalog is not there." if request.catalog is None else "its catalog has no schedule, so no age is old."
        )
        return report, blind(injection, request.attempt.backup_id, f"Nothing says when a backup is due: {why}")
    what = f"Injected fault {Fault.STALE} was FOUND, as it should be: {stale.what}"
    do = f"{injection.what} Nothing was restored, nothing was recorded as the backup's state, nobody was alerted."
    return replace(report, stale=stale.what), StaleError(what, do=do)
