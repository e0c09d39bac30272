"""Links that give one backup, in one form, to whoever has them: for an hour, until somebody revokes them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from backup_pipeline.core.layout import Rendering
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.scope import Actor, Scope

LINK_LIFE = timedelta(hours=1)
"""How long a link works."""
BUNDLE = "zip"
"""The form of a link that gives the bundle itself, as it lies in the store."""
FORMS = (BUNDLE, *(kind.value for kind in Rendering))
"""The forms that a backup can be had in."""

_SMALL_ROWS = 60_000
_SMALL_BYTES = 16 << 20


def is_small(attempt: Attempt) -> bool:
    """Whether a rendering of it is made while somebody waits for it: else a run makes it."""
    return (attempt.record_count or 0) <= _SMALL_ROWS and (attempt.file_size_bytes or 0) <= _SMALL_BYTES


@dataclass(frozen=True)
class DownloadLink:
    """A link: the backup, its `form` (one of FORMS), and who made it, the ledger's number of that user. Times are UTC.

    `request` is the run request that made the rendering, where a run did. `used_at` is when it was used last.
    """

    backup_id: str
    scope: Scope
    form: str
    user: int
    actor: Actor
    created_at: datetime
    expires_at: datetime
    number: int = 0
    request: UUID | None = None
    revoked_at: datetime | None = None
    used_at: datetime | None = None
    uses: int = 0

    def refused(self, now: datetime) -> str | None:
        """Why it does not work any more, as a sentence; None while it does."""
        if self.revoked_at is not None:
            return f"This link was revoked {self.revoked_at:%Y-%m-%d %H:%M} UTC."
        if now >= self.expires_at:
            return f"This link worked until {self.expires_at:%Y-%m-%d %H:%M} UTC."
        return None
