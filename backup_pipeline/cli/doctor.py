"""`backup-pipeline doctor`: everything a backup needs is looked at; each line says ok, or what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from backup_pipeline.cli.options import invoked_settings, print_json
from backup_pipeline.core.doctor import problems
from backup_pipeline.core.errors import NotFoundError
from backup_pipeline.lazy import lazily
from backup_pipeline.presentation.terminal import draw
from backup_pipeline.settings import Settings

if TYPE_CHECKING:
    from backup_pipeline.core.catalog.model import Catalog
    from backup_pipeline.core.doctor import Line

with lazily():
    from backup_pipeline.operations import doctor as operations_doctor
    from backup_pipeline.orchestration import instance
    from backup_pipeline.presentation import health
    from backup_pipeline.wiring import addresses, embedded, ports
    from backup_pipeline.wiring import doctor as wiring_doctor


def doctor(
    *,
    catalog: Annotated[
        list[str] | None,
        typer.Option(help="Which catalog; may be repeated. Default: BACKUP_CATALOG, and each that has its own source."),
    ] = None,
    send: Annotated[bool, typer.Option("--send", help="Send a trial message to every alert channel.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: an object a line.")] = False,
) -> None:
    """Look at everything that backups need; each line says ok, or what is wrong and what to do.

    The source: its version, what the role may do and may not see, row-level security, a standby's lag. The ledger: its
    tables, rights, leases. The store, and the second one: a trial object under doctor/ is written, read, listed,
    uploaded in parts, and deleted; versions, locks, encryption. Clocks, keys, alerts, pings, disks, timezone data,
    Dagster's daemons, and how fresh, verified and rehearsed the backups are.

    No check stops another, and none takes longer than half a minute.

    Examples:

        backup-pipeline doctor

        backup-pipeline doctor --send

        backup-pipeline doctor --json | jq '.[] | select(.state == "problem")'

    Exit codes: 0 no problem, warnings allowed; 1 a problem; 2 a setting or a catalog is wrong; 10 no such catalog.
    """
    with ExitStack() as stack:
        settings = _ready(stack)
        checks = wiring_doctor.checks_of(
            settings, _chosen(settings, catalog), send=send, actor=addresses.os_user(), dagster=_dagster
        )
        lines = operations_doctor.examine(checks)
    if as_json:
        print_json(lines)
    else:
        draw(health.doctor_document(lines))
    if problems(lines):
        raise typer.Exit(1)


def _ready(stack: ExitStack) -> Settings:
    """The settings; the embedded PostgreSQL is started for a moment, where it is the ledger's and was set up."""
    settings = invoked_settings()
    try:
        return stack.enter_context(embedded.ledger_ready(settings))
    except NotFoundError:  # nothing was ever set up: each check says what it lacks
        return settings


def _chosen(settings: Settings, names: Sequence[str] | None) -> Sequence[Catalog]:
    declared = [catalog.catalog for catalog in ports.watched(settings)]
    configured = [name for name in (settings.catalog, *settings.source_urls) if name in declared]
    return ports.watched(settings, list(dict.fromkeys(names or configured or declared[:1])))


def _dagster() -> Iterable[Line]:
    return instance.examine_dagster(addresses.utc_now())
