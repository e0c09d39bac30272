"""`backup-pipeline businesses restore`: one business as it was, by a backup or a moment; planned, asked for, done."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from backup_pipeline.cli.businesses import businesses_app
from backup_pipeline.cli.options import LedgerReason, invoked_settings, opened, print_json, print_line, shown_progress
from backup_pipeline.cli.payments import AsJson
from backup_pipeline.cli.ticks import OfSystem, systems_ready, with_businesses
from backup_pipeline.core.errors import StalePlanError, UsageError
from backup_pipeline.core.restore import Mode, RestoreRequest, RowChange, Selection
from backup_pipeline.core.restore.businesses import parse_rows
from backup_pipeline.lazy import lazily
from backup_pipeline.presentation.terminal import SafeConsole, draw, note_console

if TYPE_CHECKING:
    from backup_pipeline.core.catalog.model import Catalog
    from backup_pipeline.core.ports import Ports, Progress
    from backup_pipeline.core.restore.requests import Plan, RestoreRow
    from backup_pipeline.operations.restore import Confirmation, RestoreOutcome
    from backup_pipeline.operations.restore.requests import TargetDatabase

with lazily():
    from backup_pipeline.core import names
    from backup_pipeline.core.restore import requests as core_requests
    from backup_pipeline.operations import browse
    from backup_pipeline.operations import restore as restores
    from backup_pipeline.operations.businesses import restore as business_restores
    from backup_pipeline.operations.restore import requests
    from backup_pipeline.presentation import restore as drawn
    from backup_pipeline.wiring import addresses
    from backup_pipeline.wiring import restore as wiring_restore

Rows = Annotated[
    list[str] | None,
    typer.Option(
        "--row", help="TABLE=KEY: only this row of the table; may be given several times.", metavar="TABLE=KEY"
    ),
]
ButRows = Annotated[
    list[str] | None,
    typer.Option("--but", help="TABLE=KEY: every row of the table but this; several times.", metavar="TABLE=KEY"),
]


@dataclass(frozen=True)
class BusinessOptions:
    """A command line: what is to come back, and whether it is only planned, asked for, or done.

    `confirm` is the digest of the plan that somebody has seen.
    """

    request: RestoreRequest
    confirm: str | None
    ask: bool
    as_json: bool


@dataclass
class DigestDoor:
    """Shows a restore of a business in the terminal; who has given the digest of its plan has seen and confirmed it."""

    options: BusinessOptions
    planned: Mapping[str, object] | None = field(default=None, init=False)

    def show(self, row: RestoreRow, plan: Plan) -> None:
        """Print the plan."""
        self.planned = {"request": row.id, "plan": plan.as_json()}
        if not self.options.as_json:
            draw(drawn.plan_document(plan, plan.target, request=row.id, safety_backup=True))

    def confirm(self, row: RestoreRow, plan: Plan) -> Confirmation:
        """StalePlanError where the digest is another plan's."""
        if self.options.confirm != plan.digest:
            message = (
                f"The plan is stale: {(self.options.confirm or '')[:12]} was confirmed, and what would be done now is "
                f"{plan.digest[:12]}."
            )
            raise StalePlanError(message, do="Look at the plan above, and confirm that one. Nothing was changed.")
        return restores.Confirmation(plan.confirm_name)

    @contextmanager
    def watching(self, row: RestoreRow, progress: Progress) -> Iterator[Progress]:
        """Show the progress; after Ctrl-C say what is true."""
        try:
            with shown_progress(SafeConsole(quiet=True) if self.options.as_json else note_console()) as reporting:
                yield reporting
        except KeyboardInterrupt:
            note_console().print(requests.stopped(replace(row, status=core_requests.RestoreStatus.RUNNING)).what)
            raise


PerhapsBackup = Annotated[str | None, typer.Argument(help="A backup of the business, of whichever kind.")]
OfBusiness = Annotated[str | None, typer.Option(help="With --at: the business's key.", metavar="KEY")]
At = Annotated[
    str | None, typer.Option(help="As it was then: 2026-11-30T14:05, by the system's clock.", metavar="TIME")
]
Tables = Annotated[list[str] | None, typer.Option(help="Only this table; may be given several times.")]
Without = Annotated[list[RowChange] | None, typer.Option(help="Leave such changes out; may be given several times.")]
Ask = Annotated[bool, typer.Option("--ask", help="Make a request with its plan, for another person to approve.")]
Digest = Annotated[str | None, typer.Option(help="The digest of the plan that you have seen: do it.")]

BUSINESS_HELP = """\
Bring one business back to how it was, by a backup or a moment; every other business stays as it is.

Without --confirm and --ask it shows the plan: rows to create, to update, column by column, and to delete, with
examples and what is in the way. With the plan's digest it does that very plan in one transaction, after a manual
backup of how it is now. Where somebody has written meanwhile, the plan is stale, and nothing is done. Where
BACKUP_RESTORE_APPROVAL is on, what is confirmed waits for the approval of another person, as with --ask; then
`backup-pipeline restore --request N` does it.

Examples:

    backup-pipeline businesses restore 20261130T140500Z-incremental-1f3a9c2e

    backup-pipeline businesses restore --business b-17 --at 2026-11-30T14:05 --ask --reason "a wrong import"

    backup-pipeline businesses restore 20261130T140500Z-incremental-1f3a9c2e --row sales=8812 --confirm 4be0…

Exit codes: 0 planned, asked for, or done; 1 failed; 2 wrong request; 10 there is no such backup, business or row;
11 another restore of it, or a tick, is at work; 20 a backup of the chain is damaged; 21 refused: conflicts, a stale
plan, or it waits for an approval.
"""


