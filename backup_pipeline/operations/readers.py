"""What is at a backup right now, or waits for it: what a prune and a deletion say of that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from backup_pipeline.core.copies import GIVEN_UP_AFTER, CopyStatus
from backup_pipeline.core.ledger import STALE_AFTER
from backup_pipeline.core.ports import Clock, Ledger
from backup_pipeline.core.restore_requests import RestoreStatus

_WAITING = (RestoreStatus.REQUESTED, RestoreStatus.APPROVED)


class Asker(Protocol):
    """What asking for readers needs: the ledger, and the time."""

    @property
    def ledger(self) -> Ledger:
        """Where readings, restores and copies are."""

    @property
    def clock(self) -> Clock:
        """The present instant."""


def claims(asker: Asker) -> Mapping[str, str]:
    """What to say of each backup that something reads, or that a restore request waits for."""
    waiting = asker.ledger.restores.list(status=_WAITING)
    told = {row.backup_id: f"restore request {row.id} is {row.status}: it reads this backup" for row in waiting}
    return {**told, **readers(asker)}


def readers(asker: Asker) -> Mapping[str, str]:
    """What to say of each backup that is being read: by a restore, a copy, a verification, a drill, a download.

    Whoever has given no sign of life for a while reads no more.
    """
    now, ledger = asker.clock(), asker.ledger
    copying = ledger.copies.list(status=CopyStatus.COPYING)
    running = ledger.restores.list(status=[RestoreStatus.RUNNING])
    living = [row for row in running if now - row.last_sign <= STALE_AFTER]
    return {
        **{copy.backup_id: f"it is being copied to {copy.store}" for copy in copying if now - copy.at < GIVEN_UP_AFTER},
        **{row.backup_id: f"restore request {row.id} is running: it reads this backup" for row in living},
        **{reading.backup_id: f"it is being read by {reading}" for reading in ledger.readings.list()},
    }
