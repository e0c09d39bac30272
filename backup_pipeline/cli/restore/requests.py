"""How the plan and the report of a restore look in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from backup_pipeline.cli.options import LedgerReason, Limit, RowsAsJson, moment, opened, print_json
from backup_pipeline.core.ledger import AuditEvent
from backup_pipeline.core.restore.model import (
    SECOND,
    Action,
    RemarkSeverity,
    RestorePlan,
    RestoreRemark,
    RestoreReport,
    TableRestore,
)
from backup_pipeline.core.restore.requests import RestoreRow, RestoreStatus
from backup_pipeline.presentation.rows import restore_json
from backup_pipeline.presentation.terminal import result_console

_WHAT = {
    Action.CREATE: "is created, with the backup's rows",
    Action.INSERT_MISSING: "gets the rows whose key it lacks; what is there stays",
    Action.UPSERT: "gets missing rows; rows with the same key are set to the backup's values",
    Action.REPLACE: "then holds exactly the backup's rows; others are removed",
}
_STYLES = {RemarkSeverity.REFUSAL: "bold red", RemarkSeverity.WARNING: "yellow"}
_NOTES = 4
"""So many notes with the same advice are shown: a plan that nobody reads to its end warns nobody."""


def print_plan(plan: RestorePlan, row: RestoreRow | None, target: str, *, safety_backup: bool) -> None:
    """Print what will happen, refusals first; then what is fetched, protected, and asked of the person."""
    console = result_console()
    about = f" (request {row.id})" if row else " (dry run: nothing is touched)"
    console.print(Text(f"Restore of backup {plan.backup_id}{about}", style="bold"))
    console.print(Text(f"Its rows are those of {moment(plan.snapshot_at)}"), soft_wrap=True)
    console.print(Text.assemble("Into database ", (plan.database, "bold"), f", {target}"), soft_wrap=True)
    _print_remarks(console, [remark for remark in plan.remarks if remark.severity is RemarkSeverity.REFUSAL])
    console.print()
    console.print(_tables(plan))
    for table in plan.tables:
        for line in _details(table):
            console.print(Text(f"  {table.name}: {line}"), soft_wrap=True)
    console.print()
    _print_remarks(console, [remark for remark in plan.remarks if remark.severity is not RemarkSeverity.REFUSAL])
    for line in plan.steps.left_out:
        console.print(Text(f"Left out: {line}"), soft_wrap=True)
    console.print(Text(f"{decimal(plan.bytes)} are fetched from the store."))
    if not plan.refused:
        _print_safety(console, plan, safety_backup=safety_backup)


def print_asked(row: RestoreRow, plan: RestorePlan) -> None:
    """Print that a request waits, and what comes next."""
    console = result_console()
    console.print(Text(f"Request {row.id} waits, with the plan {plan.digest[:12]}. Nothing was touched.", style="bold"))
    for line in (
        f"Another person than {row.actor} approves it: backup-pipeline restores approve {row.id}",
        f"Then: backup-pipeline restore --request {row.id}, or Dagster's restore job with request: {row.id}",
    ):
        console.print(Text(line), soft_wrap=True)


def print_report(row: RestoreRow, report: RestoreReport, *, undo: str) -> None:
    """Print what was done, table by table, and how to go back."""
    console = result_console()
    table = Table(box=None, pad_edge=False)
    for name in ("Table", "Restored into"):
        table.add_column(name, no_wrap=True)
    for name in ("Loaded", "Inserted", "Updated", "Deleted", "Unchanged", "Seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    for done in report.tables:
        counts = (done.loaded, done.inserted, done.updated, done.deleted, done.unchanged)
        cells = [f"{count:,}" for count in counts]
        table.add_row(Text(done.name), Text(".".join(done.target)), *cells, f"{done.seconds:.1f}")
    console.print()
    console.print(table)
    done_text = f"Restored in {report.seconds:.1f} s; {decimal(report.bytes_fetched)} fetched. Request {row.id}."
    console.print(Text(done_text, style="green"))
    for note in report.notes:
        console.print(Text.assemble(("Note: ", "yellow"), note), soft_wrap=True)
    if report.safety_backup_id:
        console.print(Text(f"The tables as they were before: backup {report.safety_backup_id}"), soft_wrap=True)
        console.print(Text(f"To look at what bringing them back would do: {undo}"), soft_wrap=True)


def rows_after(table: TableRestore) -> str:
    """How many rows a table will have."""
    now, given = table.rows_now or 0, table.rows_in_backup
    if table.action in {Action.CREATE, Action.REPLACE} or not now or not given:
        return f"{given if table.action in {Action.CREATE, Action.REPLACE} else now + given:,}"
    return f"{max(now, given):,} to {now + given:,}"


def _tables(plan: RestorePlan) -> Table:
    shown = Table(box=None, pad_edge=False)
    shown.add_column("Table", no_wrap=True)
    shown.add_column("Goes to", no_wrap=True)
    shown.add_column("Rows now", justify="right", no_wrap=True)
    shown.add_column("Rows then", justify="right", no_wrap=True)
    shown.add_column("What would happen to it" if plan.refused else "What happens to it")
    for table in plan.tables:
        now = "not there" if table.rows_now is None else f"{table.rows_now:,}"
        shown.add_row(Text(table.name), Text(table.target_name), now, rows_after(table), Text(_WHAT[table.action]))
    return shown


def _details(table: TableRestore) -> Iterator[str]:
    yield from (f"column {column}: {why}" for column, why in table.kept.items())
    yield from (f"column {column} of the backup is not written: {why}" for column, why in table.ignored.items())
    yield from (f"column {column} is set to {value!r} in new rows" for column, value in table.filled.items())
    if table.triggers:
        yield f"these triggers do not fire meanwhile: {', '.join(table.triggers)}"


def _print_remarks(console: Console, remarks: list[RestoreRemark]) -> None:
    """Each refusal and warning with its way out; the notes last, those with the same advice together."""
    for remark in remarks:
        if remark.severity is not RemarkSeverity.INFO:
            word = "REFUSED: " if remark.severity is RemarkSeverity.REFUSAL else "Warning: "
            console.print(Text.assemble((word, _STYLES[remark.severity]), _about(remark)), soft_wrap=True)
            _print_do(console, remark.do)
    notes = [remark for remark in remarks if remark.severity is RemarkSeverity.INFO]
    for do in dict.fromkeys(note.do for note in notes):
        together = [note for note in notes if note.do == do]
        for note in together[:_NOTES]:
            console.print(Text(f"Note: {_about(note)}"), soft_wrap=True)
        if len(together) > _NOTES:
            console.print(Text(f"Note: and {len(together) - _NOTES} more of the kind; --json has them all."))
        _print_do(console, do)


def _about(remark: RestoreRemark) -> str:
    return f"{remark.table}: {remark.message}" if remark.table else remark.message


def _print_do(console: Console, do: str) -> None:
    if do:
        console.print(Text(f"  What to do: {do}"), soft_wrap=True)


def _print_safety(console: Console, plan: RestorePlan, *, safety_backup: bool) -> None:
    if plan.safety_backup and safety_backup:
        line = (
            "Before the first change, these tables are backed up as they are now, but for columns that no backup holds."
        )
        console.print(Text(line))
    elif plan.safety_backup:
        loud = "NO SAFETY BACKUP (--no-safety-backup): what is overwritten or removed can not be brought back."
        console.print(Text(loud, style="bold white on red"), soft_wrap=True)
    console.print(Text("All of it happens in one transaction: whatever goes wrong, the database is as it was."))
    if plan.confirm_name and not plan.confirmed:
        line = f"It can change rows that are there, so the database's name has to be typed: {plan.confirm_name}"
        console.print(Text(line, style="bold"), soft_wrap=True)


_REQUEST_STYLES = {
    RestoreStatus.DONE: "green",
    RestoreStatus.RUNNING: "cyan",
    RestoreStatus.REQUESTED: "yellow",
    RestoreStatus.APPROVED: "yellow",
    RestoreStatus.FAILED: "bold red",
    RestoreStatus.REJECTED: "red",
}


def restore_list(rows: Sequence[RestoreRow]) -> Table:
    """The requests as a table."""
    table = Table(box=None, pad_edge=False)
    table.add_column("N", justify="right", no_wrap=True)
    for name in ("Asked for", "Status", "Backup", "Mode", "Into", "By"):
        table.add_column(name, no_wrap=True)
    table.add_column("Tables, reason or error")
    for row in rows:
        table.add_row(
            str(row.id),
            f"{row.created_at:%Y-%m-%d %H:%M}",
            Text(row.status, style=_REQUEST_STYLES.get(row.status, "")),
            Text(row.backup_id),
            Text(row.mode),
            Text(row.database + (f", schema {row.into_schema}" if row.into_schema else "")),
            Text(str(row.actor)),
            Text("; ".join(_about_request(row))),
        )
    return table


def print_row(row: RestoreRow, audits: Sequence[AuditEvent]) -> None:
    """Print what was asked and decided, how it ended, what was planned, and the audit."""
    console = result_console()
    facts = Table.grid(padding=(0, 2))
    for name, value in _facts(row):
        facts.add_row(Text(name, style="bold"), value if isinstance(value, Text) else Text(value))
    console.print(facts)
    for title, tables in (("Planned", _planned(row.plan)), ("Done", _done(row.report))):
        if tables:
            console.print(Text(f"\n{title}", style="bold"))
            for line in tables:
                console.print(Text(f"  {line}"), soft_wrap=True)
    console.print()
    for event in audits:
        detail = ", ".join(f"{name}: {value}" for name, value in event.detail.items() if name != "request")
        console.print(Text(f"{moment(event.at)}  {event.actor}  {event.action}  {detail}"), soft_wrap=True)


def _about_request(row: RestoreRow) -> Iterator[str]:
    if row.tables:
        yield ", ".join(row.tables)
    if row.error_message:
        yield row.error_message.splitlines()[0]
    elif row.reason:
        yield row.reason


def _facts(row: RestoreRow) -> Iterator[tuple[str, str | Text]]:
    yield "Request", str(row.id)
    yield "Status", Text(row.status, style=_REQUEST_STYLES.get(row.status, ""))
    if row.error_message:
        yield "Error", Text(row.error_message, style="red")
    told = {
        "Backup": row.backup_id,
        "Catalog": row.catalog,
        "Tables": ", ".join(row.tables) or "all of the backup",
        "Mode": row.mode,
        "Into": f"database {row.database}, {row.target}",
        "Schema": row.into_schema or "",
        "Renamed": _pairs(row.rename),
        "Filled": _pairs(row.fill),
        "Store": "the second" if row.store == SECOND else "",
        "Safety": "" if row.safety_backup else "NO SAFETY BACKUP is made",
        "Asked by": f"{row.actor}, {moment(row.created_at)}",
        "Reason": row.reason,
        "Plan": str((row.plan or {}).get("digest", ""))[:12],
        "Decided by": f"{row.decided_actor}, {moment(row.decided_at)}" if row.decided_actor else "",
        "Because": row.decision_reason or "",
        "Started": moment(row.started_at),
        "Finished": moment(row.finished_at),
        "Run": row.run_id or "",
    }
    yield from ((name, value) for name, value in told.items() if value)


def _pairs(given: Mapping[str, str]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in given.items())


def _planned(plan: Mapping[str, Any] | None) -> list[str]:
    """The plan as it was stored: a newer version may have written other fields."""
    if plan is None:
        return []
    lines = []
    for table in plan.get("tables", ()):
        now = table.get("rows_now")
        there = "not there" if now is None else f"{now:,} rows"
        into = ".".join(table.get("target", ()))
        given = table.get("rows_in_backup", 0)
        lines.append(f"{table.get('name')} into {into}: {table.get('action')}, {there} now, {given:,} in the backup")
    remarks = (remark for remark in plan.get("remarks", ()) if remark.get("severity") != "info")
    return lines + [f"{remark['severity']}: {remark.get('table') or ''} {remark['message']}" for remark in remarks]


def _done(report: Mapping[str, Any] | None) -> list[str]:
    if report is None:
        return []
    counted = ("inserted", "updated", "deleted", "unchanged")
    lines = [
        f"{table['name']}: " + ", ".join(f"{table.get(name, 0):,} {name}" for name in counted)
        for table in report.get("tables", ())
    ]
    if report.get("safety_backup_id"):
        lines.append(f"as it was before: backup {report['safety_backup_id']}")
    return lines


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
    with opened(catalog) as at:
        rows = at.ledger.restores.list(catalog=catalog, status=status or (), limit=limit)
    if as_json:
        print_json([restore_json(row) for row in rows])
        return

    result_console().print(restore_list(rows) if rows else "There are no restore requests.")


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
    from backup_pipeline.operations.restore.requests import find_request

    with opened() as at:
        row = find_request(number, at.ledger)
        audits = [event for event in reversed(at.ledger.audits(row.backup_id)) if event.detail.get("request") == row.id]
    if as_json:
        print_json({"request": restore_json(row), "audit": audits})
        return
    print_row(row, audits)


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
    from backup_pipeline.operations.restore.requests import approve as approve_request

    with opened() as at:
        row = approve_request(number, at.actor, at.ports, reason=reason)
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
    from backup_pipeline.operations.restore.requests import reject as reject_request

    with opened() as at:
        row = reject_request(number, at.actor, at.ports, reason=reason)
    result_console().print(
        f"Restore request {row.id} is rejected by {row.decided_actor}.", markup=False, soft_wrap=True
    )
