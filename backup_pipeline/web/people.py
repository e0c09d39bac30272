"""Who asks: the cookie is a session, the session is a user, and the user's SQL runs as the user's own role.

A route that shows anything depends on `signed_in`, or on `allowed` or `fresh` with the permission it takes. What
belongs to a business that the visitor does not see is not there: the ledger answers as for an unknown id. What a click
causes beside its answer is here, too: a run of Dagster in the visitor's name, a message that no page waits for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Annotated
from urllib.parse import quote

from fastapi import Depends, HTTPException, Request
from fastapi.responses import Response

from backup_pipeline.core.access import FRESH_LOGIN, Permission, User, check_permission
from backup_pipeline.core.access.sessions import LONGEST, PersonIdentity, Session, digest
from backup_pipeline.core.alerts import Alert, Delivery, OutboxEntry
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import NotFoundError
from backup_pipeline.core.ports import Ledger, Ports
from backup_pipeline.core.ports.runs import Launcher
from backup_pipeline.core.runs import RunRequest
from backup_pipeline.core.scope import Actor
from backup_pipeline.operations.access import AccessPorts, needs_second_factor
from backup_pipeline.operations.alerting import audit_deliveries, note, send_noted
from backup_pipeline.operations.run_requests import RunWish, request_run
from backup_pipeline.settings import Settings
from backup_pipeline.web.rendering import (
    chosen_system,
    console_address,
    is_over_https,
    local_path,
    split_address,
    systems_of,
)
from backup_pipeline.wiring.access import access_ports

logger = logging.getLogger(__name__)

LOGIN, CONFIRM = "/login", "/confirm"
_SECURE_COOKIE = "__Host-backup_session"
"""Browsers take a cookie of this name over https only, from this host only, and for every path."""
_PLAIN_COOKIE = "backup_session"

_NOTED_EVERY = timedelta(minutes=1)
"""That a session is used is written down so often, not with each request."""
REFRESH = "x-backup-refresh"
"""The header of what a page asks for by itself, to stay current. A browser left open is not a person who uses it."""
_STREAM = "/events"
"""Is asked for by pages alone, and `EventSource` can send no header."""
_OWN_PAGES = ("/account", "/logout", "/confirm")
"""What a user whose second factor is missing may see until there is one."""


@dataclass(frozen=True)
class Visitor:
    """Who asks, signed in. `ledger`, and that of `ports`, is the visitor's: it shows and takes what the role may."""

    user: User
    session: Session
    ledger: Ledger
    ports: Ports
    settings: Settings

    @property
    def actor(self) -> Actor:
        """Who acts, as ledger and audit name them."""
        return self.user.actor

    @property
    def access(self) -> AccessPorts:
        """Users and sessions, as far as the visitor may see them."""
        return access_ports(self.settings, self.ledger, self.ports.clock)

    def check_sees(self, business: str | None) -> None:
        """NotFoundError, as for what is not there, unless the visitor sees what belongs to the business."""
        if not self.user.sees(business):
            raise not_there()


def systems_seen(request: Request, visitor: Visitor) -> Sequence[Catalog]:
    """The systems that a page is about: the chosen one, or all.

    Who sees single businesses alone is not told how whole systems stand.
    """
    if not visitor.user.sees_every_business:
        return ()
    chosen = chosen_system(request)
    return (chosen,) if chosen else tuple(systems_of(request).values())


def not_there() -> NotFoundError:
    """The answer to an id that does not exist for the visitor, whyever."""
    return NotFoundError("There is nothing of that id.", do="Go back to the list: it may have been removed.")


def console_access(request: Request) -> AccessPorts:
    """Users and sessions as the console itself sees them: before it is known who asks."""
    ports: Ports = request.app.state.ports
    identity = PersonIdentity(address=address_of(request), request_id=request_id_of(request))
    return access_ports(request.app.state.settings, ports.ledger.as_person(identity), ports.clock)


def current_session(request: Request) -> tuple[Session, User] | None:
    """The session of the cookie and its user; None where there is none, or it is over, or the user was disabled."""
    token = session_token(request)
    if not token:
        return None
    access = console_access(request)
    known = access.access.sessions.of_token(digest(token))
    now = access.clock()
    if known is None or not known[0].is_alive(now) or known[1].disabled_at is not None:
        return None
    if now - known[0].seen_at > _NOTED_EVERY and _is_of_a_person(request):
        access.access.sessions.seen(known[0].number, now)
    return known


def _is_of_a_person(request: Request) -> bool:
    """Whether somebody is there, as far as it can be known: only that keeps a session from ending for want of use."""
    return REFRESH not in request.headers and request.url.path != _STREAM


def signed_in(request: Request) -> Visitor:
    """The visitor; whoever has not signed in is led to `/login`, and from there back to this page."""
    known = current_session(request)
    if known is None:
        raise _led_to(LOGIN, request)
    session, user = known
    visitor = visitor_of(request, session, user)
    request.state.visitor = visitor
    if not request.url.path.startswith(_OWN_PAGES) and needs_second_factor(user, session, console_access(request)):
        raise HTTPException(303, headers={"Location": "/account?second_factor=needed"})
    return visitor


