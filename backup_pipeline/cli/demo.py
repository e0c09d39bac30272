"""`backup-pipeline demo`: make the ISP demo database."""

from __future__ import annotations

from typing import Annotated

import typer

from backup_pipeline.cli.output import SafeConsole
from backup_pipeline.settings import Settings


def demo(
    *,
    scale: Annotated[float, typer.Option(help="1 is about 250 thousand rows; 100 works.", min=0.0001)] = 1.0,
    again: Annotated[bool, typer.Option("--again", help="Drop the demo database first, and make it anew.")] = False,
) -> None:
    """Create the ISP demo database in the embedded PostgreSQL: a believable internet provider in Bangladesh.

    The same scale always gives the same rows. `backup` and `up` do this by themselves the first time.

    Examples:

        backup-pipeline demo

        backup-pipeline demo --scale 10 --again

    Exit codes: 0 created, or there already; 1 failed; 2 wrong request.
    """
    from backup_pipeline.wiring.embedded import demo_database

    console = SafeConsole(stderr=True)
    created = demo_database(Settings(), lambda line: console.print(line, highlight=False), scale=scale, again=again)
    if not created:
        console.print("The demo database is there already; --again makes it anew.", highlight=False)
