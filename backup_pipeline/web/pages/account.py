"""One's own account: the password, the second factor, and where one is signed in."""

from __future__ import annotations

import shlex
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import Response
from markupsafe import Markup

from backup_pipeline.core.errors import BackupError, RefusedError, UsageError
from backup_pipeline.lazy import lazily
from backup_pipeline.operations.access import (
    WrongLoginError,
    needs_second_factor,
    second_factor_roles,
)
from backup_pipeline.operations.access.passwords import SHORTEST, WaitError
from backup_pipeline.operations.access.second_factor import Setup, confirm_set_up, pending_set_up, set_up, take_away
from backup_pipeline.operations.access.users import change_password, end_other_sessions, revoke_session
from backup_pipeline.web.people import Visitor, console_access, just_confirmed, signed_in
from backup_pipeline.web.rendering import page, redirect

with lazily():
    import segno

router = APIRouter(prefix="/account")

_Me = Annotated[Visitor, Depends(signed_in)]
_MeForSure = Annotated[Visitor, Depends(just_confirmed)]
_Text = Annotated[str, Form(max_length=1_000)]


@router.get("")
def account_page(request: Request, me: _Me) -> Response:
    """Everything of one's own."""
    return _account(request, me)


@router.post("/password")
def new_password(request: Request, me: _Me, before: _Text = "", password: _Text = "", again: _Text = "") -> Response:
    """Another password; one's other sessions end."""
    problems = {}
    if password != again:
        problems = {"again": "The two passwords differ."}
    else:
        try:
            change_password(me.user, me.session, before, password, console_access(request))
        except (WrongLoginError, WaitError) as error:
            problems = {"before": f"{error.what} {error.do}".strip()}
        except UsageError as error:
            problems = {"password": f"{error.what} {error.do}"}
    if problems:
        return _account(request, me, problems=problems, status=422)
    return redirect(request, "/account", "You have another password; where else you were signed in, you no longer are.")


@router.post("/second-factor")
def begin_second_factor(request: Request, me: _MeForSure) -> Response:
    """A new secret, shown until its first code was given."""
    set_up(me.user, console_access(request))
    return redirect(request, "/account#second-factor")


@router.post("/second-factor/confirm")
def confirm_second_factor(request: Request, me: _MeForSure, code: _Text = "") -> Response:
    """The first code; the recovery codes are shown in this answer, and never again."""
    try:
        codes = confirm_set_up(me.user, code, console_access(request))
    except UsageError as error:
        return _account(request, me, problems={"code": f"{error.what} {error.do}"}, status=422)
    return page(request, "recovery_codes.html", codes=codes)


@router.post("/second-factor/remove")
def remove_second_factor(request: Request, me: _MeForSure) -> Response:
    """Ask for no code any more; refused where the role has to have one."""
    access = console_access(request)
    if me.user.role in second_factor_roles(access):
        message = f"Whoever is {me.user.role.in_words} has to have a second factor here."
        raise RefusedError(message, do="Set it up anew on another telephone with the help of a super admin.")
    take_away(me.user, access, me.actor)
    return redirect(request, "/account", "You are asked for no second factor any more.", tone="warning")


@router.post("/sessions/{number}/revoke")
def revoke(request: Request, me: _Me, number: int) -> Response:
    """End one of one's own sessions."""
    revoke_session(number, console_access(request), me.actor, of=me.user)
    return redirect(request, "/account#sessions", f"Session {number} has ended.")


@router.post("/sessions/revoke")
def revoke_others(request: Request, me: _Me) -> Response:
    """End all of one's own but this one."""
    ended = end_other_sessions(me.user, me.session, console_access(request))
    return redirect(request, "/account#sessions", f"{ended} other sessions have ended.")


def _account(request: Request, me: Visitor, *, problems: dict[str, str] | None = None, status: int = 200) -> Response:
    access = console_access(request)
    now = me.ports.clock()
    known = access.access.users.credentials(me.user.number)
    pending = _pending(me, request) if not me.user.second_factor else None
    return page(
        request,
        "account.html",
        status=status,
        problems=problems or {},
        has_password=known.password_hash is not None,
        codes_left=len(known.recovery_codes),
        needed=needs_second_factor(me.user, me.session, access),
        pending=pending,
        qr=qr_code(pending.address) if pending else "",
        sessions=[session for session in access.access.sessions.list(me.user.number) if session.is_alive(now)],
        this=me.session.number,
        shortest=SHORTEST,
        command=f"backup-pipeline user sessions {shlex.quote(me.user.name)}",
    )


def _pending(me: Visitor, request: Request) -> Setup | None:
    """The secret that waits for its first code; one that can not be read any more counts as none."""
    try:
        return pending_set_up(me.user, console_access(request))
    except BackupError:
        return None


def qr_code(address: str) -> Markup:
    """The code that a telephone scans, as SVG of our own making."""
    drawn = segno.make(address, error="m").svg_inline(scale=5, border=4, dark="#000", light="#fff", omitsize=True)
    return Markup(drawn)  # noqa: S704  # modules of a code: no text of anybody is in it
