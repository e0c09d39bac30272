"""Restores for programs: asked for and followed. No key approves one, and none performs one: people do.

POST /api/v1/restores                a request, whose plan a run makes; 202 with `status_url`
GET  /api/v1/restores                newest first, a page at a time
GET  /api/v1/restores/{number}
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Self
from uuid import uuid4

from fastapi import Path, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from backup_pipeline.core.access.api_keys import KeyPermission
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import UsageError, parse_advice
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.restore import EVERY_CHANGE, Mode, RowChange, Selection
from backup_pipeline.core.restore.requests import RestoreRow, RestoreStatus, digest_of
from backup_pipeline.core.runs import RunVerb
from backup_pipeline.operations.businesses.restore import backup_of_moment
from backup_pipeline.operations.restore.decisions import RestoreWish
from backup_pipeline.operations.restore.requests import RestoreCaller, add_request, find_request, tell_waiting
from backup_pipeline.operations.run_requests import RunWish, request_run
from backup_pipeline.web.api import Caller, CallerOf, IdempotencyKey, api_router, not_there, takes
from backup_pipeline.web.api.backups import Wait, awaited, known_backup
from backup_pipeline.web.api.businesses import system_of_business
from backup_pipeline.web.api.documents import LARGEST, ListPage
from backup_pipeline.web.people import launcher_of
from backup_pipeline.web.rendering import systems_of
from backup_pipeline.wiring.restore import SOURCE, wished_target

P = KeyPermission
router = api_router("Restores")


class TableDifference(BaseModel):
    """Rows of a table that are to be created, updated and deleted."""

    table: str
    create: int
    update: int
    delete: int


class DifferenceDocument(BaseModel):
    """What of a business is wanted, and what its plan says, once there is one. No value of any row."""

    at: datetime | None
    changes: list[RowChange]
    rows: dict[str, list[str]]
    but: dict[str, list[str]]
    tables: list[TableDifference]
    conflicts: list[str]
    safety_backup: str | None = Field(description="The backup of how it was before, once it is done.")

    @classmethod
    def of(cls, row: RestoreRow) -> Self | None:
        """The document of a row of the ledger; None for a restore of tables."""
        if row.selection is None:
            return None
        diff = (row.plan or {}).get("diff", {})
        counts = ("create", "update", "delete")
        return cls(
            **row.selection,
            tables=[
                TableDifference(table=t["name"], **{name: t[name] for name in counts}) for t in diff.get("tables", ())
            ],
            conflicts=[each["message"] for each in diff.get("conflicts", ())],
            safety_backup=(row.report or {}).get("safety_backup_id"),
        )


class RestoreDocument(BaseModel):
    """A restore request. `plan_digest` is the plan that somebody approves; without one there is no plan yet."""

    restore_request: int
    status: str
    over: bool
    backup_id: str
    catalog: str
    business: str | None
    tables: list[str]
    mode: str
    target: str
    database: str
    asked_by: str
    reason: str
    created_at: datetime
    plan_digest: str | None
    difference: DifferenceDocument | None = Field(description="Of one business: what of it is to come back, and is.")
    decided_by: str | None
    decided_at: datetime | None
    decision_reason: str | None
    started_at: datetime | None
    finished_at: datetime | None
    error: str | None
    do: str
    status_url: str

    @classmethod
    def of(cls, row: RestoreRow) -> Self:
        """The document of a row of the ledger."""
        what, do = parse_advice(row.error_message or "")
        return cls(
            restore_request=row.id,
            status=row.status.value,
            over=row.finished_at is not None or row.status is RestoreStatus.REJECTED,
            backup_id=row.backup_id,
            catalog=row.scope.catalog,
            business=row.scope.business,
            tables=list(row.tables),
            mode=row.mode,
            target=row.target,
            database=row.database,
            asked_by=str(row.actor),
            reason=row.reason,
            created_at=row.created_at,
            plan_digest=digest_of(row) or None,
            difference=DifferenceDocument.of(row),
            decided_by=str(row.decided_actor) if row.decided_actor else None,
            decided_at=row.decided_at,
            decision_reason=row.decision_reason or None,
            started_at=row.started_at,
            finished_at=row.finished_at,
            error=what or None,
            do=do or _NEXT.get(row.status, ""),
            status_url=f"/api/v1/restores/{row.id}",
        )


_NEXT: Mapping[RestoreStatus, str] = {
    RestoreStatus.REQUESTED: "A super admin looks at the plan on the page of the request, and approves or rejects it.",
    RestoreStatus.APPROVED: "Somebody runs it on the page of the request, or `backup-pipeline restore --request`.",
}


class RestoresPage(ListPage):
    """Some restore requests, newest first."""

    restores: list[RestoreDocument]


class RestoreOrder(BaseModel):
    """What is to come back: a backup, some of its tables or all, into a database that the settings name."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"backup_id": "20261120T180000Z-full-1f3a9c2e", "reason": "a wrong UPDATE"}]},
    )

    backup_id: str | None = Field(default=None, min_length=1, max_length=100, description="Or `business_id` and `at`.")
    tables: list[str] = Field(default_factory=list, max_length=1_000)
    mode: Mode | None = Field(
        default=None, description="What is done with rows that are there: `insert-missing` where nothing is said."
    )
    target: str = Field(default=SOURCE, max_length=100, description="A restore target of the settings, or `source`.")
    reason: str = Field(default="", max_length=1_000)
    business_id: str | None = Field(default=None, min_length=1, max_length=64)
    catalog: str | None = Field(default=None, max_length=100, description="Where several systems have that business.")
    at: AwareDatetime | None = Field(default=None, description="As the business was then; with its time zone.")
    changes: list[RowChange] | None = Field(
        default=None, min_length=1, description="Of a business: what may be done with its rows. Without it: all."
    )
    rows: dict[str, list[str]] = Field(default_factory=dict, description="By table the keys that alone come back.")
    but: dict[str, list[str]] = Field(default_factory=dict, description="By table the keys that are left as they are.")

    @property
    def by_difference(self) -> bool:
        """Whether it is one business that is to be as it was."""
        if self.mode is not None:
            return self.mode is Mode.DIFFERENCE
        return self.at is not None or self.changes is not None or bool(self.rows or self.but)

    def selection(self) -> Selection | None:
        """What of a business is to come back; None for tables of a backup. UsageError for what fits neither."""
        if self.by_difference:
            keys = {
                name: {table: tuple(each) for table, each in of.items()}
                for name, of in (("rows", self.rows), ("but", self.but))
            }
            changes = tuple(change for change in RowChange if change in (self.changes or EVERY_CHANGE))
            return Selection(changes, keys["rows"], keys["but"], self.at)
        if self.at is not None or self.changes is not None or self.rows or self.but:
            message = f"`at`, `changes`, `rows` and `but` are about one business, and not for the mode {self.mode}."
            raise UsageError(message, do='Leave them out, or send "mode": "difference".')
        return None


