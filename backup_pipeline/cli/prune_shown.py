"""How the plan and the report of a prune look in a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from backup_pipeline.cli.output import result_console
from backup_pipeline.core.prune_plan import PrunePlan
from backup_pipeline.core.removal import Left
from backup_pipeline.core.retention_plan import Verdict
from backup_pipeline.operations.prune_report import PruneReport


def print_plan(plan: PrunePlan) -> None:
    """Print each backup with what becomes of it and why, then partitions, debris and remarks."""
    console = result_console()
    going = len(plan.removed)
    stay = len(plan.verdicts) - going
    console.print(f"Catalog {plan.catalog}: backups that stay {stay}, that go {going}; {decimal(plan.bytes)} in all.")
    if plan.verdicts:
        console.print(_backups(plan.verdicts, set(plan.locked)))
    for line in _lines(plan):
        console.print(line, markup=False, soft_wrap=True)
    print_left(left for found in plan.locked.values() for left in found)


def print_report(report: PruneReport) -> None:
    """Print what was removed, what was kept after all, and each object that stays."""
    console = result_console()
    gone = [each for each in report.removed if not each.kept]
    text = f"backups {len(gone)}, dates of partitions {len(report.days)}, leftovers {report.debris}"
    console.print(f"Catalog {report.plan.catalog}: removed {text}; {decimal(report.bytes)}.", soft_wrap=True)
    for each in report.removed:
        if each.kept:
            console.print(f"{each.backup_id} stays: {each.kept}.", markup=False, soft_wrap=True)
    print_left(report.left)


def print_left(left: Iterable[Left]) -> None:
    """Print each object of which something stays, why, and what to do."""
    console = result_console()
    for each in left:
        told = Text.assemble((f"{each.why.upper()} ", "bold yellow"), f"{each.key}: {each.message} {each.do}")
        console.print(told, soft_wrap=True)


def _backups(verdicts: Sequence[Verdict], locked: set[str]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("", "ID (UTC)", "Type", "Date"):
        table.add_column(name, no_wrap=True)
    table.add_column("Size", justify="right", no_wrap=True)
    table.add_column("Why")
    for verdict in verdicts:
        row = verdict.attempt
        what = Text("remove", style="red") if verdict.removed else Text("keep", style="green")
        if row.backup_id in locked:
            what = Text("locked", style="yellow")
        size = decimal(row.file_size_bytes) if row.file_size_bytes is not None else ""
        why = Text("; ".join(verdict.reasons))
        table.add_row(what, Text(row.backup_id), Text(row.type), row.partition_date.isoformat(), size, why)
    return table


def _lines(plan: PrunePlan) -> Iterable[str]:
    for backup_id, status in plan.begun.items():
        yield f"finish  {backup_id}: its removal was begun and not finished; it becomes {status}"
    for day in plan.removed_days:
        yield f"remove  partitions of {day.day}: {day.reason} ({decimal(day.bytes)})"
    for debris in plan.debris:
        yield f"remove  what is left of {debris.folder.backup_id}: {debris.reason} ({decimal(debris.folder.bytes)})"
    for unfinished in plan.unfinished:
        yield f"remove  unfinished {unfinished.key}, begun {unfinished.begun:%Y-%m-%d %H:%M} UTC"
    for found in plan.hidden:
        yield f"remove  all versions of {found.key} ({decimal(found.size)})"
    for copy in plan.copies:
        yield f"remove  copy {copy}: its backup is gone"
    yield from plan.remarks
