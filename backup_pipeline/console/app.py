"""The application: every route of the console."""

from __future__ import annotations

from fastapi import FastAPI

from backup_pipeline import __version__
from backup_pipeline.console.health import health_router
from backup_pipeline.console.metrics import metrics_router
from backup_pipeline.settings import Settings
from backup_pipeline.wiring.watching import Watch


def create_app(settings: Settings, watch: Watch) -> FastAPI:
    """The console over an open ledger. Nobody logs in: it tells what uptime monitors ask, and no row of anybody."""
    app = FastAPI(title="backup-pipeline", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(health_router(settings, watch))
    app.include_router(metrics_router(settings, watch.ledger))
    return app
