"""`backup-pipeline list` and `show`: what backups there are, and everything about one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from backup_pipeline.cli.copies import shown_copies, with_copies
from backup_pipeline.cli.opened import Opened, opened
from backup_pipeline.cli.options import Backup, BackupsOf, Limit, OfCatalog, RowsAsJson
from backup_pipeline.cli.output import note_console, print_json, result_console
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.statuses import Status

if TYPE_CHECKING:
    from backup_pipeline.core.manifest import StoredManifest


def list_backups(
    *,
    catalog: BackupsOf = None,
    status: Annotated[list[Status] | None, typer.Option(help="Only these; may be given several times.")] = None,
    limit: Limit = 20,
    as_json: RowsAsJson = False,
) -> None:
    """List backups and attempts, newest first: date, status, rows, size, who made it and why, or what went wrong.

    It reads the ledger, not the store: a backup that is listed was checked when it was made; `verify` checks it now.
    Marks: *late* rows were read after the date they are filed under; *mixed* tables show different instants; *sealed*
    manifests carry a signature (docs/integrity.md); *copied* or *NOT copied* to the second store, where there is one.
    Kinds: a *selective* backup holds chosen tables only,
    *tables* has no bundle. The date is that of the catalog's timezone, the time in an id is UTC. Verified is the
    deepest level that was reached, and how long ago. Expires is when the rules let it go at the earliest (empty: never,
    or by count), or *held*. Reasons and errors are cut to fit: `show` tells them whole.

    Examples:

        backup-pipeline list

        backup-pipeline list --catalog isp --status failed --limit 5

        backup-pipeline list --status success --json | jq -r '.[0].backup_id'

    Exit codes: 0 listed, also when there is nothing to list; 1 the ledger can not be read; 2 wrong request; 10 nothing
    was ever set up here.
    """
    with opened(catalog) as at:
        rows = at.ledger.list(catalog=catalog, status=status or (), limit=limit)
        copies = at.ledger.copies.list(catalog=catalog)
        undelivered, now = len(at.ledger.outbox.list()), at.clock()
    if as_json:
        print_json([with_copies(row, copies) for row in rows])
        return
    from backup_pipeline.cli.backup_list import backup_list

    console = result_console()
    second = at.settings.second_store
    shown = shown_copies(rows, copies, second.rstrip("/") if second else None)
    console.print(backup_list(rows, console.width, now, shown) if rows else "There are no backups to list.")
    if undelivered:
        note_console().print(f"Alerts that did not reach people: {undelivered}. `backup-pipeline alerts` lists them.")


def show(
    backup: Backup,
    *,
    catalog: OfCatalog = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: the row, the manifest, the audit.")] = False,
) -> None:
    """Show everything about one backup: its row, its tables and checks, its warnings, and who did what with it.

    Alerts are listed with what became of them on each channel, failed deliveries too. The tables come from the manifest
    in the store; a backup without a bundle has none. Nothing is verified here: that is `verify`.

    Examples:

        backup-pipeline show latest

        backup-pipeline show 20261120T180000Z-full-1f3a9c2e --json

    Exit codes: 0 shown; 1 the ledger can not be read; 2 that is no backup id; 10 there is no such backup.
    """
    from backup_pipeline.operations.browse import find_backup

    with opened(catalog) as at:
        attempt = find_backup(backup, at.ledger, catalog=catalog)
        audits = list(reversed(at.ledger.audits(attempt.backup_id)))
        copies = at.ledger.copies.list(backup_id=attempt.backup_id)
        manifest, problem = _manifest(at, attempt)
        now = at.clock()
    if as_json:
        described = manifest.model_dump(mode="json") if manifest else None
        print_json(
            {"backup": attempt, "manifest": described, "manifest_error": problem, "audit": audits, "copies": copies}
        )
        return
    from backup_pipeline.cli.show import print_backup

    print_backup(attempt, manifest, problem, audits, now, copies)


def _manifest(at: Opened, attempt: Attempt) -> tuple[StoredManifest | None, str | None]:
    """The manifest, or why there is none to be had: what the ledger knows is worth showing all the same."""
    from backup_pipeline.core.errors import BackupError
    from backup_pipeline.operations.browse import stored_manifest

    try:
        return stored_manifest(attempt, at.store()), None
    except BackupError as error:
        return None, error.what
