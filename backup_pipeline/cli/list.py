"""How the copies of backups are shown beside them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from backup_pipeline.cli.options import (
    Backup,
    BackupsOf,
    Limit,
    OfCatalog,
    Opened,
    RowsAsJson,
    moment,
    opened,
    print_json,
)
from backup_pipeline.core.copies import Copy, CopyStatus
from backup_pipeline.core.ledger import Attempt, AuditEvent, Status, of_future
from backup_pipeline.core.manifest import StoredManifest, TableEntry
from backup_pipeline.core.verification import has_failed, in_short
from backup_pipeline.presentation.terminal import note_console, result_console

if TYPE_CHECKING:
    from backup_pipeline.core.manifest import StoredManifest
    from backup_pipeline.core.ports import Ledger


def with_copies(attempt: Attempt, copies: Sequence[Copy]) -> Mapping[str, object]:
    """The row of a backup for JSON, with the rows of its copies."""
    return {**vars(attempt), "copies": [copy for copy in copies if copy.backup_id == attempt.backup_id]}


def shown_copies(rows: Sequence[Attempt], copies: Sequence[Copy], second: str | None) -> Mapping[str, str]:
    """A mark for each good backup that says whether it is in the store `second`; none where there is no such store."""
    if second is None:
        return {}
    known = {copy.backup_id: copy for copy in copies if copy.store == second}
    kept = [row for row in rows if row.status.good and row.kind.bundled]
    return {row.backup_id: _mark(known.get(row.backup_id)) for row in kept}


def _mark(copy: Copy | None) -> str:
    if copy is None or copy.status is CopyStatus.FAILED:
        return "NOT copied"
    if copy.status is CopyStatus.GOOD:
        return "copied" if copy.good else "copy DAMAGED"
    return "copy deleted" if copy.status is CopyStatus.DELETED else "copying"


STATUS_STYLES = {
    Status.SUCCESS: "green",
    Status.SUCCESS_WITH_WARNINGS: "yellow",
    Status.RUNNING: "cyan",
    Status.FAILED: "bold red",
    Status.MISSED: "bold red",
    Status.CANCELED: "yellow",
}

_WHOLE = "report"
"""What only --json tells of an audit row: it is long, and the short of it stands beside."""


def marks(attempt: Attempt, now: datetime) -> str:
    """What is special about a backup: `late`, `mixed`, `sealed`, `of the future`."""
    found = {
        "late": attempt.late,
        "mixed": attempt.consistent is False,
        "sealed": attempt.seal_key is not None,
        "of the future": of_future(attempt, now),
    }
    return ", ".join(name for name, is_so in found.items() if is_so)


def expires(attempt: Attempt, now: datetime) -> Text:
    """When the rules let a backup go at the earliest, or that somebody holds it; nothing for what is no backup."""
    if not attempt.status.good:
        return Text("")
    if attempt.hold is not None and attempt.hold.lasts(now):
        return Text("held", style="bold")
    return Text(f"{attempt.expires_at:%Y-%m-%d}" if attempt.expires_at else "")


def verified(attempt: Attempt, now: datetime) -> Text:
    """The level of the last verification and its age, in red when something was found."""
    style = "bold red" if has_failed(attempt.verification) else ""
    return Text(in_short(attempt.verification, now), style=style)


def print_backup(
    attempt: Attempt,
    manifest: StoredManifest | None,
    problem: str | None,
    audits: Sequence[AuditEvent],
    now: datetime,
    copies: Sequence[Copy] = (),
) -> None:
    """Print the row, the tables of the manifest (or why there is none), the warnings, and the audit."""
    console = result_console()
    facts = Table.grid(padding=(0, 2))
    for name, value in _facts(attempt, manifest, now):
        facts.add_row(Text(name, style="bold"), value if isinstance(value, Text) else Text(value))
    for copy in copies:
        told = Text(f"{copy.store}: {copy.in_short(now)}", style="" if copy.good else "yellow")
        facts.add_row(Text("Copy", style="bold"), told)
    console.print(facts)
    if manifest is not None:
        console.print()
        console.print(_tables(manifest.tables))
    elif attempt.status.good and problem:
        console.print(Text.assemble(("Manifest: ", "bold yellow"), problem))
    for warning in attempt.warnings:
        console.print(Text.assemble(("Warning: ", "yellow"), warning))
    _print_audit(console, audits)


def _facts(attempt: Attempt, manifest: StoredManifest | None, now: datetime) -> Iterator[tuple[str, str | Text]]:
    yield "Backup", attempt.backup_id
    yield "Status", Text(attempt.status, style=STATUS_STYLES.get(attempt.status, ""))
    if attempt.error_message:
        yield "Error", Text(attempt.error_message, style="red")
    if attempt.verification is not None:
        yield "Verified", verified(attempt, now)
    if attempt.hold is not None:
        yield "Hold", Text(str(attempt.hold), style="bold" if attempt.hold.lasts(now) else "dim")
    if attempt.expires_at is not None and attempt.status.good:
        yield "Expires", f"{moment(attempt.expires_at)} at the earliest"
    facts = {
        "Catalog": attempt.catalog,
        "Date": attempt.partition_date.isoformat(),
        "Marks": marks(attempt, now),
        "Kind": f"{attempt.kind}, {attempt.type}",
        "By": attempt.created_by,
        "Reason": attempt.reason,
        "Started": moment(attempt.started_at),
        "Finished": moment(attempt.finished_at),
        "Snapshot": moment(attempt.snapshot_at),
        "Rows": f"{attempt.record_count:,}" if attempt.record_count is not None else "",
        "Size": decimal(attempt.file_size_bytes) if attempt.file_size_bytes is not None else "",
        "Bundle": attempt.file_path or "",
        "SHA-256": attempt.sha256 or "",
        "Of manifest": attempt.manifest_sha256 or "",
        "Sealed with": f"key {attempt.seal_key}" if attempt.seal_key else "",
        "Encrypted to": ", ".join(manifest.encryption.recipients) if manifest and manifest.encryption else "",
        "Run": attempt.run_id or "",
        "Format": f"{manifest.format_version}, made by backup_pipeline {manifest.pipeline_version}" if manifest else "",
        "Server": f"{manifest.snapshot.database}, {manifest.snapshot.server_version}" if manifest else "",
    }
    yield from ((name, value) for name, value in facts.items() if value)


def _tables(entries: Sequence[TableEntry]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("Table", no_wrap=True)
    table.add_column("Sheet")
    for name in ("Rows", "Bytes", "Seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("Checks and notes")
    for entry in entries:
        table.add_row(
            Text(entry.name),
            Text(entry.sheet),
            f"{entry.row_count:,}",
            decimal(entry.bytes),
            f"{entry.seconds:.2f}",
            Text("; ".join(_remarks(entry))),
        )
    return table


def _remarks(entry: TableEntry) -> Iterator[str]:
    """The checks in one word when all is well, the failed ones in full, then what is not exactly as in the database."""
    failed = [check for check in entry.checks if not check.passed]
    if entry.checks and not failed:
        yield f"{len(entry.checks)} checks passed"
    for check in failed:
        yield f"{check.name} FAILED: {check.message}"
    yield from entry.notes
    if entry.excluded_columns:
        yield f"without {', '.join(entry.excluded_columns)}"


def _print_audit(console: Console, audits: Sequence[AuditEvent]) -> None:
    if not audits:
        return
    console.print()
    table = Table.grid(padding=(0, 2))
    for event in audits:
        table.add_row(moment(event.at), Text(event.actor), Text(event.action), audit_detail(event))
    console.print(table)


def audit_detail(event: AuditEvent) -> Text:
    """What an audit row says besides who, what and when, on one line."""
    if event.action == "alert":
        channel, error = event.detail.get("channel"), event.detail.get("error")
        return Text(f"{channel}: NOT delivered: {error}", style="red") if error else Text(f"{channel}: delivered")
    shown = {name: value for name, value in event.detail.items() if value not in ("", None, []) and name != _WHOLE}
    return Text(", ".join(f"{name}: {value}" for name, value in shown.items()))


_LAST = "Reason / error"
_BESIDE = (
    *(("ID (UTC)",), ("Catalog",), ("Kind",), ("Date",), ("Status",)),
    *(("Rows",), ("Size",), ("Verified",), ("Expires",), ("By",), ("Marks",), (_LAST,)),
)
_STACKED = (
    *(("ID (UTC)", "Verified", "Marks"), ("Catalog", "Kind", "Expires"), ("Date", "Status"), ("Rows", "Size")),
    ("By", _LAST),
)
_NUMBERS = {"Rows", "Size"}
_WHOLE_LIST = {"ID (UTC)", "Catalog", "Rows"}
"""Never wrapped, however narrow it is: what is copied, and what is compared."""

_NARROW = 180
"""Columns of a terminal below which facts are stacked."""
_LONGEST = 40
"""Letters of a reason or an error: more is cut."""


def backup_list(
    rows: Sequence[Attempt], width: int, now: datetime, copies: Mapping[str, str] = MappingProxyType({})
) -> Table:
    """The table of `rows` for a terminal of `width` columns, seen `now`; ids are never cut or wrapped.

    `copies` says of a backup what to tell of its copy in the second store.
    """
    groups: Sequence[tuple[str, ...]] = _STACKED if width < _NARROW else _BESIDE
    if not any(expires(row, now) for row in rows):
        groups = [group for group in groups if group != ("Expires",)]
    table = Table(box=None, pad_edge=False)
    for group in groups:
        stays = group[0] in _WHOLE_LIST or (width >= _NARROW and group[0] != _LAST)
        justify: Literal["left", "right"] = "right" if group[0] in _NUMBERS else "left"
        table.add_column("\n".join(group), justify=justify, no_wrap=stays, overflow="fold")
    for row in rows:
        facts = _list_facts(row, now, copies.get(row.backup_id, ""))
        table.add_row(*(Text("\n").join(facts[name] for name in group) for group in groups))
    return table


def outcome_in_short(attempt: Attempt) -> str:
    """The first sentence of what went wrong; where nothing did, the reason that was given. At most 40 letters."""
    told = first_sentence(attempt.error_message) if attempt.error_message else " ".join(attempt.reason.split())
    return told if len(told) <= _LONGEST else told[: _LONGEST - 1].rstrip() + "…"


def first_sentence(text: str) -> str:
    """The first sentence of `text`, which ends at a full stop before a space, or with the line."""
    line = text.strip().partition("\n")[0]
    return re.split(r"(?<=[.!?])\s", line, maxsplit=1)[0]


def _verified(row: Attempt, now: datetime) -> Text:
    """Level and age; of a failure the day alone, `show` says more."""
    whole = verified(row, now)
    return Text(whole.plain.partition(" after ")[0], style=whole.style)


def _list_facts(row: Attempt, now: datetime, copy: str) -> Mapping[str, Text]:
    return {
        "ID (UTC)": Text(row.backup_id),
        "Catalog": Text(row.catalog),
        "Kind": Text(row.kind),
        "Date": Text(row.partition_date.isoformat()),
        "Status": Text(row.status.replace("_", " "), style=STATUS_STYLES.get(row.status, "")),
        "Rows": Text(f"{row.record_count:,}" if row.record_count is not None else ""),
        "Size": Text(decimal(row.file_size_bytes) if row.file_size_bytes is not None else ""),
        "Verified": _verified(row, now),
        "Expires": expires(row, now),
        "By": Text(row.created_by),
        "Marks": Text(", ".join(mark for mark in (marks(row, now), copy) if mark)),
        _LAST: Text(outcome_in_short(row), style="red" if row.error_message else ""),
    }


def audit(
    backup: Annotated[
        str | None, typer.Argument(help="A backup id, or `latest`; default: of all.", metavar="[ID]")
    ] = None,
    *,
    catalog: OfCatalog = None,
    limit: Limit = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: an array of audit rows.")] = False,
) -> None:
    """Show the audit, newest first: who did what to which backup, and why.

    It has every backup that began and how it ended, each download, URL, hold, release, removal, restore, verification,
    drill, copy, alert, ping, use of a key, prune and rebuild. A row of it is never changed. With an id, also of a
    backup that the ledger does not have any more.

    Examples:

        backup-pipeline audit

        backup-pipeline audit latest

        backup-pipeline audit --limit 1000 --json | jq '.[] | select(.action == "key used")'

    Exit codes: 0 shown; 1 the ledger can not be read; 2 wrong request; 10 there is no such backup.
    """
    with opened(catalog) as at:
        events = at.ledger.audits(_wanted(backup, at.ledger, catalog), limit=limit)
    if as_json:
        print_json(events)
    else:
        _print(events)


def _wanted(backup: str | None, ledger: Ledger, catalog: str | None) -> str | None:
    from backup_pipeline.core.names import parse_backup_id
    from backup_pipeline.operations.browse import LATEST, find_backup

    if backup is None:
        return None
    if backup != LATEST:
        return str(parse_backup_id(backup))
    return find_backup(backup, ledger, catalog=catalog).backup_id


def _print(events: Sequence[AuditEvent]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for name in ("When", "Who", "What", "Backup"):
        table.add_column(name, no_wrap=True)
    table.add_column("Detail")
    for event in events:
        backup = Text(event.backup_id or "")
        table.add_row(moment(event.at), Text(event.actor), Text(event.action), backup, audit_detail(event))
    result_console().print(table)


def list_backups(
    *,
    catalog: BackupsOf = None,
    status: Annotated[list[Status] | None, typer.Option(help="Only these; may be given several times.")] = None,
    limit: Limit = 20,
    as_json: RowsAsJson = False,
) -> None:
    """List backups and attempts, newest first: date, status, rows, size, who made it and why, or what went wrong.

    It reads the ledger, not the store: a backup that is listed was checked when it was made; `verify` checks it now.
    Marks: *late* rows were read after the date they are filed under; *mixed* tables show different instants; *sealed*
    manifests carry a signature (docs/integrity.md); a row *of the future* was dated by a clock that was ahead: it is
    neither fresh nor the newest; *copied* or *NOT copied* to the second store, where there is one. Kinds: a *selective*
    backup holds chosen tables only, *tables* has no bundle. The date is that of the catalog's timezone, the time in an
    id is UTC. Verified is the deepest level that was reached, and how long ago. Expires is when the rules let it go at
    the earliest (empty: never, or by count), or *held*. Reasons and errors are cut to fit: `show` tells them whole.

    Examples:

        backup-pipeline list

        backup-pipeline list --catalog isp --status failed --limit 5

        backup-pipeline list --status success --json | jq -r '.[0].backup_id'

    Exit codes: 0 listed, also when there is nothing to list; 1 the ledger can not be read; 2 wrong request; 10 nothing
    was ever set up here.
    """
    with opened(catalog) as at:
        rows = at.ledger.list(catalog=catalog, status=status or (), limit=limit)
        copies = at.ledger.copies.list(catalog=catalog)
        undelivered, now = len(at.ledger.outbox.list()), at.clock()
    if as_json:
        print_json([with_copies(row, copies) for row in rows])
        return

    console = result_console()
    second = at.settings.second_store
    shown = shown_copies(rows, copies, second.rstrip("/") if second else None)
    console.print(backup_list(rows, console.width, now, shown) if rows else "There are no backups to list.")
    if undelivered:
        note_console().print(f"Alerts that did not reach people: {undelivered}. `backup-pipeline alerts` lists them.")


def show(
    backup: Backup,
    *,
    catalog: OfCatalog = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: the row, the manifest, the audit.")] = False,
) -> None:
    """Show everything about one backup: its row, its tables and checks, its warnings, and who did what with it.

    Alerts are listed with what became of them on each channel, failed deliveries too. The tables come from the manifest
    in the store; a backup without a bundle has none. Nothing is verified here: that is `verify`.

    Examples:

        backup-pipeline show latest

        backup-pipeline show 20261120T180000Z-full-1f3a9c2e --json

    Exit codes: 0 shown; 1 the ledger can not be read; 2 that is no backup id; 10 there is no such backup.
    """
    from backup_pipeline.operations.browse import find_backup

    with opened(catalog) as at:
        attempt = find_backup(backup, at.ledger, catalog=catalog)
        audits = list(reversed(at.ledger.audits(attempt.backup_id)))
        copies = at.ledger.copies.list(backup_id=attempt.backup_id)
        manifest, problem = _manifest(at, attempt)
        now = at.clock()
    if as_json:
        described = manifest.model_dump(mode="json") if manifest else None
        print_json(
            {"backup": attempt, "manifest": described, "manifest_error": problem, "audit": audits, "copies": copies}
        )
        return

    print_backup(attempt, manifest, problem, audits, now, copies)


def _manifest(at: Opened, attempt: Attempt) -> tuple[StoredManifest | None, str | None]:
    """The manifest, or why there is none to be had: what the ledger knows is worth showing all the same."""
    from backup_pipeline.core.errors import BackupError
    from backup_pipeline.operations.browse import stored_manifest

    try:
        return stored_manifest(attempt, at.store()), None
    except BackupError as error:
        return None, error.what
