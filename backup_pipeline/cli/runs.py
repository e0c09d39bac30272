"""`runs`: the runs of Dagster that people asked for, and the log of one, also while it goes on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from backup_pipeline.cli.options import (
    BackupsOf,
    Limit,
    invoked_settings,
    json_text,
    opened,
    plain,
    print_json,
    print_line,
)
from backup_pipeline.core.errors import UsageError
from backup_pipeline.core.text import visible_lines
from backup_pipeline.lazy import lazily
from backup_pipeline.presentation.terminal import draw

if TYPE_CHECKING:
    from backup_pipeline.core.ports import Ledger

with lazily():
    from backup_pipeline.operations import progress
    from backup_pipeline.presentation import people
    from backup_pipeline.wiring import ports as wiring_ports


runs_app = typer.Typer(
    name="runs",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Runs of Dagster that people asked for in the console, and the log of a run.",
)
_MOST = 50
_LOOK_EVERY_S = 1.0


@runs_app.command("list")
def list_runs(
    *,
    catalog: BackupsOf = None,
    limit: Limit = _MOST,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: an array of run requests.")] = False,
) -> None:
    """List what people have asked for in the console or over the API, newest first, and what became of it.

    Examples:

        backup-pipeline runs list

        backup-pipeline runs list --json | jq -r '.[] | select(.status == "failed") | .id'

    Exit codes: 0 listed; 1 the ledger can not be read; 2 wrong request; 10 there is no such catalog.
    """
    with opened(catalog) as installation:
        rows = installation.ledger.run_requests.list(catalog=catalog, limit=limit)
        now = installation.clock()
    if as_json:
        print_json(rows)
    else:
        draw(people.runs_document(rows, now))


@runs_app.command()
def log(
    run: Annotated[str, typer.Argument(help="The id of a request, as `runs list` has it, or of a run of Dagster.")],
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run is over.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: an object a line.")] = False,
) -> None:
    """Print the log of a run, the oldest line first; passwords and known secrets are left out.

    It is asked of Dagster's web server (BACKUP_DAGSTER_API_URL), which `backup-pipeline up` starts.

    Examples:

        backup-pipeline runs log 0b9ce0f6-53a4-4bb7-a2c6-6d8c1f1a3c55 --follow

    Exit codes: 0 printed; 1 Dagster does not answer; 2 wrong request; 10 there is no such run, or it has not begun.
    """
    with opened() as installation:
        run_id = _run_id(run, installation.ledger)
    launcher = wiring_ports.dagster_launcher(invoked_settings())
    for line in progress.log_lines(run_id, launcher, follow=follow, pause=lambda: time.sleep(_LOOK_EVERY_S)):
        if as_json:
            print_line(json_text(plain(line)))
            continue
        step = f" {line.step}:" if line.step else ""
        print_line(f"{line.at:%Y-%m-%d %H:%M:%S} {line.level.upper()}{step} {visible_lines(line.text)}")


def _run_id(text: str, ledger: Ledger) -> str:
    """The run of Dagster that an id means: that of a request, or itself."""
    try:
        number = UUID(text)
    except ValueError:
        message = f"{text!r} is no id of a run."
        raise UsageError(message, do="`backup-pipeline runs list` names them.") from None
    row = ledger.run_requests.get(number)
    return row.run_id if row is not None and row.run_id else str(number)
