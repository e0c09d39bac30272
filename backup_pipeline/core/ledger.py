"""The values of the ledger: an attempt (a row of `backup_logs`), how it ended, its owner; and the leases of writers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any

from backup_pipeline.core.errors import (
    ClockError,
    LeaseHeldError,
    LeaseLostError,
    LedgerError,
    UsageError,
    VerificationError,
)
from backup_pipeline.core.names import MOST_NOTE, Kind, Trigger, parse_backup_id
from backup_pipeline.core.schedule import in_words, is_future
from backup_pipeline.core.scope import Actor, Scope
from backup_pipeline.core.verification import Verification


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


@dataclass(frozen=True)
class Hold:
    """Who holds a backup, why, and until when (None: until somebody releases it)."""

    actor: Actor
    reason: str
    until: datetime | None = None

    def lasts(self, now: datetime) -> bool:
        """Whether it still counts."""
        return self.until is None or now < self.until

    def __str__(self) -> str:
        until = f"until {self.until:%Y-%m-%d %H:%M} UTC" if self.until else "until it is released"
        return f"held by {self.actor.for_people} {until}: {self.reason}"


def seal_hold(backup_id: str, until: datetime | None) -> bytes:
    """What lies beside the manifest of a held backup, so that the hold outlives the ledger.

    Not who and why: nothing about people or customers stands readable in the store.
    """
    document = {"backup_id": backup_id, "until": until.isoformat() if until else None}
    return json.dumps(document, indent=1).encode()


def read_hold(data: bytes, where: str) -> datetime | None:
    """Until when that says; VerificationError, naming `where`, when it can not be read: then it holds."""
    try:
        until = json.loads(data[:MOST_NOTE])["until"]
        return datetime.fromisoformat(until) if until is not None else None
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        message = f"{where} can not be read as a hold: it wants JSON with a time or null as `until`."
        raise VerificationError(message, do="Hold the backup again, or release it.") from error


STALE_AFTER = timedelta(seconds=90)
"""A running attempt whose heartbeat is older than this has no owner any more."""


@dataclass(frozen=True)
class Owner:
    """The process that runs an attempt: its host, its pid, and when that process started (seconds since 1970)."""

    host: str
    pid: int
    started: float


@dataclass(frozen=True)
class Attempt:
    """One row of `backup_logs`. Times are UTC; counts and sizes are None until they were counted.

    `sha256` is the bundle's; `manifest_sha256` that of `manifest.json` as it lies in the store (None: made before the
    ledger kept it); `seal_key` the id of the key that sealed it (None: it has no seal).

    `expires_at` is when the rules let it go at the earliest; `due_at` the due time that it is for, if it is for one.
    `hold` stays when its time is over, until somebody releases it. `goes_on_from` is, of an incremental one, the backup
    that it is the changes since (None: made before the ledger kept it).
    """

    backup_id: str
    scope: Scope
    kind: Kind
    type: Trigger
    status: Status
    partition_date: date
    created_at: datetime
    started_at: datetime
    actor: Actor
    reason: str = ""
    late: bool = False
    run_id: str | None = None
    owner: Owner | None = None
    heartbeat_at: datetime | None = None
    tables_wanted: tuple[str, ...] = ()
    finished_at: datetime | None = None
    snapshot_at: datetime | None = None
    file_name: str | None = None
    file_path: str | None = None
    file_size_bytes: int | None = None
    record_count: int | None = None
    table_counts: Mapping[str, int] = field(default_factory=dict)
    table_bytes: Mapping[str, int] = field(default_factory=dict)
    sha256: str | None = None
    manifest_sha256: str | None = None
    seal_key: str | None = None
    consistent: bool | None = None
    error_message: str | None = None
    warnings: tuple[str, ...] = ()
    verification: Verification | None = None
    hold: Hold | None = None
    expires_at: datetime | None = None
    due_at: datetime | None = None
    goes_on_from: str | None = None


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended, or what became of it later. What is None, or no warnings, leaves its column as it is."""

    status: Status
    finished_at: datetime
    snapshot_at: datetime | None = None
    file_name: str | None = None
    file_path: str | None = None
    file_size_bytes: int | None = None
    record_count: int | None = None
    table_counts: Mapping[str, int] | None = None
    table_bytes: Mapping[str, int] | None = None
    sha256: str | None = None
    manifest_sha256: str | None = None
    seal_key: str | None = None
    consistent: bool | None = None
    error_message: str | None = None
    warnings: tuple[str, ...] = ()
    verification: Verification | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True)
