"""A hold: a backup that nobody and no rule removes, until it is released or its time is over."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

from backup_pipeline.core.errors import VerificationError
from backup_pipeline.core.limits import MOST_NOTE


@dataclass(frozen=True)
class Hold:
    """Who holds a backup, why, and until when (None: until somebody releases it)."""

    by: str
    reason: str
    until: datetime | None = None

    def lasts(self, now: datetime) -> bool:
        """Whether it still counts."""
        return self.until is None or now < self.until

    def __str__(self) -> str:
        until = f"until {self.until:%Y-%m-%d %H:%M} UTC" if self.until else "until it is released"
        return f"held by {self.by} {until}: {self.reason}"


def seal_hold(backup_id: str, until: datetime | None) -> bytes:
    """What lies beside the manifest of a held backup, so that the hold outlives the ledger.

    Not who and why: nothing about people or customers stands readable in the store.
    """
    told = {"backup_id": backup_id, "until": until.isoformat() if until else None}
    return json.dumps(told, indent=1).encode()


def read_hold(data: bytes, where: str) -> datetime | None:
    """Until when that says; VerificationError, naming `where`, when it can not be read: then it holds."""
    try:
        until = json.loads(data[:MOST_NOTE])["until"]
        return datetime.fromisoformat(until) if until is not None else None
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        message = f"{where} can not be read as a hold: it wants JSON with a time or null as `until`."
        raise VerificationError(message, do="Hold the backup again, or release it.") from error
