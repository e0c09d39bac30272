"""Signing in and out: who somebody is, found out once, and kept under a token; and whether the audit is whole.

Whatever is wrong looks the same and takes the same time: nobody learns here who has an account. A try counts as failed
before it is looked at (`Tries.begin`).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol

from backup_pipeline.core.access import Credentials, Role, User
from backup_pipeline.core.access.sessions import FORGOTTEN_AFTER, LONGEST, Session, account_key, address_key, digest
from backup_pipeline.core.audit import ChainCheck, ChainReport
from backup_pipeline.core.errors import RefusedError
from backup_pipeline.core.ledger import AuditEvent
from backup_pipeline.core.ports import Clock, Ledger
from backup_pipeline.core.ports.access import Access
from backup_pipeline.core.scope import NOBODY, Actor
from backup_pipeline.operations.access.passwords import WaitError, in_line, verify_password
from backup_pipeline.operations.access.second_factor import is_right_code

SECOND_FACTOR_ROLES = "second_factor_roles"
"""The setting of the system that lists the roles whose people have to have a second factor."""
LOCAL_LOGIN = "local_login"
"""The setting of the system that is false where people sign in at a provider of identities only."""


_MOST_AGENT = 200
PROVIDER = "oidc"
"""The factor of a session of whom a provider of identities vouched for."""
_KEPT_ENDED = timedelta(days=30)
"""So long it can be seen where somebody was signed in."""


class Sealer(Protocol):
    """Keeps a text so that the ledger alone does not give it away."""

    def seal(self, text: str) -> str:
        """What the ledger keeps."""

    def unseal(self, sealed: str) -> str:
        """The text; RefusedError when it was sealed with another key."""


@dataclass(frozen=True)
class AccessPorts:
    """What signing in and the care for users need: the ledger for whoever asks, a clock, a seal, and randomness."""

    ledger: Ledger
    clock: Clock
    sealer: Sealer
    new_token: Callable[[], str] = field(default=lambda: secrets.token_urlsafe(32))

    @property
    def access(self) -> Access:
        """Who may sign in."""
        return self.ledger.access

    def audit(self, actor: Actor, action: str, **detail: object) -> None:
        """Add an audit row."""
        self.ledger.audit(AuditEvent(self.clock(), actor, action, detail=detail))


class WrongLoginError(RefusedError):
    """The name, the password or the code is wrong: which, nobody is told."""


class TooManyTriesError(WaitError):
    """So many tries went wrong that the next one has to wait."""

    def __init__(self, until: datetime, now: datetime) -> None:
        super().__init__("Too many tries went wrong.", max(1, round((until - now).total_seconds())))


@dataclass(frozen=True)
class SignIn:
    """What somebody typed, and from where. `code` is of the second factor, a recovery code included."""

    name: str
    password: str
    code: str = ""
    address: str = ""
    agent: str = ""


@dataclass(frozen=True)
class SignedIn:
    """Who signed in, with the token that the browser gets; only its digest is kept."""

    user: User
    session: Session
    token: str


def sign_in(request: SignIn, ports: AccessPorts) -> SignedIn:
    """Begin a session. WrongLoginError, or WaitError where the next try has to wait; both are the same for all.

    RefusedError where people sign in elsewhere.
    """
    check_local_login(ports)
    user = ports.access.users.named(request.name.strip())
    with in_line():
        factors = _prove(user, request, ports)
    if user is None or factors is None:
        ports.access.tries.failed(address_key(request.address), ports.clock())
        known = {"account": user.name} if user is not None else {}
        ports.audit(NOBODY, "sign_in_failed", **known)
        message = "The name, the password or the code is wrong."
        raise WrongLoginError(message)
    return begin_session(user, factors, request, ports)


def check_local_login(ports: AccessPorts) -> None:
    """RefusedError where people sign in at the provider of identities only."""
    if not allows_local_login(ports):
        message = "People sign in at the provider of identities here."
        raise RefusedError(message, do="Take the button for it; the command line still manages users.")


def _prove(user: User | None, request: SignIn, ports: AccessPorts) -> str | None:
    """By what the user was proven to be it; None when not."""
    now = ports.clock()
    account, address = account_key(request.name), address_key(request.address)
    until = ports.access.tries.begin(account, now, besides=address)
    if until is not None:
        raise TooManyTriesError(until, now)
    known = ports.access.users.credentials(user.number) if user else Credentials()
    right, anew = verify_password(request.password, known.password_hash)
    if user is None or user.disabled_at is not None or not right:
        return None
    factors = "password"
    if known.totp_at is not None:
        if not is_right_code(user, known, request.code, ports):
            return None
        factors = "password+totp"
    ports.access.tries.succeeded(account)
    if anew is not None:
        ports.access.users.change_credentials(user.number, password_hash=anew)
    return factors


def begin_session(
    user: User, factors: str, request: SignIn, ports: AccessPorts, *, proven_at: datetime | None = None
) -> SignedIn:
    """A new session, under a new token, for a user who was proven to be it: now, or at `proven_at`."""
    now, token = ports.clock(), ports.new_token()
    session = Session(
        number=0,
        user=user.number,
        created_at=now,
        seen_at=now,
        password_at=proven_at or now,
        expires_at=now + LONGEST,
        address=request.address,
        agent=request.agent[:_MOST_AGENT],
        factors=factors,
    )
    begun = ports.access.sessions.begin(session, digest(token))
    ports.access.sessions.forget(now - _KEPT_ENDED)
    ports.access.tries.forget(now - FORGOTTEN_AFTER)
    ports.access.users.signed_in(user.number, now)
    ports.audit(user.actor, "sign_in", user=user.name, by=factors, session=begun.number)
    return SignedIn(user, begun, token)


def sign_out(user: User, session: Session, ports: AccessPorts) -> None:
    """End the session: its token is worth nothing from now on."""
    ports.access.sessions.end("signed out", ports.clock(), number=session.number)
    ports.audit(user.actor, "sign_out", session=session.number)


def confirm_password(user: User, session: Session, request: SignIn, ports: AccessPorts) -> str:
    """The password again, for what `FRESH_LOGIN` lists; the session's new token. Errors as of `sign_in`."""
    with in_line():
        factors = _prove(user, replace(request, name=user.name), ports)
    if factors is None:
        ports.access.tries.failed(address_key(request.address), ports.clock())
        ports.audit(user.actor, "confirm_failed", session=session.number)
        message = "The password or the code is wrong."
        raise WrongLoginError(message)
    token = ports.new_token()
    ports.access.sessions.renew(session.number, digest(token), ports.clock(), factors)
    ports.audit(user.actor, "confirm_password", session=session.number)
    return token


