"""Backups for programs: made, listed, looked at, downloaded; and whether all that are due are there.

POST /api/v1/backups                     202 with `status_url`; with ?wait=60 200, when it is done in time
GET  /api/v1/requests/{request_id}       what became of it
GET  /api/v1/backups                     newest first, a page at a time
GET  /api/v1/backups/{backup_id}         · /tables · /download?as=zip
GET  /api/v1/freshness
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import Query, Request
from fastapi.encoders import jsonable_encoder
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from backup_pipeline.core.access.api_keys import KeyPermission
from backup_pipeline.core.access.downloads import BUNDLE, FORMS
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import DagsterAwayError
from backup_pipeline.core.ledger import Attempt, Status
from backup_pipeline.core.listing import SHOWN, BackupFilter, parse_position
from backup_pipeline.core.names import Trigger
from backup_pipeline.core.runs import RequestStatus, RunRequest, RunVerb
from backup_pipeline.operations.access.download_links import opened_download
from backup_pipeline.operations.health import look_at_all
from backup_pipeline.operations.run_requests import RunWish, request_run
from backup_pipeline.web.api import Caller, CallerOf, IdempotencyKey, api_router, not_there, takes
from backup_pipeline.web.api.documents import BackupDocument, BackupsPage, Instant, TablesDocument, WorkDocument
from backup_pipeline.web.pages.downloads import DOWNLOAD_TYPES, sent_download
from backup_pipeline.web.people import launcher_of
from backup_pipeline.web.rendering import systems_of
from backup_pipeline.wiring.ports import watched

P = KeyPermission
router = api_router("Backups")

MOST_WAIT_S = 60
_LOOK_EVERY_S = 0.5
Wait = Annotated[
    int, Query(ge=0, le=MOST_WAIT_S, description="Seconds to wait for the end: 200 when it came, 202 when not.")
]
WORK: Mapping[int | str, dict[str, Any]] = {
    200: {"model": WorkDocument, "description": "It is over: done, or `error` says why not."},
    202: {"model": WorkDocument, "description": "It was asked for; `status_url` says what becomes of it."},
}
BackupId = Annotated[str, Field(max_length=100, pattern=r"^[\x20-\x7e]+$")]


class BackupOrder(BaseModel):
    """Which system to back up, and why; some of its tables, or all."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"catalog": "isp", "reason": "Before the move"}]}
    )

    catalog: str = Field(min_length=1, max_length=100)
    reason: str = Field(default="", max_length=1_000)
    tables: list[str] = Field(default_factory=list, max_length=1_000)


@router.post("/api/v1/backups", status_code=202, responses={**WORK}, **takes(P.BACKUPS_CREATE))
async def make_backup(
    request: Request,
    caller: CallerOf,
    order: BackupOrder,
    wait: Wait = 0,
    idempotency_key: IdempotencyKey = None,  # the route has looked at it
) -> Response:
    """Ask for a backup of a system. Nothing but its source is read; the answer comes before it is made."""
    return await backed_up(request, caller, order, wait)


async def backed_up(request: Request, caller: Caller, order: BackupOrder, wait: int) -> Response:
    """Ask for the backup that is ordered, and answer with where it stands."""
    catalog = system_named(request, caller, order.catalog)
    verb = RunVerb.TABLES if order.tables else RunVerb.BACKUP
    detail = {"tables": order.tables} if order.tables else {}
    wish = RunWish(uuid4(), verb, catalog, caller.actor, order.reason.strip(), detail)
    return await asked_for(request, caller, wish, wait)


def system_named(request: Request, caller: Caller, name: str) -> Catalog:
    """The declared system of that name, where the key sees all of it; NotFoundError else."""
    catalog = systems_of(request).get(name)
    if catalog is None or not caller.key.sees(None):
        raise not_there()
    return catalog


async def asked_for(request: Request, caller: Caller, wish: RunWish, wait: int) -> Response:
    """Ask for a run, and answer with its document: 200 when it was over in time, 202 when not.

    DagsterAwayError (503) when Dagster does not take it: nothing runs then.
    """
    row = await run_in_threadpool(request_run, wish, caller.ports, launcher_of(request))
    row = await awaited(caller, row, wait)
    if row.status is RequestStatus.REFUSED:
        raise refused_launch(row)
    return await work_answer(caller, row)


def refused_launch(row: RunRequest) -> DagsterAwayError:
    """The answer to what Dagster did not take."""
    what, _, _ = (row.error_message or "Dagster did not take it.").partition("\n")
    return DagsterAwayError(what, do=f"It does not run. Without Dagster: {row.command}")


