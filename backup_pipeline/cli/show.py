"""How everything about one backup looks in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from backup_pipeline.cli.output import moment, result_console
from backup_pipeline.core.copies import Copy
from backup_pipeline.core.ledger import Attempt, AuditEvent
from backup_pipeline.core.manifest import StoredManifest, TableEntry
from backup_pipeline.core.statuses import Status
from backup_pipeline.core.verified import Verified, told

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


def marks(attempt: Attempt) -> str:
    """What is special about a backup: `late`, `mixed`, `sealed`."""
    found = {"late": attempt.late, "mixed": attempt.consistent is False, "sealed": attempt.seal_key is not None}
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
    found = Verified(attempt.verification_level, attempt.verified_at)
    return Text(told(found, now), style="bold red" if found.failed else "")


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
    if attempt.verified_at is not None:
        yield "Verified", verified(attempt, now)
    if attempt.hold is not None:
        yield "Hold", Text(str(attempt.hold), style="bold" if attempt.hold.lasts(now) else "dim")
    if attempt.expires_at is not None and attempt.status.good:
        yield "Expires", f"{moment(attempt.expires_at)} at the earliest"
    facts = {
        "Catalog": attempt.catalog,
        "Date": attempt.partition_date.isoformat(),
        "Marks": marks(attempt),
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