def needs_second_factor(user: User, session: Session, ports: AccessPorts) -> bool:
    """Whether the user's role has to have a second factor, and the user has none.

    Who came by a provider of identities was asked there for whatever the provider wants.
    """
    return session.factors != PROVIDER and not user.second_factor and user.role in second_factor_roles(ports)


def second_factor_roles(ports: AccessPorts) -> frozenset[Role]:
    """The roles that have to have a second factor."""
    listed = ports.access.setting(SECOND_FACTOR_ROLES)
    return frozenset(Role(name) for name in listed if name in {*Role}) if isinstance(listed, list) else frozenset()


def allows_local_login(ports: AccessPorts) -> bool:
    """Whether people sign in with a name and a password."""
    return ports.access.setting(LOCAL_LOGIN) is not False


def set_policy(
    ports: AccessPorts,
    actor: Actor,
    *,
    second_factor: Sequence[Role] | None = None,
    local_login: bool | None = None,
) -> None:
    """Say how people have to sign in; None leaves it as it is."""
    now = ports.clock()
    if second_factor is not None:
        roles = sorted({role.value for role in second_factor})
        ports.access.set_setting(SECOND_FACTOR_ROLES, roles, actor, now)
        ports.audit(actor, "setting_changed", setting=SECOND_FACTOR_ROLES, value=roles)
    if local_login is not None:
        ports.access.set_setting(LOCAL_LOGIN, local_login, actor, now)
        ports.audit(actor, "setting_changed", setting=LOCAL_LOGIN, value=local_login)


def verify_audit(ledger: Ledger, expect: str | None = None) -> ChainReport:
    """Look at every row; `expect` is the hash of a row that somebody kept, which has to be among them."""
    check = ChainCheck(expect)
    for entry in ledger.audit_rows.chain():
        check.look(entry)
    return check.report()
