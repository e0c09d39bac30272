"""What the world is told of a backup's course: dead-man pings, and the end of a thread of failures."""

from __future__ import annotations

import logging

from backup_pipeline.core.due import FULL
from backup_pipeline.core.errors import BackupError, LedgerError, SettingsError
from backup_pipeline.core.ledger import Attempt, AuditEvent
from backup_pipeline.core.pings import Signal
from backup_pipeline.core.ports import Ports
from backup_pipeline.operations.ended import note_end
from backup_pipeline.operations.telling import tell
from backup_pipeline.operations.threads import recovery

logger = logging.getLogger(__name__)


def ping(signal: Signal, attempt: Attempt, ports: Ports, text: str = "") -> None:
    """Ping for a full backup, and keep in the audit what became of it. Nothing here ever changes a backup.

    A watcher outside waits for what the schedule promises: runs of single tables are no news to it.
    """
    if attempt.kind != FULL:
        return
    sent = ports.pinger.ping(signal, attempt.catalog, text or f"{signal}: backup {attempt.backup_id}")
    if sent is None:
        return
    detail = {"signal": signal.value, "url": sent.channel, "error": sent.error}
    try:
        ports.ledger.audit(AuditEvent(ports.clock(), "backup_pipeline", "ping", attempt.backup_id, detail))
    except (LedgerError, SettingsError) as trouble:
        logger.warning("The %s ping of backup %s is not in the audit: %s", signal, attempt.backup_id, trouble)


def ping_without_row(catalog: str, kind: str, error: BackupError, ports: Ports) -> None:
    """The fail ping of a run that has no row, because the ledger could not be written."""
    if kind == FULL:
        ports.pinger.ping(Signal.FAIL, catalog, error.what)


def tell_success(attempt: Attempt, ports: Ports) -> None:
    """Note the good end, ping, and where backups of this kind had failed, tell once that they work again."""
    note_end(attempt, ports)
    ping(Signal.SUCCESS, attempt, ports)
    alert = recovery(attempt.catalog, attempt.kind, attempt.backup_id, ports)
    if alert is not None:
        tell(alert, ports)
