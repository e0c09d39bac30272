"""Users, for super admins: who may sign in, what each may do, invitations, sessions, and how people have to sign in."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import Response

from backup_pipeline.core.access import NewUser, Permission, Role, User, UserChange
from backup_pipeline.core.errors import UsageError
from backup_pipeline.operations.access import allows_local_login, second_factor_roles, set_policy
from backup_pipeline.operations.access.second_factor import take_away
from backup_pipeline.operations.access.users import create_user, invite, revoke_session, revoke_sessions, set_user
from backup_pipeline.presentation.people import rights_in_words
from backup_pipeline.web.people import Visitor, allowed, fresh, not_there
from backup_pipeline.web.rendering import page, redirect
from backup_pipeline.wiring.access import welcome_url

router = APIRouter(prefix="/users")

_Manager = Annotated[Visitor, Depends(allowed(Permission.MANAGE_USERS))]
_ManagerForSure = Annotated[Visitor, Depends(fresh(Permission.MANAGE_USERS))]
_Text = Annotated[str, Form(max_length=10_000)]
_Switch = Annotated[bool, Form()]

_ROLES = [
    (Role.VIEWER, "Viewer: sees everything; with a switch runs backups, or downloads"),
    (Role.BUSINESS_ADMIN, "Business admin: sees, runs, downloads and asks for restores of own businesses"),
    (Role.ADMIN, "Admin: all businesses; also holds, verifies, drills and handles alerts"),
    (Role.SUPER_ADMIN, "Super admin: also approves, deletes, and manages users and settings"),
]


@router.get("")
def users_page(request: Request, visitor: _Manager) -> Response:
    """Everybody who may sign in."""
    users = visitor.access.access.users.list()
    now = visitor.ports.clock()
    alive = [session.user for session in visitor.access.access.sessions.list() if session.is_alive(now)]
    return page(
        request,
        "users.html",
        users=[(user, rights_in_words(user), alive.count(user.number)) for user in users],
        **policy_form(visitor),
        command="backup-pipeline user list",
    )


def policy_form(visitor: Visitor) -> Mapping[str, Any]:
    """What `policy.html` shows: how people have to sign in."""
    return {
        "roles": _ROLES,
        "required": second_factor_roles(visitor.access),
        "local": allows_local_login(visitor.access),
        "provider": visitor.settings.oidc_issuer,
    }


@router.get("/new")
def new_user_page(request: Request, visitor: _ManagerForSure) -> Response:
    """The form for somebody new."""
    return _new_user_form(request)


@router.post("")
def add_user(
    request: Request,
    visitor: _ManagerForSure,
    name: _Text = "",
    role: _Text = Role.VIEWER.value,
    businesses: _Text = "",
    may_run: _Switch = False,  # noqa: FBT002  # a box of a form
    may_download: _Switch = False,  # noqa: FBT002
) -> Response:
    """Add a user without a password; the answer shows the link with which the user chooses one."""
    try:
        wanted = NewUser(name, _role(role), may_run, may_download, tuple(businesses.split()))
        added = create_user(wanted, visitor.access, visitor.actor)
    except UsageError as error:
        typed = {"name": name, "role": role, "businesses": businesses, "may_run": may_run, "may_download": may_download}
        return _new_user_form(request, typed, f"{error.what} {error.do}")
    return _invited(request, visitor, added)


@router.post("/policy")
def policy(
    request: Request,
    visitor: _ManagerForSure,
    required: Annotated[list[str] | None, Form()] = None,
    local: _Switch = False,  # noqa: FBT002
    next_: Annotated[str, Form(alias="next", max_length=500)] = "/users",
) -> Response:
    """How people have to sign in. Passwords stay allowed as long as there is no provider to sign in at."""
    roles = [_role(name) for name in required or []]
    if not local and visitor.settings.oidc_issuer is None:
        message = "Without a provider of identities people can sign in with a password only."
        raise UsageError(message, do="Set BACKUP_OIDC_ISSUER first (docs/console.md).")
    set_policy(visitor.access, visitor.actor, second_factor=roles, local_login=local)
    return redirect(request, next_, "How people sign in has changed.")


@router.get("/{number}")
def user_page(request: Request, visitor: _ManagerForSure, number: int) -> Response:
    """One user: what the user may, and where the user is signed in."""
    return _user(request, visitor, _known(visitor, number))


@router.post("/{number}")
def change_user(
    request: Request,
    visitor: _ManagerForSure,
    number: int,
    role: _Text = "",
    businesses: _Text = "",
    may_run: _Switch = False,  # noqa: FBT002
    may_download: _Switch = False,  # noqa: FBT002
) -> Response:
    """What the user is and may from now on."""
    user = _known(visitor, number)
    try:
        wanted = _role(role)
        own = tuple(businesses.split()) if wanted is Role.BUSINESS_ADMIN else ()
        after = set_user(user, UserChange(wanted, may_run, may_download, own), visitor.access, visitor.actor)
    except UsageError as error:
        return _user(request, visitor, user, f"{error.what} {error.do}")
    return redirect(request, f"/users/{number}", f"{after.name} is {after.role.in_words}: {rights_in_words(after)}.")


@router.post("/{number}/disable")
def disable(request: Request, visitor: _ManagerForSure, number: int) -> Response:
    """Let the user sign in no more."""
    after = set_user(_known(visitor, number), UserChange(disabled=True), visitor.access, visitor.actor)
    return redirect(request, f"/users/{number}", f"{after.name} can not sign in any more.", tone="warning")


@router.post("/{number}/enable")
def enable(request: Request, visitor: _ManagerForSure, number: int) -> Response:
    """Let the user sign in again."""
    after = set_user(_known(visitor, number), UserChange(disabled=False), visitor.access, visitor.actor)
    return redirect(request, f"/users/{number}", f"{after.name} can sign in again.")


@router.post("/{number}/invite")
def invite_again(request: Request, visitor: _ManagerForSure, number: int) -> Response:
    """A link with which the user chooses a password, in place of one of before."""
    return _invited(request, visitor, _known(visitor, number))


@router.post("/{number}/second-factor/remove")
def remove_second_factor(request: Request, visitor: _ManagerForSure, number: int) -> Response:
    """Ask the user for no code any more: the telephone is lost."""
    user = _known(visitor, number)
    take_away(user, visitor.access, visitor.actor)
    return redirect(request, f"/users/{number}", f"{user.name} is asked for no second factor now.", tone="warning")


@router.post("/{number}/sessions/revoke")
def revoke_all(request: Request, visitor: _ManagerForSure, number: int) -> Response:
    """Sign the user out everywhere."""
    user = _known(visitor, number)
    ended = revoke_sessions(user, visitor.access, visitor.actor)
    return redirect(request, f"/users/{number}", f"{user.name} was signed out of {ended} sessions.")


@router.post("/{number}/sessions/{session}/revoke")
def revoke_one(request: Request, visitor: _ManagerForSure, number: int, session: int) -> Response:
    """End one session of the user."""
    revoke_session(session, visitor.access, visitor.actor, of=_known(visitor, number))
    return redirect(request, f"/users/{number}", f"Session {session} has ended.")


def _known(visitor: Visitor, number: int) -> User:
    user = visitor.access.access.users.get(number)
    if user is None:
        raise not_there()
    return user


def _role(text: str) -> Role:
    try:
        return Role(text)
    except ValueError as error:
        message = f"{text[:40]!r} is no role."
        raise UsageError(message, do=f"Roles are {', '.join(Role)}.") from error


def _new_user_form(request: Request, typed: dict[str, object] | None = None, problem: str = "") -> Response:
    values = {"name": "", "role": Role.VIEWER.value, "businesses": "", "may_run": False, "may_download": False}
    return page(
        request,
        "user_new.html",
        status=422 if problem else 200,
        typed={**values, **(typed or {})},
        problem=problem,
        roles=_ROLES,
        command="backup-pipeline user add NAME --role viewer --invite",
    )


def _invited(request: Request, visitor: Visitor, user: User) -> Response:
    """The link, in this answer alone: the ledger has only its digest."""
    console = str(request.base_url)
    link = welcome_url(visitor.settings, invite(user, visitor.access, visitor.actor), console)
    return page(request, "user_invited.html", invited=user, link=link)


def _user(request: Request, visitor: Visitor, user: User, problem: str = "") -> Response:
    now = visitor.ports.clock()
    sessions = visitor.access.access.sessions.list(user.number)
    return page(
        request,
        "user.html",
        status=422 if problem else 200,
        person=user,
        rights=rights_in_words(user),
        problem=problem,
        roles=_ROLES,
        sessions=[session for session in sessions if session.is_alive(now)],
        own=user.number == visitor.user.number,
        command=f"backup-pipeline user set {shlex.quote(user.name)} --role {user.role}",
    )
