"""Drills: how far each system is proven, what every drill saw, and starting one, also with a fault put in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import JSONResponse, Response
from pydantic import TypeAdapter, ValidationError

from backup_pipeline.core.access import Permission
from backup_pipeline.core.audit import AuditEntry, AuditFilter
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.drill import DrillReport, Fault
from backup_pipeline.core.errors import NotFoundError, UsageError
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.runs import RunRequest, RunVerb
from backup_pipeline.operations.browse import LATEST
from backup_pipeline.operations.run_requests import RunWish
from backup_pipeline.presentation.verification import drill_document
from backup_pipeline.web.people import Visitor, allowed, launched, systems_seen
from backup_pipeline.web.rendering import chosen_system, page, redirect, systems_of

router = APIRouter()

_SEES = Depends(allowed(Permission.SEE))
_AUDIT = Depends(allowed(Permission.SEE_AUDIT))
_DRILLS = Depends(allowed(Permission.DRILL))
_MOST = 50
ACTION, WITH_FAULT = "drill", "drill with injected fault"
FAULTS: Mapping[Fault, tuple[str, str]] = {
    Fault.DROP_ROW: ("A row is missing", "One row is deleted from the scratch database after the restore."),
    Fault.BITFLIP: ("A bit has turned", "One bit of the copied bundle is turned over."),
    Fault.DROP_FILE: ("A file is missing", "One table's file is taken out of the copied bundle."),
    Fault.STALE: ("It is a year old", "The backup is taken for one of last year."),
}
"""What each fault is, for people."""


@dataclass(frozen=True)
class Coverage:
    """How far a system is proven: the backup that a drill restored last, and the newest good one."""

    catalog: Catalog
    rehearsed: Attempt | None
    newest: Attempt | None


@dataclass(frozen=True)
class Drilled:
    """A drill as the audit has it. `report` is None where it could not be done; `found`: an injected fault was."""

    number: int
    at: datetime
    actor: str
    backup_id: str
    passed: bool
    seconds: float | None
    rows: int | None
    predicted: float | None
    failed: str
    injected: str
    found: bool
    findings: int
    evidence: bool


@router.get("/drills")
def drills_page(request: Request, visitor: Annotated[Visitor, _SEES]) -> Response:
    """Coverage, and the drills that the visitor's audit shows."""
    chosen = chosen_system(request)
    catalogs = list(systems_seen(request, visitor))
    rehearsed, now = visitor.ledger.listings.rehearsed(), visitor.ports.clock()
    runs = [
        run
        for run in visitor.ledger.run_requests.list(catalog=chosen.catalog if chosen else None, limit=_MOST)
        if run.verb is RunVerb.DRILL and not run.status.over
    ]
    return page(
        request,
        "drills.html",
        coverage=[
            Coverage(catalog, rehearsed.get(catalog.catalog), visitor.ledger.dues.newest_good(catalog.catalog, now))
            for catalog in catalogs
        ],
        drills=_drills(visitor, {catalog.catalog for catalog in catalogs}),
        sees_systems=visitor.user.sees_every_business,
        sees_evidence=visitor.user.may(Permission.SEE_AUDIT),
        runs=runs,
        faults=[(fault.value, *words) for fault, words in FAULTS.items()],
        request_uuid=lambda: str(uuid4()),
        command=f"backup-pipeline drill latest{f' --catalog {chosen.catalog}' if chosen else ''}",
        live=True,
    )


@router.post("/drills")
def drill_now(  # a form
    request: Request,
    visitor: Annotated[Visitor, _DRILLS],
    request_id: Annotated[UUID, Form(alias="request")],
    catalog: Annotated[str, Form()] = "",
    inject: Annotated[str, Form()] = "",
    reason: Annotated[str, Form(max_length=1_000)] = "",
) -> Response:
    """Let a run rehearse a restore of the newest backup; with `inject`, of a copy with a fault in it."""
    systems = systems_of(request)
    if catalog not in systems:
        message = f"There is no system {catalog!r}."
        raise UsageError(message, do=f"Choose one of {', '.join(systems)}.")
    detail = {"backup_id": LATEST, "inject": inject}
    wish = RunWish(request_id, RunVerb.DRILL, systems[catalog], visitor.actor, reason.strip(), detail)
    return redirect(request, "/drills", *_word_of(launched(request, visitor, wish)))


