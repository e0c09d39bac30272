"""`backup-pipeline drill`: rehearse a restore of a backup, and compare what comes back."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from backup_pipeline.cli.options import Backup, OfCatalog, Opened, note_unreported, opened, print_json
from backup_pipeline.cli.progress import shown_progress
from backup_pipeline.core.drill import DrillReport, Fault
from backup_pipeline.core.errors import BackupError
from backup_pipeline.lazy import lazily
from backup_pipeline.presentation.terminal import SafeConsole, draw, note_console

if TYPE_CHECKING:
    from backup_pipeline.operations.drill import DrillRequest

with lazily():
    from backup_pipeline.operations import browse
    from backup_pipeline.operations import drill as operations_drill
    from backup_pipeline.orchestration import verification as proofs
    from backup_pipeline.presentation import verification as presentation_verification
    from backup_pipeline.wiring import drill as wiring_drill


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
    with opened(catalog) as installation:
        attempt = browse.find_backup(backup, installation.ledger, catalog=catalog)
        declared = wiring_drill.drilled_catalog(installation.settings, attempt.scope.catalog)
        request = operations_drill.DrillRequest(
            attempt, installation.actor, declared, newest=backup == _LATEST, fault=inject
        )
        report, outcome = _drilled(installation, request, as_json=as_json)
    if as_json:
        print_json({**report.as_json(), "outcome": outcome.what if outcome else None})
    else:
        draw(presentation_verification.drill_document(report))
    if outcome is not None:
        raise outcome


def _drilled(installation: Opened, request: DrillRequest, *, as_json: bool) -> tuple[DrillReport, BackupError | None]:
    console = SafeConsole(quiet=True) if as_json else note_console()
    with shown_progress(console) as progress:
        ports = replace(installation.ports, progress=progress)
        sandbox = partial(wiring_drill.open_sandbox, installation.settings)
        report, outcome = operations_drill.drill_backup(request, ports, sandbox)
    if installation.has_dagster:
        settings, now = installation.settings, installation.clock()
        note_unreported(proofs.report_drill(report, request.attempt, settings, now))
    return report, outcome
