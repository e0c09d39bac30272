"""How a calendar looks in a terminal: a line for each table, a letter for each day, in colours where there are any."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from backup_pipeline.core.calendar_days import Calendar, Day

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