@businesses_app.command("restore", help=BUSINESS_HELP)
def restore_business(  # noqa: PLR0913  # options are arguments to Typer
    backup: PerhapsBackup = None,
    *,
    business: OfBusiness = None,
    at: At = None,
    table: Tables = None,
    row: Rows = None,
    but: ButRows = None,
    without: Without = None,
    ask: Ask = False,
    confirm: Digest = None,
    reason: LedgerReason = "",
    catalog: OfSystem = None,
    as_json: AsJson = False,
) -> None:
    """Bring one business back; people read `BUSINESS_HELP`."""
    if (backup is None) == (at is None):
        message = "To which moment?" if backup is None else "A backup and a moment are named."
        raise UsageError(message, do="Name a backup of the business, or the business and a moment: --business, --at.")
    changes = tuple(change for change in RowChange if change not in (without or ()))
    selection = Selection(changes, parse_rows(row or ()), parse_rows(but or ()))
    request = RestoreRequest(
        backup or "", tuple(table or ()), Mode.DIFFERENCE, confirm=None, reason=reason, selection=selection
    )
    if confirm is not None and ask:
        message = "--ask can not go with --confirm."
        raise UsageError(message, do="Leave it out: the approval confirms the plan, and --ask shows it.")
    options = BusinessOptions(request, confirm, ask, as_json)
    if catalog is not None:
        with_businesses(invoked_settings(), catalog)
    with systems_ready(_system_of(backup, catalog) if backup is not None else catalog) as (spec, settings, ports):
        if at is not None:
            options = replace(options, request=_as_of(request, spec, business, at, ports))
        options = replace(options, request=replace(options.request, actor=addresses.os_user()))
        named = wiring_restore.target_in_place(settings, spec.catalog)
        with wiring_restore.open_restore(settings, named, spec.catalog) as (target, own):
            _carry_out(options, target, own, needs_approval=settings.restore_approval)


def _system_of(backup: str, catalog: str | None) -> str:
    wanted = str(names.parse_backup_id(backup, latest=False))
    with opened() as installation:
        return browse.find_backup(wanted, installation.ledger, catalog=catalog).scope.catalog


def _as_of(request: RestoreRequest, catalog: Catalog, business: str | None, at: str, ports: Ports) -> RestoreRequest:
    """The request for the backup that shows a business at a moment."""
    if not business:
        message = "Which business is meant?"
        raise UsageError(message, do="Name its key with --business; `backup-pipeline businesses list` shows them.")
    try:
        local = datetime.fromisoformat(at)
    except ValueError:
        message = f"{at!r} is no time."
        raise UsageError(message, do="Write it as 2026-11-30T14:05.") from None
    moment = local if local.tzinfo else local.replace(tzinfo=ZoneInfo(catalog.timezone))
    record = business_restores.backup_of_moment(catalog.catalog, business, moment, ports)
    selection = replace(request.selection or Selection(), at=moment)
    return replace(request, backup_id=record.backup_id, selection=selection)


def _carry_out(options: BusinessOptions, target: TargetDatabase, ports: Ports, *, needs_approval: bool) -> None:
    door = DigestDoor(options)
    caller = requests.RestoreCaller(options.request.actor, needs_approval=needs_approval)
    if options.ask:
        row, plan = restores.request_restore(options.request, target, ports, caller, door)
        if options.as_json:
            print_json({"request": row.id, "digest": plan.digest, "plan": plan.as_json()})
        else:
            draw(drawn.asked_document(row, plan))
    elif options.confirm is None:
        _show_plan(options, target, ports)
    else:
        _show_done(options, restores.restore(options.request, target, ports, caller, door))


def _show_plan(options: BusinessOptions, target: TargetDatabase, ports: Ports) -> None:
    plan = requests.planned(options.request, target, ports)
    if options.as_json:
        print_json({"digest": plan.digest, "done": False, "plan": plan.as_json()})
        return
    draw(drawn.plan_document(plan, plan.target, request=None, safety_backup=True))
    if not plan.refused:
        print_line("")
        print_line(f"Nothing was changed. To do it: the same command with --confirm {plan.digest}")


def _show_done(options: BusinessOptions, outcome: RestoreOutcome) -> None:
    report = outcome.report
    if options.as_json:
        done = {"request": outcome.row.id, "digest": outcome.plan.digest, "done": True}
        print_json({**done, "before": report.safety_backup_id, "report": report.as_json()})
        return
    back = report.safety_backup_id
    undo = shlex.join(["backup-pipeline", "businesses", "restore", back]) if back else ""
    print_line("")
    draw(drawn.report_document(outcome.row.id, report, undo=undo))
