"""`backup-pipeline up`: PostgreSQL, migrations, Dagster's web server and daemon, the console, until Ctrl-C."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from backup_pipeline.settings import Settings


def up(
    *,
    host: Annotated[
        str, typer.Option(help="The address to listen on. Dagster has no login: keep it local.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port of the Dagster UI.", min=1, max=65535)] = 3000,
    console_port: Annotated[int, typer.Option(help="The port of the console.", min=1, max=65535)] = 3001,
) -> None:
    """Start everything and stay: the embedded PostgreSQL, the ledger's migrations, the Dagster UI, its daemon, `serve`.

    The daemon runs the daily schedule (00:00 in the catalog's timezone) and the sensors that alert. Ctrl-C stops all of
    it, and leaves nothing running.

    Examples:

        backup-pipeline up

        BACKUP_SOURCE_URL=postgresql://backup@db/shop backup-pipeline up --port 3100

    Exit codes: 0 stopped by Ctrl-C; 1 something did not start; 2 wrong request.
    """
    from backup_pipeline.wiring.dagster_processes import run_dagster
    from backup_pipeline.wiring.embedded import prepared

    console = Console(stderr=True)

    def tell(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    with prepared(Settings(), tell):
        run_dagster(host, port, tell, console_port=console_port)
