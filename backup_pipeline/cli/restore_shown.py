"""How the plan and the report of a restore look in a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from backup_pipeline.cli.output import moment, result_console
from backup_pipeline.core.restore_requests import RestoreRow
from backup_pipeline.core.restoring import Action, Remark, RestorePlan, RestoreReport, Severity, TableRestore

_WHAT = {
    Action.CREATE: "is created, with the backup's rows",
    Action.INSERT_MISSING: "gets the rows whose key it lacks; what is there stays",
    Action.UPSERT: "gets missing rows; rows with the same key are set to the backup's values",
    Action.REPLACE: "then holds exactly the backup's rows; others are removed",
}
_STYLES = {Severity.REFUSAL: "bold red", Severity.WARNING: "yellow"}
_NOTES = 4
"""So many notes with the same advice are shown: a plan that nobody reads to its end warns nobody."""


def print_plan(plan: RestorePlan, row: RestoreRow | None, target: str, *, safety_backup: bool) -> None:
    """Print what will happen, refusals first; then what is fetched, protected, and asked of the person."""
    console = result_console()
    about = f" (request {row.id})" if row else " (dry run: nothing is touched)"
    console.print(Text(f"Restore of backup {plan.backup_id}{about}", style="bold"))
    console.print(Text(f"Its rows are those of {moment(plan.snapshot_at)}"), soft_wrap=True)
    console.print(Text.assemble("Into database ", (plan.database, "bold"), f", {target}"), soft_wrap=True)
    _print_remarks(console, [remark for remark in plan.remarks if remark.severity is Severity.REFUSAL])
    console.print()
    console.print(_tables(plan))
    for table in plan.tables:
        for line in _details(table):
            console.print(Text(f"  {table.name}: {line}"), soft_wrap=True)
    console.print()
    _print_remarks(console, [remark for remark in plan.remarks if remark.severity is not Severity.REFUSAL])
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
        f"Another person than {row.requested_by} approves it: backup-pipeline restores approve {row.id}",
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


def _print_remarks(console: Console, remarks: list[Remark]) -> None:
    """Each refusal and warning with its way out; the notes last, those with the same advice together."""
    for remark in remarks:
        if remark.severity is not Severity.INFO:
            word = "REFUSED: " if remark.severity is Severity.REFUSAL else "Warning: "
            console.print(Text.assemble((word, _STYLES[remark.severity]), _about(remark)), soft_wrap=True)
            _print_do(console, remark.do)
    notes = [remark for remark in remarks if remark.severity is Severity.INFO]
    for do in dict.fromkeys(note.do for note in notes):
        together = [note for note in notes if note.do == do]
        for note in together[:_NOTES]:
            console.print(Text(f"Note: {_about(note)}"), soft_wrap=True)
        if len(together) > _NOTES:
            console.print(Text(f"Note: and {len(together) - _NOTES} more of the kind; --json has them all."))
        _print_do(console, do)


def _about(remark: Remark) -> str:
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
