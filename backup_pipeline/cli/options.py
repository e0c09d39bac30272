"""The arguments and options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

from backup_pipeline.core.removal import Versions
from backup_pipeline.core.restore_requests import Which

_ID = "A backup id, or `latest`: the newest good full one."

Backup = Annotated[str, typer.Argument(help=_ID, metavar="ID")]
PerhapsBackup = Annotated[str | None, typer.Argument(help=_ID, metavar="ID")]
OfCatalog = Annotated[str | None, typer.Option(help="With `latest`: of this catalog.")]
BackupsOf = Annotated[str | None, typer.Option(help="Only backups of this catalog.")]
FromStore = Annotated[
    Which, typer.Option("--store", help="Which store to read: the first, or the second (BACKUP_SECOND_STORE).")
]
Limit = Annotated[int, typer.Option(help="At most so many, the newest.", min=1)]
LedgerReason = Annotated[str, typer.Option(help="Why; kept in the ledger.")]
AuditReason = Annotated[str, typer.Option(help="Why; kept in the audit.")]
EarlierVersions = Annotated[
    Versions | None,
    typer.Option(help="Earlier versions in a versioned bucket; default: BACKUP_PRUNE_VERSIONS, or report."),
]
RowsAsJson = Annotated[bool, typer.Option("--json", help="Print JSON: an array of ledger rows.")]
PlanAsJson = Annotated[bool, typer.Option("--json", help="Print plan and report as JSON, and nothing else.")]
