"""`backup-pipeline backup` and `copy`: run a backup now, through Dagster; bring backups into the second store."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from backup_pipeline.cli.options import (
    BackupsOf,
    Opened,
    PerhapsBackup,
    RunFailedError,
    chosen_catalog,
    invoked_settings,
    named_scope,
    opened,
    print_json,
    shown_progress,
)
from backup_pipeline.core.alerts import LOG_CHANNEL
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.copies import Copy, CopyDecision, CopyStatus
from backup_pipeline.core.errors import BackupError, LedgerError, PartialError, SettingsError, UsageError, parse_advice
from backup_pipeline.core.layout import BackupPlace
from backup_pipeline.core.schedule import local_date
from backup_pipeline.core.scope import Scope
from backup_pipeline.lazy import lazily
from backup_pipeline.presentation.terminal import SafeConsole, draw, note_console
from backup_pipeline.settings import Settings

if TYPE_CHECKING:
    from backup_pipeline.core.manifest import StoredManifest
    from backup_pipeline.core.ports import Ports

with lazily():
    import dagster as dg

    from backup_pipeline import presentation as reports
    from backup_pipeline.operations import alerting, browse
    from backup_pipeline.operations import copy as operations_copy
    from backup_pipeline.orchestration import launch, sensors
    from backup_pipeline.presentation import backup as presentation_backup
    from backup_pipeline.wiring import addresses, embedded, processes
    from backup_pipeline.wiring import ports as wiring_ports


@dataclass(frozen=True)
class _Selection:
    catalog: Catalog
    tables: tuple[str, ...]
    day: str
    reason: str
    late: bool


def backup(
    *,
    catalog: Annotated[
        str | None, typer.Option(help="The catalog to back up; default: BACKUP_CATALOG, or isp.")
    ] = None,
    table: Annotated[list[str] | None, typer.Option(help="Only this table; may be given several times.")] = None,
    reason: Annotated[str, typer.Option(help="Why; kept in the ledger and the manifest.")] = "",
    day: Annotated[str, typer.Option("--date", help="The partition, YYYY-MM-DD; default: today.")] = "",
    late: Annotated[bool, typer.Option("--late", help="File today's rows under a --date that is over.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else.")] = False,
) -> None:
    """Back up every table of a catalog from one snapshot, bundle it into the store, and check it there.

    The run goes through Dagster, so it stands in the UI's history. Where no BACKUP_SOURCE_URL is set, an embedded
    PostgreSQL with the ISP demo database is started first, and stopped at the end.

    With --table only those tables are read, again from one snapshot, and the bundle holds just them.

    Examples:

        backup-pipeline backup

        backup-pipeline backup --table customers --table payments --reason "before the price change"

        backup-pipeline backup --catalog shop --json

    Exit codes: 0 done; 1 failed; 2 wrong request or catalog; 3 some tables failed and there is no bundle; 10 there is
    no such catalog; 11 another run writes the catalog; 20 the store gave back other bytes; 21 refused, because the date
    is over or a clock is wrong; 130 stopped.
    """
    settings = _beside_up(invoked_settings())
    spec = chosen_catalog(settings, catalog)
    spec.check_reason(reason)
    selection = _Selection(spec, _tables(spec, table or []), day, reason, late)
    with _terminal() as console:
        try:
            manifest = _run(settings, selection, SafeConsole(quiet=True) if as_json else console)
        except (LedgerError, SettingsError) as error:
            _alert_without_ledger(settings, selection.catalog, error)
            raise
        if as_json:
            sys.stdout.write(json.dumps(_as_json(manifest)) + "\n")
            return
        draw(presentation_backup.made_document(manifest, _where(manifest, settings)), console)


def _beside_up(settings: Settings) -> Settings:
    """Where the UI is, if an `up` runs in this home and nothing else is set: the links of the backup lead there."""
    ui = None if "dagster_url" in settings.model_fields_set else processes.running_ui(settings.home)
    return settings.model_copy(update={"dagster_url": ui}) if ui else settings


def _run(settings: Settings, selection: _Selection, console: Console) -> StoredManifest:
    prepared = embedded.prepared(settings, lambda line: console.print(line, highlight=False))
    with prepared as ready, dg.DagsterInstance.get() as instance:
        now = _close_what_died(ready, selection.catalog, instance)
        day = _date(selection.day) if selection.day else local_date(now, selection.catalog.timezone)
        order = launch.RunOrder(
            selection.catalog,
            selection.tables,
            day,
            selection.reason,
            addresses.os_user(),
            late=selection.late,
            now=now,
        )
        # What is logged inside a step is in its compute log; here it would stand twice, or not at all.
        logging.getLogger("backup_pipeline").addHandler(logging.NullHandler())
        with shown_progress(console) as progress:
            result = launch.run_backup(order, ready, progress, instance)
        if not result.success:
            _show_alerts(console, ready, result.run_id)
            raise RunFailedError(result.error, do=result.what_to_do, exit_code=result.exit_code)
        return _manifest_of(ready, selection.catalog, result.run_id)


def _show_alerts(console: Console, settings: Settings, run_id: str) -> None:
    """Who was told of the failure, and who could not be: from the audit, as Dagster keeps a step's own output."""
    with wiring_ports.open_ledger(settings) as ledger:
        attempt = ledger.of_run(run_id)
        events = ledger.audits(attempt.backup_id) if attempt else ()
    for event in events:
        if event.action == "alert held back":
            line = "Nobody is told anew: an earlier failure was told, and this one is counted for the next reminder."
            console.print(line, highlight=False)
        if event.action != "alert":
            continue
        channel, error = event.detail.get("channel"), event.detail.get("error")
        if channel == LOG_CHANNEL:
            line = "Nobody was told: BACKUP_ALERT_URLS is not set."
        else:
            line = f"Alert NOT delivered to {channel}: {error}" if error else f"Alert delivered to {channel}."
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        message = f"{text!r} is not a date."
        raise UsageError(message, do="Write it as YYYY-MM-DD, such as 2026-11-21.") from None


