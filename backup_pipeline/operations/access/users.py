"""The care for users: who is added, what they may, their passwords, their sessions, and links that let them begin.

Every change leaves an audit row. A password is never in one.
"""

from __future__ import annotations

from dataclasses import replace

from backup_pipeline.core.access import NewUser, Role, User, UserChange, checked_name
from backup_pipeline.core.access.sessions import (
    FIRST_LINK,
    INVITATION,
    LinkPurpose,
    OneTimeLink,
    Session,
    account_key,
    digest,
)
from backup_pipeline.core.errors import NotFoundError, RefusedError
from backup_pipeline.core.scope import PROGRAM, Actor
from backup_pipeline.operations.access import (
    AccessPorts,
    SignedIn,
    SignIn,
    TooManyTriesError,
    WrongLoginError,
    begin_session,
)
from backup_pipeline.operations.access.passwords import check_password, hash_password, in_line, verify_password

_SHOW_ALL = "`backup-pipeline user list` shows who there is."


def user_named(name: str, ports: AccessPorts) -> User:
    """The user of that name; NotFoundError when there is none."""
    user = ports.access.users.named(name)
    if user is None:
        message = f"There is no user {name}."
        raise NotFoundError(message, do=_SHOW_ALL)
    return user


def create_user(user: NewUser, ports: AccessPorts, actor: Actor, password: str | None = None) -> User:
    """Add a user, with a password or without: then an invitation lets the user choose one. UsageError as it says."""
    user = replace(user, name=checked_name(user.name))
    hashed = None
    if password is not None:
        check_password(password, user.name)
        hashed = hash_password(password)
    added = ports.access.users.add(user, actor, ports.clock())
    if hashed is not None:
        _keep_password(added, hashed, ports)
    ports.audit(actor, "user_added", user=added.name, **_rights(added))
    return added


def set_user(user: User, change: UserChange, ports: AccessPorts, actor: Actor) -> User:
    """Change what a user is and may. Who gets another role, or is disabled, is signed out everywhere.

    RefusedError when no super_admin who can sign in would be left.
    """
    now = ports.clock()
    after = ports.access.users.change(user.number, change, now)
    if after.role is not user.role or after.disabled_at is not None:
        why = "the user was disabled" if after.disabled_at is not None else "the user's role has changed"
        ports.access.sessions.end(why, now, user=user.number)
    ports.audit(actor, "user_changed", user=after.name, before=_rights(user), after=_rights(after))
    return after


def _rights(user: User) -> dict[str, object]:
    switches = {"may_run": user.may_run, "may_download": user.may_download} if user.role is Role.VIEWER else {}
    businesses = {"businesses": list(user.businesses)} if user.role is Role.BUSINESS_ADMIN else {}
    disabled = {"disabled": True} if user.disabled_at is not None else {}
    return {"role": user.role.value, **switches, **businesses, **disabled}


def set_password(user: User, password: str, ports: AccessPorts, actor: Actor) -> None:
    """Give a user another password. Whoever is signed in as that user is signed out."""
    check_password(password, user.name)
    _keep_password(user, hash_password(password), ports)
    ports.access.sessions.end("the password has changed", ports.clock(), user=user.number)
    ports.audit(actor, "password_set", user=user.name)


def change_password(user: User, session: Session, before: str, password: str, ports: AccessPorts) -> None:
    """One's own password, by who knows the one of before; WrongLoginError for who does not. Other sessions end.

    TooManyTriesError as of `sign_in`: a browser that was left open is no place to guess at.
    """
    account, now = account_key(user.name), ports.clock()
    if (until := ports.access.tries.begin(account, now)) is not None:
        raise TooManyTriesError(until, now)
    with in_line():
        right, _ = verify_password(before, ports.access.users.credentials(user.number).password_hash)
    if not right:
        ports.audit(user.actor, "password_change_failed", user=user.name)
        message = "That is not your present password."
        raise WrongLoginError(message)
    ports.access.tries.succeeded(account)
    check_password(password, user.name)
    _keep_password(user, hash_password(password), ports)
    end_other_sessions(user, session, ports)
    ports.audit(user.actor, "password_changed", user=user.name)


