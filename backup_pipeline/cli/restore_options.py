"""The options of `restore`: what each is, and what was typed, read and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from backup_pipeline.core.errors import UsageError
from backup_pipeline.core.restore_requests import FIRST, Which
from backup_pipeline.core.restoring import Mode, RestoreRequest

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
class Order:
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
