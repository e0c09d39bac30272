"""`prune` and `purge-events`: what goes by its age, with its reasons; removed only when that is confirmed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from backup_pipeline.cli.options import (
    EarlierVersions,
    Opened,
    PlanAsJson,
    chosen_catalog,
    invoked_settings,
    opened,
    parse_duration,
    print_json,
)
from backup_pipeline.core.errors import PartialError
from backup_pipeline.core.retention.prune import PrunePlan, Versions
from backup_pipeline.lazy import lazily
from backup_pipeline.presentation.terminal import draw, note_console
from backup_pipeline.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from backup_pipeline.operations.prune import PruneReport
    from backup_pipeline.operations.prune.plan import PruneRequest
    from backup_pipeline.orchestration.retention import PurgePlan

with lazily():
    import dagster as dg

    from backup_pipeline import catalogs as catalog_files
    from backup_pipeline import presentation as reports
    from backup_pipeline.operations import prune as operations_prune
    from backup_pipeline.operations.prune import plan as prune_plan
    from backup_pipeline.orchestration import retention as purge
    from backup_pipeline.presentation import prune as presentation_prune
    from backup_pipeline.wiring import addresses, embedded


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
    with opened() as installation:
        requests = _requests(installation, catalog, versions)
        plans, reports = operations_prune.prune_catalog(
            requests,
            installation.ports,
            confirmed=confirm,
            show=lambda plan: None if as_json else draw(presentation_prune.plan_document(plan)),
        )
    if as_json:
        print_json({"plans": [plan.as_json() for plan in plans], "reports": [report.as_json() for report in reports]})
    _end(plans, reports, str(requests[0].scope), told=as_json)


def _requests(installation: Opened, name: str | None, versions: Versions | None) -> Sequence[PruneRequest]:
    return prune_plan.prune_requests(
        chosen_catalog(installation.settings, name),
        installation.actor,
        versions or installation.settings.prune_versions,
    )


def _end(plans: Sequence[PrunePlan], reports: Sequence[PruneReport], catalog: str, *, told: bool) -> None:
    """Say what was done, or what to do next; raise PartialError when something stays."""
    for report in reports if not told else ():
        draw(presentation_prune.report_document(report))
    if not reports and any(not plan.empty for plan in plans) and not told:
        command = f"backup-pipeline prune --catalog {catalog} --confirm"
        note_console().print(f"Nothing was removed. To do it: {command}", markup=False)
    partial = [report for report in reports if report.partial]
    if partial:
        raise partial[0].error()
    locked = [kept for plan in plans for versions in plan.locked.values() for kept in versions]
    if locked and not reports:
        what = f"{len(locked)} objects could not be removed now. {locked[0].key}: {locked[0].message}"
        raise PartialError(what, do=locked[0].do)


def purge_events(
    *,
    older_than: Annotated[
        str, typer.Option(help="Only runs that ended longer ago: 90d, 12h; default: BACKUP_KEEP_EVENTS_DAYS.")
    ] = "",
    confirm: Annotated[bool, typer.Option("--confirm", help="Remove them, rather than only say so.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else.")] = False,
) -> None:
    """Remove events of old finished runs of ours from Dagster's event log, and the logs that their steps wrote.

    Runs in which somebody else's assets or jobs had a part are left alone. What assets' history is made of stays:
    materializations, observations, checks, how each run began and ended, and why a step failed. The runs stay too. A
    job of Dagster does the same every Sunday.

    Examples:

        backup-pipeline purge-events --older-than 90d

        backup-pipeline purge-events --older-than 90d --confirm

    Exit codes: 0 done, or shown; 1 Dagster's storage can not be read; 2 wrong request; 10 nothing was ever set up here.
    """
    settings = invoked_settings()
    age = _age(older_than, settings)
    with embedded.dagster_ready(settings), dg.DagsterInstance.get() as instance:
        plan = purge.plan_purge(instance, catalog_files.load_catalogs(settings.catalogs), age, addresses.utc_now())
        removed = purge.purge(instance, plan) if confirm else 0
    if as_json:
        print_json({"ended_before": plan.before, "runs": plan.runs, "events": plan.events, "removed": removed})
        return
    _show(plan, removed, confirmed=confirm)


def _age(older_than: str, settings: Settings) -> timedelta:
    return parse_duration(older_than) if older_than else timedelta(days=settings.keep_events_days)


def _show(plan: PurgePlan, removed: int, *, confirmed: bool) -> None:
    before = reports.text_of(reports.Minute(plan.before))
    ended = f"of {len(plan.runs)} runs that ended before {before}, and their compute logs"
    if confirmed:
        draw(reports.document(reports.line(f"Removed {removed:,} events ({reports.size(plan.bytes)}) {ended}.")))
        return
    hint = [reports.line("Nothing was removed: add --confirm.")] if plan.runs else []
    draw(
        reports.document(
            reports.line(f"Would remove {plan.events:,} events ({reports.size(plan.bytes)}) {ended}."),
            *hint,
        )
    )
