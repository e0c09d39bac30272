"""How restore requests look in a terminal: the list, and everything about one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from backup_pipeline.cli.output import moment, result_console
from backup_pipeline.core.ledger import AuditEvent
from backup_pipeline.core.restore_requests import SECOND, RestoreRow, RestoreStatus

_STYLES = {
    RestoreStatus.DONE: "green",
    RestoreStatus.RUNNING: "cyan",
    RestoreStatus.REQUESTED: "yellow",
    RestoreStatus.APPROVED: "yellow",
    RestoreStatus.FAILED: "bold red",
    RestoreStatus.REJECTED: "red",
}


def restore_list(rows: Sequence[RestoreRow]) -> Table:
    """The requests as a table."""
    table = Table(box=None, pad_edge=False)
    table.add_column("N", justify="right", no_wrap=True)
    for name in ("Asked for", "Status", "Backup", "Mode", "Into", "By"):
        table.add_column(name, no_wrap=True)
    table.add_column("Tables, reason or error")
    for row in rows:
        table.add_row(
            str(row.id),
            f"{row.created_at:%Y-%m-%d %H:%M}",
            Text(row.status, style=_STYLES.get(row.status, "")),
            Text(row.backup_id),
            Text(row.mode),
            Text(row.database + (f", schema {row.into_schema}" if row.into_schema else "")),
            Text(row.requested_by),
            Text("; ".join(_about(row))),
        )
    return table


def print_row(row: RestoreRow, audits: Sequence[AuditEvent]) -> None:
    """Print what was asked and decided, how it ended, what was planned, and the audit."""
    console = result_console()
    facts = Table.grid(padding=(0, 2))
    for name, value in _facts(row):
        facts.add_row(Text(name, style="bold"), value if isinstance(value, Text) else Text(value))
    console.print(facts)
    for title, tables in (("Planned", _planned(row.plan)), ("Done", _done(row.report))):
        if tables:
            console.print(Text(f"\n{title}", style="bold"))
            for line in tables:
                console.print(Text(f"  {line}"), soft_wrap=True)
    console.print()
    for event in audits:
        detail = ", ".join(f"{name}: {value}" for name, value in event.detail.items() if name != "request")
        console.print(Text(f"{moment(event.at)}  {event.actor}  {event.action}  {detail}"), soft_wrap=True)


def _about(row: RestoreRow) -> Iterator[str]:
    if row.tables:
        yield ", ".join(row.tables)
    if row.error_message:
        yield row.error_message.splitlines()[0]
    elif row.reason:
        yield row.reason


def _facts(row: RestoreRow) -> Iterator[tuple[str, str | Text]]:
    yield "Request", str(row.id)
    yield "Status", Text(row.status, style=_STYLES.get(row.status, ""))
    if row.error_message:
        yield "Error", Text(row.error_message, style="red")
    told = {
        "Backup": row.backup_id,
        "Catalog": row.catalog,
        "Tables": ", ".join(row.tables) or "all of the backup",
        "Mode": row.mode,
        "Into": f"database {row.database}, {row.target}",
        "Schema": row.into_schema or "",
        "Renamed": _pairs(row.rename),
        "Filled": _pairs(row.fill),
        "Store": "the second" if row.store == SECOND else "",
        "Safety": "" if row.safety_backup else "NO SAFETY BACKUP is made",
        "Asked by": f"{row.requested_by}, {moment(row.created_at)}",
        "Reason": row.reason,
        "Plan": str((row.plan or {}).get("digest", ""))[:12],
        "Decided by": f"{row.decided_by}, {moment(row.decided_at)}" if row.decided_by else "",
        "Because": row.decision_reason or "",
        "Started": moment(row.started_at),
        "Finished": moment(row.finished_at),
        "Run": row.run_id or "",
    }
    yield from ((name, value) for name, value in told.items() if value)


def _pairs(given: Mapping[str, str]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in given.items())


def _planned(plan: Mapping[str, Any] | None) -> list[str]:
    """The plan as it was stored: a newer version may have written other fields."""
    if plan is None:
        return []
    lines = []
    for table in plan.get("tables", ()):
        now = table.get("rows_now")
        there = "not there" if now is None else f"{now:,} rows"
        into = ".".join(table.get("target", ()))
        given = table.get("rows_in_backup", 0)
        lines.append(f"{table.get('name')} into {into}: {table.get('action')}, {there} now, {given:,} in the backup")
    remarks = (remark for remark in plan.get("remarks", ()) if remark.get("severity") != "info")
    return lines + [f"{remark['severity']}: {remark.get('table') or ''} {remark['message']}" for remark in remarks]


def _done(report: Mapping[str, Any] | None) -> list[str]:
    if report is None:
        return []
    counted = ("inserted", "updated", "deleted", "unchanged")
    lines = [
        f"{table['name']}: " + ", ".join(f"{table.get(name, 0):,} {name}" for name in counted)
        for table in report.get("tables", ())
    ]
    if report.get("safety_backup_id"):
        lines.append(f"as it was before: backup {report['safety_backup_id']}")
    return lines
