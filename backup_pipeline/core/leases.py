"""Leases: who may write a catalog, one at a time, and what is decided when somebody else holds it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from backup_pipeline.core.errors import LeaseHeldError, LeaseLostError, UsageError
from backup_pipeline.core.ledger import STALE_AFTER, Owner
from backup_pipeline.core.names import parse_backup_id
from backup_pipeline.core.scope import Actor, Scope

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
        f"{claim.holder} (by {claim.actor}, host {claim.owner.host}, process {claim.owner.pid}, "
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
        return f"{self.work} (by {self.actor}, host {self.owner.host}, process {self.owner.pid}{since})"


def reading_renewal_interval(life: timedelta) -> timedelta:
    """How often a reading of this life gives a sign."""
    return life / RENEWALS
