"""`backup-pipeline serve`: the small web service that says whether every backup is there, and watches that it is."""

from __future__ import annotations

from typing import Annotated

import typer

from backup_pipeline.cli.opened import opened
from backup_pipeline.cli.output import note_console


def serve(
    *,
    host: Annotated[
        str, typer.Option(help="The address to listen on. There is no login: keep it local, or behind a proxy.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port.", min=1, max=65535)] = 3001,
) -> None:
    """Serve /healthz and /healthz/freshness for uptime monitors, and watch: overdue backups are told each minute.

    /healthz answers 200 while the service is alive. /healthz/freshness answers 200 when every backup that is due is
    there, and 503 when one is overdue or nobody knows; as JSON it says for each catalog what was due, the newest good
    backup, its age, and what was missed. Like `check` it needs the ledger alone. `up` starts it too.

    Examples:

        backup-pipeline serve

        curl --fail http://127.0.0.1:3001/healthz/freshness

    Exit codes: 0 stopped by Ctrl-C; 1 the ledger can not be opened; 2 wrong request, or the port is taken.
    """
    from backup_pipeline.console.serve import serve_console
    from backup_pipeline.wiring.dagster_processes import refuse_taken_port

    refuse_taken_port(host, port)
    with opened() as at:
        note_console().print(f"Freshness: http://{host}:{port}/healthz/freshness  (Ctrl-C stops)", markup=False)
        serve_console(at.settings, at.ledger, host, port)