ASKED: Mapping[int | str, dict[str, Any]] = {
    200: {"model": RestoreDocument, "description": "Asked for, and its plan is made."},
    202: {"model": RestoreDocument, "description": "Asked for; a run makes its plan."},
}


@router.post("/api/v1/restores", status_code=202, responses={**ASKED}, **takes(P.RESTORES_REQUEST))
async def ask_for_restore(
    request: Request,
    caller: CallerOf,
    order: RestoreOrder,
    wait: Wait = 0,
    idempotency_key: IdempotencyKey = None,  # the route has looked at it
) -> Response:
    """Ask for a restore. Nothing is touched: a run makes the plan, and a person approves it or does not."""
    return await asked_restore(request, caller, order, wait)


async def asked_restore(request: Request, caller: Caller, order: RestoreOrder, wait: int) -> Response:
    """Make the request, let a run make its plan, and answer with where it stands."""
    backup = await run_in_threadpool(_backup_of, request, caller, order)
    catalog = systems_of(request).get(backup.scope.catalog)
    if catalog is None:
        message = f"The catalog of backup {backup.backup_id}, {backup.scope.catalog}, is not declared here any more."
        raise UsageError(message, do="Restore it in a terminal: backup-pipeline restore.")
    row = await run_in_threadpool(_request, caller, order, catalog, backup)
    detail = {"request": row.id, "dry_run": True, "backup_id": row.backup_id}
    wish = RunWish(uuid4(), RunVerb.RESTORE, catalog, caller.actor, row.reason, detail, row.scope.business)
    run = await run_in_threadpool(request_run, wish, caller.ports, launcher_of(request))
    await awaited(caller, run, wait)
    planned = await run_in_threadpool(find_request, row.id, caller.ledger)
    document = RestoreDocument.of(planned)
    status = 200 if document.plan_digest else 202
    return JSONResponse(document.model_dump(mode="json"), status, headers={"Location": document.status_url})


