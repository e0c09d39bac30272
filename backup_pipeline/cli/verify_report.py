"""How a verification's report looks in a terminal: how far it got, what that proves, and what was found."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from backup_pipeline.cli.output import result_console
from backup_pipeline.core.verification import LevelReport, VerifyReport

_NAMED = 8
"""How many objects are named before the rest is counted; JSON names all."""


def print_report(report: VerifyReport) -> None:
    """Print the report."""
    console = result_console()
    read = f"{report.objects:,} objects, {decimal(report.bytes)}, {report.seconds:.1f} s"
    console.print(Text.assemble((f"Backup {report.backup_id}: reached {report.reached}", "bold"), f", {read}"))
    console.print(Text(f"In {report.place}"), soft_wrap=True)
    console.print(_levels(report.levels))
    for finding in report.findings:
        told = f"Level {finding.level.value}: {finding.object}: {finding.message}"
        console.print(Text(told, style="red"), soft_wrap=True)
    for remark in report.remarks:
        told = f"Level {remark.level.value}: {remark.object}: {remark.message}"
        console.print(Text.assemble(("Note: ", "yellow"), told), soft_wrap=True)
    _print_rest(console, report)


def _print_rest(console: Console, report: VerifyReport) -> None:
    for level in report.levels:
        if not level.full:
            console.print(Text(_left_out(level)), soft_wrap=True)
    if report.passed and not report.whole:
        told = f"Nothing wrong was seen, but level {report.wanted} was not reached in full."
        console.print(Text(told, style="yellow"))
    elif report.passed:
        console.print(Text(f"Nothing is wrong. {report.wanted.leaves_open}", style="green"))


def _levels(levels: Sequence[LevelReport]) -> Table:
    table = Table.grid(padding=(0, 2))
    for report in levels:
        if report.findings:
            outcome, style = f"{len(report.findings)} FINDINGS", "bold red"
        else:
            outcome, style = ("good", "green") if report.full else ("in part", "yellow")
        table.add_row(str(report.level), Text(outcome, style=style), Text(report.level.proves))
    return table


def _left_out(level: LevelReport) -> str:
    looked = f"looked at {_named(level.looked_at)}" if level.looked_at else "looked at nothing"
    return f"Level {level.level}, {level.why_left_out}: {looked}; left out {_named(level.left_out)}."


def _named(objects: Sequence[str]) -> str:
    names = [name.rpartition("!")[2] for name in objects]
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
