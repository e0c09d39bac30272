"""A console served on loopback, for browsers of flesh and for the real one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from backup_pipeline.web.answers import API_PATHS
from backup_pipeline.web.server import LIMITS, ServerLimits, console_server
from backup_pipeline.wiring.web_gate import gated
from backup_pipeline_tests.alerts.servers import free_port
from backup_pipeline_tests.orchestration.installation import until
from backup_pipeline_tests.web.people import Console


@contextmanager
def served(console: Console, limits: ServerLimits = LIMITS) -> Iterator[str]:
    """The address of the console, behind its gate as `serve` has it."""
    port = free_port()
    application = gated(console.app, "127.0.0.1", console.settings, API_PATHS)
    server = console_server(application, "127.0.0.1", port, limits)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started, 20, every=0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)
