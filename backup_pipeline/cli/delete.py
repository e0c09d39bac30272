"""`backup-pipeline delete`: remove one backup, which is named twice."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from backup_pipeline.cli.opened import Opened, opened
from backup_pipeline.cli.options import AuditReason, EarlierVersions
from backup_pipeline.cli.output import result_console
from backup_pipeline.core.removal import Versions

if TYPE_CHECKING:
    from backup_pipeline.operations.prune_look import PruneWish


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
    from backup_pipeline.cli.prune_shown import print_left
    from backup_pipeline.core.ids import parse_backup_id
    from backup_pipeline.operations.browse import find_backup
    from backup_pipeline.operations.delete import check_confirmed, check_deletable, delete_backup, left_error
    from backup_pipeline.wiring.pruning import open_prune

    with opened() as at:
        attempt = find_backup(str(parse_backup_id(backup, latest=False)), at.ledger)
        ports = open_prune(at.settings, at.ledger, at.actor)
        wish = _wish(at, attempt.catalog, versions)
        check_deletable(attempt, wish, ports)
        command = f"backup-pipeline delete {attempt.backup_id} --confirm {attempt.backup_id}"
        check_confirmed(attempt, confirm, do=f"If that is what you want, run: {command}")
        removed = delete_backup(attempt, wish, ports, reason=reason)
    print_left(removed.left)
    if removed.left or removed.kept:
        raise left_error(removed)
    said = f"Backup {attempt.backup_id} is deleted: {removed.objects} objects, {removed.bytes:,} bytes."
    result_console().print(said, markup=False, soft_wrap=True)


def _wish(at: Opened, name: str, versions: Versions | None) -> PruneWish:
    from backup_pipeline.catalogs.load import load_catalogs
    from backup_pipeline.wiring.pruning import wish_of

    wish = wish_of(name, load_catalogs(at.settings.catalogs), at.settings)
    return replace(wish, versions=versions or wish.versions)
