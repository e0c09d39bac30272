"""What an alert says: which backup, which table, what happened, what to do next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from backup_pipeline.core.scope import Scope, parse_scope
from backup_pipeline.core.text import visible, visible_lines

LOG_CHANNEL = "log"
"""The channel of alerts that only the program's own log has, because no other is configured."""


def reaching(channels: Iterable[str]) -> Sequence[str]:
    """Those of the channels over which somebody is told: the log tells nobody."""
    return [channel for channel in channels if channel != LOG_CHANNEL]


class Severity(StrEnum):
    """How loud an alert is."""

    INFO = "info"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True)
class Alert:
    """One message to people. `tables` maps each table concerned to what happened to it.

    `topic` is the thread of its scope that it belongs to, empty for one that is always told;
    `failures` counts what it tells of, 0 when nothing new went wrong.
    """

    severity: Severity
    title: str
    what: str
    do: str
    scope: Scope
    backup_id: str | None = None
    run_id: str | None = None
    run_url: str | None = None
    at: datetime | None = None
    tables: Mapping[str, str] = field(default_factory=dict)
    topic: str = ""
    failures: int = 1

    def body(self) -> str:
        """The message as plain text."""
        lines = [visible_lines(self.what), ""]
        lines += [f"  {visible(table)}: {visible(what)}" for table, what in self.tables.items()]
        lines += [""] if self.tables else []
        lines += [f"What to do: {visible_lines(self.do)}", ""]
        facts = {
            "Catalog": str(self.scope),
            "Backup": self.backup_id,
            "Time": self.at.isoformat(timespec="seconds") if self.at else None,
            "Run": self.run_url or self.run_id,
        }
        return "\n".join(lines + [f"{name}: {value}" for name, value in facts.items() if value])


@dataclass(frozen=True)
class Delivery:
    """What became of an alert on one channel; `channel` is its URL without secrets, `error` None when delivered."""

    channel: str
    error: str | None = None


CLAIM = timedelta(minutes=5)
"""Whoever delivers an alert has it to themselves for so long; longer than any channel is waited for."""
FIRST_WAIT = timedelta(minutes=1)
LONGEST_WAIT = timedelta(hours=1)
GIVE_UP_AFTER = timedelta(days=7)
"""An alert that nobody could be told for so long is shown, and not tried any more."""

_FIELDS = tuple(field.name for field in fields(Alert))


@dataclass(frozen=True)
class OutboxEntry:
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


def claimed(entry: OutboxEntry, now: datetime) -> OutboxEntry:
    """The entry in the hands of somebody who delivers it; if they die, it is due again when the claim ends."""
    return replace(entry, attempts=entry.attempts + 1, claimed_until=now + CLAIM, given_up_at=None)


def settled(entry: OutboxEntry, error: str | None, now: datetime) -> OutboxEntry:
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


def delayed(entry: OutboxEntry) -> Alert:
    """The alert as it is sent when the first attempt did not reach anybody: it says since when it waits."""
    if entry.attempts <= 1:
        return entry.alert
    since = f"(Told late: this alert is of {entry.created_at:%Y-%m-%d %H:%M} UTC, attempt {entry.attempts}.)"
    return replace(entry.alert, what=f"{entry.alert.what}\n{since}")


def alert_json(alert: Alert) -> dict[str, Any]:
    """The alert as JSON."""
    same = {name: getattr(alert, name) for name in _FIELDS if name != "scope"}
    at = alert.at.isoformat() if alert.at else None
    return {
        **same,
        "catalog": alert.scope.key,
        "severity": alert.severity.value,
        "at": at,
        "tables": dict(alert.tables),
    }


def alert_of(document: Mapping[str, Any]) -> Alert:
    """The alert that `alert_json` wrote, also in an earlier version; what a later one added is left out."""
    known = {name: value for name, value in document.items() if name in _FIELDS}
    at = document.get("at")
    known |= {
        "scope": parse_scope(document["catalog"]),
        "severity": Severity(document["severity"]),
        "at": datetime.fromisoformat(at) if at else None,
    }
    return Alert(**known)


REMIND_EVERY = timedelta(hours=24)
"""How often people are reminded, where no setting says otherwise."""


class Say(StrEnum):
    """What people are told of a thread."""

    FIRST = "first"
    REMINDER = "reminder"
    RECOVERY = "recovery"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Thread:
    """What goes wrong again and again in a scope. `opened_at` is None while nothing is wrong.

    `failures` counts them since then; people were notified of so many, at `notified_at`. `reached`: somebody was, and
    not the program's own log alone.
    """

    scope: Scope
    topic: str
    opened_at: datetime | None = None
    failures: int = 0
    notified: int = 0
    notified_at: datetime | None = None
    reached: bool = True


@dataclass(frozen=True)
class ThreadStep:
    """A thread before and after something happened, and what people are told of that."""

    before: Thread
    after: Thread
    say: Say


def failing(
    thread: Thread, now: datetime, failures: int, remind_every: timedelta, *, reachable: bool = True
) -> ThreadStep:
    """The thread after `failures` more; 0 when nothing new went wrong, but what did is not over yet.

    `reachable`: there is a channel besides the log. Whoever has such a channel for the first time is told at once.
    """
    count = thread.failures + failures
    notified = count if reachable else 0
    if thread.opened_at is None:
        fresh = Thread(thread.scope, thread.topic, now, failures, notified=notified, notified_at=now, reached=reachable)
        return ThreadStep(thread, fresh, Say.FIRST)
    unreached = reachable and not thread.reached
    if thread.notified_at is None or now - thread.notified_at >= remind_every or unreached:
        after = replace(
            thread,
            failures=count,
            notified=notified or thread.notified,
            notified_at=now,
            reached=reachable or thread.reached,
        )
        return ThreadStep(thread, after, Say.REMINDER)
    return ThreadStep(thread, replace(thread, failures=count), Say.NOTHING)


def recovered(thread: Thread) -> ThreadStep:
    """The thread once it went well again."""
    if thread.opened_at is None:
        return ThreadStep(thread, thread, Say.NOTHING)
    return ThreadStep(thread, Thread(thread.scope, thread.topic), Say.RECOVERY)


class Signal(StrEnum):
    """What happened to a backup."""

    START = "start"
    SUCCESS = "success"
    FAIL = "fail"


class NoPings:
    """The port `Pinger` of an installation without any."""

    def ping(self, signal: Signal, catalog: str, text: str) -> Delivery | None:
        """Nothing is sent."""
        del signal, catalog, text
        return None
