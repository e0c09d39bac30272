"""The console and its API: every page and route, what stands before them, and the server that serves them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from fastapi import FastAPI

from backup_pipeline import __version__
from backup_pipeline.core.access.sessions import PersonIdentity
from backup_pipeline.core.ports import Ledger, Ports
from backup_pipeline.core.ports.runs import Launcher
from backup_pipeline.operations.access.webhooks import WebhookCourier
from backup_pipeline.operations.legacy import JudgedFiles
from backup_pipeline.operations.progress import RunLogs
from backup_pipeline.operations.retention.forecast import FORETOLD_DAYS, Forecasts
from backup_pipeline.settings import Settings
from backup_pipeline.web.answers import API_PATHS, answer_properly
from backup_pipeline.web.api.calls import CallLog, CallMeter
from backup_pipeline.web.api.reference import API_ROUTERS, methods_of
from backup_pipeline.web.events import EventHub
from backup_pipeline.web.events import router as events_router
from backup_pipeline.web.follower import Follower, Forecaster, Presence
from backup_pipeline.web.health import Watchman, health_router, metrics_router
from backup_pipeline.web.pages import ROUTERS
from backup_pipeline.web.rendering import serve_static_files
from backup_pipeline.web.server import console_server
from backup_pipeline.wiring.access import webhook_ports
from backup_pipeline.wiring.ports import dagster_launcher, ports_over
from backup_pipeline.wiring.web_gate import gated

MOST_BYTES = 2**20
"""Of a form, the longest of which are some kilobytes: nobody fills the memory before signing in."""


def create_app(settings: Settings, ports: Ports, launcher: Launcher | None = None) -> FastAPI:
    """The console over an open ledger. `settings` and `ports`, which are nobody's in particular, are its state.

    So are `launcher`, which is Dagster (None: that of the settings), `events`, which rings for open pages once its
    context is entered, and `meter`, which counts calls of programs.

    What health and metrics tell needs no login: uptime monitors ask it, and it is no row of anybody. Every page asks
    for a visitor by itself.
    """
    app = FastAPI(
        title="backup-pipeline",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        max_body_size=MOST_BYTES,
    )
    app.state.settings = settings
    app.state.ports = ports
    app.state.launcher = launcher or dagster_launcher(settings)
    app.state.standing = Presence()
    app.state.forecasts = Forecasts(days=FORETOLD_DAYS)
    app.state.senders = ThreadPoolExecutor(2, thread_name_prefix="message")
    app.state.judged = JudgedFiles()
    app.state.run_logs = RunLogs()
    app.state.events = EventHub(lambda: ports.ledger.events)
    app.include_router(health_router(settings, ports))
    app.include_router(metrics_router(settings, ports.ledger))
    app.include_router(events_router)
    for router in (*ROUTERS, *API_ROUTERS):
        app.include_router(router)
    app.state.meter = CallMeter(ports)
    serve_static_files(app)
    app.add_middleware(CallLog, methods=methods_of)
    answer_properly(app)
    return app


def serve_console(settings: Settings, ledger: Ledger, host: str, port: int) -> None:
    """Serve on `host`:`port` until a signal comes."""
    ports = ports_over(ledger, settings)
    app = create_app(settings, ports)
    application = gated(app, host, settings, API_PATHS)
    server = console_server(application, host, port)
    courier = WebhookCourier(webhook_ports(settings, ledger.as_person(PersonIdentity()), ports.clock))
    follower = Follower(ports, app.state.launcher, app.state.standing)
    forecaster = Forecaster(app.state.forecasts, app.state.systems.declared, ports, settings.prune_versions)
    with (
        Watchman(settings, ports), follower, forecaster, app.state.events, app.state.meter, courier,
        suppress(KeyboardInterrupt),
    ):  # fmt: skip
        server.run()