def _word_of(run: RunRequest) -> tuple[str]:
    if run.status.value == "refused":
        return (f"The drill was not started. {run.error_message} In a terminal: {run.command}",)
    return ("The drill is on its way: its result appears here.",)


@router.get("/drills/{number}")
def evidence(request: Request, number: int, visitor: Annotated[Visitor, _AUDIT]) -> Response:
    """What one drill saw, table by table: to read, to print, and as JSON for whoever asks for it."""
    entry = _entry(number, visitor)
    report, event = entry.event.detail.get("report"), entry.event
    shown = drill_report(report) if isinstance(report, Mapping) else None
    return page(
        request,
        "drill.html",
        drill=_drilled(entry),
        event=event,
        sha256=entry.sha256,
        report=drill_document(shown) if shown else None,
        older=report is not None and shown is None,
        command=f"backup-pipeline show {event.backup_id}",
    )


@router.get("/drills/{number}/evidence.json")
def evidence_json(number: int, visitor: Annotated[Visitor, _AUDIT]) -> Response:
    """The evidence of one drill, as the audit has it, with the hash of its row."""
    entry = _entry(number, visitor)
    event = entry.event
    document = {
        "audit_row": entry.number,
        "sha256": entry.sha256,
        "previous": entry.previous,
        "at": event.at.isoformat(),
        "actor": str(event.actor),
        "action": event.action,
        "backup_id": event.backup_id,
        "detail": dict(event.detail),
    }
    name = f"drill-{entry.number}.json"
    return JSONResponse(document, headers={"Content-Disposition": f'attachment; filename="{name}"'})


def drill_report(document: Mapping[str, Any]) -> DrillReport | None:
    """The report that `DrillReport.as_json` wrote; None where another version wrote it."""
    try:
        return TypeAdapter(DrillReport).validate_python(dict(document))
    except ValidationError:
        return None


def predicted_seconds(catalog: str, visitor: Visitor) -> float | None:
    """How long a restore of a whole backup takes, by the last drill that the visitor's audit shows."""
    return next((drill.predicted for drill in _drills(visitor, {catalog}) if drill.predicted is not None), None)


def _entry(number: int, visitor: Visitor) -> AuditEntry:
    """The audit row of a drill; NotFoundError for any other row."""
    for action in (ACTION, WITH_FAULT):
        rows = visitor.ledger.audit_rows.page(AuditFilter(action=action), before=number + 1, limit=1)
        if rows and rows[0].number == number:
            return rows[0]
    message = f"There is no drill {number}."
    raise NotFoundError(message, do="The page of drills lists them.")


def _drills(visitor: Visitor, catalogs: set[str]) -> Sequence[Drilled]:
    entries = [
        entry
        for action in (ACTION, WITH_FAULT)
        for entry in visitor.ledger.audit_rows.page(AuditFilter(action=action), limit=_MOST)
    ]
    newest = sorted(entries, key=lambda entry: entry.number, reverse=True)
    return [_drilled(entry) for entry in newest if _is_of(entry, catalogs)][:_MOST]


def _is_of(entry: AuditEntry, catalogs: set[str]) -> bool:
    """Whether the drill is of one of the catalogs; one that could not be done says none, and is shown always."""
    report = entry.event.detail.get("report")
    return not isinstance(report, Mapping) or str(report.get("catalog", "")).partition("/")[0] in catalogs


def _drilled(entry: AuditEntry) -> Drilled:
    event, detail = entry.event, entry.event.detail
    report = detail.get("report")
    outcome, findings = str(detail.get("outcome", "")), detail.get("findings")
    return Drilled(
        number=entry.number,
        at=event.at,
        actor=event.actor.name,
        backup_id=event.backup_id or "",
        passed=bool(detail.get("passed")),
        seconds=_number(detail.get("seconds")),
        rows=_whole(detail.get("rows")),
        predicted=_number(detail.get("predicted_restore_seconds")),
        failed=str(detail.get("failed", "")),
        injected=str(report.get("injected") or "") if isinstance(report, Mapping) else "",
        found="FOUND" in outcome,
        findings=len(findings) if isinstance(findings, list | tuple) else 0,
        evidence=isinstance(report, Mapping),
    )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _whole(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) else None
