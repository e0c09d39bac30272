"""`backup-pipeline restore`, and `restores`: its requests, which somebody asks for and another approves."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from backup_pipeline.cli.options import (
    FromStore,
    LedgerReason,
    Limit,
    OfCatalog,
    PerhapsBackup,
    PlanAsJson,
    RowsAsJson,
    named_scope,
    opened,
    print_json,
)
from backup_pipeline.core.errors import UsageError
from backup_pipeline.core.restore import FIRST, Mode, RestoreReport, RestoreRequest
from backup_pipeline.core.restore.requests import RestoreStatus
from backup_pipeline.lazy import lazily
from backup_pipeline.presentation.terminal import draw, result_console

if TYPE_CHECKING:
    from backup_pipeline.core.restore.businesses import BusinessReport

with lazily():
    from backup_pipeline.cli.restore import terminal
    from backup_pipeline.operations.restore import decisions, requests
    from backup_pipeline.presentation import backup as presentation_backup
    from backup_pipeline.presentation import restore as presentation_restore


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
    typer.Option(
        help="table.column=value: for new rows, in a column that the backup has no values for. In the value {random} "
        "is 32 random hex digits for each row, and {n} its number, counted on from the rows that are there."
    ),
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


BreakGlass = Annotated[
    str,
    typer.Option(
        "--break-glass",
        help="Restore without the approval that is asked for here, for this reason. Everybody who gets alerts is told.",
        metavar="REASON",
    ),
]


@dataclass(frozen=True)
class RestoreOptions:
    """A command line that is checked. With a `number` that request of the ledger stands in place of `request`.

    Its confirmation is in `request` all the same.
    """

    request: RestoreRequest
    catalog: str | None
    number: int | None
    target_url: str | None
    to_source: bool
    dry_run: bool
    ask: bool
    as_json: bool
    break_glass: str = ""


def pairs(option: str, given: Sequence[str], form: str) -> Mapping[str, str]:
    """The values of `name=value` options; UsageError for one that is not of the `form`, or a name that comes twice."""
    values: dict[str, str] = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not (name and sign and (value or option == "--fill")):
            message = f"{option} {text!r} is not of the form {form}."
            raise UsageError(message, do=f"Write {option} {form}.")
        if name in values:
            message = f"{option} names {name!r} twice."
            raise UsageError(message, do="Name it once.")
        values[name] = value
    return values


def refuse_beside_request(given: Mapping[str, object]) -> None:
    """UsageError for options that a request has decided already: what was approved is what is performed."""
    named = [name for name, value in given.items() if value]
    if named:
        message = f"--request can not go with {', '.join(named)}: the request says that itself."
        raise UsageError(message, do="Leave it out, or make a new request without --request.")


def check_options(options: RestoreOptions) -> None:
    """UsageError without a backup, or for --ask beside what performs or only looks."""
    if options.number is None and not options.request.backup_id:
        message = "Which backup is to be restored?"
        raise UsageError(message, do="Give its id, or `latest`; `backup-pipeline list` shows them.")
    if options.request.mode is Mode.DIFFERENCE:
        message = "Tables of a backup are not restored by the difference of one business."
        raise UsageError(message, do="`backup-pipeline businesses restore` brings one business back.")
    if options.ask and (options.dry_run or options.request.confirm):
        message = f"--ask can not go with {'--dry-run' if options.dry_run else '--confirm'}."
        raise UsageError(message, do="Leave it out: the approval confirms the plan, and --ask shows it.")
    if options.break_glass and (options.ask or options.dry_run):
        message = (
            f"--break-glass can not go with {'--ask' if options.ask else '--dry-run'}: nothing is restored by that."
        )
        raise UsageError(message, do="Leave it out.")


PROGRAM = "backup-pipeline"


def same_command(options: RestoreOptions, backup_id: str, shown_target: str, confirm: str) -> str:
    """The command that does the same, confirmed; without any password."""
    return shlex.join([PROGRAM, "restore", *_words(options, backup_id, shown_target), "--confirm", confirm])


def undo_command(options: RestoreOptions, report: RestoreReport | BusinessReport, shown_target: str) -> str:
    """The command that brings back what the restore overwrote; without any password."""
    if not isinstance(report, RestoreReport):
        return shlex.join([PROGRAM, "businesses", "restore", report.safety_backup_id or ""])
    words = [PROGRAM, "restore", report.safety_backup_id or "", "--mode", "replace", *_into(options, shown_target)]
    return shlex.join([*words, "--dry-run"])


def _words(options: RestoreOptions, backup_id: str, shown_target: str) -> Iterator[str]:
    if options.number is not None:
        yield from ("--request", str(options.number))
    else:
        yield backup_id
        yield from _choices(options)
    yield from _into(options, shown_target)


def _into(options: RestoreOptions, shown_target: str) -> Iterator[str]:
    if options.to_source:
        yield "--to-source"
    elif options.target_url:
        yield from ("--target-url", shown_target)


def _choices(options: RestoreOptions) -> Iterator[str]:
    request = options.request
    for table in request.tables:
        yield from ("--table", table)
    yield from ("--mode", request.mode.value)
    if request.into_schema:
        yield from ("--into-schema", request.into_schema)
    for option, given in (("--rename", request.rename), ("--fill", request.fill)):
        for name, value in given.items():
            yield from (option, f"{name}={value}")
    if request.reason:
        yield from ("--reason", request.reason)
    if request.store != FIRST:
        yield from ("--store", request.store)
    if not request.safety_backup:
        yield "--no-safety-backup"


RESTORE_HELP = """\
Restore a backup, or some tables of it, into a database: first the plan, then one transaction or nothing.

