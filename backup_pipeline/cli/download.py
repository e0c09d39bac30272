"""`download`, `url` and `query`: take a backup out, whole or rendered, or what SQL over its tables gives."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from backup_pipeline.cli.options import (
    Backup,
    FromStore,
    OfCatalog,
    Opened,
    chosen_catalog,
    moment,
    opened,
    parse_duration,
    print_line,
    shown_progress,
)
from backup_pipeline.core.errors import NotFoundError, UsageError
from backup_pipeline.core.layout import Rendering
from backup_pipeline.core.legacy import LEGACY
from backup_pipeline.core.ports.files import ResultForm
from backup_pipeline.core.restore import FIRST, Which
from backup_pipeline.core.scope import parse_scope
from backup_pipeline.lazy import lazily
from backup_pipeline.presentation.terminal import draw, note_console

if TYPE_CHECKING:
    from datetime import date

    from backup_pipeline.core.ledger import Attempt
    from backup_pipeline.core.ports import Ports
    from backup_pipeline.operations.download import Destination
    from backup_pipeline.operations.query import Answer, QueryRequest

with lazily():
    from backup_pipeline.operations import browse, leases
    from backup_pipeline.operations import download as operations_download
    from backup_pipeline.operations import legacy as operations_legacy
    from backup_pipeline.operations import query as operations_query
    from backup_pipeline.operations.restore import transfer
    from backup_pipeline.presentation import backup as presentation_backup
    from backup_pipeline.wiring import ports as wiring_ports
    from backup_pipeline.wiring import stores


def download(
    backup: Backup,
    *,
    form: Annotated[
        Literal["zip", "xlsx", "csv", "json", "json_zip", "comprehensive", "quarantine"],
        typer.Option("--as", help="zip, the bundle itself; or what is made from it (see below)."),
    ] = "zip",
    to: Annotated[
        Path, typer.Option(help="A folder, which is made if need be, or a file (a name with an ending); default: here.")
    ] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")] = False,
    store: FromStore = "first",
    catalog: OfCatalog = None,
) -> None:
    """Download a backup's bundle (a ZIP) from the store, or a rendering of it, compared with its manifest on the way.

    With --as xlsx all sheets come as one Excel workbook, with --as csv as one CSV file, each under a heading
    `### Name ###`, and with --as json the exact rows of all tables as one document. --as json_zip is a ZIP of one JSON
    file a table and a short manifest, as the car audio platform wrote its backups; --as comprehensive is one JSON
    document with hashes and a summary of communication, as the sales portal wrote them; --as quarantine has the rows
    that break a rule about customers' data (docs/systems.md). A rendering is for reading, and for other programs; to
    restore, keep the ZIP. Excel takes leading zeros off phone numbers when it opens a CSV by double click; in a
    workbook they stay.

    The file appears when it is whole; what is cut off or damaged leaves nothing. Only you may read it: it holds your
    customers' data. That you took it goes into the audit. Prints the path.

    Examples:

        backup-pipeline download latest

        backup-pipeline download latest --as xlsx

        backup-pipeline download latest --to /tmp/isp.zip --force

        backup-pipeline download legacy:backups/database/NAME.json --catalog sales_portal

    Exit codes: 0 downloaded; 1 failed, no room or no right to write; 2 that is no backup id, or no form; 10 there is no
    such backup, or it has no bundle; 12 it is encrypted, and no key here opens it (the ZIP comes without); 20 the
    stored bytes are not the manifest's; 21 a file is there already.
    """
    target = operations_download.Destination(to, force)
    with opened(catalog) as installation:
        if backup.startswith(LEGACY):
            path = _legacy(installation, backup, catalog, target)
        else:
            attempt = browse.find_sound_backup(backup, installation.ledger, catalog=catalog, store=store)
            path = _taken(installation, attempt, form, target, store)
    print_line(str(path))


def _legacy(installation: Opened, name: str, catalog: str | None, to: Destination) -> Path:
    """A file of an earlier program, as it lies in the store."""
    spec = chosen_catalog(installation.settings, catalog)
    store, audit = installation.store(), installation.audit()
    return operations_legacy.download_legacy(name, to, spec, store=store, audit=audit)


def url(
    backup: Backup,
    *,
    expires: Annotated[str, typer.Option(help="How long it is good: 90s, 30m, 1h, 7d (the most).")] = "1h",
    store: FromStore = "first",
    catalog: OfCatalog = None,
) -> None:
    """Print a signed URL of a backup's bundle: whoever has it can download it until it expires.

    The bundle is read whole and compared with its manifest and the ledger first; what is downloaded later can be
    compared by the SHA-256 that is printed on stderr.

    Needs an S3 store; a directory has no URLs. It can not be taken back before it expires, so keep it short. That you
    made it goes into the audit.

    Examples:

        backup-pipeline url latest

        curl -o backup.zip "$(backup-pipeline url latest --expires 15m)"

    Exit codes: 0 printed; 1 failed; 2 wrong id or time; 10 there is no such backup, or it has no bundle; 20 ledger,
    manifest and stored bytes are not the same; 21 the store has no URLs.
    """
    time = parse_duration(expires)
    with opened(catalog) as installation:
        attempt = browse.find_sound_backup(backup, installation.ledger, catalog=catalog, store=store)
        audit = installation.audit()
        where = installation.store(store)
        with shown_progress(note_console()) as progress:
            signed, bundle = operations_download.bundle_url(
                attempt, store=where, audit=audit, expires=time, progress=progress
            )
    print_line(signed)
    note_console().print(f"Good until {moment(audit.clock() + time)}, for whoever has it. Its SHA-256 must be:")
    note_console().print(bundle.sha256, soft_wrap=True)


def _taken(installation: Opened, attempt: Attempt, form: str, to: Destination, which: Which) -> Path:
    store, audit = installation.store(which), installation.audit()
    with (
        shown_progress(note_console()) as progress,
        leases.reading(attempt.backup_id, "download", installation.actor, installation.ports),
    ):
        if form == "zip":
            return operations_download.download_bundle(attempt, to, store=store, audit=audit, progress=progress)
        kind = Rendering(form)
        formats = stores.open_formats(installation.settings)
        return operations_download.render_backup(
            attempt, kind, to, store=store, formats=formats, audit=audit, progress=progress
        )


_ROWS = 100
_UNKNOWN_ZONE = "UTC"


QueryTimeout = Annotated[
    float | None, typer.Option(help="Stop a query that takes longer than these seconds; default: none.", min=0.1)
]


def query(  # noqa: PLR0913  # Typer's: a parameter an option
    sql: Annotated[str, typer.Argument(help="One SELECT, in DuckDB's SQL.", metavar="SQL")],
    *,
    as_of: Annotated[
        str | None,
        typer.Option(
            "--as-of", help="A backup id, `latest`, or a date (its partitions); default: the newest partitions."
        ),
    ] = None,
    catalog: Annotated[str | None, typer.Option(help="Of this catalog; default: BACKUP_CATALOG.")] = None,
    store: FromStore = "first",
    timeout: QueryTimeout = None,
    rows: Annotated[int, typer.Option(help="Show so many rows in the terminal.", min=1, max=10_000)] = _ROWS,
    as_json: Annotated[bool, typer.Option("--json", help="Print all rows as JSON: an array of objects.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print all rows as CSV.")] = False,
    to: Annotated[
        Path | None, typer.Option(help="Write all rows into this file: .csv (for Excel), .json or .parquet.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")] = False,
) -> None:
    """Query the tables of a backup with SQL, without restoring it.

    Only the tables that the SQL names are fetched, each file compared with its SHA-256 before it is queried, and
    decrypted where a key is there. The SQL can read those tables and nothing else: no file, no network, no setting.
    Times are in the catalog's zone. That you looked goes into the audit, with the SQL.

    Examples:

        backup-pipeline query "SELECT status, count(*) FROM customers GROUP BY ALL ORDER BY 2 DESC"

        backup-pipeline query "FROM payments WHERE amount > 5000" --as-of latest --to /tmp/large.csv

        backup-pipeline query "SELECT name, price FROM packages ORDER BY price" --as-of 2026-11-21 --json

    Exit codes: 0 answered; 1 failed, no room, no memory or no more time; 2 the SQL or an option is wrong; 10 there is
    no such table, date or backup; 11 a backup replaced the partition meanwhile; 12 it is encrypted, and no key here
    opens it; 20 the stored bytes are not those that were written; 21 that is no SELECT, it reaches outside, or a file
    is there already.
    """
    form = _form(to, as_json=as_json, as_csv=as_csv)
    wanted = operations_query.parse_as_of(as_of)
    with opened(catalog) as at, shown_progress(note_console()) as progress:
        ports = replace(at.ports, progress=progress, store=at.store(store), formats=stores.open_formats(at.settings))
        request = _request(sql, wanted, (catalog, store), at, ports)
        with operations_query.answered(request, wiring_ports.open_queries(timeout), ports, at.audit()) as answer:
            if to is not None:
                _into_file(answer, form, operations_download.Destination(to, force))
            else:
                _to_terminal(answer, form, rows, request.timezone)


def _form(to: Path | None, *, as_json: bool, as_csv: bool) -> ResultForm | None:
    """How the rows go out; None as a table in the terminal. UsageError for two ways at once, or an unknown ending."""
    if sum((to is not None, as_json, as_csv)) > 1:
        message = "--json, --csv and --to are three ways for the rows to go."
        raise UsageError(message, do="Choose one; the ending of --to FILE says its form.")
    if to is None:
        return ResultForm.JSON if as_json else ResultForm.CSV if as_csv else None
    ending = to.suffix.removeprefix(".").lower()
    if ending not in set(ResultForm):
        message = f"{to} has no ending that says a form."
        raise UsageError(message, do="Name it .csv, .json or .parquet.")
    return ResultForm(ending)


def _to_terminal(answer: Answer, form: ResultForm | None, rows: int, timezone: str) -> None:
    if form is None:
        draw(presentation_backup.result_document(answer, rows, timezone))
        return
    answer.rows.write(form, sys.stdout.buffer)
    sys.stdout.flush()


def _request(
    sql: str, as_of: date | str | None, of: tuple[str | None, Which], at: Opened, ports: Ports
) -> QueryRequest:
    catalog, store = of
    if isinstance(as_of, str):
        attempt = browse.find_sound_backup(as_of, at.ledger, catalog=catalog, store=store)
        backup = browse.opened_backup(attempt, ports.store)
        fetching = transfer.Fetching(backup, (ports.store, ports.formats, ports.progress))
        tables = operations_query.Bundled(backup, fetching)
        return operations_query.QueryRequest(sql, tables, backup.manifest.timezone)
    if store != FIRST:
        message = "The second store has copies of backups, and no partitions."
        raise UsageError(message, do="Name a backup of it: --as-of latest, or an id.")
    name = catalog or at.settings.catalog
    where = (ports.store, ports.formats, at.clock, ports.progress)
    return operations_query.QueryRequest(sql, operations_query.Partitions(name, as_of, where), _zone(name, at))


def _zone(name: str, at: Opened) -> str:
    """The zone of a catalog; UTC for one that is not declared any more."""
    try:
        return chosen_catalog(at.settings, parse_scope(name).catalog).timezone
    except NotFoundError:
        return _UNKNOWN_ZONE


def _into_file(answer: Answer, form: ResultForm | None, to: operations_download.Destination) -> None:
    path = to.path("")
    with to.appearing(path) as file:
        count = answer.rows.write(form or ResultForm.CSV, file, mark=True)
    note_console().print(f"{count:,} rows.")
    print_line(str(path))
