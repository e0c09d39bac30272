"""`backup-pipeline verify` and `drill`: is a backup still good, how deep was looked, and does a restore of it work?"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from backup_pipeline.cli.options import (
    Backup,
    FromStore,
    OfCatalog,
    Opened,
    note_unreported,
    opened,
    parse_duration,
    print_json,
    shown_progress,
)
from backup_pipeline.core.drill import DrillReport, Fault
from backup_pipeline.core.due import staleness
from backup_pipeline.core.errors import BackupError, CatalogError, StaleError, UsageError
from backup_pipeline.core.restore import FIRST, Which
from backup_pipeline.core.verification import Level, VerifyReport, parse_sample
from backup_pipeline.lazy import lazily
from backup_pipeline.presentation.terminal import SafeConsole, draw, note_console

if TYPE_CHECKING:
    from backup_pipeline.core.ledger import Attempt
    from backup_pipeline.operations.drill import DrillRequest
    from backup_pipeline.operations.verify import VerifyRequest

with lazily():
    from backup_pipeline import catalogs
    from backup_pipeline.operations import browse, copy
    from backup_pipeline.operations import drill as operations_drill
    from backup_pipeline.operations import verify as operations_verify
    from backup_pipeline.orchestration import verification as proofs
    from backup_pipeline.presentation import verification as presentation_verification
    from backup_pipeline.wiring import addresses
    from backup_pipeline.wiring import drill as wiring_drill


_CHECKED = (Level.PRESENT, Level.BYTES, Level.CONTENTS, Level.REFERENCES)


Depth = Annotated[str, typer.Option(help="How deep: 0 or present, 1 or bytes, 2 or contents, 3 or references.")]
Share = Annotated[
    str | None, typer.Option(help="Only a share of the tables, 10%, or a part of them, 2/7: the second of seven.")
]
Seed = Annotated[
    str | None, typer.Option(help="Which tables a share is: the same seed, the same ones; default: the date.")
]
TimeLimit = Annotated[str | None, typer.Option(help="Stop after 90s, 30m, 2h; what is left is said.")]


def verify(  # noqa: PLR0913  # options are arguments to Typer
    backup: Backup,
    *,
    level: Depth = "2",
    sample: Share = None,
    seed: Seed = None,
    max_duration: TimeLimit = None,
    catalog: OfCatalog = None,
    store: FromStore = "first",
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Check one backup in the store, level by level, and say what that proves.

    Level 0, present: the manifest is whole, and the bundle there with its size. Level 1, bytes: the bundle has its
    SHA-256. Level 2, contents: every file is decoded in full and compared with the manifest, and the sheets are made
    anew from the Parquet files. Level 3, references: no row refers to a row that is missing. docs/verify.md says more.

    The row in the ledger keeps the deepest level that was reached in full; `list` and `show` tell it. A sample never
    counts as a level. With `--store second` the copy is looked at, and its own row keeps the level.

    Nothing is repaired. With `latest` it is also checked that the newest good backup is as new as the catalog's
    schedule promises.

    Examples:

        backup-pipeline verify latest

        backup-pipeline verify latest --level references --json

        backup-pipeline verify 20261120T180000Z-full-1f3a9c2e --sample 10% --max-duration 30m

        backup-pipeline verify latest --store second

    Exit codes: 0 nothing is wrong, as far as was looked; 1 the store or the ledger can not be read, so nothing is
    known; 2 wrong request; 10 there is no such backup, or it has no bundle; 12 it is encrypted, and no key here opens
    it (levels 0 and 1 need none); 20 something is damaged, each finding is named; 22 all is well, but the newest backup
    is older than its schedule allows.
    """
    request = _request(level, sample, seed, max_duration)
    with opened(catalog) as installation:
        attempt, report = _verified(installation, backup, catalog, request, store)
        stale = _stale(installation, attempt) if backup == "latest" else None
    if as_json:
        print_json({**report.as_json(), "stale": stale.what if stale else None})
    else:
        draw(presentation_verification.verification_document(report))
    if not report.passed:
        raise report.error()
    if stale is not None:
        raise stale


def parse_level(text: str) -> Level:
    """The level written as `text`, a number or a name; UsageError, saying what is allowed, when it is none."""
    for level in _CHECKED:
        if text.strip().lower() in {str(level.value), level.name.lower()}:
            return level
    names = ", ".join(f"{level.value} or {level.name.lower()}" for level in _CHECKED)
    message = f"{text!r} is not a level."
    raise UsageError(message, do=f"Use one of {names}. Level 4 (restored) is what a restore drill gives a backup.")


def _request(
    level: str, sample: str | None, seed: str | None, max_duration: str | None
) -> operations_verify.VerifyRequest:
    return operations_verify.VerifyRequest(
        level=parse_level(level),
        sample=parse_sample(sample) if sample else None,
        seed=seed or f"{addresses.utc_now():%Y-%m-%d}",
        max_duration=parse_duration(max_duration) if max_duration else None,
    )


def _verified(
    installation: Opened, backup: str, catalog: str | None, request: VerifyRequest, store: Which
) -> tuple[Attempt, VerifyReport]:
    attempt = browse.find_backup(backup, installation.ledger, catalog=catalog)
    with shown_progress(note_console()) as progress:
        ports = replace(installation.ports, store=installation.store(store), progress=progress)
        verify_one = copy.verify_copy if store == "second" else operations_verify.verify_attempt
        report = verify_one(attempt, request, ports, actor=installation.actor)
    if installation.has_dagster and store == FIRST:
        settings, now = installation.settings, installation.clock()
        note_unreported(proofs.report_verification(report, attempt, settings, now))
    return attempt, report


def _stale(installation: Opened, attempt: Attempt) -> StaleError | None:
    """Whether the newest backup is too old; a catalog that is not there any more promises nothing."""
    try:
        catalog = catalogs.load_catalogs(installation.settings.catalogs)[str(attempt.scope)]
    except (CatalogError, KeyError) as error:
        why = error.what if isinstance(error, BackupError) else f"it is not in {installation.settings.catalogs}."
        note_console().print(
            f"Whether it is new enough is not known: the catalog {attempt.scope} can not be read: {why}"
        )
        return None
    return staleness(catalog, attempt.created_at, installation.clock())


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
