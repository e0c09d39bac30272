"""`backup-pipeline query`: SQL over the tables of a backup."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backup_pipeline.cli.options import Opened, chosen_catalog, opened, print_line
from backup_pipeline.cli.progress import shown_progress
from backup_pipeline.core.errors import NotFoundError, UsageError
from backup_pipeline.core.ports.files import ResultForm
from backup_pipeline.core.scope import parse_scope
from backup_pipeline.lazy import lazily
from backup_pipeline.presentation.terminal import draw, note_console

if TYPE_CHECKING:
    from datetime import date

    from backup_pipeline.core.ports import Ports
    from backup_pipeline.operations.query import Answer, QueryRequest

with lazily():
    from backup_pipeline.operations import browse, download
    from backup_pipeline.operations import query as operations_query
    from backup_pipeline.operations.restore import transfer
    from backup_pipeline.presentation import backup as presentation
    from backup_pipeline.wiring import ports as wiring_ports
    from backup_pipeline.wiring import stores

_ROWS = 100
_UNKNOWN_ZONE = "UTC"


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

    Exit codes: 0 answered; 1 failed, no room or no memory; 2 the SQL or an option is wrong; 10 there is no such table,
    date or backup; 11 a backup replaced the partition meanwhile; 12 it is encrypted, and no key here opens it; 20 the
    stored bytes are not those that were written; 21 that is no SELECT, it reaches outside, or a file is there already.
    """
    form = _form(to, as_json=as_json, as_csv=as_csv)
    wanted = operations_query.parse_as_of(as_of)
    with opened(catalog) as at, shown_progress(note_console()) as progress:
        ports = replace(at.ports, progress=progress, store=at.store(), formats=stores.open_formats(at.settings))
        request = _request(sql, wanted, catalog, at, ports)
        with operations_query.answered(request, wiring_ports.open_queries(), ports, at.audit()) as answer:
            if to is not None:
                _into_file(answer, form, download.Destination(to, force))
            elif form is not None:
                answer.rows.write(form, sys.stdout.buffer)
                sys.stdout.flush()
            else:
                draw(presentation.result_document(answer, rows, request.timezone))


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


def _request(sql: str, as_of: date | str | None, catalog: str | None, at: Opened, ports: Ports) -> QueryRequest:
    if isinstance(as_of, str):
        attempt = browse.find_sound_backup(as_of, at.ledger, catalog=catalog)
        backup = browse.opened_backup(attempt, ports.store)
        fetching = transfer.Fetching(backup, (ports.store, ports.formats, ports.progress))
        tables = operations_query.Bundled(backup, fetching)
        return operations_query.QueryRequest(sql, tables, backup.manifest.timezone)
    name = catalog or at.settings.catalog
    where = (ports.store, ports.formats, at.clock, ports.progress)
    return operations_query.QueryRequest(sql, operations_query.Partitions(name, as_of, where), _zone(name, at))


def _zone(name: str, at: Opened) -> str:
    """The zone of a catalog; UTC for one that is not declared any more."""
    try:
        return chosen_catalog(at.settings, parse_scope(name).catalog).timezone
    except NotFoundError:
        return _UNKNOWN_ZONE


def _into_file(answer: Answer, form: ResultForm | None, to: download.Destination) -> None:
    path = to.path("")
    with to.appearing(path) as file:
        count = answer.rows.write(form or ResultForm.CSV, file, mark=True)
    note_console().print(f"{count:,} rows.")
    print_line(str(path))
