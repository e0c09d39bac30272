"""`backup-pipeline stats` and `calendar`: how many backups, how big, how they grow; and what became of each day."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from backup_pipeline.cli.options import Opened, named_scope, opened, print_json
from backup_pipeline.core.due import Calendar
from backup_pipeline.core.errors import NotFoundError
from backup_pipeline.core.ledger import Status
from backup_pipeline.core.statistics import Statistics
from backup_pipeline.lazy import lazily
from backup_pipeline.presentation.terminal import draw

if TYPE_CHECKING:
    from backup_pipeline.core.catalog.model import Catalog

with lazily():
    from backup_pipeline import catalogs
    from backup_pipeline import presentation as reports
    from backup_pipeline.operations import browse
    from backup_pipeline.operations import statistics as operations_stats
    from backup_pipeline.presentation import statistics as presentation_statistics
    from backup_pipeline.wiring import ports


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
        draw(reports.joined(map(presentation_statistics.statistics_document, gathered)))
    else:
        draw(reports.document(reports.line("There are no backups to count.")))


def _gathered(installation: Opened, name: str | None, days: int, *, measure: bool) -> Sequence[Statistics]:
    now = installation.clock()
    rows = operations_stats.counted_rows(installation.ledger, scope=named_scope(name), now=now, days=days)
    scopes = sorted({row.scope for row in rows if row.status is not Status.EXPECTED}, key=str)
    if name is not None and not scopes:
        message = f"There is no backup of catalog {name}."
        raise NotFoundError(message, do="`backup-pipeline stats` without --catalog shows those that have backups.")
    declared = _declared(installation)
    counted = [
        operations_stats.catalog_statistics(rows, scope, declared.get(str(scope)), now=now, days=days)
        for scope in scopes
    ]
    return (
        [
            replace(statistics, stored=operations_stats.stored_bytes(installation.store(), scope))
            for statistics, scope in zip(counted, scopes, strict=True)
        ]
        if measure
        else counted
    )


def _declared(installation: Opened) -> dict[str, Catalog]:
    return catalogs.load_catalogs(installation.settings.catalogs)


def _print_metrics() -> None:
    with opened() as installation:
        text = operations_stats.prometheus_text(ports.metrics_now(installation.settings, installation.ledger))
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
    draw(reports.joined(map(presentation_statistics.calendar_document, shown)))


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
