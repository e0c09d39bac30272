"""`backup-pipeline drill`: rehearse a restore of a backup, and compare what comes back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from backup_pipeline.cli.options import Backup, OfCatalog, Opened, moment, opened, print_json
from backup_pipeline.core.drill.model import DrillReport, Fault, How, TableDrill
from backup_pipeline.core.errors import BackupError, StaleError
from backup_pipeline.presentation.terminal import SafeConsole, note_console, result_console

if TYPE_CHECKING:
    from backup_pipeline.operations.drill import DrillRequest


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


_LATEST = "latest"


def drill(
    backup: Backup = _LATEST,
    *,
    inject: Annotated[
        Fault | None,
        typer.Option(
            help="Try the drill itself: put a fault into a copy, and see that it is found. Records no level, alerts "
            "nobody."
        ),
    ] = None,
    catalog: OfCatalog = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON, and nothing else.")] = False,
) -> None:
    """Restore a backup into a scratch PostgreSQL, export it again, and compare every table with the backup.

    The scratch server is started in a folder under the work directory, listens on loopback, and is removed at the end;
    no other database is touched. The backup is verified first (levels 0 to 3). Then its files are compared with those
    that the restored database gives: by their bytes, or by fingerprints of their rows where those come in no order.
    Every constraint, index and sequence of its schema.sql is looked for, and one row is inserted, and taken back, where
    a sequence numbers rows. docs/drill.md says what that proves.

    Without a finding the ledger says level 4 of the backup. A finding is written down too, and people are alerted.

    Examples:

        backup-pipeline drill

        backup-pipeline drill 20261120T180000Z-full-1f3a9c2e --json

        backup-pipeline drill --inject drop-row

    Exit codes: 0 everything came back as it was; 1 the drill could not be done, or is blind to an injected fault;
    2 wrong request; 10 there is no such backup, or it has no bundle; 12 no key opens the encrypted backup; 20 something
    is different, or an injected fault was found; 22 all is well, but the newest backup is older than its schedule
    allows.
    """
    from backup_pipeline.operations.browse import find_backup
    from backup_pipeline.operations.drill import DrillRequest
    from backup_pipeline.wiring.drill import drilled_catalog

    with opened(catalog) as at:
        attempt = find_backup(backup, at.ledger, catalog=catalog)
        known = drilled_catalog(at.settings, attempt.catalog)
        request = DrillRequest(attempt, at.actor, known, newest=backup == _LATEST, fault=inject)
        report, outcome = _drilled(at, request, as_json=as_json)
    if as_json:
        print_json({**report.as_json(), "outcome": outcome.what if outcome else None})
    else:
        print_drill(report)
    if outcome is not None:
        raise outcome


def _drilled(at: Opened, request: DrillRequest, *, as_json: bool) -> tuple[DrillReport, BackupError | None]:
    from backup_pipeline.cli.progress import shown_progress
    from backup_pipeline.operations.drill import drill as drill_backup
    from backup_pipeline.operations.drill import drill_with_fault
    from backup_pipeline.wiring.drill import open_drill
    from backup_pipeline.wiring.verify import reading

    console = SafeConsole(quiet=True) if as_json else note_console()
    with (
        shown_progress(console) as progress,
        open_drill(at.settings, request.attempt.catalog, progress=progress) as ports,
        reading(request.attempt.backup_id, "drill", at.actor, at.ledger),
    ):
        if request.fault is not None:
            return drill_with_fault(request, ports)
        report = drill_backup(request, ports)
    return report, _drill_outcome(report)


def _drill_outcome(report: DrillReport) -> BackupError | None:
    """The error to end with: damage comes before age."""
    if not report.passed:
        return report.error()
    if report.stale is not None:
        return StaleError(report.stale, do="The backup itself can be restored. Run `backup-pipeline backup`.")
    return None
