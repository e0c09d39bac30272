"""`backup-pipeline businesses tick`, `ticks`, `backup`, `protection`: each business, every five minutes or now."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from backup_pipeline.cli.businesses import Business, businesses_app
from backup_pipeline.cli.options import LedgerReason, Limit, invoked_settings, opened, print_json
from backup_pipeline.cli.payments import AsJson
from backup_pipeline.core.businesses.ticks import TickStatus
from backup_pipeline.core.errors import PartialError, UsageError
from backup_pipeline.lazy import lazily
from backup_pipeline.presentation.terminal import draw, note_console
from backup_pipeline.settings import Settings

if TYPE_CHECKING:
    from backup_pipeline.core.catalog.model import Catalog
    from backup_pipeline.core.ports import Ports
    from backup_pipeline.operations.businesses import TickReport, TickRequest

with lazily():
    from backup_pipeline.operations import businesses
    from backup_pipeline.operations.businesses import protection as protections
    from backup_pipeline.presentation import businesses as drawn
    from backup_pipeline.wiring import addresses, embedded
    from backup_pipeline.wiring import ports as wiring_ports

OfSystem = Annotated[
    str | None, typer.Option("--catalog", help="The system, where several have businesses.", metavar="CATALOG")
]


class BackupAs(StrEnum):
    """What a business gets by hand."""

    FULL = "full"
    INCREMENTAL = "incremental"
    MANUAL = "manual"


@businesses_app.command("tick")
def tick(*, catalog: OfSystem = None, as_json: AsJson = False) -> None:
    """Back up every business that is due, from one snapshot: of each what changed since its own last one.

    The schedule of Dagster does the same every five minutes. A business that did not change gets nothing, and costs
    nothing: its newest backup is still right. One that fails stops no other.

    Examples:

        backup-pipeline businesses tick

        backup-pipeline businesses tick --catalog retail --json

    Exit codes: 0 every business that is due is protected; 1 failed; 3 some are not protected; 10 no such catalog; 11
    another tick is at work.
    """
    with systems_ready(catalog) as (spec, settings, ports):
        request = businesses.TickRequest(spec, addresses.os_user())
        report = _run(request, settings, ports, as_json=as_json)
    _refuse_unprotected(report)


@businesses_app.command("backup")
def back_up_business(
    business: Business,
    *,
    kind: Annotated[
        BackupAs,
        typer.Option("--as", help="full, incremental: as a tick makes them; manual: everything, kept for ever."),
    ] = BackupAs.MANUAL,
    reason: LedgerReason = "",
    catalog: OfSystem = None,
    as_json: AsJson = False,
) -> None:
    """Back up one business now.

    Examples:

        backup-pipeline businesses backup 8a6e0804-2bd0-4672-b79d-d97027f9071a --reason "before the import"

        backup-pipeline businesses backup 8a6e0804-2bd0-4672-b79d-d97027f9071a --as incremental

    Exit codes: 0 done, or nothing had changed; 1 failed; 2 wrong request; 3 it is not protected; 10 there is no such
    active business; 11 a tick is at work.
    """
    with systems_ready(catalog) as (spec, settings, ports):
        request = businesses.TickRequest(
            spec,
            addresses.os_user(),
            only=frozenset({business}),
            full=kind is BackupAs.FULL,
            apart=kind is BackupAs.MANUAL,
            reason=reason,
        )
        report = _run(request, settings, ports, as_json=as_json)
    _refuse_unprotected(report)


@businesses_app.command("ticks")
def list_ticks(*, catalog: OfSystem = None, limit: Limit = 24, as_json: AsJson = False) -> None:
    """List what ran when, newest first: also what was skipped, and when nothing ran.

    Examples:

        backup-pipeline businesses ticks

        backup-pipeline businesses ticks --limit 288 --json

    Exit codes: 0 listed; 1 the ledger can not be read; 2 wrong request; 10 there is no such catalog.
    """
    spec = with_businesses(invoked_settings(), catalog)
    with opened() as installation:
        ticks = installation.ledger.ticks.list(spec.catalog, limit=limit)
    if as_json:
        print_json(ticks)
    else:
        draw(drawn.ticks_document(ticks))


@businesses_app.command("protection")
def list_protection(*, catalog: OfSystem = None, limit: Limit = 50, as_json: AsJson = False) -> None:
    """List how each business is protected: its newest backup, until when that is right, what is stored of it.

    Examples:

        backup-pipeline businesses protection

        backup-pipeline businesses protection --catalog retail --json

    Exit codes: 0 listed; 1 the ledger can not be read; 2 wrong request; 10 there is no such catalog.
    """
    spec = with_businesses(invoked_settings(), catalog)
    with opened() as installation:
        rows, now = protections.protection_of(spec, installation.ledger, limit=limit), installation.clock()
    if as_json:
        print_json(rows)
    else:
        draw(drawn.protection_document(rows, now))


def with_businesses(settings: Settings, name: str | None) -> Catalog:
    """The catalog of that name, or the only one with businesses."""
    if name is not None:
        return addresses.chosen_catalog(name, settings)
    there = [each for each in addresses.declared_catalogs(settings).values() if each.businesses]
    if len(there) != 1:
        message = f"{len(there)} catalogs have businesses."
        raise UsageError(message, do="Name one with --catalog; `backup-pipeline demo retail` makes the demo's.")
    return there[0]


@contextmanager
def systems_ready(name: str | None) -> Iterator[tuple[Catalog, Settings, Ports]]:
    """The catalog of that name, or the only one with businesses, and its ports; its database is there."""
    spec = with_businesses(invoked_settings(), name)
    with (
        embedded.prepared(invoked_settings(), lambda text: note_console().print(text, highlight=False)) as settings,
        wiring_ports.open_ports(settings, spec.catalog, create=True) as ports,
    ):
        yield spec, settings, ports


def _run(request: TickRequest, settings: Settings, ports: Ports, *, as_json: bool) -> TickReport:
    report = businesses.run_tick(request, wiring_ports.open_key_states(settings), ports)
    if as_json:
        print_json({"tick": report.tick, "backups": [each.attempt.backup_id for each in report.stored]})
    else:
        draw(drawn.tick_document(report))
    return report


def _refuse_unprotected(report: TickReport) -> None:
    if report.tick.status in {TickStatus.PARTIAL, TickStatus.SKIPPED}:
        message = f"The tick is {report.tick.status}: {report.tick.message or f'{len(report.tick.misses)} missed'}."
        raise PartialError(message, do="`backup-pipeline businesses ticks` shows what became of each.")
