"""How a drill's report looks in a terminal: each table, the objects of the schema, the inserts, what was found."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from backup_pipeline.cli.output import moment, result_console
from backup_pipeline.core.drill import DrillReport, How, TableDrill

_STYLES = {How.BYTES: "green", How.FINGERPRINT: "green", How.DIFFERENT: "bold red", How.NOT_COMPARED: "yellow"}


def print_drill(report: DrillReport) -> None:
    """Print the report."""
    console = result_console()
    console.print(Text(f"Drill of backup {report.backup_id}: {_outcome(report)}", style="bold"))
    if report.snapshot_at is not None:
        console.print(Text(f"Its rows are those of {moment(report.snapshot_at)}"))
    if report.injected is not None:
        said = f"FAULT INJECTED: {report.injected}. No level is recorded, and nobody is alerted."
        console.print(Text(said, style="bold yellow"))
    console.print(Text(f"Verification before it: {report.verified}"))
    if report.server:
        console.print(Text(f"Scratch server: {report.server}"), soft_wrap=True)
    if report.tables:
        console.print(_tables(report))
    for line in (*_objects(report), *_inserts(report)):
        console.print(Text(line), soft_wrap=True)
    for remark in report.remarks:
        console.print(Text.assemble(("Note: ", "yellow"), str(remark)), soft_wrap=True)
    for finding in report.findings:
        console.print(Text.assemble(("DIFFERENT: ", "bold red"), str(finding)), soft_wrap=True)
    _print_end(console, report)


def _outcome(report: DrillReport) -> str:
    if not report.passed:
        return f"{len(report.findings)} {'finding' if len(report.findings) == 1 else 'findings'}"
    return "everything came back as it was" if report.tables else "nothing was restored"


def _print_end(console: Console, report: DrillReport) -> None:
    stages = report.stages
    if report.tables:
        told = (
            f"{report.seconds:.1f} s in all: {stages.fetch:.1f} fetch ({decimal(report.bytes)}), {stages.verify:.1f} "
            f"verify, {stages.server:.1f} scratch server, {stages.restore:.1f} restore, {stages.export:.1f} export, "
            f"{stages.compare:.1f} compare, {stages.inspect:.1f} inspect."
        )
        console.print(Text(told), soft_wrap=True)
        predicted = (
            f"A restore of this backup would take about {report.predicted_restore_seconds:.1f} s on a machine like "
            f"this one: {decimal(report.bytes_to_fetch)} to fetch, {report.rows:,} rows, their keys and indexes."
        )
        console.print(Text(predicted), soft_wrap=True)
    if report.passed and report.tables and report.injected is None:
        console.print(Text("The backup can be restored: level 4 is recorded.", style="green"))
    if report.stale is not None:
        console.print(Text(f"Stale: {report.stale}", style="yellow"), soft_wrap=True)


def _tables(report: DrillReport) -> Table:
    shown = Table(box=None, pad_edge=False)
    shown.add_column("Table", no_wrap=True)
    for name in ("Rows", "Came back"):
        shown.add_column(name, justify="right", no_wrap=True)
    for name in ("Parquet equal by", "CSV equal by"):
        shown.add_column(name, no_wrap=True)
    for name in ("Fetch s", "Restore s", "Export s", "Compare s"):
        shown.add_column(name, justify="right", no_wrap=True)
    for table in report.tables:
        shown.add_row(*_row(table))
    return shown


def _row(table: TableDrill) -> list[Text | str]:
    again = "-" if table.rows_again is None else f"{table.rows_again:,}"
    seconds = (table.seconds.fetch, table.seconds.restore, table.seconds.export, table.seconds.compare)
    name = table.name if table.restored else f"{table.name} (view)"
    equal = [Text(how.value, style=_STYLES[how]) for how in (table.parquet, table.sheet)]
    return [Text(name), f"{table.rows:,}", again, *equal, *(f"{second:.2f}" for second in seconds)]


def _objects(report: DrillReport) -> Iterator[str]:
    if report.objects:
        counted = ", ".join(f"{one.valid} of {one.wanted} {one.kind}" for one in report.objects)
        yield f"There and valid: {counted}."


def _inserts(report: DrillReport) -> Iterator[str]:
    tried = [one for one in report.inserts if not one.not_tried]
    if tried:
        drawn = ", ".join(f"{one.table} {'/'.join(one.drawn) or 'FAILED'}" for one in tried)
        yield f"Inserted and taken back, with the next number: {drawn}."
    for one in report.inserts:
        if one.not_tried:
            yield f"Insert not tried, {one.table}: {one.not_tried}."
