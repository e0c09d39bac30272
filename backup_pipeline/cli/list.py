"""`list`, `show`, `audit`, `stats` and `calendar`: what backups there are, who did what, how they grow, each day."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from backup_pipeline.cli.options import (
    Backup,
    BackupsOf,
    Limit,
    OfCatalog,
    Opened,
    RowsAsJson,
    named_scope,
    opened,
    print_json,
    print_line,
)
from backup_pipeline.core.due import Calendar
from backup_pipeline.core.errors import BackupError, NotFoundError, VerificationError
from backup_pipeline.core.ledger import Attempt, Status
from backup_pipeline.core.names import parse_backup_id
from backup_pipeline.core.statistics import Statistics
from backup_pipeline.lazy import lazily
from backup_pipeline.presentation.terminal import draw, note_console

if TYPE_CHECKING:
    from backup_pipeline.core.audit import ChainReport
    from backup_pipeline.core.catalog.model import Catalog
    from backup_pipeline.core.legacy import LegacyFile
    from backup_pipeline.core.manifest import StoredManifest
    from backup_pipeline.core.ports import Ledger

with lazily():
    from backup_pipeline import presentation as reports
    from backup_pipeline.formats import documents as formats_documents
    from backup_pipeline.operations import access, browse
    from backup_pipeline.operations import health as operations_health
    from backup_pipeline.operations import legacy as operations_legacy
    from backup_pipeline.presentation import backup as presentation_backup
    from backup_pipeline.presentation import health as presentation_health
    from backup_pipeline.wiring import addresses, ports


_VERIFY, _LIST = "verify", "list"


def audit(
    backup: Annotated[
        str | None,
        typer.Argument(help="`list`, `verify`, a backup id, or `latest`; default: `list`.", metavar="[list|verify|ID]"),
    ] = None,
    *,
    catalog: OfCatalog = None,
    limit: Limit = 50,
    expect: Annotated[
        str | None, typer.Option(help="With `verify`: the hash of a row, as you noted it earlier.", metavar="SHA256")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON: an array of audit rows; of `verify`, the report.")
    ] = False,
) -> None:
    """Show the audit, newest first: who did what to which backup, and why. Or verify that nobody has changed it.

    It has every backup that began and how it ended, each download, URL, hold, release, removal, restore, verification,
    drill, copy, alert, ping, use of a key, prune and rebuild, who signed in, and each change of a user. A row of it is
    never changed. With an id, also of a backup that the ledger does not have any more.

    Each row has the SHA-256 of what it says and of the row before it. `verify` reads all of them, and names the first
    row that does not fit. It prints the newest row's hash: keep that elsewhere, and `--expect` it later: so even rows
    that were cut off at the end are missed.

    Examples:

        backup-pipeline audit

        backup-pipeline audit latest

        backup-pipeline audit verify

        backup-pipeline audit --limit 1000 --json | jq '.[] | select(.action == "key used")'

    Exit codes: 0 shown, or the chain holds; 1 the ledger can not be read; 2 wrong request; 10 there is no such backup;
    20 the audit is not what was written.
    """
    with opened(catalog) as installation:
        if backup == _VERIFY:
            _print_chain(access.verify_audit(installation.ledger, expect), as_json=as_json)
            return
        wanted = None if backup == _LIST else _wanted(backup, installation.ledger, catalog)
        events = installation.ledger.audits(wanted, limit=limit)
    if as_json:
        print_json(events)
    else:
        draw(presentation_backup.audit_document(events))


def _print_chain(report: ChainReport, *, as_json: bool) -> None:
    """The report; VerificationError, naming the first row that does not fit."""
    if as_json:
        print_json(report)
    elif report.newest is None:
        print_line("The audit has no row.")
    else:
        number, sha256 = report.newest
        print_line(f"{report.rows:,} rows. The newest is row {number}, {sha256}")
    if report.broken is not None:
        number, at, why = report.broken
        message = f"Row {number} of the audit, of {at:%Y-%m-%d %H:%M:%S} UTC, does not fit: {why}."
        raise VerificationError(message, do="Compare with a backup of the ledger, and ask who could write to it.")
    if report.expected is False:
        message = "No row of the audit has the hash that is expected: rows were cut off, or it is another ledger's."
        raise VerificationError(message, do="Compare with a backup of the ledger, and ask who could write to it.")


def _wanted(backup: str | None, ledger: Ledger, catalog: str | None) -> str | None:
    if backup is None:
        return None
    if backup != browse.LATEST:
        return str(parse_backup_id(backup))
    return browse.find_backup(backup, ledger, catalog=catalog).backup_id


def list_backups(
    *,
    catalog: BackupsOf = None,
    status: Annotated[list[Status] | None, typer.Option(help="Only these; may be given several times.")] = None,
    limit: Limit = 20,
    legacy: Annotated[
        bool, typer.Option("--legacy", help="Read the files of an earlier program in the store, and list them too.")
    ] = False,
    as_json: RowsAsJson = False,
) -> None:
    """List backups and attempts, newest first: date, status, rows, size, who made it and why, or what went wrong.

    It reads the ledger, not the store: a backup that is listed was checked when it was made; `verify` checks it now.
    Marks: *late* rows were read after the date they are filed under; *mixed* tables show different instants; *sealed*
    manifests carry a signature (docs/integrity.md); a row *of the future* was dated by a clock that was ahead: it is
    neither fresh nor the newest; *copied* or *NOT copied* to the second store, where there is one. Kinds: a *selective*
    backup holds chosen tables only; *tables*, of earlier versions, has no bundle. The date is that of the catalog's
    timezone, the time in an id is UTC. Verified is the deepest level that was reached, and how long ago. Expires is
    when the rules let it go at the earliest (empty: never, or by count), or *held*. Reasons and errors are cut to fit:
    `show` tells them whole.

    With --legacy the files of an earlier program follow (docs/systems.md), each good or with what is wrong with it.

    Examples:

        backup-pipeline list

        backup-pipeline list --legacy --catalog sales_portal

        backup-pipeline list --status success --json | jq -r '.[0].backup_id'

    Exit codes: 0 listed, also when there is nothing to list; 1 the ledger can not be read; 2 wrong request; 10 nothing
    was ever set up here.
    """
    with opened(catalog) as installation:
        rows = installation.ledger.list(scope=named_scope(catalog), status=status or (), limit=limit)
        copies = installation.ledger.copies.list(scope=named_scope(catalog))
        undelivered, now = len(installation.ledger.outbox.list()), installation.clock()
        files = _legacy(installation, catalog) if legacy else ()
    if as_json:
        listed = [presentation_backup.attempt_json(row, copies) for row in rows]
        print_json([*listed, *({"legacy": vars(file)} for file in files)])
        return

    second = installation.settings.second_store
    draw(presentation_backup.backups_document(rows, now, copies, second.rstrip("/") if second else None))
    if legacy:
        draw(presentation_backup.legacy_document(files))
    if undelivered:
        note_console().print(f"Alerts that did not reach people: {undelivered}. `backup-pipeline alerts` lists them.")


def _legacy(installation: Opened, catalog: str | None) -> Sequence[LegacyFile]:
    """The files of the catalog, or of every catalog that has such folders."""
    declared = ports.watched(installation.settings, [catalog] if catalog else [])
    store = installation.store()
    return [file for each in declared if each.legacy for file in operations_legacy.legacy_files(each, store)]


def adopt(
    file: Annotated[str, typer.Argument(help="A file as `list --legacy` shows it.", metavar="legacy:FILE")],
    *,
    catalog: OfCatalog = None,
) -> None:
    """Make a backup of a good file of an earlier program, so that it can be restored.

    Its rows are typed by the tables as they are now in the catalog's database; its id, date and snapshot are of the
    moment in the file's name. It is a selective backup, never the latest, kept as those by hand are. Restore it by its
    id: the plan says what would happen, as for any other. The file stays as it is.

    Examples:

        backup-pipeline adopt legacy:backups/comprehensive/NAME.json --catalog sales_portal

    Exit codes: 0 adopted; 1 failed; 10 there is no such file; 11 another run writes the catalog; 20 a value fits not
    its column; 21 refused: it is corrupted, has no date or other tables, or its date has a backup of ours.
    """
    with opened(catalog) as installation:
        spec = addresses.chosen_catalog(catalog or installation.settings.catalog, installation.settings)
        over = ports.ports_over(installation.ledger, installation.settings, spec.catalog)
        manifest = operations_legacy.adopt_legacy(file, spec, installation.actor, over, formats_documents.typed_rows)
    draw(presentation_backup.made_document(manifest, {"Restore it by its id": manifest.backup_id}))


def show(
    backup: Backup,
    *,
    catalog: OfCatalog = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: the row, the manifest, the audit.")] = False,
) -> None:
    """Show everything about one backup: its row, its tables and checks, its warnings, and who did what with it.

    Alerts are listed with what became of them on each channel, failed deliveries too. The tables come from the manifest
    in the store; a backup without a bundle has none. Nothing is verified here: that is `verify`.

    Examples:

        backup-pipeline show latest

        backup-pipeline show 20261120T180000Z-full-1f3a9c2e --json

    Exit codes: 0 shown; 1 the ledger can not be read; 2 that is no backup id; 10 there is no such backup.
    """
    with opened(catalog) as installation:
        attempt = browse.find_backup(backup, installation.ledger, catalog=catalog)
        audits = list(reversed(installation.ledger.audits(attempt.backup_id)))
        copies = installation.ledger.copies.list(backup_id=attempt.backup_id)
        manifest, problem = _manifest(installation, attempt)
        now = installation.clock()
    if as_json:
        described = manifest.model_dump(mode="json") if manifest else None
        rows = {
            "backup": presentation_backup.attempt_json(attempt),
            "copies": [presentation_backup.copy_json(copy) for copy in copies],
        }
        print_json({**rows, "manifest": described, "manifest_error": problem, "audit": audits})
        return

    draw(presentation_backup.backup_document(attempt, manifest, problem, audits, now, copies))


def _manifest(installation: Opened, attempt: Attempt) -> tuple[StoredManifest | None, str | None]:
    """The manifest, or why there is none to be had: what the ledger knows is worth showing all the same."""
    try:
        return browse.stored_manifest(attempt, installation.store()), None
    except BackupError as error:
        return None, error.what


def stats(
    *,
    catalog: Annotated[str | None, typer.Option(help="Only this catalog; default: every one that has backups.")] = None,
    days: Annotated[int, typer.Option(help="How far back success, durations and growth look.", min=1, max=3650)] = 90,
    measure: Annotated[
        bool, typer.Option("--measure", help="Also add up what lies in the store, object by object.")
    ] = False,
    prometheus: Annotated[bool, typer.Option("--prometheus", help="Print metrics for Prometheus instead.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: an array, one object a catalog.")] = False,
) -> None:
    """Show statistics of the backups, and how much they will take up.

    Totals and sizes are of the bundles that are there. Growth is the median of all slopes between the backups of the
    days looked at, so a few odd ones do not move it; it needs three backups and a day between them. The forecast lets
    backups go on as until now, and removes what the catalog's retention removes; it needs backups two days apart. Runs
    that were canceled by somebody count neither as success nor as failure.

    With `--prometheus` the metrics of the whole ledger are printed in Prometheus' text format, for the textfile
    collector of node_exporter; docs/anomalies.md names them. The console serves the same under `/metrics`.

    Examples:

        backup-pipeline stats

        backup-pipeline stats --catalog isp --days 365 --measure

        backup-pipeline stats --json | jq '.[0].forecast'

        backup-pipeline stats --prometheus > /var/lib/node_exporter/backup.prom.new
        && mv /var/lib/node_exporter/backup.prom.new /var/lib/node_exporter/backup.prom

    Exit codes: 0 shown; 1 the ledger or the store can not be read; 2 wrong request; 10 no such catalog has backups, or
    nothing was ever set up here.
    """
    if prometheus:
        _print_metrics()
        return
    with opened(catalog) as installation:
        gathered = _gathered(installation, catalog, days, measure=measure)
    if as_json:
        print_json(gathered)
    elif gathered:
        draw(reports.joined(map(presentation_health.statistics_document, gathered)))
    else:
        draw(reports.document(reports.line("There are no backups to count.")))


def _gathered(installation: Opened, name: str | None, days: int, *, measure: bool) -> Sequence[Statistics]:
    now = installation.clock()
    rows = operations_health.counted_rows(installation.ledger, scope=named_scope(name), now=now, days=days)
    scopes = sorted({row.scope for row in rows if row.status is not Status.EXPECTED}, key=str)
    if name is not None and not scopes:
        message = f"There is no backup of catalog {name}."
        raise NotFoundError(message, do="`backup-pipeline stats` without --catalog shows those that have backups.")
    declared = _declared(installation)
    counted = [
        operations_health.catalog_statistics(rows, scope, declared.get(str(scope)), now=now, days=days)
        for scope in scopes
    ]
    return (
        [
            replace(statistics, stored=operations_health.stored_bytes(installation.store(), scope))
            for statistics, scope in zip(counted, scopes, strict=True)
        ]
        if measure
        else counted
    )


def _declared(installation: Opened) -> Mapping[str, Catalog]:
    return addresses.declared_catalogs(installation.settings)


def _print_metrics() -> None:
    with opened() as installation:
        text = operations_health.prometheus_text(ports.metrics_now(installation.settings, installation.ledger))
    sys.stdout.write(text)


def calendar(
    *,
    catalog: Annotated[list[str] | None, typer.Option(help="Only this one; may be given several times.")] = None,
    days: Annotated[int, typer.Option(help="So many days, today included.", min=1, max=366)] = 30,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: tables and days of each catalog.")] = False,
) -> None:
    """Show for each table and day whether its backup is verified, good, late, partial or missed.

    A day is one of the catalog's timezone. A gap stays a gap: a backup made today holds the rows of today. The letters
    are explained below the table. Only the ledger is read.

    Examples:

        backup-pipeline calendar

        backup-pipeline calendar --catalog isp --days 90

        backup-pipeline calendar --json | jq '.[0].tables.customers'

    Exit codes: 0 shown; 1 the ledger can not be read; 2 wrong request; 10 there is no such catalog.
    """
    shown = _calendars(catalog or (), days)
    if as_json:
        print_json([_plain(each) for each in shown])
        return
    draw(reports.joined(map(presentation_health.calendar_document, shown)))


def _calendars(names: Sequence[str], days: int) -> Sequence[Calendar]:
    with opened() as installation:
        now = installation.clock()
        return [
            browse.calendar_of(catalog, installation.ledger, now, days=days)
            for catalog in ports.watched(installation.settings, names)
        ]


def _plain(calendar: Calendar) -> dict[str, object]:
    tables = {table: dict(zip(map(str, calendar.days), days, strict=True)) for table, days in calendar.tables}
    return {"catalog": calendar.catalog, "tables": tables}
