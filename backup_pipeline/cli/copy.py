"""`backup-pipeline copy`: a backup, or all that are missing, from the first store into the second."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from backup_pipeline.cli.options import BackupsOf, Opened, PerhapsBackup, named_scope, opened, print_json
from backup_pipeline.cli.progress import shown_progress
from backup_pipeline.core.copies import Copy, CopyDecision, CopyStatus
from backup_pipeline.core.errors import BackupError, PartialError, UsageError
from backup_pipeline.lazy import lazily
from backup_pipeline.presentation.terminal import draw, note_console

if TYPE_CHECKING:
    from backup_pipeline.core.ports import Ports

with lazily():
    from backup_pipeline.operations import browse
    from backup_pipeline.operations import copy as operations_copy
    from backup_pipeline.presentation import backup as presentation_backup
    from backup_pipeline.wiring import ports as wiring_ports


def copy(
    backup: PerhapsBackup = None,
    *,
    missing: Annotated[bool, typer.Option("--missing", help="Every good backup that has no good copy.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be copied, and why.")] = False,
    catalog: BackupsOf = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: the rows of the copies.")] = False,
) -> None:
    """Copy backups into the second store (BACKUP_SECOND_STORE), and compare every byte there.

    Each backup is copied when it is made; this is for those that were not: the second store was away, or is new. The
    bytes are hashed as they pass and read back from there; the manifest comes last. What is there and good is left as
    it is, what is there and damaged is replaced. The daemon of Dagster does the same by itself, once an hour.

    Examples:

        backup-pipeline copy --missing --dry-run

        backup-pipeline copy --missing

        backup-pipeline copy 20261120T180000Z-full-1f3a9c2e

    Exit codes: 0 copied, or nothing was missing; 1 failed; 2 wrong request, or there is no second store; 3 some were
    copied and some were not; 10 there is no such backup, or it has no bundle.
    """
    if bool(backup) == missing:
        message = "Say which backup, or --missing." if not backup else "An ID and --missing do not go together."
        raise UsageError(message, do="Run `backup-pipeline copy ID`, or `backup-pipeline copy --missing`.")
    with opened(catalog) as installation, _ports(installation) as ports:
        decisions = _decisions(installation, ports, backup, catalog)
        if dry_run:
            _print_plan(decisions, as_json=as_json)
            return
        rows = [*_copied(installation, ports, decisions)]
    if as_json:
        print_json([presentation_backup.copy_json(row) for row in rows])
    else:
        draw(presentation_backup.copies_document(rows, decisions))
    _raise_failures(rows)


@contextmanager
def _ports(installation: Opened) -> Iterator[Ports]:
    with (
        shown_progress(note_console()) as progress,
        wiring_ports.open_ports(installation.settings, installation.settings.catalog, progress=progress) as ports,
    ):
        yield ports


def _decisions(installation: Opened, ports: Ports, backup: str | None, catalog: str | None) -> Sequence[CopyDecision]:
    operations_copy.second_of(ports)
    if not backup:
        return operations_copy.missing_copies(ports, named_scope(catalog))
    attempt = browse.find_backup(backup, installation.ledger, catalog=catalog)
    browse.bundle_place(attempt)
    return [CopyDecision(attempt, wanted=True, reason="it was asked for")]


def _copied(installation: Opened, ports: Ports, decisions: Sequence[CopyDecision]) -> Iterator[Copy]:
    return operations_copy.copy_missing(decisions, ports, actor=installation.actor)


def _print_plan(decisions: Sequence[CopyDecision], *, as_json: bool) -> None:
    plan = [{"backup_id": each.attempt.backup_id, "wanted": each.wanted, "reason": each.reason} for each in decisions]
    if as_json:
        print_json(plan)
    else:
        draw(presentation_backup.decisions_document(decisions))


def _raise_failures(rows: Sequence[Copy]) -> None:
    failed = [row for row in rows if row.status is not CopyStatus.GOOD]
    if not failed:
        return
    what = f"{len(failed)} of {len(rows)} copies failed. {failed[0].error_message or ''}"
    error = PartialError if len(failed) < len(rows) else BackupError
    message, _, do = what.partition("\nWhat to do: ")
    raise error(message, do=do or "Correct the cause, then run `backup-pipeline copy --missing`.")
