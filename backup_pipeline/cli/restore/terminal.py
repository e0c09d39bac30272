"""`restore` in a terminal: where its request and target come from, and what a person sees and types meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace

from rich.text import Text

from backup_pipeline.cli.options import Opened, print_json, print_line, shown_progress
from backup_pipeline.cli.restore import RestoreOptions, same_command, undo_command
from backup_pipeline.core.errors import RefusedError
from backup_pipeline.core.ports import Ports, Progress
from backup_pipeline.core.restore import RestoreRequest
from backup_pipeline.core.restore.requests import Plan, RestoreRow, RestoreStatus, check_refusals
from backup_pipeline.operations.browse import find_sound_backup
from backup_pipeline.operations.restore import Confirmation, request_restore, restore
from backup_pipeline.operations.restore.requests import (
    RestoreCaller,
    TargetDatabase,
    find_performable,
    find_request,
    planned,
    stopped,
)
from backup_pipeline.presentation.restore import asked_document, plan_document, report_document
from backup_pipeline.presentation.terminal import SafeConsole, draw, note_console
from backup_pipeline.wiring.embedded import source_ready
from backup_pipeline.wiring.restore import chosen_target, open_restore, target_of


@dataclass
class TerminalDoor:
    """Shows a restore in the terminal, and lets a person confirm it.

    With `--json` nothing is asked or printed meanwhile; `unconfirmed` is the plan that was shown and does not run yet.
    """

    options: RestoreOptions
    shown_target: str
    unconfirmed: Mapping[str, object] | None = field(default=None, init=False)

    def show(self, row: RestoreRow, plan: Plan) -> None:
        """Print the plan."""
        plan = plan.confirmed_with(self.options.request.confirm)
        self.unconfirmed = {"request": row.id, "plan": plan.as_json()}
        if not self.options.as_json:
            draw(plan_document(plan, self.shown_target, request=row.id, safety_backup=row.safety_backup))

    def confirm(self, row: RestoreRow, plan: Plan) -> Confirmation:
        """The name of `--confirm`, or the one that a person types at the terminal."""
        name = self.options.request.confirm
        if name is None and plan.confirm_name and sys.stdin.isatty() and not self.options.as_json:
            name = _typed(plan)
        command = same_command(self.options, plan.backup_id, self.shown_target, plan.confirm_name or "")
        return Confirmation(name, do=f"Read the plan; if that is what you want, run: {command}")

    @contextmanager
    def watching(self, row: RestoreRow, progress: Progress) -> Iterator[Progress]:
        """Show the progress; after Ctrl-C say what is true of the target."""
        self.unconfirmed = None
        try:
            with shown_progress(SafeConsole(quiet=True) if self.options.as_json else note_console()) as shown:
                yield shown
        except KeyboardInterrupt:
            note_console().print(stopped(replace(row, status=RestoreStatus.RUNNING)).what)
            raise


def carry_out(installation: Opened, options: RestoreOptions) -> None:
    """Do what the options say, and print it; `RESTORE_HELP` is what a person is promised."""
    settings = installation.settings
    row = _request_of(installation, options)
    if row is not None:
        request: RestoreRequest | RestoreRow = row
        catalog, store = row.scope.catalog, row.store
    else:
        catalog, options = _resolved(installation, options)
        request, store = options.request, options.request.store
    with source_ready(settings, catalog) if options.to_source else nullcontext():
        if row is not None:
            named = target_of(row, settings, options.target_url, to_source=options.to_source)
        else:
            named = chosen_target(settings, catalog, options.target_url, to_source=options.to_source)
        caller = RestoreCaller(
            installation.actor, needs_approval=_needs_approval(installation, options), break_glass=options.break_glass
        )
        with open_restore(settings, named, catalog, store=store) as (target, ports):
            if options.dry_run:
                _preview(options, request, target, ports)
            elif isinstance(request, RestoreRequest) and options.ask:
                _ask(options, request, target, ports, caller)
            else:
                _restore(options, request, target, ports, caller)


def _request_of(installation: Opened, options: RestoreOptions) -> RestoreRow | None:
    if options.number is None:
        return None
    if options.dry_run:
        return find_request(options.number, installation.ledger)
    return find_performable(options.number, installation.ledger, needs_approval=_needs_approval(installation, options))


def _needs_approval(installation: Opened, options: RestoreOptions) -> bool:
    return installation.settings.restore_approval and not options.break_glass


def _resolved(installation: Opened, options: RestoreOptions) -> tuple[str, RestoreOptions]:
    """The catalog of the backup that is meant, and the options with its id in place of `latest`."""
    request = options.request
    attempt = find_sound_backup(request.backup_id, installation.ledger, catalog=options.catalog, store=request.store)
    request = replace(request, backup_id=attempt.backup_id, actor=installation.actor)
    return attempt.scope.catalog, replace(options, request=request)


def _preview(
    options: RestoreOptions, request: RestoreRequest | RestoreRow, target: TargetDatabase, ports: Ports
) -> None:
    """Show the plan; touch nothing, and note nothing."""
    row = request if isinstance(request, RestoreRow) else None
    wanted = row.request if row else options.request
    plan = planned(wanted, target, ports)
    if options.as_json:
        print_json({"request": row.id if row else None, "plan": plan.as_json()})
    else:
        number = row.id if row else None
        draw(plan_document(plan, target.address.url, request=number, safety_backup=wanted.safety_backup))
    check_refusals(plan)


def _ask(
    options: RestoreOptions, request: RestoreRequest, target: TargetDatabase, ports: Ports, caller: RestoreCaller
) -> None:
    door = TerminalDoor(options, target.address.url)
    row, plan = request_restore(request, target, ports, caller, door)
    if options.as_json:
        print_json({"request": row.id, "plan": plan.as_json()})
    else:
        draw(asked_document(row, plan))


def _restore(
    options: RestoreOptions,
    request: RestoreRequest | RestoreRow,
    target: TargetDatabase,
    ports: Ports,
    caller: RestoreCaller,
) -> None:
    door = TerminalDoor(options, target.address.url)
    try:
        outcome = restore(request, target, ports, caller, door)
    except RefusedError:
        # Where JSON is wanted, a refusal comes with the plan that it is about.
        if options.as_json and door.unconfirmed:
            print_json(door.unconfirmed)
        raise
    row, report = outcome.row, outcome.report
    if options.as_json:
        print_json({"request": row.id, "plan": outcome.plan.as_json(), "report": report.as_json()})
    else:
        print_line("")
        draw(report_document(row.id, report, undo=undo_command(options, report, target.address.url)))


def _typed(plan: Plan) -> str | None:
    console = SafeConsole(stderr=True, highlight=False)
    kind = plan.whose.partition(" ")[0]
    name = plan.confirm_name or ""
    console.print(Text.assemble(f"Type the name of the {kind}, ", (name, "bold"), ", to go ahead: "), end="")
    try:
        return input().strip() or None
    except EOFError:
        return None
