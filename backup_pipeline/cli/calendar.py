"""`backup-pipeline calendar`: each table and day of the last month, and what became of its backup."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from backup_pipeline.cli.options import opened, print_json
from backup_pipeline.core.calendar import Calendar
from backup_pipeline.presentation.calendar import calendar_document
from backup_pipeline.presentation.document import joined
from backup_pipeline.presentation.terminal import draw


def calendar(
    *,
    catalog: Annotated[list[str] | None, typer.Option(help="Only this one; may be given several times.")] = None,
    days: Annotated[int, typer.Option(help="So many days, today included.", min=1, max=366)] = 30,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: tables and days of each catalog.")] = False,
) -> None:
    """Show for each table and day whether its backup is verified, good, late, partial or missed.

    A day is one of the catalog's timezone. A gap stays a gap: a backup made today holds the rows of today. The letters
    are explained below the table. Only the ledger is read.

    Examples:

        backup-pipeline calendar

        backup-pipeline calendar --catalog isp --days 90

        backup-pipeline calendar --json | jq '.[0].tables.customers'

    Exit codes: 0 shown; 1 the ledger can not be read; 2 wrong request; 10 there is no such catalog.
    """
    shown = _calendars(catalog or (), days)
    if as_json:
        print_json([_plain(each) for each in shown])
        return
    draw(joined(map(calendar_document, shown)))


def _calendars(names: Sequence[str], days: int) -> Sequence[Calendar]:
    from backup_pipeline.operations.browse import calendar_of
    from backup_pipeline.wiring.watch import watched

    with opened() as at:
        now = at.clock()
        return [calendar_of(catalog, at.ledger, now, days=days) for catalog in watched(at.settings, names)]


def _plain(calendar: Calendar) -> dict[str, object]:
    tables = {table: dict(zip(map(str, calendar.days), days, strict=True)) for table, days in calendar.tables}
    return {"catalog": calendar.catalog, "tables": tables}