def _backup_of(request: Request, caller: Caller, order: RestoreOrder) -> Attempt:
    """The backup that is named, or that shows a business at a moment; not there for what is not the key's."""
    if order.backup_id is not None and order.at is None:
        return known_backup(order.backup_id, caller)
    if order.business_id is None or order.at is None or order.backup_id is not None:
        message = "It is not said what is to come back, or said twice."
        raise UsageError(message, do="Send `backup_id`, or `business_id` and `at`.")
    catalog = system_of_business(request, caller, order.business_id, order.catalog)
    record = backup_of_moment(catalog.catalog, order.business_id, order.at, caller.ports)
    return known_backup(record.backup_id, caller)


def _request(caller: Caller, order: RestoreOrder, catalog: Catalog, backup: Attempt) -> RestoreRow:
    if unknown := sorted(set(order.tables) - set(catalog.tables) - set(backup.table_counts)):
        message = f"Backup {backup.backup_id} has no table {unknown[0][:80]}."
        raise UsageError(message, do=f"GET /api/v1/backups/{backup.backup_id}/tables lists them.")
    selection, tables = order.selection(), tuple(dict.fromkeys(order.tables))
    mode = order.mode or (Mode.DIFFERENCE if selection else Mode.INSERT_MISSING)
    wish = RestoreWish(backup.backup_id, order.target, mode, tables, selection=selection)
    if selection is not None and (catalog.businesses is None or order.target != SOURCE):
        message = "One business is brought back where it is, in a system that declares businesses."
        raise UsageError(message, do="Leave `target` out, or restore tables of the backup: another `mode`.")
    goal = wished_target(caller.settings, catalog.catalog, wish)
    reason = order.reason.strip() or f"Asked for by {caller.key.name}"
    row = add_request(
        wish.request(caller.actor, reason), goal, caller.ports, RestoreCaller(caller.actor, needs_approval=True)
    )
    tell_waiting(row, caller.ports)
    return row


@router.get("/api/v1/restores", **takes(P.RESTORES_READ))
def list_restores(
    caller: CallerOf,
    status: Annotated[list[RestoreStatus], Query(description="Without it: all.")] = [],  # noqa: B006
    after: Annotated[int | None, Query(ge=1, le=LARGEST, description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> RestoresPage:
    """Restore requests, newest first, a page at a time."""
    rows = caller.ledger.restores.list(status=tuple(status), before=after, limit=limit + 1)
    page = rows[:limit]
    following = str(page[-1].id) if len(rows) > limit else None
    return RestoresPage(next=following, restores=[RestoreDocument.of(row) for row in page])


@router.get("/api/v1/restores/{number}", **takes(P.RESTORES_READ, P.RESTORES_REQUEST))
def show_restore(caller: CallerOf, number: Annotated[int, Path(ge=1, le=LARGEST)]) -> RestoreDocument:
    """One request. Without `restores:read` a key sees what it has asked for itself."""
    row = caller.ledger.restores.get(number)
    if row is None or not caller.key.sees(row.scope.business):
        raise not_there()
    if row.actor != caller.actor and caller.permission is not P.RESTORES_READ:
        raise not_there()
    return RestoreDocument.of(row)
