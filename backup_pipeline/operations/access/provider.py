"""Signing in at a provider of identities: who it vouches for is a user here, with the role of the person's groups."""

from __future__ import annotations

from backup_pipeline.core.access import NewUser, User, UserChange
from backup_pipeline.core.access.identities import Claims, GroupRole, SignInAttempt, user_of_claims
from backup_pipeline.core.access.sessions import FRESH
from backup_pipeline.core.errors import RefusedError
from backup_pipeline.core.scope import PROGRAM, Actor
from backup_pipeline.operations.access import PROVIDER, AccessPorts, SignedIn, SignIn, begin_session
from backup_pipeline.operations.access.users import create_user, set_user


def new_attempt(ports: AccessPorts) -> SignInAttempt:
    """A way to the provider that begins now."""
    return SignInAttempt(ports.new_token(), ports.new_token(), ports.new_token())


def sign_in_by_claims(
    claims: Claims, claim: str, rules: tuple[GroupRole, ...], request: SignIn, ports: AccessPorts, *, again: bool
) -> SignedIn:
    """Begin a session of whom the provider vouches for; a user who is new here is added, another role is taken over.

    It counts as a fresh password only when the person has just shown it there. RefusedError for who is in no group, was
    disabled here, or has the name of a user who is somebody else.
    """
    wanted = user_of_claims(claims, claim, rules)
    known = ports.access.users.of_subject(claims.subject)
    user = _taken_over(known, wanted, ports) if known is not None else _added(claims, wanted, ports)
    now = ports.clock()
    proven_at = claims.proven_at or (now if again else now - FRESH)
    return begin_session(user, PROVIDER, request, ports, proven_at=min(proven_at, now))


def _taken_over(user: User, wanted: NewUser, ports: AccessPorts) -> User:
    if user.disabled_at is not None:
        message = f"{user.name} was disabled here."
        raise RefusedError(message, do="Ask a super admin.")
    if (user.role, user.businesses) == (wanted.role, wanted.businesses):
        return user
    return set_user(user, UserChange(role=wanted.role, businesses=wanted.businesses), ports, PROGRAM)


def _added(claims: Claims, wanted: NewUser, ports: AccessPorts) -> User:
    """A name that is taken is not taken over: whoever chooses names at the provider would be whom they like here."""
    taken = ports.access.users.named(wanted.name)
    if taken is not None:
        message = f"There is a user {taken.name} here already, who is nobody's at the provider of identities."
        raise RefusedError(
            message, do=f"Who runs the backups may say so: `backup-pipeline user link NAME '{claims.subject}'`."
        )
    user = create_user(wanted, ports, PROGRAM)
    link_user(user, claims.subject, ports, PROGRAM)
    return user


def link_user(user: User, subject: str, ports: AccessPorts, actor: Actor) -> None:
    """Say who the user is at the provider of identities."""
    ports.access.users.change_credentials(user.number, oidc_subject=subject)
    ports.audit(actor, "user_linked", user=user.name, subject=subject)
