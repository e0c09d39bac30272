"""The options of `restore`: what each is, and what was typed, read and checked."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from backup_pipeline.cli.options import (
    FromStore,
    LedgerReason,
    OfCatalog,
    Opened,
    PerhapsBackup,
    PlanAsJson,
    SafeConsole,
    note_console,
    opened,
    print_json,
)
from backup_pipeline.cli.progress import shown_progress
from backup_pipeline.cli.restore.requests import print_asked, print_plan, print_report
from backup_pipeline.core.errors import RefusedError, UsageError
from backup_pipeline.core.restore.model import Mode, RestorePlan, RestoreReport, RestoreRequest
from backup_pipeline.core.restore.requests import (
    FIRST,
    SECOND,
    RestoreRow,
    RestoreStatus,
    Which,
    check_may_run,
    protected_name,
)
from backup_pipeline.ledger.leases import Heartbeat
from backup_pipeline.operations.browse import find_sound_backup
from backup_pipeline.operations.restore.perform import plan_restore
from backup_pipeline.operations.restore.requests import (
    Access,
    cancel,
    check_confirmed,
    check_refusals,
    ended_when_it_fails,
    find_request,
    perform,
    plan_request,
    request,
    stopped,
    tidy,
    wish_of,
)
from backup_pipeline.wiring.embedded import source_ready
from backup_pipeline.wiring.ports import is_dead_restore
from backup_pipeline.wiring.restore import Target, chosen_target, open_access, target_of

Tables = Annotated[list[str] | None, typer.Option("--table", "-T", help="Only this table; may be given several times.")]
TargetUrl = Annotated[
    str | None,
    typer.Option(
        help="The database to restore into: postgresql://user@host:5432/database. Without a password in it, libpq "
        "takes it from PGPASSWORD or ~/.pgpass, where no process list shows it."
    ),
]
ToSource = Annotated[bool, typer.Option("--to-source", help="Restore into the database that was backed up.")]
How = Annotated[
    Mode | None,
    typer.Option(
        help="new: create the tables. insert-missing: add rows whose key is not there. upsert: add them, and set "
        "those that are. replace: the tables then hold exactly the backup's rows. Default: new."
    ),
]
IntoSchema = Annotated[str | None, typer.Option(help="Put the tables into this schema instead of their own.")]
Renames = Annotated[list[str] | None, typer.Option(help="old=new: restore a table under another name; several times.")]
Fills = Annotated[
    list[str] | None,
    typer.Option(help="table.column=value: for new rows, in a column that the backup has no values for."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the plan; touch nothing, and note nothing.")]
Ask = Annotated[
    bool,
    typer.Option(
        "--ask", help="Only make the request, with its plan; once another person approved it, it can be performed."
    ),
]
TypedName = Annotated[
    str | None,
    typer.Option(help="The target database's name, where rows that are there can change.", metavar="NAME"),
]
NoSafetyBackup = Annotated[
    bool,
    typer.Option("--no-safety-backup", help="Overwrite rows WITHOUT backing them up first. There is no way back."),
]
RequestNumber = Annotated[
    int | None, typer.Option(help="Perform this request, which was approved or was left waiting.", metavar="N")
]


@dataclass(frozen=True)
class RestoreOptions:
    """What was typed. With a `number` everything but target and confirmation comes from that request."""

    wish: RestoreRequest
    catalog: str | None
    number: int | None
    target_url: str | None
    to_source: bool
    safety_backup: bool
    dry_run: bool
    as_json: bool
    store: Which = FIRST
    ask: bool = False


def pairs(option: str, given: Sequence[str], form: str) -> Mapping[str, str]:
    """What `name=value` options say; UsageError for one that is not of the `form`, or a name that comes twice."""
    found: dict[str, str] = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not (name and sign and (value or option == "--fill")):
            message = f"{option} {text!r} is not of the form {form}."
            raise UsageError(message, do=f"Write {option} {form}.")
        if name in found:
            message = f"{option} names {name!r} twice."
            raise UsageError(message, do="Name it once.")
        found[name] = value
    return found


def refuse_beside_request(given: Mapping[str, object]) -> None:
    """UsageError for options that a request has decided already: what was approved is what is performed."""
    named = [name for name, value in given.items() if value]
    if named:
        message = f"--request can not go with {', '.join(named)}: the request says that itself."
        raise UsageError(message, do="Leave it out, or make a new request without --request.")


PROGRAM = "backup-pipeline"


def same_command(order: RestoreOptions, backup_id: str, shown_target: str, confirm: str) -> str:
    """The command that does the same, confirmed; without any password."""
    return shlex.join([PROGRAM, "restore", *_words(order, backup_id, shown_target), "--confirm", confirm])


def undo_command(order: RestoreOptions, report: RestoreReport, shown_target: str) -> str:
    """The command that brings back what the restore overwrote; without any password."""
    words = [PROGRAM, "restore", report.safety_backup_id or "", "--mode", "replace", *_into(order, shown_target)]
    return shlex.join([*words, "--dry-run"])


def _words(order: RestoreOptions, backup_id: str, shown_target: str) -> Iterator[str]:
    if order.number is not None:
        yield from ("--request", str(order.number))
    else:
        yield backup_id
        yield from _choices(order)
    yield from _into(order, shown_target)


def _into(order: RestoreOptions, shown_target: str) -> Iterator[str]:
    if order.to_source:
        yield "--to-source"
    elif order.target_url:
        yield from ("--target-url", shown_target)


def _choices(order: RestoreOptions) -> Iterator[str]:
    wish = order.wish
    for table in wish.tables:
        yield from ("--table", table)
    yield from ("--mode", wish.mode.value)
    if wish.into_schema:
        yield from ("--into-schema", wish.into_schema)
    for option, given in (("--rename", wish.rename), ("--fill", wish.fill)):
        for name, value in given.items():
            yield from (option, f"{name}={value}")
    if wish.reason:
        yield from ("--reason", wish.reason)
    if order.store != FIRST:
        yield from ("--store", order.store)
    if not order.safety_backup:
        yield "--no-safety-backup"


def carry_out(at: Opened, order: RestoreOptions) -> None:
    """Do what was ordered, and print it; see `cli.restore` for what a person is promised."""
    row = find_request(order.number, at.ledger) if order.number is not None else None
    if row is not None and not order.dry_run:
        check_may_run(row, needs_approval=at.settings.restore_approval)
    catalog, order = _resolved(at, order, row)
    with source_ready(at.settings, protected_name(catalog)) if order.to_source else nullcontext():
        target = _target(at, order, row, catalog)
        if order.dry_run:
            _show_only(at, order, row, target, catalog)
            return
        if order.ask:
            _ask(at, order, target, catalog)
            return
        row, plan = _decided(at, order, row, target, catalog)
        report = _performed(at, order, row, plan, target)
    if order.as_json:
        print_json({"request": row.id, "plan": plan.as_json(), "report": report.as_json()})
    else:
        print_report(row, report, undo=undo_command(order, report, target.address.url))


def _resolved(at: Opened, order: RestoreOptions, row: RestoreRow | None) -> tuple[str, RestoreOptions]:
    """The catalog of the backup that is meant, and the order with its id in place of `latest`.

    A request says itself which store it reads.
    """
    if row is not None:
        return row.catalog, replace(order, store=row.store)
    attempt = find_sound_backup(order.wish.backup_id, at.ledger, catalog=order.catalog, store=order.store)
    return attempt.catalog, replace(order, wish=replace(order.wish, backup_id=attempt.backup_id, requested_by=at.actor))


def _target(at: Opened, order: RestoreOptions, row: RestoreRow | None, catalog: str) -> Target:
    if row is not None:
        return target_of(row, at.settings, order.target_url, to_source=order.to_source)
    return chosen_target(at.settings, catalog, order.target_url, to_source=order.to_source)


def _show_only(at: Opened, order: RestoreOptions, row: RestoreRow | None, target: Target, catalog: str) -> None:
    with open_access(at.settings, target, catalog, second=_second(order)) as access:
        plan = plan_restore(wish_of(row) if row else order.wish, access.target, access.ports)
    _show(order, plan, row, access.address.url)
    if order.as_json:
        print_json({"request": row.id if row else None, "plan": plan.as_json()})
    check_refusals(plan)


def _ask(at: Opened, order: RestoreOptions, target: Target, catalog: str) -> None:
    """Make the request and its plan; one that is refused ends with this command."""
    with open_access(at.settings, target, catalog, second=_second(order)) as opened:
        access = replace(opened, needs_approval=True)
        tidy(access, is_dead_restore)
        row = request(order.wish, access, safety_backup=order.safety_backup, store=order.store)
        with ended_when_it_fails(row, access):
            plan = plan_request(row, access)
            _show(order, plan, row, access.address.url)
            check_refusals(plan)
    if order.as_json:
        print_json({"request": row.id, "plan": plan.as_json()})
    else:
        print_asked(row, plan)


def _decided(
    at: Opened, order: RestoreOptions, known: RestoreRow | None, target: Target, catalog: str
) -> tuple[RestoreRow, RestorePlan]:
    """The request and its plan, seen and confirmed.

    A request that this command made ends with it when it is refused or not confirmed. One that waits for approval, or
    that was made before, stays.
    """
    with open_access(at.settings, target, catalog, second=_second(order)) as access:
        tidy(access, partial(is_dead_restore, clock=access.clock))
        row = known or request(order.wish, access, safety_backup=order.safety_backup, store=order.store)
        with ended_when_it_fails(row, access) if known is None else nullcontext():
            plan = _told(plan_request(row, access), order.wish.confirm)
            _show(order, plan, row, access.address.url)
        with _plan_first(order, row, plan):
            with ended_when_it_fails(row, access) if known is None else nullcontext():
                check_refusals(plan)
            check_may_run(row, needs_approval=access.needs_approval)
            with _canceled_else(row, access) if known is None else nullcontext():
                return row, _confirmed(order, plan, access.address.url)


@contextmanager
def _plan_first(order: RestoreOptions, row: RestoreRow, plan: RestorePlan) -> Iterator[None]:
    """Where JSON is wanted, a refusal comes with the plan that it is about."""
    try:
        yield
    except RefusedError:
        if order.as_json:
            print_json({"request": row.id, "plan": plan.as_json()})
        raise


@contextmanager
def _canceled_else(row: RestoreRow, access: Access) -> Iterator[None]:
    try:
        yield
    except BaseException:
        cancel(row, "It was not confirmed.", access)
        raise


def _confirmed(order: RestoreOptions, plan: RestorePlan, shown_target: str) -> RestorePlan:
    """The plan with what the person typed; PreflightRefusedError, with the command to run, when it is not the name."""
    typed = plan.request.confirm
    if typed is None and plan.confirm_name and sys.stdin.isatty() and not order.as_json:
        typed = _typed(plan)
    told = _told(plan, typed)
    command = same_command(order, plan.backup_id, shown_target, plan.confirm_name or "")
    check_confirmed(told, do=f"Read the plan; if that is what you want, run: {command}")
    return told


def _told(plan: RestorePlan, typed: str | None) -> RestorePlan:
    return replace(plan, request=replace(plan.request, confirm=typed))


def _typed(plan: RestorePlan) -> str | None:
    console = SafeConsole(stderr=True, highlight=False)
    console.print(
        Text.assemble("Type the name of the database, ", (plan.confirm_name or "", "bold"), ", to go ahead: "), end=""
    )
    try:
        return input().strip() or None
    except EOFError:
        return None


def _performed(at: Opened, order: RestoreOptions, row: RestoreRow, plan: RestorePlan, target: Target) -> RestoreReport:
    console = SafeConsole(quiet=True) if order.as_json else note_console()
    try:
        return _watched(at, order, row, plan, target, console)
    except KeyboardInterrupt:
        note_console().print(stopped(replace(row, status=RestoreStatus.RUNNING)).what)
        raise


def _second(order: RestoreOptions) -> bool:
    return order.store == SECOND


def _watched(
    at: Opened, order: RestoreOptions, row: RestoreRow, plan: RestorePlan, target: Target, console: Console
) -> RestoreReport:
    with (
        shown_progress(console) as progress,
        open_access(at.settings, target, row.catalog, progress=progress, second=_second(order)) as access,
        Heartbeat(access.ledger.restores, row.id, clock=access.clock),
    ):
        return perform(row, plan, access, by=at.actor)


def _show(order: RestoreOptions, plan: RestorePlan, row: RestoreRow | None, shown_target: str) -> None:
    if not order.as_json:
        print_plan(plan, row, shown_target, safety_backup=row.safety_backup if row else order.safety_backup)


def restore(  # noqa: PLR0913  # options are arguments to Typer
    backup: PerhapsBackup = None,
    *,
    table: Tables = None,
    target_url: TargetUrl = None,
    to_source: ToSource = False,
    mode: How = None,
    into_schema: IntoSchema = None,
    rename: Renames = None,
    fill: Fills = None,
    dry_run: DryRun = False,
    ask: Ask = False,
    confirm: TypedName = None,
    reason: LedgerReason = "",
    no_safety_backup: NoSafetyBackup = False,
    request: RequestNumber = None,
    store: FromStore = "first",
    catalog: OfCatalog = None,
    as_json: PlanAsJson = False,
) -> None:
    """Restore a backup, or some tables of it, into a database: first the plan, then one transaction or nothing.

    The plan says for each table what will happen, how many rows are there now and will be then, what is kept, and what
    speaks against it. A refusal keeps everything from being touched, and says the way out. Where rows that are there
    can change (upsert, replace), the database's name has to be typed, and those tables are backed up first. Whatever
    goes wrong, also a lost connection or Ctrl-C, the target is as it was.

    A target has to be named: --target-url or --to-source. Only the chosen tables are fetched from the store, or with
    `--store second` from the copy there, also when the request is performed later; a safety backup goes to the first
    store always. Every request has a row in the ledger: `restores` lists them. Where BACKUP_RESTORE_APPROVAL is on,
    another person has to approve it before `restore --request N` performs it. --ask makes a request and its plan, and
    performs nothing: so Dagster's restore job is given its work, which performs what was approved and nothing else.

    Examples:

        backup-pipeline restore latest -T customers --to-source --mode upsert --dry-run

        backup-pipeline restore latest --target-url postgresql://app@db/isp_new --reason "moving"

        backup-pipeline restore latest -T payments --to-source --into-schema rescued

        backup-pipeline restore latest -T payments --to-source --mode replace --confirm isp --reason "wrong UPDATE"

        backup-pipeline restore latest -T payments --to-source --mode replace --ask --reason "wrong UPDATE"

    Exit codes: 0 restored, asked for (--ask), or the plan has no refusal (--dry-run); 1 failed, the target is as it
    was; 2 wrong request; 10 no such backup or request; 11 another restore runs on the target, or somebody keeps a table
    of it; 12 no key opens the encrypted backup; 20 the stored bytes are damaged; 21 refused, not confirmed or not
    approved, nothing was touched; 130 stopped, the target is as it was.
    """
    wish = RestoreRequest(
        backup_id=backup or "",
        tables=tuple(dict.fromkeys(table or ())),
        mode=mode or Mode.NEW,
        into_schema=into_schema,
        rename=pairs("--rename", rename or [], "old=new"),
        fill=pairs("--fill", fill or [], "table.column=value"),
        confirm=confirm,
        reason=reason,
    )
    if request is not None:
        refuse_beside_request(
            {"ID": backup, "--table": table, "--mode": mode, "--into-schema": into_schema, "--rename": rename}
            | {"--fill": fill, "--reason": reason, "--no-safety-backup": no_safety_backup, "--catalog": catalog}
            | {"--store": store if store != "first" else None, "--ask": ask}
        )
    elif not backup:
        message = "Which backup is to be restored?"
        raise UsageError(message, do="Give its id, or `latest`; `backup-pipeline list` shows them.")
    if ask and (dry_run or confirm):
        message = f"--ask can not go with {'--dry-run' if dry_run else '--confirm'}."
        raise UsageError(message, do="Leave it out: the approval confirms the plan, and --ask shows it.")
    order = RestoreOptions(
        wish, catalog, request, target_url, to_source, not no_safety_backup, dry_run, as_json, store, ask
    )
    with opened(catalog) as at:
        carry_out(at, order)
