"""What objects that stay are locked with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any


class LockMode(StrEnum):
    """Who may lift a lock: with `governance` whoever has a right of its own for that, with `compliance` nobody."""

    GOVERNANCE = "governance"
    COMPLIANCE = "compliance"


@dataclass(frozen=True)
class Lock:
    """How the objects that stay are locked: in which mode, for how many days from when they are written."""

    mode: LockMode
    days: int

    def until(self, now: datetime) -> datetime:
        """Until when an object written `now` is locked, in whole seconds."""
        return (now + timedelta(days=self.days)).astimezone(UTC).replace(microsecond=0)

    def parameters(self, now: datetime) -> Mapping[str, Any]:
        """What a request says that begins an object."""
        return {"ObjectLockMode": self.mode.upper(), "ObjectLockRetainUntilDate": self.until(now)}