def _alert_without_ledger(settings: Settings, catalog: Catalog, error: BackupError) -> None:
    """Without its ledger a backup does not even begin, so nothing else would tell anybody."""
    wiring_ports.open_settings_alerter(settings).send(
        alerting.no_row_alert(Scope(catalog.catalog), error, wiring_ports.utc_now())
    )


def _close_what_died(settings: Settings, catalog: Catalog, instance: dg.DagsterInstance) -> datetime:
    """The present, by the ledger's clock, as nobody else has to know it here."""
    with wiring_ports.open_ports(settings, catalog.catalog) as ports:
        sensors.close_what_died(instance, {catalog.catalog: catalog}, ports)
        return ports.clock()


def _manifest_of(settings: Settings, catalog: Catalog, run_id: str) -> StoredManifest:
    with wiring_ports.open_ports(settings, catalog.catalog) as ports:
        attempt = ports.ledger.of_run(run_id)
        if attempt is None:
            message = "The run ended well but left no row in the ledger."
            raise RunFailedError(message, do="Report this.", exit_code=1)
        # The row knows more than the manifest: what became of the copy in the second store.
        changes = {"status": attempt.status, "warnings": attempt.warnings}
        return browse.stored_manifest(attempt, ports.store).model_copy(update=changes)


def _tables(catalog: Catalog, names: list[str]) -> tuple[str, ...]:
    unknown = [table for table in names if table not in catalog.tables]
    if unknown:
        message = f"Catalog {catalog.catalog} has no table {', '.join(unknown)}."
        raise UsageError(message, do=f"It has: {', '.join(catalog.tables)}.")
    return tuple(dict.fromkeys(names))


@contextmanager
def _terminal() -> Iterator[Console]:
    """A console on a copy of the error stream: Dagster redirects the stream itself while a step runs."""
    with os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding="utf-8") as stream:
        yield SafeConsole(file=stream, force_terminal=sys.stderr.isatty())


def _as_json(manifest: StoredManifest) -> dict[str, object]:
    place = BackupPlace(manifest.scope, manifest.partition_date, manifest.backup_id)
    return {
        "message_type": "summary",
        "backup_id": manifest.backup_id,
        "status": manifest.status,
        "partition_date": manifest.partition_date.isoformat(),
        "bundle": place.bundle(manifest.bundle.name),
        "manifest": place.manifest,
        "bytes": manifest.bundle.bytes,
        "sha256": manifest.bundle.sha256,
        "rows": manifest.totals.rows,
        "tables": {table.name: table.row_count for table in manifest.tables},
        "consistent": manifest.consistent,
        "warnings": list(manifest.warnings),
        "run_id": manifest.run_id,
    }


def _where(manifest: StoredManifest, settings: Settings) -> Mapping[str, str]:
    """Where it can be found."""
    place = BackupPlace(manifest.scope, manifest.partition_date, manifest.backup_id)
    store = addresses.store_url(settings)
    starts = "" if processes.running_ui(settings.home) else " (start it with `backup-pipeline up`)"
    return {
        "Bundle": f"{store}/{place.bundle(manifest.bundle.name)} ({reports.size(manifest.bundle.bytes)})",
        "Manifest": f"{store}/{place.manifest}",
        "UI": f"{settings.dagster_url}/runs/{manifest.run_id}{starts}",
    }


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
    message, do = parse_advice(what)
    raise error(message, do=do or "Correct the cause, then run `backup-pipeline copy --missing`.")
