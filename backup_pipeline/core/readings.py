"""Readings: who reads a backup at this moment, so that nobody takes it away under them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from backup_pipeline.core.ledger import STALE_AFTER, Owner

LIFE = STALE_AFTER
"""A reader that has given no sign of life for so long does not count any more."""
RENEWALS = 9
"""In a life: a few may fail, and the reading still counts."""


@dataclass(frozen=True)
class Reading:
    """That `work` (`verify`, `drill`, `download`) reads a backup, for the person `by`, in the process `owner`.

    `number` is 0 until the ledger has given one; the times are the ledger's own clock's.
    """

    backup_id: str
    work: str
    by: str
    owner: Owner
    number: int = 0
    began_at: datetime | None = None
    expires_at: datetime | None = None

    def __str__(self) -> str:
        since = f", since {self.began_at:%Y-%m-%d %H:%M:%S} UTC" if self.began_at else ""
        return f"{self.work} (by {self.by}, host {self.owner.host}, process {self.owner.pid}{since})"


def renewal_interval(life: timedelta) -> timedelta:
    """How often a reading of this life gives a sign."""
    return life / RENEWALS
