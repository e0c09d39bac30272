"""People whom a provider of identities vouches for: what it says about somebody, and what that makes of them here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from backup_pipeline.core.access import NewUser, Role, checked_name
from backup_pipeline.core.errors import RefusedError, SettingsError

_RANK = tuple(Role)
"""The weakest first."""


@dataclass(frozen=True)
class SignInAttempt:
    """What ties a browser's way to the provider and back together; random, and known to that browser alone."""

    state: str
    nonce: str
    verifier: str


@dataclass(frozen=True)
class Claims:
    """What a provider says about somebody, checked. `subject` is its issuer and its own name for the person.

    `proven_at` is when the person last showed there who it is; None where the provider does not say.
    """

    subject: str
    values: Mapping[str, Any] = field(default_factory=dict)
    proven_at: datetime | None = None


@dataclass(frozen=True)
class GroupRole:
    """Whoever is in the group has the role, and of a business_admin the businesses."""

    group: str
    role: Role
    businesses: tuple[str, ...] = ()


def parse_group_roles(text: str) -> tuple[GroupRole, ...]:
    """The rules written as `admins=super_admin shop=business_admin:42,43`; SettingsError for what is none."""
    return tuple(map(_parsed, text.split()))


def _parsed(rule: str) -> GroupRole:
    group, equals, right = rule.rpartition("=")
    role, _, businesses = right.partition(":")
    own = tuple(filter(None, businesses.split(",")))
    if not equals or not group or role not in {*Role} or bool(own) != (role == Role.BUSINESS_ADMIN):
        message = f"BACKUP_OIDC_ROLES is wrong at {rule!r}."
        raise SettingsError(message, do="Write GROUP=ROLE, such as staff=viewer, or shop=business_admin:42,43.")
    return GroupRole(group, Role(role), own)


def user_of_claims(claims: Claims, claim: str, rules: tuple[GroupRole, ...]) -> NewUser:
    """Who somebody is here: the strongest role of the person's groups. RefusedError for who is in no group."""
    groups = claims.values.get(claim, ())
    own = {groups} if isinstance(groups, str) else set(map(str, groups))
    fitting = [rule for rule in rules if rule.group in own]
    if not fitting:
        message = "The provider of identities knows you, but you are in no group that may come in here."
        raise RefusedError(message, do="Ask whoever runs the backups: the groups stand in BACKUP_OIDC_ROLES.")
    role = max((rule.role for rule in fitting), key=_RANK.index)
    same = (rule for rule in fitting if rule.role is role)
    businesses = tuple(dict.fromkeys(business for rule in same for business in rule.businesses))
    return NewUser(checked_name(_name(claims).replace(":", " ")), role, businesses=businesses)


def _name(claims: Claims) -> str:
    """An e-mail address only where the provider has not said that it is unproven."""
    if claims.values.get("email_verified") is not False and isinstance(email := claims.values.get("email"), str):
        return email
    for name in ("preferred_username", "name", "sub"):
        if isinstance(value := claims.values.get(name), str) and value:
            return value
    return claims.subject