def _keep_password(user: User, hashed: str, ports: AccessPorts) -> None:
    ports.access.users.change_credentials(user.number, password_hash=hashed, password_at=ports.clock())


def end_other_sessions(user: User, session: Session, ports: AccessPorts) -> int:
    """End what the user has open elsewhere; how many sessions that were."""
    others = [other.number for other in ports.access.sessions.list(user.number) if other.number != session.number]
    now = ports.clock()
    ended = sum(ports.access.sessions.end("ended from another session", now, number=number) for number in others)
    ports.audit(user.actor, "sessions_revoked", user=user.name, sessions=ended)
    return ended


def revoke_session(number: int, ports: AccessPorts, actor: Actor, *, of: User) -> None:
    """End one session of a user; NotFoundError when it is none of that user's, or over."""
    if not ports.access.sessions.end(f"revoked by {actor.for_people}", ports.clock(), number=number, user=of.number):
        message = f"There is no session {number} of {of.name}."
        raise NotFoundError(message, do="It may have ended meanwhile.")
    ports.audit(actor, "session_revoked", user=of.name, session=number)


def revoke_sessions(user: User, ports: AccessPorts, actor: Actor) -> int:
    """Sign a user out everywhere; of how many sessions."""
    ended = ports.access.sessions.end(f"revoked by {actor.for_people}", ports.clock(), user=user.number)
    ports.audit(actor, "sessions_revoked", user=user.name, sessions=ended)
    return ended


def invite(user: User, ports: AccessPorts, actor: Actor) -> str:
    """The token of a link with which the user chooses a password, once; an earlier one is worth nothing any more."""
    token = _new_link(LinkPurpose.INVITE, user, ports, actor)
    ports.audit(actor, "user_invited", user=user.name)
    return token


def first_admin_link(ports: AccessPorts) -> str | None:
    """The token of the link that makes the first user; None where there is one."""
    if ports.access.users.list():
        return None
    return _new_link(LinkPurpose.FIRST_ADMIN, None, ports, PROGRAM)


def _new_link(purpose: LinkPurpose, user: User | None, ports: AccessPorts, actor: Actor) -> str:
    now, token = ports.clock(), ports.new_token()
    life = FIRST_LINK if purpose is LinkPurpose.FIRST_ADMIN else INVITATION
    link = OneTimeLink(0, purpose, user.number if user else None, now, now + life)
    ports.access.links.add(link, digest(token), actor)
    return token


def link_of(token: str, ports: AccessPorts) -> OneTimeLink:
    """The link of a token, as long as it works; NotFoundError, the same for each reason, when not."""
    link = ports.access.links.of_token(digest(token))
    over = link is None or not link.works(ports.clock())
    taken = link is not None and link.purpose is LinkPurpose.FIRST_ADMIN and bool(ports.access.users.list())
    if link is None or over or taken:
        message = "This link does not work any more: it was used, or it is too old."
        raise NotFoundError(message, do="Ask for a new one; `backup-pipeline user add` makes the first user, too.")
    return link


def accept(token: str, request: SignIn, ports: AccessPorts) -> SignedIn:
    """Take a link up: a password for whom it is for, or the first super_admin of all; signed in at once.

    UsageError as for a password or a name, and the link still works then.
    """
    link = link_of(token, ports)
    if link.user is None:
        name = checked_name(request.name)
    else:
        invited = ports.access.users.get(link.user)
        if invited is None or invited.disabled_at is not None:
            message = "The user of this link can not sign in."
            raise RefusedError(message, do="Ask whoever invited you.")
        name = invited.name
    check_password(request.password, name)
    if not ports.access.links.use(link.number, ports.clock()):
        message = "This link was used at the same moment."
        raise NotFoundError(message, do="Ask for a new one.")
    if link.user is None:
        user = create_user(NewUser(name, Role.SUPER_ADMIN), ports, PROGRAM, request.password)
    else:
        user = _with_password(link.user, request.password, ports)
    return begin_session(user, "link", request, ports)


def _with_password(number: int, password: str, ports: AccessPorts) -> User:
    """The user of an invitation, with the password that was chosen."""
    user = ports.access.users.get(number)
    if user is None:
        message = f"There is no user {number}."
        raise NotFoundError(message, do=_SHOW_ALL)
    set_password(user, password, ports, user.actor)
    return user
