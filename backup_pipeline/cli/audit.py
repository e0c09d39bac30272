"""`backup-pipeline audit`: who did what to which backup, when and why, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from backup_pipeline.cli.opened import opened
from backup_pipeline.cli.options import Limit, OfCatalog
from backup_pipeline.cli.output import moment, print_json, result_console

if TYPE_CHECKING:
    from backup_pipeline.core.ledger import AuditEvent
    from backup_pipeline.core.ports import Ledger


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
    with opened(catalog) as at:
        events = at.ledger.audits(_wanted(backup, at.ledger, catalog), limit=limit)
    if as_json:
        print_json(events)
    else:
        _print(events)


def _wanted(backup: str | None, ledger: Ledger, catalog: str | None) -> str | None:
    from backup_pipeline.core.ids import parse_backup_id
    from backup_pipeline.operations.browse import LATEST, find_backup

    if backup is None:
        return None
    if backup != LATEST:
        return str(parse_backup_id(backup))
    return find_backup(backup, ledger, catalog=catalog).backup_id


def _print(events: Sequence[AuditEvent]) -> None:
    from rich.table import Table
    from rich.text import Text

    from backup_pipeline.cli.show import audit_detail

    table = Table(box=None, pad_edge=False)
    for name in ("When", "Who", "What", "Backup"):
        table.add_column(name, no_wrap=True)
    table.add_column("Detail")
    for event in events:
        backup = Text(event.backup_id or "")
        table.add_row(moment(event.at), Text(event.actor), Text(event.action), backup, audit_detail(event))
    result_console().print(table)
