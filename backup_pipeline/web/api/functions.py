"""The endpoints that the sources name, with the bodies as they write them: thin aliases of what the API does.

POST /functions/v1/export-customer-backup       the customers' sheet: a backup of `isp_customers`
POST /functions/v1/data-restore                 a restore request, never a restore
POST /functions/v1/api-security                 {"action": "validate" | "usage"}
GET  /functions/v1/realtime-events              Server-Sent Events
POST /api/admin/comprehensive-backup            {"reason": "…"}: a backup of the sales portal, and its summary
POST /api/admin/create-backup                   the same, by its old name
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import uuid4

from fastapi import Body, Query, Request
from fastapi.responses import JSONResponse, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from backup_pipeline.core.access.api_keys import KeyPermission
from backup_pipeline.core.access.sessions import digest
from backup_pipeline.core.content import communication_metrics, summary_document
from backup_pipeline.core.errors import BackupError, NotFoundError, RefusedError, UsageError
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.restore import Mode, RowChange
from backup_pipeline.core.runs import RequestStatus, RunVerb
from backup_pipeline.operations.browse import stored_manifest
from backup_pipeline.operations.run_requests import RunWish, request_run
from backup_pipeline.presentation import size
from backup_pipeline.web.api import Caller, CallerOf, IdempotencyKey, api_router, not_there, takes
from backup_pipeline.web.api.backups import (
    MOST_WAIT_S,
    WORK,
    BackupOrder,
    Wait,
    awaited,
    backed_up,
    backup_of_run,
    known_backup,
    refused_launch,
    system_named,
    work_answer,
)
from backup_pipeline.web.api.documents import WorkDocument
from backup_pipeline.web.api.restores import ASKED, RestoreOrder, asked_restore
from backup_pipeline.web.api.watching import Place, Start, events_of_key
from backup_pipeline.web.people import launcher_of
from backup_pipeline.web.rendering import systems_of

P = KeyPermission
router = api_router("As the sources call it")

_CUSTOMERS = "isp_customers"
_COMPREHENSIVE = "3.0.0"


class ExportOrder(BaseModel):
    """Nothing has to be said: `{}` is what a database's cron sends."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{}]})

    catalog: str = Field(default=_CUSTOMERS, min_length=1, max_length=100)
    reason: str = Field(default="", max_length=1_000)


@router.post("/functions/v1/export-customer-backup", status_code=202, responses={**WORK}, **takes(P.BACKUPS_CREATE))
async def export_customer_backup(
    request: Request,
    caller: CallerOf,
    order: Annotated[ExportOrder | None, Body()] = None,
    wait: Wait = 0,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Export the customers: a row in `backup_logs`, and their CSV in the store. What `net.http_post` calls."""
    wanted = order or ExportOrder()
    return await backed_up(request, caller, BackupOrder(catalog=wanted.catalog, reason=wanted.reason), wait)


class DataRestore(BaseModel):
    """As the multi-business system asks: `selective` wants `tables` or `rows`; `at` stands in the place of `backup_id`.

    A system that declares businesses brings the business back row by row, and no other one changes; `mode` is for
    backups of other systems.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"business_id": "uuid", "backup_id": "uuid", "restore_type": "full"}]},
    )

    business_id: str | None = Field(default=None, max_length=64)
    backup_id: str | None = Field(default=None, min_length=1, max_length=100)
    restore_type: Literal["full", "selective"]
    tables: list[str] = Field(default_factory=list, max_length=1_000)
    at: AwareDatetime | None = Field(default=None, description="As the business was then; with its time zone.")
    catalog: str | None = Field(default=None, max_length=100, description="Where several systems have that business.")
    changes: list[RowChange] | None = Field(default=None, min_length=1, description="Without it: all.")
    rows: dict[str, list[str]] = Field(default_factory=dict, description="By table the keys that alone come back.")
    but: dict[str, list[str]] = Field(default_factory=dict, description="By table the keys that are left as they are.")
    mode: Mode | None = None
    reason: str = Field(default="", max_length=1_000)


