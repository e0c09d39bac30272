"""What keeps a stored backup from being changed or deleted before its time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Protection:
    """How an object that is meant to stay is protected by its store.

    `refuses` says whether the store itself refuses to write over it (None: not known): where it does not, only a look
    beforehand keeps a backup from being overwritten, and two writers at once are not told apart. `mode` and `until` are
    those of its lock; None without one.
    """

    refuses: bool | None = None
    mode: str | None = None
    until: datetime | None = None

    def __str__(self) -> str:
        lock = "not locked"
        if self.mode is not None and self.until is not None:
            lock = f"locked ({self.mode.lower()}) until {self.until:%Y-%m-%d %H:%M} UTC"
        if self.refuses:
            return f"{lock}; the store refuses to overwrite it"
        return f"{lock}; the store does not refuse to overwrite it: what is there is looked up first"

    def as_json(self) -> dict[str, object]:
        """The same as JSON."""
        until = self.until.isoformat(timespec="seconds") if self.until else None
        return {"protection": str(self), "mode": self.mode, "until": until, "refuses": self.refuses}

    @property
    def notable(self) -> bool:
        """Whether there is something about it that people should read in the audit."""
        return self.mode is not None or self.refuses is False