The plan says for each table what will happen, how many rows are there now and will be then, what is kept, and what
speaks against it. A refusal keeps everything from being touched, and says the way out. Where rows that are there
can change (upsert, replace), the database's name has to be typed, and those tables are backed up first. Whatever
goes wrong, also a lost connection or Ctrl-C, the target is as it was.

A target has to be named: --target-url or --to-source. Only the chosen tables are fetched from the store, or with
`--store second` from the copy there, also when the request is performed later; a safety backup goes to the first
store always. Every request has a row in the ledger: `restores` lists them. Where BACKUP_RESTORE_APPROVAL is on,
another person has to approve it before `restore --request N` performs it; --break-glass with a reason does without,
and everybody who gets alerts is told at once. --ask makes a request and its plan, and performs nothing: so Dagster's
restore job is given its work, which performs what was approved and nothing else.

Examples:

    backup-pipeline restore latest -T customers --to-source --mode upsert --dry-run

    backup-pipeline restore latest --target-url postgresql://app@db/isp_new --reason "moving"

    backup-pipeline restore latest -T payments --to-source --into-schema rescued

    backup-pipeline restore latest -T payments --to-source --mode replace --confirm isp --reason "wrong UPDATE"

    backup-pipeline restore latest -T payments --to-source --mode replace --ask --reason "wrong UPDATE"

    backup-pipeline restore --request 12 --to-source --break-glass "the shop is down, nobody else is awake"

Exit codes: 0 restored, asked for (--ask), or the plan has no refusal (--dry-run); 1 failed, the target is as it
was; 2 wrong request; 10 no such backup or request; 11 another restore runs on the target, or somebody keeps a table
of it; 12 no key opens the encrypted backup; 20 the stored bytes are damaged; 21 refused, not confirmed or not
approved, nothing was touched; 130 stopped, the target is as it was.
"""


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
    break_glass: BreakGlass = "",
    store: FromStore = "first",
    catalog: OfCatalog = None,
    as_json: PlanAsJson = False,
) -> None:
    """Restore a backup as the options say; people read `RESTORE_HELP`."""
    wanted = RestoreRequest(
        backup_id=backup or "",
        tables=tuple(dict.fromkeys(table or ())),
        mode=mode or Mode.NEW,
        into_schema=into_schema,
        rename=pairs("--rename", rename or [], "old=new"),
        fill=pairs("--fill", fill or [], "table.column=value"),
        safety_backup=not no_safety_backup,
        store=store,
        confirm=confirm,
        reason=reason,
    )
    if request is not None:
        refuse_beside_request(
            {"ID": backup, "--table": table, "--mode": mode, "--into-schema": into_schema, "--rename": rename}
            | {"--fill": fill, "--reason": reason, "--no-safety-backup": no_safety_backup, "--catalog": catalog}
            | {"--store": store if store != FIRST else None, "--ask": ask}
        )
    options = RestoreOptions(
        wanted, catalog, request, target_url, to_source, dry_run, ask, as_json, break_glass.strip()
    )
    check_options(options)
    with opened(catalog) as installation:
        terminal.carry_out(installation, options)


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

    draw(presentation_restore.requests_document(rows))


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
    draw(presentation_restore.request_document(row, audits))


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
        row = decisions.approve(number, installation.actor, installation.ports, reason=reason)
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
        row = decisions.reject(number, installation.actor, installation.ports, reason=reason)
    result_console().print(
        f"Restore request {row.id} is rejected by {row.decided_actor}.", markup=False, soft_wrap=True
    )
