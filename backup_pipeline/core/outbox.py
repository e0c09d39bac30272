"""The outbox: alerts that are noted before they are sent, when each is tried again, and when it is given up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any

from backup_pipeline.core.alerts import Alert, Severity

CLAIM = timedelta(minutes=5)
"""Whoever delivers an alert has it to themselves for so long; longer than any channel is waited for."""
FIRST_WAIT = timedelta(minutes=1)
LONGEST_WAIT = timedelta(hours=1)
GIVE_UP_AFTER = timedelta(days=7)
"""An alert that nobody could be told for so long is shown, and not tried any more."""

_FIELDS = tuple(field.name for field in fields(Alert))


@dataclass(frozen=True)
class Entry:
    """One alert for one channel. `attempts` counts those begun; `channel` is its name without secrets.

    Until `claimed_until` somebody delivers it.
    """

    id: int
    alert: Alert
    channel: str
    created_at: datetime
    next_try_at: datetime
    attempts: int = 0
    claimed_until: datetime | None = None
    delivered_at: datetime | None = None
    last_error: str | None = None
    given_up_at: datetime | None = None

    @property
    def open(self) -> bool:
        """Whether it is still to be delivered."""
        return self.delivered_at is None and self.given_up_at is None

    def free(self, now: datetime, *, early: bool) -> bool:
        """Whether somebody may deliver it now; `early`: before its time, and also what was given up."""
        if self.claimed_until is not None and self.claimed_until > now:
            return False
        return self.delivered_at is None if early else self.open and self.next_try_at <= now


def claimed(entry: Entry, now: datetime) -> Entry:
    """The entry in the hands of somebody who delivers it; if they die, it is due again when the claim ends."""
    return replace(entry, attempts=entry.attempts + 1, claimed_until=now + CLAIM, given_up_at=None)


def settled(entry: Entry, error: str | None, now: datetime) -> Entry:
    """The entry after an attempt: delivered, to be tried again later, or given up. One that has ended stays."""
    if not entry.open:
        return entry
    if error is None:
        return replace(entry, delivered_at=now, claimed_until=None, last_error=None)
    if now - entry.created_at >= GIVE_UP_AFTER:
        return replace(entry, given_up_at=now, claimed_until=None, last_error=error)
    next_try = now + wait_after(entry.attempts)
    return replace(entry, next_try_at=next_try, claimed_until=None, last_error=error)


def wait_after(attempts: int) -> timedelta:
    """How long to wait after so many attempts: a minute, then twice as long each time, up to an hour."""
    doublings = min(max(attempts, 1) - 1, 10)
    return min(FIRST_WAIT * (1 << doublings), LONGEST_WAIT)


def told_late(entry: Entry) -> Alert:
    """The alert as it is sent when the first attempt did not reach anybody: it says since when it waits."""
    if entry.attempts <= 1:
        return entry.alert
    since = f"(Told late: this alert is of {entry.created_at:%Y-%m-%d %H:%M} UTC, attempt {entry.attempts}.)"
    return replace(entry.alert, what=f"{entry.alert.what}\n{since}")


def alert_json(alert: Alert) -> dict[str, Any]:
    """The alert as JSON."""
    told = {name: getattr(alert, name) for name in _FIELDS}
    at = alert.at.isoformat() if alert.at else None
    return {**told, "severity": alert.severity.value, "at": at, "tables": dict(alert.tables)}


def alert_of(told: Mapping[str, Any]) -> Alert:
    """The alert that `alert_json` wrote, also in an earlier version; what a later one added is left out."""
    known = {name: value for name, value in told.items() if name in _FIELDS}
    at = told.get("at")
    known |= {"severity": Severity(told["severity"]), "at": datetime.fromisoformat(at) if at else None}
    return Alert(**known)