class AuditEvent:
    """Who did what to which backup, when, and why.

    From where: the address, the number of the session and the id of the request. The ledger adds them where a person
    in the console acts.
    """

    at: datetime
    actor: Actor
    action: str
    backup_id: str | None = None
    detail: Mapping[str, object] = field(default_factory=dict)
    address: str | None = None
    session: int | None = None
    request_id: str | None = None


def after(attempt: Attempt, outcome: Outcome) -> Attempt:
    """The row of `attempt` once `outcome` is written; LedgerError when its status may not move there.

    The first end keeps its time: a backup that is deleted later still says when it was finished.
    """
    check_move(attempt.backup_id, attempt.status, outcome.status)
    changed: dict[str, Any] = {f.name: getattr(outcome, f.name) for f in fields(outcome)}
    changed = {name: value for name, value in changed.items() if value is not None and value != ()}
    changed["finished_at"] = attempt.finished_at or outcome.finished_at
    return replace(attempt, **changed)


def is_orphaned(attempt: Attempt, *, now: datetime, host: str, alive: Callable[[Owner], bool]) -> bool:
    """Whether a running attempt has no living owner.

    On the owner's own host (`host`) the process table decides (`alive`); elsewhere a heartbeat older than STALE_AFTER.
    """
    if attempt.status is not Status.RUNNING:
        return False
    last_sign = attempt.heartbeat_at or attempt.started_at
    return has_no_owner(attempt.owner, last_sign, now=now, host=host, alive=alive)


def has_no_owner(
    owner: Owner | None, last_sign: datetime, *, now: datetime, host: str, alive: Callable[[Owner], bool]
) -> bool:
    """Whether nobody runs any more what `owner` began and gave a sign of at `last_sign`."""
    if owner is not None and owner.host == host:
        return not alive(owner)
    return now - last_sign > STALE_AFTER


def of_future(row: Attempt, now: datetime) -> bool:
    """Whether a clock that was wrong has written the row: it began later than now. What is expected lies ahead."""
    return row.status is not Status.EXPECTED and is_future(row.created_at, now)


def until_now(rows: Sequence[Attempt], now: datetime) -> Sequence[Attempt]:
    """The rows without those of the future: none of them is fresh, newest, or to be compared with."""
    return [row for row in rows if not of_future(row, now)]


def is_missed(row: Attempt, now: datetime) -> bool:
    """Whether nothing came of a due time: a clock that was ahead missed it before its time, and that counts not."""
    return row.status is Status.MISSED and not is_future(row.finished_at or row.created_at, now)


def check_rows(rows: Sequence[Attempt], now: datetime) -> None:
    """ClockError when a backup that is there began later than now: either that clock was wrong, or this one is."""
    ahead = [row for row in rows if row.status.good and of_future(row, now)]
    if not ahead:
        return
    newest = max(ahead, key=lambda row: row.created_at)
    message = (
        f"Backup {newest.backup_id} began {in_words(newest.created_at - now)} later than it is now,"
        f" {now:%Y-%m-%d %H:%M} UTC. Nothing was touched."
    )
    ids = " ".join(row.backup_id for row in ahead[:3])
    do = (
        f"If the clock is behind now, set it. If it was ahead then, make a backup and delete those of the future:"
        f" {ids} (`backup-pipeline delete ID`)."
    )
    raise ClockError(message, do=do)


LIFE = STALE_AFTER
"""A lease that was not renewed for so long is anybody's."""
RENEWALS = 9
"""In a life: a few may fail, and the lease still lives."""


@dataclass(frozen=True)
class Claim:
    """Who wants to write in `scope`: `holder` is the work (a backup id), `actor` who wants it, `owner` the process.

    No two works have the same `holder`, also in one process.
    """

    scope: Scope
    holder: str
    actor: Actor
    owner: Owner
    run_id: str | None = None


@dataclass(frozen=True)
class Lease:
    """A claim that was granted. `token` grows with every grant of its name; times are the ledger's own clock's."""

    claim: Claim
    token: int
    acquired_at: datetime
    heartbeat_at: datetime
    expires_at: datetime


