"""`/healthz`: is the service alive? `/healthz/freshness`: is every backup there that should be?"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response, status
from fastapi.encoders import jsonable_encoder

from backup_pipeline import __version__
from backup_pipeline.core.errors import BackupError
from backup_pipeline.core.secrets import redact
from backup_pipeline.settings import Settings
from backup_pipeline.wiring.watching import Watch, look_at_all, watched


def health_router(settings: Settings, watch: Watch) -> APIRouter:
    """Both routes. They only read: whoever asks, and however often, changes nothing and alerts nobody."""
    router = APIRouter()

    @router.get("/healthz")
    def alive() -> dict[str, str]:
        """200 as long as the service answers."""
        return {"status": "alive", "version": __version__}

    @router.get("/healthz/freshness")
    def fresh(response: Response) -> dict[str, Any]:
        """200 when every backup that is due is there, else 503; 503 too when that is not known."""
        found = _freshness(settings, watch)
        if found["status"] != "fresh":
            response.status_code = status.HTTP_503_SERVICE_UNAVAILABLE
        response.headers["Cache-Control"] = "no-store"
        return found

    return router


def _freshness(settings: Settings, watch: Watch) -> dict[str, Any]:
    try:
        stands = look_at_all(watched(settings), watch)
    except BackupError as error:
        return {"status": "unknown", "error": redact(error.what), "catalogs": []}
    overdue = any(one.overdue for one in stands)
    return {"status": "overdue" if overdue else "fresh", "catalogs": jsonable_encoder(list(stands))}
