"""What uptime monitors and Prometheus ask, and the watch that each console keeps: none of it asks who somebody is."""

from __future__ import annotations

import logging
import secrets
from ipaddress import ip_address
from typing import Any

from fastapi import APIRouter, Request, Response, status
from fastapi.encoders import jsonable_encoder
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from backup_pipeline import __version__
from backup_pipeline.core.errors import BackupError
from backup_pipeline.core.ports import Ledger, Ports
from backup_pipeline.core.text import redact
from backup_pipeline.operations.background import Background
from backup_pipeline.operations.health import look_at_all, prometheus_text, watch_all
from backup_pipeline.settings import Settings
from backup_pipeline.wiring.ports import metrics_now, watched


def health_router(settings: Settings, ports: Ports) -> APIRouter:
    """Both routes. They only read: whoever asks, and however often, changes nothing and alerts nobody."""
    router = APIRouter()

    @router.get("/healthz")
    def alive() -> dict[str, str]:
        """200 as long as the service answers."""
        return {"status": "alive", "version": __version__}

    @router.get("/healthz/freshness")
    def fresh(response: Response) -> dict[str, Any]:
        """200 when every backup that is due is there, else 503; 503 too when that is not known."""
        report = _freshness(settings, ports)
        if report["status"] != "fresh":
            response.status_code = status.HTTP_503_SERVICE_UNAVAILABLE
        response.headers["Cache-Control"] = "no-store"
        return report

    return router


def _freshness(settings: Settings, ports: Ports) -> dict[str, Any]:
    try:
        standings = look_at_all(watched(settings), ports)
    except BackupError as error:
        return {"status": "unknown", "error": redact(error.what), "catalogs": []}
    overdue = any(standing.overdue for standing in standings)
    return {"status": "overdue" if overdue else "fresh", "catalogs": jsonable_encoder(list(standings))}


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
            message = f"{redact(error.what)}\n"
            return Response(message, status.HTTP_503_SERVICE_UNAVAILABLE, media_type="text/plain")
        return Response(text, media_type=CONTENT_TYPE_PLAIN_0_0_4)

    return router


def _may_ask(request: Request, settings: Settings) -> bool:
    if settings.metrics_token is None:
        return _is_local(request)
    given = request.headers.get("Authorization", "").removeprefix("Bearer ")
    return secrets.compare_digest(given.encode(), settings.metrics_token.get_secret_value().encode())


def _is_local(request: Request) -> bool:
    try:
        return request.client is not None and ip_address(request.client.host).is_loopback
    except ValueError:
        return False


EVERY_S = 60.0

logger = logging.getLogger(__name__)


class Watchman(Background):
    """Watches from a thread of its own until its context ends. Whatever goes wrong is logged, and tried again."""

    def __init__(self, settings: Settings, ports: Ports, *, every_s: float = EVERY_S) -> None:
        super().__init__(("watchman", self._run))
        self._settings = settings
        self._ports = ports
        self._every_s = every_s

    def _run(self) -> None:
        while True:
            try:
                watch_all(watched(self._settings), self._ports)
            except Exception as error:  # noqa: BLE001  # the watch goes on: the ledger may be back in a minute
                logger.warning("Nobody knows whether every backup is there: %s", redact(str(error)))
            if self.stopping.wait(self._every_s):
                return
