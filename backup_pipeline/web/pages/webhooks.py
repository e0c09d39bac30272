"""Webhooks, for super admins: where events are sent, what became of each, and sent again by a button."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import Response

from backup_pipeline.core.access import Permission
from backup_pipeline.core.access.webhooks import KINDS, NewWebhook, Webhook, WebhookRefusedError
from backup_pipeline.core.errors import UsageError
from backup_pipeline.operations.access.webhooks import (
    WebhookPorts,
    create_webhook,
    remove_webhook,
    send_again,
    switch_webhook,
    try_webhook,
)
from backup_pipeline.web.people import Visitor, allowed, fresh, not_there
from backup_pipeline.web.rendering import page, redirect
from backup_pipeline.wiring.access import webhook_ports

router = APIRouter(prefix="/webhooks")

_Manager = Annotated[Visitor, Depends(allowed(Permission.MANAGE_KEYS))]
_ManagerForSure = Annotated[Visitor, Depends(fresh(Permission.MANAGE_KEYS))]
_Text = Annotated[str, Form(max_length=1_000)]
_ROWS = 50
_LARGEST = 2**63 - 1


def _ports(visitor: Visitor) -> WebhookPorts:
    return webhook_ports(visitor.settings, visitor.ledger, visitor.ports.clock)


@router.get("")
def webhooks_page(request: Request, visitor: _Manager) -> Response:
    """Every webhook."""
    command = "backup-pipeline webhooks list"
    return page(request, "webhooks.html", webhooks=visitor.ledger.webhooks.list(), command=command)


@router.get("/new")
def new_webhook_page(request: Request, visitor: _ManagerForSure) -> Response:
    """The form for a new one."""
    return _new_webhook_form(request)


@router.post("")
def make_webhook(
    request: Request,
    visitor: _ManagerForSure,
    name: _Text = "",
    url: _Text = "",
    kind: Annotated[list[str], Form()] = [],  # noqa: B006  # FastAPI copies it
    business: _Text = "",
) -> Response:
    """Make it; this answer alone shows its secret."""
    try:
        wanted = NewWebhook(name.strip(), url.strip(), tuple(kind), business.strip() or None)
        webhook, secret = create_webhook(wanted, _ports(visitor), visitor.actor)
    except (UsageError, WebhookRefusedError) as error:
        typed = {"name": name, "url": url, "kind": kind, "business": business}
        return _new_webhook_form(request, typed, f"{error.what} {error.do}")
    return page(request, "webhook_made.html", webhook=webhook, secret=secret)


def _new_webhook_form(request: Request, typed: Mapping[str, Any] | None = None, problem: str = "") -> Response:
    values = {"name": "", "url": "", "kind": [], "business": "", **(typed or {})}
    status = 422 if problem else 200
    command = "backup-pipeline webhooks add NAME URL"
    return page(request, "webhook_new.html", status=status, typed=values, problem=problem, kinds=KINDS, command=command)


@router.get("/{number}")
def webhook_page(
    request: Request,
    visitor: _Manager,
    number: int,
    before: Annotated[int | None, Query(ge=1, le=_LARGEST)] = None,
) -> Response:
    """One webhook, and what was sent to it."""
    webhook = _known(visitor, number)
    rows = visitor.ledger.webhooks.deliveries(number, before=before, limit=_ROWS + 1)
    following = rows[_ROWS - 1].number if len(rows) > _ROWS else None
    return page(
        request,
        "webhook.html",
        webhook=webhook,
        deliveries=rows[:_ROWS],
        following=following,
        typed_name=shlex.quote(webhook.name),
        command=f"backup-pipeline webhooks show {shlex.quote(webhook.name)}",
        live=before is None,
    )


@router.post("/{number}/test")
def test_it(request: Request, visitor: _Manager, number: int) -> Response:
    """Send a test event now, and say what the receiver answered."""
    tried = try_webhook(_known(visitor, number).number, _ports(visitor), visitor.actor)
    text = f"The receiver took the test event, and answered {tried.status}."
    if tried.last_error is not None:
        text = f"The test event was not taken. {tried.last_error}"
    return redirect(request, f"/webhooks/{number}", text, tone="failure" if tried.last_error else "good")


@router.post("/{number}/remove")
def remove_it(request: Request, visitor: _ManagerForSure, number: int) -> Response:
    """Forget it."""
    webhook = remove_webhook(_known(visitor, number).number, _ports(visitor), visitor.actor)
    return redirect(request, "/webhooks", f"{webhook.name} is removed: nothing is sent to it any more.", tone="warning")


@router.post("/{number}/{switch}")
def switch_it(request: Request, visitor: _ManagerForSure, number: int, switch: str) -> Response:
    """Let it get events, or not."""
    if switch not in {"on", "off"}:
        raise not_there()
    webhook = switch_webhook(_known(visitor, number).number, _ports(visitor), visitor.actor, on=switch == "on")
    text = f"{webhook.name} gets what happens from now on." if switch == "on" else f"{webhook.name} gets nothing now."
    return redirect(request, f"/webhooks/{number}", text, tone="good" if switch == "on" else "warning")


@router.post("/{number}/deliveries/{delivery}/again")
def redeliver(request: Request, visitor: _Manager, number: int, delivery: int) -> Response:
    """Send an event once more."""
    if not 0 < delivery <= _LARGEST:
        raise not_there()
    again = send_again(_known(visitor, number).number, delivery, _ports(visitor), visitor.actor)
    return redirect(request, f"/webhooks/{number}", f"Event {again.event.number} is being sent again.", tone="active")


def _known(visitor: Visitor, number: int) -> Webhook:
    webhook = visitor.ledger.webhooks.get(number) if 0 < number <= _LARGEST else None
    if webhook is None:
        raise not_there()
    return webhook
