"""`backup-pipeline prune`: what retention lets go, with its reasons; removed only when that is confirmed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from backup_pipeline.cli.options import EarlierVersions, PlanAsJson, opened, print_json
from backup_pipeline.core.errors import PartialError
from backup_pipeline.core.retention.prune import Left, PrunePlan, Versions
from backup_pipeline.core.retention.rules import Verdict
from backup_pipeline.operations.prune.perform import PruneReport
from backup_pipeline.presentation.terminal import note_console, result_console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backup_pipeline.operations.prune.plan import PruneWish
    from backup_pipeline.settings import Settings


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


def prune(
    *,
    catalog: Annotated[str | None, typer.Option(help="Which catalog; default: BACKUP_CATALOG, or isp.")] = None,
    confirm: Annotated[bool, typer.Option("--confirm", help="Remove it, rather than only say so.")] = False,
    versions: EarlierVersions = None,
    as_json: PlanAsJson = False,
) -> None:
    """Show which backups the catalog's rules keep and which they let go, and why; with --confirm, remove those.

    Never removed, whatever the rules say: the newest good backup, one that is held, one younger than the grace, one
    whose successor is not verified, one that a restore reads, and as many as `min_keep` says. Safety backups of
    restores are pruned by the rule of manual ones.

    With a backup of a date go its partitions, unless another backup has that date. What killed runs left behind goes
    too: bundles without a manifest, unfinished uploads. What ledger and store do not agree on is told, never removed.
    A prune that was interrupted is finished by the next one. A job of Dagster prunes every week. docs/retention.md.

    Examples:

        backup-pipeline prune

        backup-pipeline prune --catalog shop --confirm

        backup-pipeline prune --confirm --versions remove

    Exit codes: 0 shown, or all removed; 1 store or ledger can not be read; 2 wrong request; 3 something stays, because
    it is locked, versioned or may not be deleted, and each object is told; 10 there is no such catalog; 11 somebody
    else writes the catalog; 21 the clock is wrong, or that of a backup was.
    """
    from backup_pipeline.operations.prune.perform import prune as carry_out
    from backup_pipeline.operations.prune.plan import plan_prune
    from backup_pipeline.wiring.prune import open_prune

    with opened() as at:
        ports = open_prune(at.settings, at.ledger, at.actor)
        wishes = _wishes(at.settings, catalog, versions)
        plans = [(wish, plan_prune(wish, ports)) for wish in wishes]
        plans = [(wish, plan) for wish, plan in plans if wish is wishes[0] or plan.verdicts or not plan.empty]
        if not as_json:
            _show([plan for _, plan in plans])
        reports = [carry_out(plan, wish, ports) for wish, plan in plans] if confirm else []
    if as_json:
        print_json({"plans": [p.as_json() for _, p in plans], "reports": [report.as_json() for report in reports]})
    _end([plan for _, plan in plans], reports, wishes[0].catalog, told=as_json)


def _wishes(settings: Settings, name: str | None, versions: Versions | None) -> Sequence[PruneWish]:
    from backup_pipeline.cli.options import chosen_catalog
    from backup_pipeline.wiring.prune import wishes_of

    wishes = wishes_of(chosen_catalog(settings, name), settings)
    return [replace(wish, versions=versions or wish.versions) for wish in wishes]


def _show(plans: Sequence[PrunePlan]) -> None:

    for plan in plans:
        print_plan(plan)


def _end(plans: Sequence[PrunePlan], reports: Sequence[PruneReport], catalog: str, *, told: bool) -> None:
    """Say what was done, or what to do next; raise PartialError when something stays."""
    for report in reports if not told else ():
        print_report(report)
    if not reports and any(not plan.empty for plan in plans) and not told:
        command = f"backup-pipeline prune --catalog {catalog} --confirm"
        note_console().print(f"Nothing was removed. To do it: {command}", markup=False)
    partial = [report for report in reports if report.partial]
    if partial:
        raise partial[0].error()
    locked = [left for plan in plans for found in plan.locked.values() for left in found]
    if locked and not reports:
        what = f"{len(locked)} objects could not be removed now. {locked[0].key}: {locked[0].message}"
        raise PartialError(what, do=locked[0].do)
