"""The options of `restore`: what each is, and what was typed, read and checked."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from backup_pipeline.cli.options import (
    FromStore,
    LedgerReason,
    OfCatalog,
    PerhapsBackup,
    PlanAsJson,
    opened,
)
from backup_pipeline.core.errors import UsageError
from backup_pipeline.core.restore.model import Mode, RestoreReport, RestoreRequest
from backup_pipeline.core.restore.requests import (
    FIRST,
    Which,
)

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
    from backup_pipeline.cli.restore.perform import carry_out

    with opened(catalog) as at:
        carry_out(at, order)
