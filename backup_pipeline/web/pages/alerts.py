"""Alerts: what goes wrong at this moment, what did not reach people, the channels, and what anomalies hold."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from backup_pipeline.core.access import Permission
from backup_pipeline.core.alerts import reaching
from backup_pipeline.core.ledger import AuditEvent
from backup_pipeline.core.scope import PROGRAM, Scope
from backup_pipeline.operations.alerting import deliver, try_channels
from backup_pipeline.web.people import Visitor, allowed
from backup_pipeline.web.rendering import chosen_system, page, redirect

router = APIRouter()

_SEES = Depends(allowed(Permission.SEE))
_HANDLES = Depends(allowed(Permission.HANDLE_ALERTS))
_MOST = 100
_PASS = timedelta(seconds=10)
"""So long somebody waits for channels in a browser; a watcher goes on with the rest."""


@router.get("/alerts")
def alerts_page(request: Request, visitor: Annotated[Visitor, _SEES], *, delivered: bool = False) -> Response:
    """Threads that are open, the outbox, the channels, and the backups that an anomaly holds."""
    chosen = chosen_system(request)
    threads = [
        thread
        for thread in visitor.ledger.threads.list()
        if thread.opened_at is not None and (chosen is None or thread.scope.catalog == chosen.catalog)
    ]
    entries = visitor.ledger.outbox.list(undelivered=not delivered, limit=_MOST)
    held = [row for row in visitor.ledger.listings.held() if row.hold is not None and row.hold.actor == PROGRAM]
    return page(
        request,
        "alerts.html",
        threads=threads,
        entries=[entry for entry in entries if chosen is None or entry.alert.scope.catalog == chosen.catalog],
        delivered=delivered,
        channels=reaching(request.app.state.ports.alerter.channels),
        held=[row for row in held if chosen is None or row.scope.catalog == chosen.catalog],
        command="backup-pipeline alerts list",
        live=True,
    )


@router.post("/alerts/retry")
def retry(request: Request, visitor: Annotated[Visitor, _HANDLES]) -> Response:
    """Try every undelivered alert again now, also those that were given up."""
    tried = deliver(replace(visitor.ports, alerter=request.app.state.ports.alerter), early=True, within=_PASS)
    _audit(visitor, "alerts retried", tried=len(tried))
    good = sum(entry.delivered_at is not None for entry in tried)
    if not tried:
        return redirect(request, "/alerts", "There is nothing to deliver.", tone="active")
    tone = "good" if good == len(tried) else "failure" if not good else "warning"
    return redirect(request, "/alerts", f"{good} of {len(tried)} were delivered.", tone=tone)


@router.post("/alerts/test")
def send_test(request: Request, visitor: Annotated[Visitor, _HANDLES]) -> Response:
    """Send a test message to every channel, and say what each answered."""
    deliveries = try_channels(request.app.state.ports.alerter, Scope(visitor.settings.catalog), visitor.ports.clock())
    failed = [each for each in deliveries if each.error]
    _audit(visitor, "channels tried", channels=len(deliveries), failed=len(failed))
    if not failed:
        return redirect(request, "/alerts", f"Every channel took the test message: {len(deliveries)}.")
    said = "; ".join(f"{each.channel}: {each.error}" for each in failed)
    return redirect(request, "/alerts", f"{len(failed)} of {len(deliveries)} did not take it. {said}", tone="failure")


def _audit(visitor: Visitor, action: str, **counts: int) -> None:
    visitor.ledger.audit(AuditEvent(visitor.ports.clock(), visitor.actor, action, None, counts))
