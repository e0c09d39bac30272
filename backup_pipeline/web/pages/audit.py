"""The audit: who did what, when and from where; by filter, by page, as a file, and whether it is what was written."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response, StreamingResponse

from backup_pipeline.core.access import Permission
from backup_pipeline.core.audit import AuditEntry, AuditFilter
from backup_pipeline.core.errors import UsageError
from backup_pipeline.core.ports.access import AuditRows
from backup_pipeline.core.scope import as_people_read
from backup_pipeline.operations.access import verify_audit
from backup_pipeline.web.people import Visitor, allowed
from backup_pipeline.web.rendering import page, redirect, systems_of

router = APIRouter(prefix="/audit")

_Auditor = Annotated[Visitor, Depends(allowed(Permission.SEE_AUDIT))]
_PAGE = 50
_BATCH = 1_000
_MARKS = tuple("=+-@\t\r\n＝＋－＠")
"""What a spreadsheet takes for the beginning of a formula, wide letters included."""
_COLUMNS = ("number", "at_utc", "actor", "action", "backup_id", "detail", "address", "session", "request_id", "sha256")


@dataclass(frozen=True)
class AuditQuery:
    """What the filter of the page says, as it was typed; days are of the wall clock that the page shows."""

    who: str = ""
    what: str = ""
    backup: str = ""
    words: str = ""
    since: str = ""
    until: str = ""

    def wanted(self, zone: ZoneInfo) -> AuditFilter:
        """Which rows that are; UsageError for a day that is none."""
        since, until = _day(self.since), _day(self.until)
        return AuditFilter(
            self.who.strip(),
            self.what,
            self.backup.strip(),
            self.words.strip(),
            datetime.combine(since, time(), zone) if since else None,
            datetime.combine(until + timedelta(days=1), time(), zone) if until else None,
        )


_Asked = Annotated[AuditQuery, Depends()]


@router.get("")
def audit_page(
    request: Request, visitor: _Auditor, asked: _Asked, before: Annotated[int | None, Query()] = None
) -> Response:
    """Rows, newest first."""
    rows = visitor.ledger.audit_rows
    entries = rows.page(asked.wanted(_zone(request)), before=before, limit=_PAGE + 1)
    following = entries[_PAGE - 1].number if len(entries) > _PAGE else None
    filters = {name: value for name, value in vars(asked).items() if value}
    return page(
        request,
        "audit.html",
        entries=[(entry, detail_in_words(entry)) for entry in entries[:_PAGE]],
        actions=rows.actions(),
        asked=asked,
        filtered=bool(filters),
        older=f"/audit?{urlencode({**filters, 'before': following})}" if following else "",
        newest=f"/audit?{urlencode(filters)}" if before is not None else "",
        file=f"/audit.csv?{urlencode(filters)}",
        command="backup-pipeline audit list",
    )


@router.post("/verify")
def verify(request: Request, visitor: _Auditor) -> Response:
    """Read the whole chain, and say whether it holds."""
    report = verify_audit(visitor.ledger)
    visitor.access.audit(visitor.actor, "audit_verified", rows=report.rows, holds=report.broken is None)
    if report.broken is not None:
        number, at, why = report.broken
        text = f"Row {number}, of {at:%Y-%m-%d %H:%M:%S} UTC, does not fit: {why}. Compare with a backup of the ledger."
        return redirect(request, "/audit", text, tone="failure")
    newest = f" The newest is row {report.newest[0]}, {report.newest[1]}." if report.newest else ""
    return redirect(request, "/audit", f"All {report.rows:,} rows are what was written.{newest}")


@router.get(".csv")
def audit_file(request: Request, visitor: _Auditor, asked: _Asked) -> Response:
    """The rows that the filter leaves, all of them, as CSV; no cell of it runs as a formula."""
    visitor.access.audit(
        visitor.actor, "audit_exported", **{name: value for name, value in vars(asked).items() if value}
    )
    lines = _lines(visitor.ledger.audit_rows, asked.wanted(_zone(request)))
    name = f"audit_{visitor.ports.clock():%Y-%m-%d_%H-%M}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(lines, media_type="text/csv; charset=utf-8", headers=headers)


def _lines(rows: AuditRows, wanted: AuditFilter) -> Iterator[str]:
    """The file, a batch of rows at a time."""
    yield "\N{ZERO WIDTH NO-BREAK SPACE}" + ",".join(_COLUMNS) + "\r\n"
    before: int | None = None
    while True:
        entries = rows.page(wanted, before=before, limit=_BATCH)
        if not entries:
            return
        text = io.StringIO()
        csv.writer(text).writerows(map(csv_row, entries))
        yield text.getvalue()
        before = entries[-1].number


def csv_row(entry: AuditEntry) -> list[str]:
    """A row of the file."""
    event = entry.event
    values = (
        entry.number,
        event.at.astimezone(UTC).isoformat(),
        event.actor,
        event.action,
        event.backup_id or "",
        json.dumps(event.detail, ensure_ascii=False),
        event.address or "",
        "" if event.session is None else event.session,
        event.request_id or "",
        entry.sha256,
    )
    return [harmless(str(value)) for value in values]


def harmless(text: str) -> str:
    """`text` so that no spreadsheet runs it: what it would take for a formula begins with an apostrophe."""
    return f"'{text}" if text.lstrip().startswith(_MARKS) or text.startswith(_MARKS) else text


def detail_in_words(entry: AuditEntry) -> str:
    """What a row says besides who, what and when, as one line."""
    filled = {name: value for name, value in entry.event.detail.items() if value not in ("", None)}
    return as_people_read(", ".join(f"{name.replace('_', ' ')}: {_short(value)}" for name, value in filled.items()))


def _short(value: object) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{name.replace('_', ' ')}: {_short(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return " ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError as error:
        message = f"{text[:20]!r} is no day."
        raise UsageError(message, do="Write it as 2026-11-21.") from error


def _zone(request: Request) -> ZoneInfo:
    """The wall clock that the page shows."""
    systems = systems_of(request)
    system = systems.get(request.query_params.get("system", "")) or next(iter(systems.values()), None)
    return ZoneInfo(system.timezone if system else "UTC")
