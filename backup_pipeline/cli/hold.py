"""`backup-pipeline hold` and `release`: keep one backup whatever the rules say, and let the rules count again."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from backup_pipeline.cli.options import AuditReason, Backup, EarlierVersions, OfCatalog, Opened, opened, parse_duration
from backup_pipeline.core.errors import UsageError
from backup_pipeline.core.ledger import Hold
from backup_pipeline.core.names import parse_backup_id
from backup_pipeline.core.retention.prune import Versions
from backup_pipeline.core.scope import Scope
from backup_pipeline.lazy import lazily
from backup_pipeline.presentation.terminal import draw, result_console

if TYPE_CHECKING:
    from backup_pipeline.operations.prune.plan import PruneRequest

with lazily():
    from backup_pipeline import catalogs as catalog_files
    from backup_pipeline.operations import browse
    from backup_pipeline.operations import hold as operations_hold
    from backup_pipeline.operations.prune import plan
    from backup_pipeline.presentation import prune


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
    return plan.prune_request(
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
    draw(prune.left_document(removed.left))
    if removed.left or removed.kept:
        raise operations_hold.left_error(removed)
    message = f"Backup {attempt.backup_id} is deleted: {removed.objects} objects, {removed.bytes:,} bytes."
    result_console().print(message, markup=False, soft_wrap=True)


def _rules(installation: Opened, scope: Scope, versions: Versions | None) -> PruneRequest:
    settings = installation.settings
    catalogs = catalog_files.load_catalogs(settings.catalogs)
    return plan.prune_request(scope, catalogs, installation.actor, versions or settings.prune_versions)
