"""How a page asks for a run of Dagster: in the visitor's name, by the console's launcher."""

from __future__ import annotations

from fastapi import Request

from backup_pipeline.core.ports.runs import Launcher
from backup_pipeline.core.runs import RunRequest
from backup_pipeline.operations.run_requests import RunWish, request_run
from backup_pipeline.web.people import Visitor


def launcher_of(request: Request) -> Launcher:
    """The console's way to Dagster."""
    launcher: Launcher = request.app.state.launcher
    return launcher


def launched(request: Request, visitor: Visitor, wish: RunWish) -> RunRequest:
    """Ask for the run; the row as it then stands, also where Dagster is away: then it says the command to type."""
    return request_run(wish, visitor.ports, launcher_of(request))
