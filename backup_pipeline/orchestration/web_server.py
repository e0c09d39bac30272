"""Dagster's web server behind the gate, as a process: `python -m backup_pipeline.orchestration.web_server`.

Dagster answers whoever reaches its port: by GET, for any name, for pages of any site. The gate stands in the same
process: a proxy in front would leave a second port behind it that answers as before. Uses a function that is private to
Dagster's web server, whose version is pinned; without it this program ends, rather than serve without the gate.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import dagster as dg
import uvicorn

from backup_pipeline.orchestration.internals import (
    WorkspaceFileTarget,
    WorkspaceProcessContext,
    configure_loggers,
    create_app_from_workspace_process_context,
    webserver_version,
)
from backup_pipeline.settings import Settings
from backup_pipeline.wiring.processes import listens
from backup_pipeline.wiring.web_gate import gated

# What `dagster-webserver` does without options: milliseconds, seconds, connections, milliseconds.
_STATEMENT_TIMEOUT_MS = 15_000
_POOL_RECYCLE_S = 3600
_POOL_OVERFLOW = 20
_LIVE_DATA_MS = 2000
_CODE_WITHIN_S = 180.0
_POLL_S = 0.1


def serve_ui(settings: Settings, host: str, port: int, workspace: Path, code_socket: Path | None) -> None:
    """Serve the UI of the instance of DAGSTER_HOME, with the code locations of `workspace`, until a signal comes.

    The code server of `code_socket`, where one is named, may still be starting: it is waited for, as long as that
    may take.
    """
    configure_loggers(log_level="INFO")
    if code_socket is not None:
        _wait_for(code_socket)
    with dg.DagsterInstance.get() as instance:
        instance.optimize_for_webserver(_STATEMENT_TIMEOUT_MS, _POOL_RECYCLE_S, _POOL_OVERFLOW)
        target = WorkspaceFileTarget([str(workspace)])
        with WorkspaceProcessContext(instance, version=webserver_version, workspace_load_target=target) as context:
            application = create_app_from_workspace_process_context(context, "", _LIVE_DATA_MS)
            uvicorn.run(gated(application, host, settings), host=host, port=port, log_level="warning")


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the options and serve."""
    parser = argparse.ArgumentParser(description="Dagster's web server, behind the gate.")
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument("--workspace", required=True, type=Path)
    parser.add_argument("--code-socket", type=Path)
    options = parser.parse_args(arguments)
    with suppress(KeyboardInterrupt):
        serve_ui(Settings(), options.host, options.port, options.workspace, options.code_socket)


def _wait_for(code_socket: Path) -> None:
    """Return when the code server answers, or when waiting longer makes no sense: the UI then shows what is wrong."""
    deadline = time.monotonic() + _CODE_WITHIN_S
    while not listens(code_socket) and time.monotonic() < deadline:
        time.sleep(_POLL_S)


if __name__ == "__main__":
    main()
