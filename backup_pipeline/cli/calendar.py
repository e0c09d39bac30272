"""`backup-pipeline calendar`: each table and day of the last month, and what became of its backup."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from backup_pipeline.cli.options import opened, print_json, result_console
from backup_pipeline.core.calendar import Calendar, Day

_STYLES = {
    Day.VERIFIED: "bold green",
    Day.GOOD: "green",
    Day.LATE: "yellow",
    Day.PARTIAL: "magenta",
    Day.RUNNING: "cyan",
    Day.EXPECTED: "cyan",
    Day.REMOVED: "dim",
    Day.MISSED: "bold red",
    Day.NONE: "dim",
}


def print_calendar(shown: Calendar, console: Console) -> None:
    """Print one; lines longer than the terminal is wide are broken by whole weeks of days."""
    widest = max(len(table) for table, _ in shown.tables)
    fits = max((console.width - widest - 2) // 3, 7)
    for start in range(0, len(shown.days), fits):
        _print_part(shown, slice(start, start + fits), widest, console)
    for day in shown.seen:
        console.print(Text.assemble((day.letter, _STYLES[day]), f" {day.value}: {day.meaning}"), soft_wrap=True)


def _print_part(shown: Calendar, part: slice, widest: int, console: Console) -> None:
    days = shown.days[part]
    title = f"{shown.catalog}, {days[0]:%Y-%m-%d} to {days[-1]:%Y-%m-%d}"
    console.print(Text(title, style="bold"))
    console.print(Text(" " * widest + "".join(f" {day:%d}" for day in days), style="dim"))
    for table, verdicts in shown.tables:
        line = Text(table.ljust(widest))
        for day in verdicts[part]:
            line.append("  ").append(day.letter, style=_STYLES[day])
        console.print(line)
    console.print()


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
        print_json([_plain(one) for one in shown])
        return

    console = result_console()
    for one in shown:
        print_calendar(one, console)


def _calendars(names: Sequence[str], days: int) -> Sequence[Calendar]:
    from backup_pipeline.operations.browse import calendar_of
    from backup_pipeline.wiring.watch import watched

    with opened() as at:
        now = at.clock()
        return [calendar_of(catalog, at.ledger, now, days=days) for catalog in watched(at.settings, names)]


def _plain(one: Calendar) -> dict[str, object]:
    tables = {table: dict(zip(map(str, one.days), days, strict=True)) for table, days in one.tables}
    return {"catalog": one.catalog, "tables": tables}
