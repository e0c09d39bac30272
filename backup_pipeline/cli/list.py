"""`backup-pipeline list`, `show` and `audit`: what backups there are, all about one, and who did what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from backup_pipeline.cli.options import (
    Backup,
    BackupsOf,
    Limit,
    OfCatalog,
    Opened,
    RowsAsJson,
    named_scope,
    opened,
    print_json,
)
from backup_pipeline.core.errors import BackupError
from backup_pipeline.core.ledger import Attempt, Status
from backup_pipeline.core.names import parse_backup_id
from backup_pipeline.lazy import lazily
from backup_pipeline.presentation.terminal import draw, note_console

if TYPE_CHECKING:
    from backup_pipeline.core.manifest import StoredManifest
    from backup_pipeline.core.ports import Ledger

with lazily():
    from backup_pipeline.operations import browse
    from backup_pipeline.presentation import backup as presentation_backup


def audit(
    backup: Annotated[
        str | None, typer.Argument(help="A backup id, or `latest`; default: of all.", metavar="[ID]")
    ] = None,
    *,
    catalog: OfCatalog = None,
    limit: Limit = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: an array of audit rows.")] = False,
) -> None:
    """Show the audit, newest first: who did what to which backup, and why.

    It has every backup that began and how it ended, each download, URL, hold, release, removal, restore, verification,
    drill, copy, alert, ping, use of a key, prune and rebuild. A row of it is never changed. With an id, also of a
    backup that the ledger does not have any more.

    Examples:

        backup-pipeline audit

        backup-pipeline audit latest

        backup-pipeline audit --limit 1000 --json | jq '.[] | select(.action == "key used")'

    Exit codes: 0 shown; 1 the ledger can not be read; 2 wrong request; 10 there is no such backup.
    """
    with opened(catalog) as installation:
        events = installation.ledger.audits(_wanted(backup, installation.ledger, catalog), limit=limit)
    if as_json:
        print_json(events)
    else:
        draw(presentation_backup.audit_document(events))


def _wanted(backup: str | None, ledger: Ledger, catalog: str | None) -> str | None:
    if backup is None:
        return None
    if backup != browse.LATEST:
        return str(parse_backup_id(backup))
    return browse.find_backup(backup, ledger, catalog=catalog).backup_id


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
    manifests carry a signature (docs/integrity.md); a row *of the future* was dated by a clock that was ahead: it is
    neither fresh nor the newest; *copied* or *NOT copied* to the second store, where there is one. Kinds: a *selective*
    backup holds chosen tables only; *tables*, of earlier versions, has no bundle. The date is that of the catalog's
    timezone, the time in an id is UTC. Verified is the deepest level that was reached, and how long ago. Expires is
    when the rules let it go at the earliest (empty: never, or by count), or *held*. Reasons and errors are cut to fit:
    `show` tells them whole.

    Examples:

        backup-pipeline list

        backup-pipeline list --catalog isp --status failed --limit 5

        backup-pipeline list --status success --json | jq -r '.[0].backup_id'

    Exit codes: 0 listed, also when there is nothing to list; 1 the ledger can not be read; 2 wrong request; 10 nothing
    was ever set up here.
    """
    with opened(catalog) as installation:
        rows = installation.ledger.list(scope=named_scope(catalog), status=status or (), limit=limit)
        copies = installation.ledger.copies.list(scope=named_scope(catalog))
        undelivered, now = len(installation.ledger.outbox.list()), installation.clock()
    if as_json:
        print_json([presentation_backup.attempt_json(row, copies) for row in rows])
        return

    second = installation.settings.second_store
    draw(presentation_backup.backups_document(rows, now, copies, second.rstrip("/") if second else None))
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
    with opened(catalog) as installation:
        attempt = browse.find_backup(backup, installation.ledger, catalog=catalog)
        audits = list(reversed(installation.ledger.audits(attempt.backup_id)))
        copies = installation.ledger.copies.list(backup_id=attempt.backup_id)
        manifest, problem = _manifest(installation, attempt)
        now = installation.clock()
    if as_json:
        described = manifest.model_dump(mode="json") if manifest else None
        rows = {
            "backup": presentation_backup.attempt_json(attempt),
            "copies": [presentation_backup.copy_json(copy) for copy in copies],
        }
        print_json({**rows, "manifest": described, "manifest_error": problem, "audit": audits})
        return

    draw(presentation_backup.backup_document(attempt, manifest, problem, audits, now, copies))


def _manifest(installation: Opened, attempt: Attempt) -> tuple[StoredManifest | None, str | None]:
    """The manifest, or why there is none to be had: what the ledger knows is worth showing all the same."""
    try:
        return browse.stored_manifest(attempt, installation.store()), None
    except BackupError as error:
        return None, error.what
