"""`hold`, `release`, `delete`, `prune` and `purge-events`: what stays, and what goes by its age or on request."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from backup_pipeline.cli.options import (
    AuditReason,
    Backup,
    EarlierVersions,
    OfCatalog,
    Opened,
    PlanAsJson,
    chosen_catalog,
    invoked_settings,
    opened,
    parse_duration,
    print_json,
)
from backup_pipeline.core.errors import PartialError, UsageError
from backup_pipeline.core.ledger import Hold
from backup_pipeline.core.names import parse_backup_id
from backup_pipeline.core.retention.prune import PrunePlan, Versions
from backup_pipeline.core.scope import Scope
from backup_pipeline.lazy import lazily
from backup_pipeline.presentation.terminal import draw, note_console, result_console
from backup_pipeline.settings import Settings

if TYPE_CHECKING:
    from backup_pipeline.operations.retention import PruneReport
    from backup_pipeline.operations.retention.businesses import BusinessesPruneReport
    from backup_pipeline.operations.retention.plan import PruneRequest
    from backup_pipeline.orchestration.retention import PurgePlan

with lazily():
    import dagster as dg

    from backup_pipeline import catalogs as catalog_files
    from backup_pipeline import presentation as reports
    from backup_pipeline.operations import browse
    from backup_pipeline.operations import retention as operations_retention
    from backup_pipeline.operations.retention import businesses as operations_businesses
    from backup_pipeline.operations.retention import hold as operations_hold
    from backup_pipeline.operations.retention import plan as prune_plan
    from backup_pipeline.orchestration import retention as orchestration_retention
    from backup_pipeline.presentation import retention as presentation_retention
    from backup_pipeline.wiring import addresses, embedded


def hold(
    backup: Backup,
    *,
    reason: Annotated[str, typer.Option(help="Why; `show` tells it to whoever wonders.")],
    until: Annotated[
        str | None, typer.Option(help="A date, which is included (2027-06-30), or a time (90d); default: for ever.")
    ] = None,
    catalog: OfCatalog = None,
) -> None:
    """Hold a backup: neither the rules nor `delete` remove it until it is released, or its time is over.

    The hold stands in the ledger, and as hold.json beside the manifest, so that it outlives the ledger. A second hold
    takes the place of the first.

    Examples:

        backup-pipeline hold latest --reason "before the move to the new billing"

        backup-pipeline hold 20261120T180000Z-full-1f3a9c2e --reason "the audit of 2026" --until 2027-06-30

    Exit codes: 0 held; 1 store or ledger can not be written; 2 no reason, or a time that is over; 10 there is no such
    backup, or it has no bundle.
    """
    with opened(catalog) as installation:
        attempt = browse.find_backup(backup, installation.ledger, catalog=catalog)
        held = Hold(installation.actor, reason, _until(installation, attempt.scope, until, installation.clock()))
        operations_hold.hold_backup(attempt, held, installation.ports)
    result_console().print(f"Backup {attempt.backup_id} is {held}.", markup=False, soft_wrap=True)


def release(
    backup: Backup,
    *,
    reason: AuditReason = "",
    catalog: OfCatalog = None,
) -> None:
    """Release a backup that is held: from now on the rules count for it again. Nothing is removed by this.

    Examples:

        backup-pipeline release 20261120T180000Z-full-1f3a9c2e --reason "the audit is over"

    Exit codes: 0 released, or it was not held; 1 store or ledger can not be written; 10 there is no such backup.
    """
    with opened(catalog) as installation:
        attempt = browse.find_backup(backup, installation.ledger, catalog=catalog)
        held = operations_hold.release_backup(attempt, installation.ports, actor=installation.actor, reason=reason)
    message = "is released: the rules count for it again" if held else "was not held"
    result_console().print(f"Backup {attempt.backup_id} {message}.", markup=False, soft_wrap=True)


def _until(installation: Opened, scope: Scope, text: str | None, now: datetime) -> datetime | None:
    """The end of the date `text` in the timezone of the catalog, or so long from now."""
    if text is None:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        try:
            return now + parse_duration(text)
        except UsageError:
            message = f"{text!r} is neither a date nor a time."
            raise UsageError(message, do="Write a date such as 2027-06-30, or 90d.") from None
    midnight = datetime.combine(day + timedelta(days=1), time(), tzinfo=ZoneInfo(_timezone(installation, scope)))
    return midnight.astimezone(UTC)


def _timezone(installation: Opened, scope: Scope) -> str:
    return prune_plan.prune_request(
        scope,
        catalog_files.load_catalogs(installation.settings.catalogs),
        installation.actor,
        installation.settings.prune_versions,
    ).timezone


def delete(
    backup: Annotated[str, typer.Argument(help="The id of a backup.", metavar="ID")],
    *,
    confirm: Annotated[str | None, typer.Option(help="The same id again: without it nothing is removed.")] = None,
    reason: AuditReason = "",
    versions: EarlierVersions = None,
) -> None:
    """Delete one backup from the store, copies too. Its row stays in the ledger, as deleted.

    What protects a backup from the rules protects it here as well: it is refused for the newest good backup, one that
    is held, one that a restore reads, one younger than the grace, one whose successor is not verified, and when fewer
    than `min_keep` would be left. The partitions of its date go with the next prune, unless another backup has it.

    Examples:

        backup-pipeline delete 20261120T180000Z-full-1f3a9c2e --confirm 20261120T180000Z-full-1f3a9c2e

    Exit codes: 0 deleted; 1 store or ledger can not be written; 2 that is no id; 3 something of it stays, because it is
    locked, versioned or may not be deleted; 10 there is no such backup; 11 it is being made or read, or somebody writes
    the catalog; 21 it is protected, or not confirmed.
    """
    with opened() as installation:
        attempt = browse.find_backup(str(parse_backup_id(backup, latest=False)), installation.ledger)
        request = operations_hold.DeleteRequest(attempt, _rules(installation, attempt.scope, versions), confirm, reason)
        removed = operations_hold.delete_backup(request, installation.ports)
    draw(presentation_retention.left_document(removed.left))
    if removed.left or removed.kept:
        raise operations_hold.left_error(removed)
    message = f"Backup {attempt.backup_id} is deleted: {removed.objects} objects, {removed.bytes:,} bytes."
    result_console().print(message, markup=False, soft_wrap=True)


def _rules(installation: Opened, scope: Scope, versions: Versions | None) -> PruneRequest:
    settings = installation.settings
    catalogs = catalog_files.load_catalogs(settings.catalogs)
    return prune_plan.prune_request(scope, catalogs, installation.actor, versions or settings.prune_versions)


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
    A prune that was interrupted is finished by the next one. Backups of businesses are pruned too, and what is kept
    keeps its chain. A job of Dagster prunes every week. docs/retention.md.

    Examples:

        backup-pipeline prune

        backup-pipeline prune --catalog shop --confirm

        backup-pipeline prune --confirm --versions remove

    Exit codes: 0 shown, or all removed; 1 store or ledger can not be read; 2 wrong request; 3 something stays, because
    it is locked, versioned or may not be deleted, and each object is told; 10 there is no such catalog; 11 somebody
    else writes the catalog; 21 the clock is wrong, or that of a backup was.
    """
    with opened() as installation:
        declared = chosen_catalog(installation.settings, catalog)
        versions = versions or installation.settings.prune_versions
        requests = prune_plan.prune_requests(declared, installation.actor, versions)
        plans, reports = operations_retention.prune_catalog(
            requests,
            installation.ports,
            confirmed=confirm,
            show=lambda plan: None if as_json else draw(presentation_retention.plan_document(plan)),
        )
        businesses = operations_businesses.prune_businesses(
            declared, requests[0], installation.ports, confirmed=confirm
        )
    if as_json:
        known = {"plans": [plan.as_json() for plan in plans], "reports": [report.as_json() for report in reports]}
        print_json(known | ({"businesses": businesses.as_json()} if businesses else {}))
    else:
        _show_end(plans, reports, businesses, declared.catalog)
    _raise_partial(plans, reports, businesses)


