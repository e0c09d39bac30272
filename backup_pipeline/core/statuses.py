"""The statuses of an attempt, and the moves between them."""

from __future__ import annotations

from enum import StrEnum

from backup_pipeline.core.errors import LedgerError


class Status(StrEnum):
    """Where an attempt stands. A backup can be restored when it is `success` or `success_with_warnings`."""

    EXPECTED = "expected"
    RUNNING = "running"
    SUCCESS = "success"
    SUCCESS_WITH_WARNINGS = "success_with_warnings"
    FAILED = "failed"
    MISSED = "missed"
    CANCELED = "canceled"
    EXPIRED = "expired"
    DELETED = "deleted"

    @property
    def good(self) -> bool:
        """Whether the backup is there and was checked."""
        return self in GOOD


GOOD = frozenset({Status.SUCCESS, Status.SUCCESS_WITH_WARNINGS})

_GONE = frozenset({Status.EXPIRED, Status.DELETED})
_ENDS = frozenset({Status.SUCCESS, Status.SUCCESS_WITH_WARNINGS, Status.FAILED, Status.CANCELED})
MOVES: dict[Status, frozenset[Status]] = {
    Status.EXPECTED: frozenset({Status.RUNNING, Status.MISSED, Status.CANCELED}),
    Status.RUNNING: _ENDS,
    Status.SUCCESS: _GONE,
    Status.SUCCESS_WITH_WARNINGS: _GONE,
    Status.FAILED: frozenset({Status.DELETED}),
    Status.MISSED: frozenset(),
    Status.CANCELED: frozenset({Status.DELETED}),
    Status.EXPIRED: frozenset({Status.DELETED}),
    Status.DELETED: frozenset(),
}


def check_move(backup_id: str, before: Status, after: Status) -> None:
    """Raise LedgerError unless `before` may become `after`."""
    if after not in MOVES[before]:
        allowed = ", ".join(sorted(MOVES[before])) or "nothing"
        message = f"Backup {backup_id} is {before} and can not become {after}; it can become {allowed}."
        raise LedgerError(message, do="Look at its row with `backup-pipeline show`: another process may have ended it.")
