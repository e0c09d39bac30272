"""`restores`: requests listed, shown, approved and rejected."""

from __future__ import annotations

from typing import Annotated

import typer

from backup_pipeline.cli.options import LedgerReason, Limit, RowsAsJson, named_scope, opened, print_json
from backup_pipeline.core.restore.requests import RestoreStatus
from backup_pipeline.lazy import lazily
from backup_pipeline.presentation.terminal import draw, result_console

with lazily():
    from backup_pipeline.operations.restore import requests
    from backup_pipeline.presentation import backup as presentation_backup
    from backup_pipeline.presentation import restore


restores_app = typer.Typer(
    name="restores",
    help="Restore requests: list them, look at one, approve or reject it. Alone it lists.",
    invoke_without_command=True,
)

Number = Annotated[int, typer.Argument(help="The number of a restore request.", metavar="N")]


@restores_app.callback()
def _alone(context: typer.Context) -> None:
    """Restore requests: list them, look at one, approve or reject it. Alone it lists."""
    if context.invoked_subcommand is None:
        list_restores()


@restores_app.command("list")
def list_restores(
    *,
    catalog: Annotated[str | None, typer.Option(help="Only restores of this catalog.")] = None,
    status: Annotated[list[RestoreStatus] | None, typer.Option(help="Only these; may be given several times.")] = None,
    limit: Limit = 20,
    as_json: RowsAsJson = False,
) -> None:
    """List restore requests, newest first: which backup, into what, how, who asked, and how it ended.

    Examples:

        backup-pipeline restores

        backup-pipeline restores list --status requested

    Exit codes: 0 listed, also when there is nothing to list; 1 the ledger can not be read; 2 wrong request.
    """
    with opened(catalog) as installation:
        rows = installation.ledger.restores.list(scope=named_scope(catalog), status=status or (), limit=limit)
    if as_json:
        print_json([presentation_backup.restore_json(row) for row in rows])
        return

    draw(restore.requests_document(rows))


@restores_app.command()
def show(
    number: Number,
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON: the row, with plan and report; the audit.")
    ] = False,
) -> None:
    """Show everything about one restore request: what was asked, the plan, who decided, how it ended, the audit.

    Examples:

        backup-pipeline restores show 7

        backup-pipeline restores show 7 --json

    Exit codes: 0 shown; 1 the ledger can not be read; 10 there is no such request.
    """
    with opened() as installation:
        row = requests.find_request(number, installation.ledger)
        audits = [
            event
            for event in reversed(installation.ledger.audits(row.backup_id))
            if event.detail.get("request") == row.id
        ]
    if as_json:
        print_json({"request": presentation_backup.restore_json(row), "audit": audits})
        return
    draw(restore.request_document(row, audits))


@restores_app.command()
def approve(
    number: Number,
    *,
    reason: LedgerReason = "",
) -> None:
    """Approve a restore request, as another user of the operating system than the one who asked for it.

    Look at it first: `restores show N` has the plan. Nothing is restored yet: `restore --request N` does that.

    Examples:

        backup-pipeline restores approve 7

        sudo -u karim backup-pipeline restores approve 7

    Exit codes: 0 approved; 1 it can not be approved any more; 10 there is no such request; 21 the same person asked
    for it.
    """
    with opened() as installation:
        row = requests.approve(number, installation.actor, installation.ports, reason=reason)
    line = (
        f"Restore request {row.id} is approved by {row.decided_actor}. Now: backup-pipeline restore --request {row.id}"
    )
    result_console().print(line, markup=False, soft_wrap=True)


@restores_app.command()
def reject(
    number: Number,
    *,
    reason: LedgerReason,
) -> None:
    """Reject a restore request that has not begun, also one that was approved, or your own.

    Examples:

        backup-pipeline restores reject 7 --reason "the rows were found elsewhere"

    Exit codes: 0 rejected; 1 it has begun or ended; 2 no reason; 10 there is no such request.
    """
    with opened() as installation:
        row = requests.reject(number, installation.actor, installation.ports, reason=reason)
    result_console().print(
        f"Restore request {row.id} is rejected by {row.decided_actor}.", markup=False, soft_wrap=True
    )
