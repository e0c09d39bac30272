"""Who has signed in, and for how long: sessions, links that work once, and how long a wrong password makes one wait.

Of what proves who somebody is the ledger has digests only: whoever reads it can not sign in with what it says.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from backup_pipeline.core.access import Role, User
from backup_pipeline.core.access.api_keys import ApiKey, KeyPermission

IDLE = timedelta(minutes=60)
"""A session that is not used for so long is over."""
LONGEST = timedelta(hours=12)
"""No session lives longer."""
FRESH = timedelta(minutes=5)
"""So long ago the password may have been given for what `FRESH_LOGIN` lists."""
FIRST_LINK = timedelta(minutes=15)
"""How long the link of the first administrator works."""
INVITATION = timedelta(hours=48)
"""How long an invited user has to choose a password."""

FREE_FAILURES = 3
"""So many wrong passwords for one account cost nothing: people mistype."""
FREE_FAILURES_OF_ADDRESS = 12
"""And so many from one address, where many people may sit."""
LONGEST_DELAY = timedelta(minutes=15)
FORGOTTEN_AFTER = timedelta(hours=24)
"""Failures so long ago no longer count."""


def digest(token: str) -> str:
    """What the ledger keeps of a token, in hex: SHA-256. Enough for tokens of 256 random bits, never for passwords."""
    return hashlib.sha256(token.encode()).hexdigest()


@dataclass(frozen=True)
class Session:
    """One browser of one user, signed in. `password_at` is when the password was last given; times are UTC.

    `factors` says by what: `password`, `password+totp`, `oidc`, `link`.
    """

    number: int
    user: int
    created_at: datetime
    seen_at: datetime
    password_at: datetime
    expires_at: datetime
    address: str = ""
    agent: str = ""
    factors: str = "password"
    ended_at: datetime | None = None
    ended_why: str | None = None

    def is_alive(self, now: datetime) -> bool:
        """Whether it still counts: it was not ended, has been used of late, and is not too old."""
        return self.ended_at is None and now < self.expires_at and now < self.seen_at + IDLE

    def is_fresh(self, now: datetime) -> bool:
        """Whether the password was given so lately that it need not be given again."""
        return now < self.password_at + FRESH


@dataclass(frozen=True)
class KeyRights:
    """A key on a route that takes `permission`: the ledger gives it what that route needs."""

    key: ApiKey
    permission: KeyPermission

    @property
    def role(self) -> Role:
        """As what its SQL runs."""
        return self.key.role_for(self.permission)

    @property
    def switches(self) -> tuple[str, ...]:
        """A viewer's switches."""
        runs = (KeyPermission.BACKUPS_CREATE, KeyPermission.BACKUPS_SCHEDULE)
        switches = {**dict.fromkeys(runs, "run"), KeyPermission.BACKUPS_DOWNLOAD: "download"}
        return (switches[self.permission],) if self.permission in switches else ()


@dataclass(frozen=True)
class PersonIdentity:
    """For whom the ledger works, and from where: a person's SQL runs as that person's role.

    A program that came with a `key` has the role that its call takes. Without a `user` and a `key` it is the console
    itself, before it knows who asks.
    """

    user: User | None = None
    session: int | None = None
    address: str | None = None
    request_id: str | None = None
    key: KeyRights | None = None

    @property
    def in_words(self) -> str:
        """Who that is, for people; nothing for the console itself."""
        if self.key is not None:
            return f"Key {self.key.key.name}"
        return f"{self.user.name} ({self.user.role.in_words})" if self.user is not None else ""


@dataclass(frozen=True)
class Failures:
    """How often in a row it went wrong for one account, or from one address; `key` says which."""

    key: str
    failures: int
    last_at: datetime

    def wait_until(self, now: datetime) -> datetime | None:
        """Until when no further try is looked at; None when one is.

        `last_at` may be after `now`: of tries at the same moment, one that began later may be counted first.
        """
        if now >= self.last_at + FORGOTTEN_AFTER:
            return None
        free = FREE_FAILURES_OF_ADDRESS if self.key.startswith("address:") else FREE_FAILURES
        pause = delay(self.failures, free)
        return self.last_at + pause if pause and now < self.last_at + pause else None


def delay(failures: int, free: int = FREE_FAILURES) -> timedelta:
    """How long the next try has to wait after so many failures: it doubles, from a second on."""
    if failures < free:
        return timedelta()
    return min(timedelta(seconds=2 ** min(failures - free, 20)), LONGEST_DELAY)


def account_key(name: str) -> str:
    """The key of an account's failures. Not the name itself: people type passwords into the wrong field."""
    return f"account:{digest(name.strip().casefold())}"


def address_key(address: str) -> str:
    """The key of an address's failures."""
    return f"address:{address}"


class LinkPurpose(StrEnum):
    """What a link that works once is for."""

    FIRST_ADMIN = "first_admin"
    """To make the first user of all."""
    INVITE = "invite"
    """To choose a password, for a user that somebody added."""


@dataclass(frozen=True)
class OneTimeLink:
    """A link that works once. `user` is whom it is for; None for the first administrator, who is nobody yet."""

    number: int
    purpose: LinkPurpose
    user: int | None
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None = None

    def works(self, now: datetime) -> bool:
        """Whether it was not used, and is not too old."""
        return self.used_at is None and now < self.expires_at