async def awaited(caller: Caller, row: RunRequest, seconds: int) -> RunRequest:
    """The row when it is over, or as it stands after so many seconds."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while not row.status.over and (left := until - loop.time()) > 0:
        await asyncio.sleep(min(_LOOK_EVERY_S, left))
        newer = await run_in_threadpool(caller.ledger.run_requests.get, row.id)
        row = newer or row
    return row


async def work_answer(caller: Caller, row: RunRequest) -> Response:
    """The document of a run request, as an answer."""
    document = await run_in_threadpool(work_document, caller, row)
    headers = {"Location": document.status_url}
    return JSONResponse(document.model_dump(mode="json"), 200 if document.over else 202, headers=headers)


def work_document(caller: Caller, row: RunRequest) -> WorkDocument:
    """Where it stands, with the backup that was made of it."""
    return WorkDocument.of(row, backup_of_run(caller, row))


def backup_of_run(caller: Caller, row: RunRequest) -> Attempt | None:
    """The backup that the run has made; None as long as there is none."""
    return caller.ledger.of_run(row.run_id) if row.run_id else None


@router.get(
    "/api/v1/requests/{request_id}",
    responses={**WORK},
    **takes(P.BACKUP_STATUS, P.BACKUPS_CREATE, P.BACKUPS_SCHEDULE, P.RESTORES_REQUEST),
)
async def request_status(caller: CallerOf, request_id: UUID, wait: Wait = 0) -> Response:
    """What became of something long. Without `backup_status` a key sees what it has asked for itself."""
    row = await run_in_threadpool(caller.ledger.run_requests.get, request_id)
    if row is None or (row.actor != caller.actor and caller.permission is not P.BACKUP_STATUS):
        raise not_there()
    return await work_answer(caller, await awaited(caller, row, wait))


class BackupsQuery(BaseModel):
    """Which backups are wanted: those that fit everything that is given."""

    catalog: str | None = Field(default=None, max_length=100, pattern=r"^[\x20-\x7e]+$")
    status: list[Status] = Field(default=[], description="Without it: what is there, and what was tried.")
    type: Trigger | None = None
    since: Instant | None = Field(default=None, description="Made at this time or later.")
    until: Instant | None = Field(default=None, description="Made before.")
    after: str | None = Field(default=None, max_length=200, description="`next` of the page before.")
    limit: int = Field(default=50, ge=1, le=500)

    def filter(self) -> BackupFilter:
        """The same for the ledger."""
        statuses = tuple(self.status) or SHOWN
        return BackupFilter(self.catalog, statuses, self.type, since=self.since, until=self.until)


@router.get("/api/v1/backups", **takes(P.BACKUP_STATUS))
def list_backups(caller: CallerOf, query: Annotated[BackupsQuery, Query()]) -> BackupsPage:
    """Backups, newest first, a page at a time: whoever goes on with `next` misses none and gets none twice."""
    after = parse_position(query.after) if query.after else None
    page = caller.ledger.listings.page(query.filter(), after=after, limit=query.limit)
    now = caller.ports.clock()
    return BackupsPage(
        next=str(page.following) if page.following else None,
        backups=[BackupDocument.of(row, now) for row in page.rows],
    )


def known_backup(backup_id: str, caller: Caller) -> Attempt:
    """The row of an id; NotFoundError, the same for what is not there and for what is not the key's to see."""
    row = caller.ledger.get(backup_id) if backup_id.isprintable() else None
    if row is None or not caller.key.sees(row.scope.business):
        raise not_there()
    return row


@router.get("/api/v1/backups/{backup_id}", **takes(P.BACKUP_STATUS))
def show_backup(caller: CallerOf, backup_id: BackupId) -> BackupDocument:
    """One backup."""
    return BackupDocument.of(known_backup(backup_id, caller), caller.ports.clock())


@router.get("/api/v1/backups/{backup_id}/tables", **takes(P.BACKUP_STATUS))
def show_tables(caller: CallerOf, backup_id: BackupId) -> TablesDocument:
    """The tables of a backup, with their rows."""
    return TablesDocument.of(known_backup(backup_id, caller))


class DownloadForm(BaseModel):
    """In which form a backup is wanted."""

    as_: str = Field(default=BUNDLE, alias="as", json_schema_extra={"enum": list(FORMS)})


@router.get(
    "/api/v1/backups/{backup_id}/download",
    response_class=Response,
    responses={200: {"description": "The bytes.", "content": {kind: {} for kind in DOWNLOAD_TYPES}}},
    **takes(P.BACKUPS_DOWNLOAD),
)
def download(caller: CallerOf, backup_id: BackupId, form: Annotated[DownloadForm, Query()]) -> Response:
    """The bytes of a backup, compared with its SHA-256 on their way: what is damaged breaks off.

    `as` is zip, or a small rendering: a large one is made by a run, from the backup's page.
    """
    row = known_backup(backup_id, caller)
    return sent_download(opened_download(row, form.as_, caller.actor, caller.ports), form.as_)


class FreshnessDocument(BaseModel):
    """Whether every backup that is due is there."""

    status: str = Field(description="fresh or overdue.")
    systems: list[dict[str, Any]]


@router.get("/api/v1/freshness", **takes(P.FRESHNESS))
def freshness(caller: CallerOf) -> FreshnessDocument:
    """Whether every backup that is due is there, system by system."""
    standings = look_at_all(watched(caller.settings), caller.ports)
    overdue = any(standing.overdue for standing in standings)
    return FreshnessDocument(status="overdue" if overdue else "fresh", systems=jsonable_encoder(list(standings)))
