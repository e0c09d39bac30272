"""The console as a process: the web server, and the watchman beside it."""

from __future__ import annotations

from contextlib import suppress

import uvicorn

from backup_pipeline.console.app import create_app
from backup_pipeline.console.watchman import Watchman
from backup_pipeline.core.ports import Ledger
from backup_pipeline.settings import Settings
from backup_pipeline.wiring.watching import watch_of
from backup_pipeline.wiring.web_gate import gated


def serve_console(settings: Settings, ledger: Ledger, host: str, port: int) -> None:
    """Serve on `host`:`port` until a signal comes."""
    watch = watch_of(settings, ledger)
    application = gated(create_app(settings, watch), host, settings)
    server = uvicorn.Server(uvicorn.Config(application, host=host, port=port, log_level="warning", access_log=False))
    with Watchman(settings, watch), suppress(KeyboardInterrupt):
        server.run()
