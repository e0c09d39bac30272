"""Keys of programs: what one may, for how many calls an hour, and what the ledger counts of them.

A key is `sk_` and 32 random characters of 0-9, A-Z and a-z (190 bits). It is shown once, when it is made; the ledger
has its SHA-256 (`sessions.digest`) and its first eight characters, by which people tell keys apart.
"""

from __future__ import annotations

import re
import secrets
import string
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from backup_pipeline.core.access import Role, checked_name
from backup_pipeline.core.errors import RefusedError, UsageError
from backup_pipeline.core.scope import Actor, ActorKind, business_folder

_PREFIX, _LENGTH, _SHOWN = "sk_", 32, 8
_ALPHABET = string.digits + string.ascii_letters
_KEY = re.compile(rf"{_PREFIX}[0-9A-Za-z]{{{_LENGTH}}}")

WINDOW = timedelta(minutes=60)
"""Of no length of time that is as long has a key more calls than its limit, whenever it begins."""
DEFAULT_LIMIT = 1_000
MOST_LIMIT = 100_000


class KeyPermission(StrEnum):
    """What a key may be allowed to do: each route of the API takes one of these."""

    ANALYTICS = "analytics"
    BACKUP_STATUS = "backup_status"
    BACKUPS_CREATE = "backups:create"
    BACKUPS_SCHEDULE = "backups:schedule"
    BACKUPS_DOWNLOAD = "backups:download"
    RESTORES_REQUEST = "restores:request"
    RESTORES_READ = "restores:read"
    PAYMENTS_VERIFY = "payments:verify"
    EVENTS_READ = "events:read"
    KEYS_READ = "keys:read"
    FRESHNESS = "freshness"
    BUSINESSES = "businesses"
    AUDIT = "audit"
    USAGE = "usage"

    @property
    def in_words(self) -> str:
        """What it allows, for people."""
        return _WORDS[self]

    @property
    def of_a_business(self) -> bool:
        """Whether a key of one business may have it: what is about the whole installation it may not."""
        return self not in _WHOLE

    @property
    def role(self) -> Role:
        """The least role whose database rights suffice for it, where the key is of no business."""
        return _ROLES.get(self, Role.VIEWER)


P = KeyPermission
_WORDS: Mapping[KeyPermission, str] = {
    P.ANALYTICS: "read the analytics",
    P.BACKUP_STATUS: "list backups, and see how they stand",
    P.BACKUPS_CREATE: "make backups",
    P.BACKUPS_SCHEDULE: "let the backups of all businesses run now",
    P.BACKUPS_DOWNLOAD: "download backups",
    P.RESTORES_REQUEST: "ask for restores, which a person approves",
    P.RESTORES_READ: "see restore requests",
    P.PAYMENTS_VERIFY: "record payments",
    P.EVENTS_READ: "follow what happens",
    P.KEYS_READ: "list keys and what they did",
    P.FRESHNESS: "ask whether every backup that is due is there",
    P.BUSINESSES: "list businesses",
    P.AUDIT: "read the audit",
    P.USAGE: "see its own calls",
}
_WHOLE = frozenset({P.BACKUPS_SCHEDULE, P.PAYMENTS_VERIFY, P.KEYS_READ, P.FRESHNESS, P.AUDIT})
_ROLES: Mapping[KeyPermission, Role] = {
    P.RESTORES_REQUEST: Role.ADMIN,
    P.AUDIT: Role.ADMIN,
    P.PAYMENTS_VERIFY: Role.SUPER_ADMIN,
    P.KEYS_READ: Role.SUPER_ADMIN,
}


@dataclass(frozen=True)
class ApiKey:
    """A key as the ledger has it. `shown` are its first characters, `limit` its calls in any 60 minutes; times are UTC.

    `business`: it sees that one alone. `made_by` is who made it; `last_used_at` is true to the minute.
    """

    number: int
    name: str
    shown: str
    permissions: tuple[KeyPermission, ...]
    limit: int
    created_at: datetime
    made_by: Actor
    business: str | None = None
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
    last_address: str | None = None

    @property
    def actor(self) -> Actor:
        """Who acts, as ledger and audit name the key."""
        return Actor(ActorKind.KEY, self.name)

    def may(self, permission: KeyPermission) -> bool:
        """Whether it was given the permission."""
        return permission in self.permissions

    def sees(self, business: str | None) -> bool:
        """Whether what belongs to `business` (None: to a whole catalog) exists for the key."""
        return self.business is None or self.business == business

    def role_for(self, permission: KeyPermission) -> Role:
        """As what its SQL runs on a route that takes the permission: with no more rights than that route needs."""
        return permission.role if self.business is None else Role.BUSINESS_ADMIN

    def why_over(self, now: datetime) -> str | None:
        """Why it is worth nothing any more; None as long as it works."""
        if self.revoked_at is not None:
            return "The key was revoked."
        if self.expires_at is not None and now >= self.expires_at:
            return f"The key has expired at {self.expires_at.isoformat(timespec='seconds')}."
        return None


