"""Telling people: what an alert says of an attempt, and what became of it on each channel."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from backup_pipeline.core.alerts import Alert, Delivery, Severity, reaching
from backup_pipeline.core.due import FULL
from backup_pipeline.core.errors import (
    BackupError,
    CanceledError,
    ExportFailedError,
    LeaseHeldError,
    LedgerError,
    RefusedError,
    SettingsError,
)
from backup_pipeline.core.ledger import Attempt, AuditEvent
from backup_pipeline.core.ports import Alerter, Clock, Ledger
from backup_pipeline.core.restore_requests import RestoreRow
from backup_pipeline.core.unforeseen import in_our_words
from backup_pipeline.operations.outbox import send
from backup_pipeline.operations.threads import is_told, unheard_alert

logger = logging.getLogger(__name__)


class Scribe(Protocol):
    """What writing into the audit needs: the ledger, and the time."""

    @property
    def ledger(self) -> Ledger:
        """Where the audit is."""

    @property
    def clock(self) -> Clock:
        """The present instant."""


class Voice(Scribe, Protocol):
    """What telling people needs: also their channels."""

    @property
    def alerter(self) -> Alerter:
        """The channels."""


def failure_alert(attempt: Attempt, error: BaseException, run_url: str | None) -> Alert:
    """What people are told of a failed attempt: which table, what happened, what to do next."""
    canceled = isinstance(error, CanceledError)
    refused = isinstance(error, LeaseHeldError | RefusedError)
    ended = "canceled" if canceled else "refused" if refused else "failed"
    known = error if isinstance(error, BackupError) else BackupError(in_our_words(error))
    what = known.what
    tables: Mapping[str, str] = {}
    if isinstance(error, ExportFailedError):
        what = error.summary
        tables = {table: reason.what for table, reason in error.failed.items()}
    return Alert(
        severity=Severity.WARNING if canceled or refused else Severity.FAILURE,
        title=f"Backup {ended}: {attempt.catalog} for {attempt.partition_date}",
        what=what,
        do=known.do or "Look at the run's log, correct the cause, and run the backup again.",
        catalog=attempt.catalog,
        backup_id=attempt.backup_id,
        run_id=attempt.run_id,
        run_url=run_url,
        at=attempt.started_at,
        tables=tables,
        topic="" if canceled or refused else attempt.kind,
    )


def no_row_alert(
    catalog: str,
    error: BackupError,
    at: datetime,
    run_id: str | None = None,
    run_url: str | None = None,
    *,
    what: str = "Backup",
) -> Alert:
    """What people are told of a run that has no row in the ledger, because the ledger could not be written."""
    return Alert(
        severity=Severity.FAILURE,
        title=f"{what} failed: {catalog}",
        what=f"The run has no row in the ledger. {error.what}",
        do=error.do,
        catalog=catalog,
        run_id=run_id,
        run_url=run_url,
        at=at,
        topic=FULL if what == "Backup" else "",
    )


def restore_alert(row: RestoreRow, error: BackupError, run_url: str | None) -> Alert:
    """What people are told of a restore that failed or was stopped: into which database, what happened, what to do."""
    canceled = isinstance(error, CanceledError)
    return Alert(
        severity=Severity.WARNING if canceled else Severity.FAILURE,
        title=f"Restore {'canceled' if canceled else 'failed'}: {row.catalog} into {row.database} (request {row.id})",
        what=error.what,
        do=error.do or f"Look at it with `backup-pipeline restores show {row.id}`, correct the cause, and ask again.",
        catalog=row.catalog,
        backup_id=row.backup_id,
        run_id=row.run_id,
        run_url=run_url,
        at=row.started_at or row.created_at,
    )


def tell_unheard(ports: Voice) -> None:
    """Tell people of the open threads that only the log knows, each once, where there is a channel by now."""
    for thread in ports.ledger.threads.list():
        if not thread.heard and reaching(ports.alerter.channels):
            tell(replace(unheard_alert(thread), at=ports.clock()), ports)


def tell(alert: Alert, ports: Voice) -> Sequence[Delivery]:
    """Send an alert, and keep in the audit what became of it on each channel; without the ledger, only send.

    Nothing is sent while its thread is known to people (`operations.threads`). What did not reach a channel is tried
    again later (`operations.outbox`).
    """
    told = is_told(alert, ports)
    if told is None:
        return ()
    alert = told
    deliveries = send(alert, ports)
    try:
        for delivery in deliveries:
            detail = {"channel": delivery.channel, "error": delivery.error, "title": alert.title}
            ports.ledger.audit(AuditEvent(ports.clock(), "backup_pipeline", "alert", alert.backup_id, detail))
    except (LedgerError, SettingsError) as trouble:
        logger.warning("The alert %r is not in the audit: %s", alert.title, trouble)
    return deliveries
