"""Who may do what in the console: roles, permissions, and a person with the businesses that are theirs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import TypedDict

from backup_pipeline.core.errors import RefusedError, UsageError
from backup_pipeline.core.scope import Actor, ActorKind, business_folder


class Role(StrEnum):
    """What a person is; each is a database role too (`database_role`), whose policies are the last wall."""

    VIEWER = "viewer"
    BUSINESS_ADMIN = "business_admin"
    ADMIN = "admin"
    SUPER_ADMIN = "super_admin"

    @property
    def database_role(self) -> str:
        """The role of PostgreSQL as which a person's SQL runs; the two administrators are those of the sources."""
        return {Role.VIEWER: "backup_viewer", Role.BUSINESS_ADMIN: "backup_business_admin"}.get(self, self.value)

    @property
    def in_words(self) -> str:
        """For people: `super admin`."""
        return self.value.replace("_", " ")


class Permission(StrEnum):
    """What a person may be allowed to do."""

    SEE = "see"
    RUN_BACKUP = "run_backup"
    DOWNLOAD = "download"
    REQUEST_RESTORE = "request_restore"
    HOLD = "hold"
    VERIFY = "verify"
    DRILL = "drill"
    HANDLE_ALERTS = "handle_alerts"
    SEE_AUDIT = "see_audit"
    APPROVE = "approve"
    DELETE = "delete"
    PRUNE = "prune"
    MANAGE_PAYMENTS = "manage_payments"
    MANAGE_USERS = "manage_users"
    MANAGE_KEYS = "manage_keys"
    MANAGE_SETTINGS = "manage_settings"


_OWN = frozenset({Permission.SEE, Permission.RUN_BACKUP, Permission.DOWNLOAD, Permission.REQUEST_RESTORE})
_CARE = frozenset(
    {Permission.HOLD, Permission.VERIFY, Permission.DRILL, Permission.HANDLE_ALERTS, Permission.SEE_AUDIT}
)
PERMISSIONS: dict[Role, frozenset[Permission]] = {
    Role.VIEWER: frozenset({Permission.SEE}),
    Role.BUSINESS_ADMIN: _OWN,
    Role.ADMIN: _OWN | _CARE,
    Role.SUPER_ADMIN: frozenset(Permission),
}
"""What each role may; a viewer's switches add running and downloading, a business_admin's businesses narrow it."""

FRESH_LOGIN = frozenset({Permission.APPROVE, Permission.DELETE, Permission.MANAGE_KEYS, Permission.MANAGE_USERS})
"""What asks for the password again: whoever finds a browser open shall not do it."""


@dataclass(frozen=True)
class User:
    """A person who may sign in. `number` is the ledger's; names are compared without case.

    `may_run` and `may_download` are a viewer's switches. `businesses` are those of a business_admin. A user with a
    `disabled_at` can not sign in. `second_factor` says whether one is set up.
    """

    number: int
    name: str
    role: Role
    created_at: datetime
    may_run: bool = False
    may_download: bool = False
    businesses: tuple[str, ...] = ()
    second_factor: bool = False
    disabled_at: datetime | None = None
    last_login_at: datetime | None = None

    @property
    def actor(self) -> Actor:
        """Who acts, as ledger and audit name them."""
        return Actor(ActorKind.PERSON, self.name)

    @property
    def sees_every_business(self) -> bool:
        """Whether no business is hidden."""
        return self.role is not Role.BUSINESS_ADMIN

    def may(self, permission: Permission) -> bool:
        """Whether the person may do it at all; of what, `sees` says."""
        switched = (permission is Permission.RUN_BACKUP and self.may_run) or (
            permission is Permission.DOWNLOAD and self.may_download
        )
        return self.disabled_at is None and (switched or permission in PERMISSIONS[self.role])

    def sees(self, business: str | None) -> bool:
        """Whether what belongs to `business` (None: to the whole catalog) exists for the person."""
        return self.sees_every_business or business in self.businesses


def decides_alone(user: User, users: Sequence[User]) -> bool:
    """Whether nobody of the `users` but `user` may approve anything: who is disabled does not count."""
    return not any(other.number != user.number and other.may(Permission.APPROVE) for other in users)