@dataclass(frozen=True)
class NewKey:
    """A key to be made. UsageError for what can be none: its name, its permissions, its limit, its business."""

    name: str
    permissions: tuple[KeyPermission, ...]
    business: str | None = None
    limit: int = DEFAULT_LIMIT
    expires_at: datetime | None = None

    def __post_init__(self) -> None:
        checked_name(self.name)
        check_limit(self.limit)
        if not self.permissions:
            message = "A key without a permission can do nothing."
            raise UsageError(message, do=f"Give it some of {', '.join(KeyPermission)}.")
        if self.business is not None:
            _check_business(self.business, self.permissions)


def _check_business(business: str, permissions: Collection[KeyPermission]) -> None:
    try:
        business_folder(business)
    except ValueError as error:
        message = f"{error}."
        raise UsageError(message) from None
    if whole := [permission for permission in permissions if not permission.of_a_business]:
        message = f"A key of one business can not have {', '.join(whole)}: that is about all of them."
        raise UsageError(message, do="Leave it out, or make a key of no business.")


def check_limit(limit: int) -> None:
    """UsageError unless a key can have so many calls an hour."""
    if not 1 <= limit <= MOST_LIMIT:
        message = f"A key can have 1 to {MOST_LIMIT:,} calls an hour, not {limit:,}."
        raise UsageError(message, do=f"{DEFAULT_LIMIT:,} is usual.")


def parse_permissions(names: Sequence[str]) -> tuple[KeyPermission, ...]:
    """The permissions of those names, each once; UsageError for a name that is none."""
    unknown = [name for name in names if name not in {*KeyPermission}]
    if unknown:
        message = f"{unknown[0][:40]!r} is no permission of a key."
        raise UsageError(message, do=f"There are {', '.join(KeyPermission)}.")
    return tuple(KeyPermission(name) for name in dict.fromkeys(names))


def new_key(choice: Callable[[str], str] = secrets.choice) -> str:
    """A key that nobody has had before."""
    return _PREFIX + "".join(choice(_ALPHABET) for _ in range(_LENGTH))


def is_key(text: str) -> bool:
    """Whether the text has the form of a key."""
    return _KEY.fullmatch(text) is not None


def shown_of(key: str) -> str:
    """What of a key may be shown later."""
    return key[:_SHOWN]


def check_key_may(key: ApiKey, *any_of: KeyPermission) -> KeyPermission:
    """The first of the permissions that the key has; RefusedError where it has none of them."""
    for permission in any_of:
        if key.may(permission):
            return permission
    message = f"Key {key.name} may not {any_of[0].in_words}: it has not the permission {' or '.join(any_of)}."
    raise RefusedError(message, do="A super admin makes a key with that permission: page API keys.")


@dataclass(frozen=True)
class Call:
    """A request that came with a key: its id, the route as the API names it, and from where."""

    request_id: str
    route: str
    address: str


@dataclass(frozen=True)
class Admission:
    """What became of a call with a key that is there: when it was counted, and whether it is within the limit.

    `used` are the calls of the 60 minutes that end now, this one included where it is allowed. `free_at` is when the
    next one will be allowed, if this is not.
    """

    key: ApiKey
    at: datetime
    used: int = 0
    free_at: datetime | None = None

    @property
    def allowed(self) -> bool:
        """Whether the call may go on."""
        return self.free_at is None

    @property
    def remaining(self) -> int:
        """How many calls are left for now."""
        return max(self.key.limit - self.used, 0)


@dataclass(frozen=True)
class Refused:
    """Calls that were refused without being looked at, added up: of a key, on a route, since `at`."""

    key: int
    route: str
    at: datetime
    calls: int
    address: str


@dataclass(frozen=True)
class KeptAnswer:
    """What a request with an Idempotency-Key was answered; without a `status` it is still at work."""

    fingerprint: str
    status: int | None = None
    body: str = ""
    at: datetime | None = None
