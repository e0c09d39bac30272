"""The audit of how an attempt ended: it began with `backup`, and each ends with `backup ended`."""

from __future__ import annotations

import logging

from backup_pipeline.core.errors import LedgerError, SettingsError
from backup_pipeline.core.ledger import Attempt, AuditEvent
from backup_pipeline.core.ports import Ports

logger = logging.getLogger(__name__)

ENDED = "backup ended"


def note_end(attempt: Attempt, ports: Ports) -> None:
    """Add the audit row of an attempt whose row was just closed. Nothing here ever changes a backup."""
    try:
        row = ports.ledger.get(attempt.backup_id) or attempt
        error = (row.error_message or "").partition("\n")[0]
        told: dict[str, object] = {"status": row.status.value, "rows": row.record_count, "error": error}
        detail = {name: value for name, value in told.items() if value not in ("", None)}
        ports.ledger.audit(AuditEvent(ports.clock(), row.created_by, ENDED, row.backup_id, detail))
    except (LedgerError, SettingsError) as trouble:
        logger.warning("How backup %s ended is not in the audit: %s", attempt.backup_id, trouble)