def visitor_of(request: Request, session: Session, user: User) -> Visitor:
    """The visitor of a session, whose ledger is for that user alone."""
    ports: Ports = request.app.state.ports
    identity = PersonIdentity(user, session.number, address_of(request), request_id_of(request))
    ledger = ports.ledger.as_person(identity)
    settings: Settings = request.app.state.settings
    own = replace(
        ports,
        ledger=ledger,
        alerter=LaterAlerter(ports, request.app.state.senders),
        console_url=console_address(request),
    )
    return Visitor(user, session, ledger, own, settings)


@contextmanager
def in_one_reading(visitor: Visitor) -> Iterator[Visitor]:
    """The visitor, whose questions to the ledger in the context are one transaction: for a page that asks many.

    No page is drawn in it: a connection is held as long as it takes.
    """
    with visitor.ledger.at_once() as ledger:
        yield replace(visitor, ledger=ledger, ports=replace(visitor.ports, ledger=ledger))


def allowed(permission: Permission) -> Callable[[Visitor], Visitor]:
    """The dependency of a route that takes `permission`: RefusedError (403) for who has it not."""

    def visitor_who_may(visitor: Annotated[Visitor, Depends(signed_in)]) -> Visitor:
        check_permission(visitor.user, permission)
        return visitor

    return visitor_who_may


def fresh(permission: Permission) -> Callable[[Request, Visitor], Visitor]:
    """As `allowed`, for what wants the password anew (`FRESH_LOGIN`): who gave it long ago is led to `/confirm`."""
    if permission not in FRESH_LOGIN:
        message = f"{permission} is not among FRESH_LOGIN"
        raise ValueError(message)
    may = Depends(allowed(permission))

    # As a default, not in the annotation: as a text it would be looked up where `permission` is not known.
    def visitor_who_just_confirmed(request: Request, visitor: Visitor = may) -> Visitor:
        return just_confirmed(request, visitor)

    return visitor_who_just_confirmed


def just_confirmed(request: Request, visitor: Annotated[Visitor, Depends(signed_in)]) -> Visitor:
    """As `signed_in`, for who gave the password a moment ago; everybody else is led to `/confirm`, and back."""
    if not visitor.session.is_fresh(visitor.ports.clock()):
        raise _led_to(CONFIRM, request)
    return visitor


def _led_to(page: str, request: Request) -> HTTPException:
    """Away, and back to where the visitor was: what was sent with a form is not kept, the form's page is."""
    address = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    if request.method not in {"GET", "HEAD"}:
        before = split_address(request.headers.get("referer", ""))
        address = local_path(f"{before.path}?{before.query}" if before.query else before.path)
    elif address == "/":
        return HTTPException(303, headers={"Location": page})
    return HTTPException(303, headers={"Location": f"{page}?next={quote(address, safe='/')}"})


def session_token(request: Request) -> str:
    """The token of the browser's session; nothing where it has none."""
    return request.cookies.get(_cookie_name(request), "")


def keep_session(request: Request, answer: Response, token: str) -> None:
    """Let the browser keep the token of a session; no script of a page can read it."""
    secure = is_over_https(request)
    answer.set_cookie(
        _cookie_name(request),
        token,
        max_age=int(LONGEST.total_seconds()),
        path="/",
        secure=secure,
        httponly=True,
        samesite="lax",
    )


def drop_session(request: Request, answer: Response) -> None:
    """Let the browser forget the token."""
    secure = is_over_https(request)
    answer.delete_cookie(_cookie_name(request), path="/", secure=secure, httponly=True, samesite="lax")


def _cookie_name(request: Request) -> str:
    return _SECURE_COOKIE if is_over_https(request) else _PLAIN_COOKIE


def address_of(request: Request) -> str:
    """From where somebody asks; a proxy of this machine says it in `X-Forwarded-For`."""
    return request.client.host if request.client else ""


def request_id_of(request: Request) -> str | None:
    """The id that the answer has, too."""
    return getattr(request.state, "request_id", None)


class LaterAlerter:
    """The port `Alerter` of whoever clicks: what they cause is noted and told in the name of the program, by `ports`.

    It has no channels, so nothing is noted as the person, who may write no message. Should the process die before a
    message is sent, the outbox has it, and the next pass over that delivers it.
    """

    channels: Sequence[str] = ()

    def __init__(self, ports: Ports, senders: ThreadPoolExecutor) -> None:
        self._ports, self._senders = ports, senders

    def send(self, alert: Alert, only: Collection[str] | None = None) -> Sequence[Delivery]:
        """Note it now, and send it soon; no delivery is known yet."""
        self._senders.submit(_send, alert, note(alert, self._ports), self._ports)
        return ()


def _send(alert: Alert, noted: Sequence[OutboxEntry], ports: Ports) -> None:
    try:
        audit_deliveries(alert, send_noted(alert, noted, ports), ports)
    except Exception:  # nobody waits for the answer
        logger.exception("The message %r was not sent", alert.title)


def launcher_of(request: Request) -> Launcher:
    """The console's way to Dagster."""
    launcher: Launcher = request.app.state.launcher
    return launcher


def launched(request: Request, visitor: Visitor, wish: RunWish) -> RunRequest:
    """Ask for the run; the row as it then stands, also where Dagster is away: then it says the command to type."""
    return request_run(wish, visitor.ports, launcher_of(request))
