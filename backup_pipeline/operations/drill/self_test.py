"""The drill drilled: a fault is injected into a copy, and a drill that does not find it is blind."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from backup_pipeline.core.drill import DrillReport, Fault
from backup_pipeline.core.drill_faults import Injection, blind, found, unnoticed
from backup_pipeline.core.errors import BackupError, StaleError, VerificationError
from backup_pipeline.core.freshness import staleness
from backup_pipeline.operations.browse import bundle_place
from backup_pipeline.operations.drill.asked import DrillPorts, DrillRequest
from backup_pipeline.operations.drill.perform import as_drill_error
from backup_pipeline.operations.drill.record import record_fault
from backup_pipeline.operations.drill.rehearsed import rehearse

_OLDER = timedelta(days=366)


def drill_with_fault(request: DrillRequest, ports: DrillPorts) -> tuple[DrillReport, BackupError]:
    """Rehearse with the request's fault; the report, and the error with which the caller ends, whatever came out.

    VerificationError (StaleError for a stale one) when the fault was found, BackupError when the drill is blind.
    The backup in the store is only read; its row gets no level, and nobody is alerted.
    """
    bundle_place(request.attempt)
    report, outcome = _stale(request, ports) if request.fault is Fault.STALE else _rehearsed(request, ports)
    record_fault(report, request, ports, outcome)
    return report, outcome


def _rehearsed(request: DrillRequest, ports: DrillPorts) -> tuple[DrillReport, BackupError]:
    try:
        rehearsal = rehearse(request, ports)
    except VerificationError as error:
        raise as_drill_error(error, request) from error
    report, injection = rehearsal.report, rehearsal.injection
    if injection is None:
        why = " ".join(str(finding) for finding in report.findings)
        message = f"No fault was injected into the drill of backup {report.backup_id}, which is not good: {why}"
        raise BackupError(message, do="Drill it without --inject first.")
    return report, unnoticed(report, injection) or found(report, injection)


def _stale(request: DrillRequest, ports: DrillPorts) -> tuple[DrillReport, BackupError]:
    """The backup taken for one of last year: is that noticed?"""
    old = request.attempt.created_at - _OLDER
    injection = Injection(Fault.STALE, f"The backup was taken for one that began {old:%Y-%m-%d %H:%M} UTC.", "")
    report = DrillReport(
        backup_id=request.attempt.backup_id,
        catalog=request.attempt.catalog,
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
