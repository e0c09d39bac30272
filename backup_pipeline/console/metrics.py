"""`/metrics`: the numbers of the ledger, for Prometheus."""

from __future__ import annotations

import secrets
from ipaddress import ip_address

from fastapi import APIRouter, Request, Response, status
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from backup_pipeline.core.errors import BackupError
from backup_pipeline.core.ports import Ledger
from backup_pipeline.core.secrets import redact
from backup_pipeline.operations.stats_prometheus import prometheus_text
from backup_pipeline.settings import Settings
from backup_pipeline.wiring.metrics import metrics_now

_CLOSED = "Without BACKUP_METRICS_TOKEN only this machine may ask; with it, `Authorization: Bearer TOKEN`.\n"


def metrics_router(settings: Settings, ledger: Ledger) -> APIRouter:
    """The route. Names of tables and their sizes are nobody else's business: a token, or this machine alone."""
    router = APIRouter()

    @router.get("/metrics")
    def metrics(request: Request) -> Response:
        """200 with every metric; 403 to whoever may not ask; 503 when the ledger can not be read."""
        if not _may_ask(request, settings):
            return Response(_CLOSED, status.HTTP_403_FORBIDDEN, media_type="text/plain")
        try:
            text = prometheus_text(metrics_now(settings, ledger))
        except BackupError as error:
            told = f"{redact(error.what)}\n"
            return Response(told, status.HTTP_503_SERVICE_UNAVAILABLE, media_type="text/plain")
        return Response(text, media_type=CONTENT_TYPE_PLAIN_0_0_4)

    return router


def _may_ask(request: Request, settings: Settings) -> bool:
    if settings.metrics_token is None:
        return _is_here(request)
    given = request.headers.get("Authorization", "").removeprefix("Bearer ")
    return secrets.compare_digest(given.encode(), settings.metrics_token.get_secret_value().encode())


def _is_here(request: Request) -> bool:
    try:
        return request.client is not None and ip_address(request.client.host).is_loopback
    except ValueError:
        return False
