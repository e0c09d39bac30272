"""`backup-pipeline purge-events`: make Dagster's event log smaller, without losing the history of the backups."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from backup_pipeline.cli.options import invoked_settings, parse_duration, print_json
from backup_pipeline.lazy import lazily
from backup_pipeline.presentation.terminal import draw
from backup_pipeline.settings import Settings

if TYPE_CHECKING:
    from datetime import timedelta

    from backup_pipeline.orchestration.purge import PurgePlan

with lazily():
    import dagster as dg

    from backup_pipeline.orchestration import purge
    from backup_pipeline.presentation import document as reports
    from backup_pipeline.wiring import addresses, embedded


def purge_events(
    *,
    older_than: Annotated[
        str, typer.Option(help="Only runs that ended longer ago: 90d, 12h; default: BACKUP_KEEP_EVENTS_DAYS.")
    ] = "",
    confirm: Annotated[bool, typer.Option("--confirm", help="Remove them, rather than only say so.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else.")] = False,
) -> None:
    """Remove events of old finished runs from Dagster's event log, and the logs that their steps wrote.

    What assets' history is made of stays: materializations, observations, checks, how each run began and ended, and
    why a step failed. The runs stay too. A job of Dagster does the same every Sunday.

    Examples:

        backup-pipeline purge-events --older-than 90d

        backup-pipeline purge-events --older-than 90d --confirm

    Exit codes: 0 done, or shown; 1 Dagster's storage can not be read; 2 wrong request; 10 nothing was ever set up here.
    """
    settings = invoked_settings()
    age = _age(older_than, settings)
    with embedded.dagster_ready(settings), dg.DagsterInstance.get() as instance:
        plan = purge.plan_purge(instance, age, addresses.utc_now())
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
