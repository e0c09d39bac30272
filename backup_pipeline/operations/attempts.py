"""The life of an attempt in the ledger: begun before anything connects, and ended honestly in every case."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from backup_pipeline.core.alerts import Alert, Delivery, Severity
from backup_pipeline.core.catalog import Catalog
from backup_pipeline.core.dates import is_late
from backup_pipeline.core.errors import BackupError, CanceledError, ExportFailedError
from backup_pipeline.core.ids import new_backup_id
from backup_pipeline.core.ledger import Attempt, AuditEvent, Outcome, Owner
from backup_pipeline.core.ports import Ports
from backup_pipeline.core.statuses import Status


@dataclass(frozen=True)
class Request:
    """What somebody asked for: which catalog, tables and date, who, why, and whether a late backup is meant.

    `reads` is false when the source is not read (a bundle of partitions that are there): any date will do then.
    """

    catalog: Catalog
    kind: str
    tables: tuple[str, ...]
    day: date
    type: str
    created_by: str
    reason: str = ""
    late: bool = False
    reads: bool = True
    run_id: str | None = None
    run_url: str | None = None


def begin(request: Request, ports: Ports, owner: Owner) -> Attempt:
    """Add the attempt's row, or take up the running one of the same Dagster run.

    The row comes first, so that a refused date or an unreachable database is a failed backup and not a silent one.
    Raises RefusedError (the row is then ended, and people alerted) when the date is over and the request not `late`.
    """
    before = ports.ledger.of_run(request.run_id) if request.run_id else None
    if before is not None and before.status is Status.RUNNING:
        return before
    now = ports.clock()
    attempt = Attempt(
        backup_id=str(new_backup_id(now, request.kind, ports.salt())),
        catalog=request.catalog.catalog,
        kind=request.kind,
        type=request.type,
        status=Status.RUNNING,
        partition_date=request.day,
        created_at=now,
        started_at=now,
        created_by=request.created_by,
        reason=request.reason,
        late=request.late,
        run_id=request.run_id,
        owner=owner,
        heartbeat_at=now,
        tables_wanted=request.tables,
    )
    ports.ledger.begin(attempt)
    ports.ledger.audit(AuditEvent(now, request.created_by, "backup", attempt.backup_id, {"reason": request.reason}))
    try:
        if request.reads:
            check_date(request, ports)
    except BackupError as error:
        end_failed(attempt, error, ports, run_url=request.run_url)
        raise
    return attempt


def check_date(request: Request, ports: Ports) -> bool:
    """Whether the request is a late one; RefusedError when its date is over and it does not say so."""
    return is_late(
        request.day,
        now=ports.clock(),
        timezone=request.catalog.timezone,
        grace=timedelta(minutes=request.catalog.grace_minutes),
        late=request.late,
    )


def end_failed(
    attempt: Attempt, error: BaseException, ports: Ports, *, run_url: str | None = None
) -> Sequence[Delivery]:
    """Close the row as `failed` (`canceled` when somebody stopped it) and alert; the row is closed at most once.

    Returns what became of the alert on each channel. A dead channel never changes the status: it is kept in the audit.
    """
    current = ports.ledger.get(attempt.backup_id) or attempt
    if current.status is not Status.RUNNING:
        return ()
    status = Status.CANCELED if isinstance(error, CanceledError) else Status.FAILED
    outcome = Outcome(status=status, finished_at=ports.clock(), error_message=str(error))
    ports.ledger.end(attempt.backup_id, outcome)
    return tell(failure_alert(current, error, run_url), ports)


def failure_alert(attempt: Attempt, error: BaseException, run_url: str | None) -> Alert:
    """What people are told of a failed attempt: which table, what happened, what to do next."""
    canceled = isinstance(error, CanceledError)
    known = error if isinstance(error, BackupError) else BackupError(f"{type(error).__name__}: {error}")
    tables: Mapping[str, str] = {}
    if isinstance(error, ExportFailedError):
        tables = {table: reason.what for table, reason in error.failed.items()}
    return Alert(
        severity=Severity.WARNING if canceled else Severity.FAILURE,
        title=f"Backup {'canceled' if canceled else 'failed'}: {attempt.catalog} for {attempt.partition_date}",
        what=known.what,
        do=known.do or "Look at the run's log, correct the cause, and run the backup again.",
        catalog=attempt.catalog,
        backup_id=attempt.backup_id,
        run_id=attempt.run_id,
        run_url=run_url,
        at=attempt.started_at,
        tables=tables,
    )


def tell(alert: Alert, ports: Ports) -> Sequence[Delivery]:
    """Send an alert, and keep in the audit what became of it on each channel."""
    deliveries = ports.alerter.send(alert)
    for delivery in deliveries:
        detail = {"channel": delivery.channel, "error": delivery.error, "title": alert.title}
        ports.ledger.audit(AuditEvent(ports.clock(), "backup_pipeline", "alert", alert.backup_id, detail))
    return deliveries


def close_orphans(ports: Ports, is_dead: Callable[[Attempt], bool]) -> Sequence[Attempt]:
    """End the running rows whose owner is dead, and alert for each; those that were closed."""
    dead = [attempt for attempt in ports.ledger.list(status=[Status.RUNNING]) if is_dead(attempt)]
    for attempt in dead:
        error = BackupError(
            "The process that ran this backup ended without a word (killed, out of memory, or the machine went down).",
            do="Run the backup again; nothing it left behind counts as a backup.",
        )
        end_failed(attempt, error, ports)
    return dead


def end_run(run_id: str, catalog: str, error: BackupError, ports: Ports, *, run_url: str | None = None) -> bool:
    """Close the row of a Dagster run that ended without closing it, and alert; whether there was anything to do.

    A run that failed before it could write its row is alerted too.
    """
    attempt = ports.ledger.of_run(run_id)
    if attempt is not None:
        if attempt.status is not Status.RUNNING:
            return False
        end_failed(attempt, error, ports, run_url=run_url)
        return True
    alert = Alert(
        severity=Severity.FAILURE,
        title=f"Backup did not start: {catalog}",
        what=f"The run ended before it could write its row in the ledger. {error.what}",
        do=error.do,
        catalog=catalog,
        run_id=run_id,
        run_url=run_url,
        at=ports.clock(),
    )
    tell(alert, ports)
    return True
