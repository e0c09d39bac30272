"""Signing in and out, and the password again before what can not be undone."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import Response

from backup_pipeline.core.access.sessions import LinkPurpose, OneTimeLink
from backup_pipeline.core.errors import RefusedError, UsageError
from backup_pipeline.operations.access import (
    PROVIDER,
    SignIn,
    WrongLoginError,
    allows_local_login,
    confirm_password,
    sign_in,
    sign_out,
)
from backup_pipeline.operations.access.passwords import SHORTEST, WaitError
from backup_pipeline.operations.access.users import accept, link_of
from backup_pipeline.settings import Settings
from backup_pipeline.web.people import (
    Visitor,
    address_of,
    console_access,
    current_session,
    drop_session,
    keep_session,
    signed_in,
)
from backup_pipeline.web.rendering import local_path, page, redirect
from backup_pipeline.wiring.access import is_loopback, is_secure_way

router = APIRouter()

_Text = Annotated[str, Form(max_length=1_000)]


@router.get("/login")
def login_page(request: Request, next: str = "/") -> Response:  # noqa: A002  # the name in the address
    """The form; whoever has signed in already goes on."""
    if current_session(request) is not None:
        return redirect(request, local_path(next))
    return _login_form(request, next)


@router.post("/login")
def log_in(
    request: Request,
    name: _Text = "",
    password: _Text = "",
    code: _Text = "",
    next: _Text = "/",  # noqa: A002
) -> Response:
    """A new session under a new token; one that this browser had before is over."""
    check_way(request)
    access = console_access(request)
    try:
        begun = sign_in(SignIn(name, password, code, address_of(request), agent_of(request)), access)
    except WaitError as error:
        return _login_form(request, next, name, f"{error.what} {error.do}", 429, error.seconds)
    except WrongLoginError as error:
        return _login_form(request, next, name, error.what, 401)
    end_earlier(request)
    answer = redirect(request, local_path(next))
    keep_session(request, answer, begun.token)
    return answer


@router.post("/logout")
def log_out(request: Request) -> Response:
    """End the session, if there is one."""
    end_earlier(request)
    answer = redirect(request, "/login", "You have signed out.")
    drop_session(request, answer)
    return answer


@router.get("/confirm")
def confirm_page(
    request: Request,
    visitor: Annotated[Visitor, Depends(signed_in)],
    next: str = "/",  # noqa: A002
) -> Response:
    """The form for the password, before what can not be undone."""
    return _confirm_form(request, visitor, next)


@router.post("/confirm")
def confirm(
    request: Request,
    visitor: Annotated[Visitor, Depends(signed_in)],
    password: _Text = "",
    code: _Text = "",
    next: _Text = "/",  # noqa: A002
) -> Response:
    """Note that the password was given; the session gets a new token."""
    typed = SignIn(visitor.user.name, password, code, address_of(request), agent_of(request))
    try:
        token = confirm_password(visitor.user, visitor.session, typed, console_access(request))
    except WaitError as error:
        return _confirm_form(request, visitor, next, f"{error.what} {error.do}", 429, error.seconds)
    except WrongLoginError as error:
        return _confirm_form(request, visitor, next, error.what, 401)
    answer = redirect(request, local_path(next))
    keep_session(request, answer, token)
    return answer


@router.get("/welcome/{token}")
def welcome_page(request: Request, token: str) -> Response:
    """The form for whoever has a link: a password, and of the first administrator a name."""
    return _welcome_form(request, token, link_of(token, console_access(request)))


@router.post("/welcome/{token}")
def welcome(request: Request, token: str, name: _Text = "", password: _Text = "", again: _Text = "") -> Response:
    """Take the link up: signed in at once."""
    check_way(request)
    access = console_access(request)
    link = link_of(token, access)
    _check_first(request, link)
    if password != again:
        return _welcome_form(request, token, link, name, "The two passwords differ.")
    try:
        begun = accept(token, SignIn(name, password, "", address_of(request), agent_of(request)), access)
    except UsageError as error:
        return _welcome_form(request, token, link, name, f"{error.what} {error.do}")
    end_earlier(request)
    answer = redirect(request, "/", f"Welcome, {begun.user.name}.")
    keep_session(request, answer, begun.token)
    return answer


def _welcome_form(request: Request, token: str, link: OneTimeLink, name: str = "", problem: str = "") -> Response:
    _check_first(request, link)
    invited = console_access(request).access.users.get(link.user) if link.user is not None else None
    values = {"token": token, "invited": invited, "name": name, "problem": problem, "shortest": SHORTEST}
    return page(request, "welcome.html", status=422 if problem else 200, **values)


def _check_first(request: Request, link: OneTimeLink) -> None:
    """The first administrator comes from this machine, or through a tunnel to it: nobody else saw the link printed."""
    if link.purpose is LinkPurpose.FIRST_ADMIN and not is_loopback(address_of(request)):
        message = "The first administrator is made on the machine where the console runs."
        raise RefusedError(message, do="Open the link there, or run `backup-pipeline user add` on it.")


def check_way(request: Request) -> None:
    """RefusedError where a password would travel readable by others."""
    settings: Settings = request.app.state.settings
    if not is_secure_way(settings, request.url.scheme, request.url.hostname):
        message = "Nobody signs in over plain HTTP from another machine: the password could be read on its way."
        raise RefusedError(
            message,
            do="Come over https, through a proxy that says so (X-Forwarded-Proto), or through a tunnel to this "
            "machine; whoever runs the server may decide otherwise with BACKUP_CONSOLE_URL.",
        )


def end_earlier(request: Request) -> None:
    """End the session of this browser, if it has one."""
    known = current_session(request)
    if known is not None:
        session, user = known
        sign_out(user, session, console_access(request))


def agent_of(request: Request) -> str:
    """What the browser says it is."""
    return request.headers.get("user-agent", "")


def _login_form(
    request: Request, where: str, name: str = "", problem: str = "", status: int = 200, wait: int = 0
) -> Response:
    settings: Settings = request.app.state.settings
    local = allows_local_login(console_access(request))
    values = {"next": local_path(where), "name": name, "problem": problem, "local": local, "oidc": settings.oidc_issuer}
    return _waiting(page(request, "login.html", status=status, **values), wait)


def _confirm_form(
    request: Request, visitor: Visitor, where: str, problem: str = "", status: int = 200, wait: int = 0
) -> Response:
    by_provider = visitor.session.factors == PROVIDER
    values = {"next": local_path(where), "problem": problem, "by_provider": by_provider}
    return _waiting(page(request, "confirm.html", status=status, **values), wait)


def _waiting(answer: Response, seconds: int) -> Response:
    if seconds:
        answer.headers["Retry-After"] = str(seconds)
    return answer