class LeaseStep(StrEnum):
    """What a claimant does next."""

    WRITE = "write"
    TAKE = "take"
    WAIT = "wait"
    REFUSE = "refuse"


@dataclass(frozen=True)
class Decision:
    """What to do about a lease, and why."""

    step: LeaseStep
    reason: str


def decide(claim: Claim, held: Lease, first: Lease, *, alive: Callable[[Owner], bool]) -> Decision:
    """What whoever makes `claim` does about the lease as it is, `held`; `first` is how they found it.

    On its own host the process table tells whether the holder lives (`alive`). From another host it can only be seen
    to renew: until it does, or its lease expires, there is nothing to do but wait.
    """
    if held.claim == claim:
        return Decision(LeaseStep.WRITE, "It is ours.")
    if held.claim.owner.host == claim.owner.host:
        if alive(held.claim.owner):
            return Decision(LeaseStep.REFUSE, "Its process runs on this host.")
        return Decision(LeaseStep.TAKE, "Its process on this host is gone.")
    if (held.token, held.heartbeat_at) != (first.token, first.heartbeat_at):
        return Decision(LeaseStep.REFUSE, "It gave a sign of life meanwhile.")
    return Decision(LeaseStep.WAIT, "It may be dead: it has given no sign of life since we look.")


def renewal_interval(life: timedelta) -> timedelta:
    """How often a lease of this life is renewed."""
    return life / RENEWALS


def held_error(lease: Lease) -> LeaseHeldError:
    """The refusal that names the holder."""
    message = f"Catalog {lease.claim.scope} is being written by {described(lease)}. Nothing was read."
    do = (
        f"Wait until it has ended{_look_at(lease.claim.holder)}, then run again. If it dies, its lease ends by itself: "
        f"without a further sign of life at {lease.expires_at:%H:%M:%S} UTC."
    )
    return LeaseHeldError(message, do=do)


def _look_at(holder: str) -> str:
    try:
        return f" (`backup-pipeline show {parse_backup_id(holder)}`)"
    except UsageError:
        return ""


def lost_error(lease: Lease, why: str) -> LeaseLostError:
    """The error of a writer that may not write any more."""
    message = (
        f"{lease.claim.holder} may not write catalog {lease.claim.scope} any more: {why} Nothing more is published."
    )
    return LeaseLostError(message, do="Run the backup again, once nobody else writes the catalog.")


def described(lease: Lease) -> str:
    """The holder, for people: what, who, where, since when."""
    claim = lease.claim
    return (
        f"{claim.holder} (by {claim.actor.for_people}, host {claim.owner.host}, process {claim.owner.pid}, "
        f"since {lease.acquired_at:%Y-%m-%d %H:%M:%S} UTC, last sign {lease.heartbeat_at:%H:%M:%S} UTC)"
    )


"""A reader that has given no sign of life for so long does not count any more."""
"""In a life: a few may fail, and the reading still counts."""


@dataclass(frozen=True)
class Reading:
    """That `work` (`verify`, `drill`, `download`) reads a backup, for `actor`, in the process `owner`.

    `number` is 0 until the ledger has given one; the times are the ledger's own clock's.
    """

    backup_id: str
    work: str
    actor: Actor
    owner: Owner
    number: int = 0
    began_at: datetime | None = None
    expires_at: datetime | None = None

    def __str__(self) -> str:
        since = f", since {self.began_at:%Y-%m-%d %H:%M:%S} UTC" if self.began_at else ""
        return f"{self.work} (by {self.actor.for_people}, host {self.owner.host}, process {self.owner.pid}{since})"


def reading_renewal_interval(life: timedelta) -> timedelta:
    """How often a reading of this life gives a sign."""
    return life / RENEWALS


class ShardStatus(StrEnum):
    """Where a shard stands."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"


@dataclass(frozen=True)
class Shard:
    """A part of a work that several runs do together: `work` is the whole, such as a backup id; `detail` the part.

    `tries` counts who has taken it; whoever has it is `owner`, in the run `run_id`, and gave its last sign at
    `heartbeat_at`, by the ledger's own clock. `result` is what came of it, as JSON.
    """

    work: str
    number: int
    detail: Mapping[str, Any]
    status: ShardStatus = ShardStatus.WAITING
    tries: int = 0
    owner: Owner | None = None
    run_id: str | None = None
    heartbeat_at: datetime | None = None
    result: Mapping[str, Any] | None = None