def _show_end(
    plans: Sequence[PrunePlan],
    reports: Sequence[PruneReport],
    businesses: BusinessesPruneReport | None,
    catalog: str,
) -> None:
    """Say what was done, or what to do next."""
    for report in reports:
        draw(presentation_retention.report_document(report))
    if businesses:
        draw(presentation_retention.businesses_document(businesses))
    if not reports and (any(not plan.empty for plan in plans) or (businesses and businesses.going)):
        command = f"backup-pipeline prune --catalog {catalog} --confirm"
        note_console().print(f"Nothing was removed. To do it: {command}", markup=False)


def _raise_partial(
    plans: Sequence[PrunePlan], reports: Sequence[PruneReport], businesses: BusinessesPruneReport | None
) -> None:
    """Raise PartialError when something stays."""
    partial = [report for report in reports if report.partial]
    if partial:
        raise partial[0].error()
    locked = [kept for plan in plans for versions in plan.locked.values() for kept in versions]
    if locked and not reports:
        what = f"{len(locked)} objects could not be removed now. {locked[0].key}: {locked[0].message}"
        raise PartialError(what, do=locked[0].do)
    if businesses and businesses.partial:
        raise businesses.error()


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
        plan = orchestration_retention.plan_purge(
            instance, catalog_files.load_catalogs(settings.catalogs), age, addresses.utc_now()
        )
        removed = orchestration_retention.purge(instance, plan) if confirm else 0
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