def check_permission(user: User, permission: Permission) -> None:
    """RefusedError unless the person may do it."""
    if not user.may(permission):
        message = f"{user.name} ({user.role.in_words}) may not {permission.replace('_', ' ')}."
        raise RefusedError(message, do="Ask a super admin for it: page Users, or `backup-pipeline user set`.")


LONGEST_NAME = 100


def checked_name(text: str) -> str:
    """`text` as a user's name, without the spaces around; UsageError when it can be none."""
    name = " ".join(text.split())
    if not name or len(name) > LONGEST_NAME or not name.isprintable() or ":" in name:
        message = (
            f"{text[:LONGEST_NAME]!r} is no user's name: 1 to {LONGEST_NAME} characters that can be seen, no colon"
        )
        raise UsageError(message + ".", do="An e-mail address is a good name.")
    return name


@dataclass(frozen=True)
class NewUser:
    """A user to be added; the name is a checked one, the businesses are keys that `Scope` takes."""

    name: str
    role: Role
    may_run: bool = False
    may_download: bool = False
    businesses: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_businesses(self.role, self.businesses)


@dataclass(frozen=True)
class UserChange:
    """What is to be different of a user; None leaves it as it is."""

    role: Role | None = None
    may_run: bool | None = None
    may_download: bool | None = None
    businesses: tuple[str, ...] | None = None
    disabled: bool | None = None


def changed_user(user: User, change: UserChange, now: datetime) -> User:
    """`user` as it will be; UsageError when that can not be. A user that is disabled already keeps its time."""
    role = change.role or user.role
    kept = user.businesses if role is Role.BUSINESS_ADMIN else ()
    businesses = kept if change.businesses is None else change.businesses
    check_businesses(role, businesses)
    disabled_at = user.disabled_at
    if change.disabled is not None:
        disabled_at = (disabled_at or now) if change.disabled else None
    return replace(
        user,
        role=role,
        may_run=user.may_run if change.may_run is None else change.may_run,
        may_download=user.may_download if change.may_download is None else change.may_download,
        businesses=businesses,
        disabled_at=disabled_at,
    )


def check_businesses(role: Role, businesses: Sequence[str]) -> None:
    """UsageError unless a business_admin has businesses, and nobody else."""
    for business in businesses:
        try:
            business_folder(business)
        except ValueError as error:
            message = f"{error}."
            raise UsageError(message) from None
    if role is Role.BUSINESS_ADMIN and not businesses:
        message = "A business admin needs a business."
        raise UsageError(message, do="Name at least one.")
    if role is not Role.BUSINESS_ADMIN and businesses:
        message = f"Whoever is {role.in_words} sees every business: none can be named."
        raise UsageError(message, do="Name none.")


@dataclass(frozen=True)
class Credentials:
    """What a user proves to be somebody with, as the ledger keeps it: nothing that could be used to sign in.

    `password_hash` is Argon2id, `totp_secret` sealed with the console's own key, `recovery_codes` are digests.
    `totp_at` is since when one-time passwords are asked for (None: set up, but never tried), `totp_step` the newest
    that was used. `oidc_subject` is who the user is at the provider of identities.
    """

    password_hash: str | None = None
    password_at: datetime | None = None
    totp_secret: str | None = None
    totp_at: datetime | None = None
    totp_step: int | None = None
    recovery_codes: tuple[str, ...] = ()
    oidc_subject: str | None = None


class CredentialsChange(TypedDict, total=False):
    """Some of `Credentials`: what is not named stays as it is, whoever changes it at the same moment."""

    password_hash: str
    password_at: datetime
    totp_secret: str | None
    totp_at: datetime | None
    totp_step: int | None
    recovery_codes: tuple[str, ...]
    oidc_subject: str | None


@dataclass(frozen=True)
class SystemSetting:
    """What was decided for everybody in the console: a JSON value, when, by whom."""

    key: str
    value: object
    updated_at: datetime
    actor: Actor

    @property
    def in_words(self) -> str:
        """The value for people."""
        if isinstance(self.value, bool):
            return "yes" if self.value else "no"
        if isinstance(self.value, list):
            return ", ".join(str(each).replace("_", " ") for each in self.value) or "nobody"
        return str(self.value)
