"""What a ledger row says of a backup's last verification: the level it keeps, and how people read it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from backup_pipeline.core.clocks import in_words, is_future
from backup_pipeline.core.verification import Level, VerifyReport

FAILED = "FAILED"


@dataclass(frozen=True)
class Verified:
    """A row's `verification_level` and `verified_at`.

    The level is `2` when level 2 was reached in full; `1 FAILED` when level 1 was, and something was found at the next;
    None, with a time, when something was found at level 0.
    """

    level: str | None
    at: datetime | None

    @property
    def failed(self) -> bool:
        """Whether something was found wrong."""
        return self.at is not None and (self.level is None or self.level.endswith(FAILED))

    @property
    def depth(self) -> int:
        """The level that is known to be good, -1 when none is."""
        return int(self.level.split()[0]) if self.level else -1


def passed(level: Level, at: datetime) -> Verified:
    """What a row says when `level` was reached."""
    return Verified(str(level.value), at)


def newly_verified(before: Verified, report: VerifyReport, now: datetime) -> Verified | None:
    """What the row should say after `report`; None to leave it as it is.

    A finding is always written down. A check without one never takes the place of a deeper one, nor of a failure that
    it did not get as far as; a part of a level (a sample, or when the time was over) never counts as the level.
    """
    reached = -1 if report.level is None else report.level.value
    if not report.passed:
        return Verified(f"{reached} {FAILED}" if reached >= 0 else None, now)
    needed = before.depth + 1 if before.failed else before.depth
    return Verified(str(reached), now) if reached >= max(needed, 0) else None


def told(verified: Verified, now: datetime) -> str:
    """Level and age for people: `2, 3 days ago`; `FAILED 2026-11-21 after level 1`; nothing when never verified."""
    if verified.at is None:
        return ""
    if verified.failed:
        after = f" after level {verified.depth}" if verified.depth >= 0 else ""
        return f"{FAILED} {verified.at:%Y-%m-%d}{after}"
    return f"{verified.level}, {age(verified.at, now)}"


def age(at: datetime, now: datetime) -> str:
    """How long ago that was, in its largest unit: `3 days ago`, `1 hour ago`, `just now`; or `3 days ahead`."""
    if is_future(at, now):
        return f"{in_words(at - now)} ahead"
    return ago(now - at)


def ago(span: timedelta) -> str:
    """A length of time as an age, in its largest unit."""
    seconds = span.total_seconds()
    for name, size in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if (count := int(seconds // size)) > 0:
            return f"{count:,} {name}{'s' if count > 1 else ''} ago"
    return "just now"
