"""What every ledger refuses, in the same words."""

from __future__ import annotations

from backup_pipeline.core.errors import LedgerError
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.statuses import Status


def check_begins(attempt: Attempt) -> None:
    """Raise LedgerError unless `attempt` is running: every other status is earned by a move from there."""
    if attempt.status is not Status.RUNNING:
        message = f"Backup {attempt.backup_id} can not begin as {attempt.status}."
        raise LedgerError(message, do="Begin it as running, then end it.")


def already_there(backup_id: str) -> LedgerError:
    """The error for a backup id that begins twice."""
    return LedgerError(f"Backup {backup_id} is in the ledger already.", do="Begin with a new backup id.")


def not_there(backup_id: str) -> LedgerError:
    """The error for a backup id without a row."""
    return LedgerError(f"Backup {backup_id} is not in the ledger.", do="`backup-pipeline list` shows what is.")


def no_such_restore(number: int) -> LedgerError:
    """The error for the number of a restore request without a row."""
    message = f"Restore request {number} is not in the ledger."
    return LedgerError(message, do="`backup-pipeline restores` shows what is.")


def no_such_entry(number: int) -> LedgerError:
    """The error for the number of an alert that is not in the outbox."""
    message = f"Alert {number} is not in the outbox."
    return LedgerError(message, do="`backup-pipeline alerts --all` shows what is.")