@router.post("/functions/v1/data-restore", status_code=202, responses={**ASKED}, **takes(P.RESTORES_REQUEST))
async def data_restore(
    request: Request,
    caller: CallerOf,
    order: DataRestore,
    wait: Wait = 0,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Ask for a restore of a business's backup. A super admin approves it; no key can."""
    chosen = bool(order.tables or order.rows or order.but)
    if (order.restore_type == "selective") != chosen:
        message = f"A {order.restore_type} restore {'names no tables' if chosen else 'names its tables, or rows'}."
        raise UsageError(message, do='Send "restore_type": "selective" with "tables" or "rows", or "full" without.')
    mode = order.mode
    if order.backup_id is not None:
        backup = await run_in_threadpool(known_backup, order.backup_id, caller)
        if backup.scope.business != order.business_id:
            raise not_there()
        declared = systems_of(request).get(backup.scope.catalog)
        if mode is None and backup.scope.business is not None and declared is not None and declared.businesses:
            mode = Mode.DIFFERENCE
    wanted = RestoreOrder(**order.model_dump(exclude={"restore_type", "mode"}), mode=mode)
    return await asked_restore(request, caller, wanted, wait)


class SecurityQuestion(BaseModel):
    """`validate` a key (the caller's own without `api_key`), also for a permission; or see its `usage`."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"action": "validate"}]})

    action: Literal["validate", "usage"]
    api_key: str | None = Field(default=None, max_length=100, description="Another key; takes `keys:read`.")
    permission: KeyPermission | None = None


class SecurityAnswer(BaseModel):
    """What is to be known of a key; only `valid` of one that is none. `usage` is by hour and route, of a day."""

    valid: bool
    why_not: str | None = None
    name: str | None = None
    business_id: str | None = None
    permissions: list[str] = []
    rate_limit: int | None = None
    used: int | None = None
    remaining: int | None = None
    expires_at: datetime | None = None
    usage: list[dict[str, Any]] | None = None


@router.post("/functions/v1/api-security", **takes(P.KEYS_READ, P.USAGE))
def api_security(caller: CallerOf, question: SecurityQuestion) -> SecurityAnswer:
    """Whether a key works, and for what; how much of its limit is used, and by which calls."""
    access, now, key = caller.access.access, caller.ports.clock(), caller.key
    if question.api_key is not None:
        if caller.permission is not P.KEYS_READ:
            message = "A key without keys:read asks about itself alone."
            raise RefusedError(message, do="Leave api_key out.")
        known = access.keys.of_digest(digest(question.api_key))
        if known is None:
            return SecurityAnswer(valid=False, why_not="This key is not known here.")
        key = known
    why_not = key.why_over(now)
    if why_not is None and question.permission is not None and not key.may(question.permission):
        why_not = f"It has not the permission {question.permission}."
    used = access.usage.used().get(key.number, 0)
    sums = access.usage.sums(now - timedelta(hours=24), key=key.number) if question.action == "usage" else None
    return SecurityAnswer(
        valid=why_not is None,
        why_not=why_not,
        name=key.name,
        business_id=key.business,
        permissions=list(key.permissions),
        rate_limit=key.limit,
        used=used,
        remaining=max(key.limit - used, 0),
        expires_at=key.expires_at,
        usage=None if sums is None else [
            {"hour": each.hour, "route": each.route, "calls": each.allowed, "refused": each.refused,
             "failed": each.failed, "bytes": each.bytes} for each in sums
        ],
    )  # fmt: skip


@router.get("/functions/v1/realtime-events", response_class=EventSourceResponse, **takes(P.EVENTS_READ))
async def realtime_events(
    request: Request, caller: CallerOf, hub: Place, start: Start
) -> AsyncIterator[ServerSentEvent]:
    """As /api/v1/events."""
    async for event in events_of_key(request, caller, hub, start):
        yield event


class ComprehensiveOrder(BaseModel):
    """Why the backup is made: whoever looks at it later wants to know."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"reason": "Before major update"}]}, str_strip_whitespace=True
    )

    reason: str = Field(min_length=1, max_length=1_000)


class ComprehensiveSummary(BaseModel):
    """The head and the metadata of the document that the sales portal writes; the whole is a download of the backup."""

    backup_id: str
    fileName: str | None  # noqa: N815  # the sources' own names
    timestamp: datetime
    version: str = _COMPREHENSIVE
    backupType: str = "comprehensive"  # noqa: N815
    createdBy: str  # noqa: N815
    reason: str
    metadata: dict[str, Any]
    download_url: str


_SUMMARY: Mapping[int | str, dict[str, Any]] = {
    200: {"model": ComprehensiveSummary, "description": "It is made: its summary."},
    202: {"model": WorkDocument, "description": "It is being made; `status_url` says what becomes of it."},
}
SummaryWait = Annotated[int, Query(ge=0, le=MOST_WAIT_S, description="Seconds to wait: it takes 5 to 15.")]


@router.post("/api/admin/comprehensive-backup", status_code=200, responses={**_SUMMARY}, **takes(P.BACKUPS_CREATE))
async def comprehensive_backup(
    request: Request,
    caller: CallerOf,
    order: ComprehensiveOrder,
    wait: SummaryWait = MOST_WAIT_S,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Make a comprehensive backup, and answer with its summary: records, size, communication."""
    return await _comprehensive(request, caller, order, wait)


@router.post(
    "/api/admin/create-backup",
    status_code=200,
    responses={**_SUMMARY},
    deprecated=True,
    **takes(P.BACKUPS_CREATE),
)
async def create_backup(
    request: Request,
    caller: CallerOf,
    order: ComprehensiveOrder,
    wait: SummaryWait = MOST_WAIT_S,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """As /api/admin/comprehensive-backup, by the name that it had when it made a dump alone."""
    answer = await _comprehensive(request, caller, order, wait)
    answer.headers["Deprecation"] = "@1769299200"  # 2026-01-25, when the other took its place (RFC 9745)
    answer.headers["Link"] = '</api/admin/comprehensive-backup>; rel="successor-version"'
    return answer


async def _comprehensive(request: Request, caller: Caller, order: ComprehensiveOrder, wait: int) -> Response:
    catalog = system_named(request, caller, _with_communication(request))
    wish = RunWish(uuid4(), RunVerb.BACKUP, catalog, caller.actor, order.reason)
    row = await run_in_threadpool(request_run, wish, caller.ports, launcher_of(request))
    row = await awaited(caller, row, wait)
    if row.status is RequestStatus.REFUSED:
        raise refused_launch(row)
    backup = await run_in_threadpool(backup_of_run, caller, row)
    if row.status is not RequestStatus.DONE or backup is None:
        return await work_answer(caller, row)
    summary = await run_in_threadpool(_summary, caller, backup)
    return JSONResponse(summary.model_dump(mode="json"))


def _with_communication(request: Request) -> str:
    """The system whose backups tell of messages: the sales portal, where there are several."""
    known = [name for name, catalog in systems_of(request).items() if catalog.communication is not None]
    if not known:
        message = "No system here tells of messages and documents."
        raise NotFoundError(message, do="Declare `communication` in its catalog (docs/systems.md).")
    return "sales_portal" if "sales_portal" in known else known[0]


def _summary(caller: Caller, backup: Attempt) -> ComprehensiveSummary:
    try:
        communication = summary_document(communication_metrics(stored_manifest(backup, caller.ports.store).tables))
    except BackupError as trouble:  # the backup is there all the same
        communication = {"error": trouble.what}
    return ComprehensiveSummary(
        backup_id=backup.backup_id,
        fileName=backup.file_name,
        timestamp=backup.snapshot_at or backup.started_at,
        createdBy=str(backup.actor),
        reason=backup.reason,
        metadata={
            "totalRecords": backup.record_count,
            "backupSize": size(backup.file_size_bytes or 0),
            "communicationSummary": communication,
        },
        download_url=f"/api/v1/backups/{backup.backup_id}/download?as=comprehensive",
    )
