"""Businesses for programs: one backed up now, all of them by a cron's call, how each is protected.

POST /functions/v1/backup-system      {"business_id": "…", "backup_type": "full" | "incremental" | "manual"}
POST /functions/v1/backup-scheduler   a tick over every business that is due; 409 while one is at work
POST /functions/v1/cron-backup        the same, as a crontab calls it
GET  /api/v1/businesses               how each is protected
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import uuid4

from fastapi import Body, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from backup_pipeline.core.access.api_keys import KeyPermission
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import LockedError, NotFoundError, UsageError
from backup_pipeline.core.ledger import described
from backup_pipeline.core.runs import RunVerb
from backup_pipeline.core.scope import Purpose, Scope
from backup_pipeline.operations.businesses.protection import BusinessProtection, protection_of
from backup_pipeline.operations.run_requests import RunWish
from backup_pipeline.web.api import Caller, CallerOf, IdempotencyKey, api_router, not_there, takes
from backup_pipeline.web.api.backups import WORK, Wait, asked_for
from backup_pipeline.web.api.documents import ListPage
from backup_pipeline.web.rendering import systems_of

P = KeyPermission
router = api_router("Businesses")

_BUSY: dict[int | str, dict[str, Any]] = {**WORK, 409: {"description": "A tick is at work; it is named."}}


class BusinessOrder(BaseModel):
    """Which business, and what it gets: everything, what changed, or a manual backup, which is kept for ever."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"business_id": "uuid", "backup_type": "full"}]},
    )

    business_id: str = Field(min_length=1, max_length=64)
    backup_type: Literal["full", "incremental", "manual"] = "incremental"
    catalog: str | None = Field(default=None, max_length=100, description="Where several systems have that business.")
    reason: str = Field(default="", max_length=1_000)


class TickOrder(BaseModel):
    """Nothing has to be said where one system has businesses: `{}`, or no body, is what a cron sends."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{}]})

    catalog: str | None = Field(default=None, max_length=100)


@router.post("/functions/v1/backup-system", status_code=202, responses={**WORK}, **takes(P.BACKUPS_CREATE))
async def backup_system(
    request: Request, caller: CallerOf, order: BusinessOrder, wait: Wait = 0, idempotency_key: IdempotencyKey = None
) -> Response:
    """Back up one business now."""
    catalog = await run_in_threadpool(system_of_business, request, caller, order.business_id, order.catalog)
    detail = {"kind": order.backup_type}
    wish = RunWish(uuid4(), RunVerb.BUSINESS, catalog, caller.actor, order.reason.strip(), detail, order.business_id)
    return await asked_for(request, caller, wish, wait)


@router.post("/functions/v1/backup-scheduler", status_code=202, responses=_BUSY, **takes(P.BACKUPS_SCHEDULE))
async def backup_scheduler(
    request: Request,
    caller: CallerOf,
    order: Annotated[TickOrder | None, Body()] = None,
    wait: Wait = 0,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Back up every business that is due. The schedule of Dagster does so by itself; this is for other clocks."""
    return await _tick(request, caller, order, wait)


@router.post("/functions/v1/cron-backup", status_code=202, responses=_BUSY, **takes(P.BACKUPS_SCHEDULE))
async def cron_backup(
    request: Request,
    caller: CallerOf,
    order: Annotated[TickOrder | None, Body()] = None,
    wait: Wait = 0,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """As backup-scheduler: what a crontab calls every five minutes."""
    return await _tick(request, caller, order, wait)


async def _tick(request: Request, caller: Caller, order: TickOrder | None, wait: int) -> Response:
    catalog = _with_businesses(request, order.catalog if order else None)
    await run_in_threadpool(_refuse_busy, catalog, caller)
    return await asked_for(request, caller, RunWish(uuid4(), RunVerb.TICK, catalog, caller.actor), wait)


def _refuse_busy(catalog: Catalog, caller: Caller) -> None:
    """LockedError, which answers 409, while a tick is at work or waits for its turn."""
    ledger = caller.ledger
    lease = ledger.leases.get(Scope(catalog.catalog, purpose=Purpose.TICK))
    if lease is not None and lease.expires_at > caller.ports.clock():
        message = f"A tick over the businesses of {catalog.catalog} is at work: {described(lease)}."
        raise LockedError(message, do="Nothing was begun. The businesses that are due are in that one, or in the next.")


def _with_businesses(request: Request, name: str | None) -> Catalog:
    """The system of that name, or the only one that has businesses."""
    known = {key: catalog for key, catalog in systems_of(request).items() if catalog.businesses}
    if name is not None and name in known:
        return known[name]
    if name is None and len(known) == 1:
        return next(iter(known.values()))
    message = f"There is no system {name!r} with businesses." if name else f"{len(known)} systems have businesses."
    raise NotFoundError(message, do=f"Name one as `catalog`: {', '.join(known) or 'none is declared'}.")


def system_of_business(request: Request, caller: Caller, business: str, catalog: str | None) -> Catalog:
    """The system that the business is of; not there for one that is not the key's to see. UsageError for several."""
    caller.check_sees(business)
    declared = systems_of(request)
    of = [each.catalog for each in caller.ledger.businesses.of_key(business) if each.catalog in declared]
    wanted = [name for name in of if catalog in (None, name)]
    if not wanted:
        raise not_there()
    if len(wanted) > 1:
        message = f"Several systems have a business {business}: {', '.join(wanted)}."
        raise UsageError(message, do="Name the catalog, too.")
    return declared[wanted[0]]


class ProtectionDocument(BaseModel):
    """How a business is protected: what was there at `snapshot_at` was still right at `confirmed_until`."""

    business_id: str
    catalog: str
    name: str
    status: str = Field(description="active, inactive or gone.")
    paused: bool
    backup_id: str | None
    backup_type: str | None
    snapshot_at: datetime | None
    confirmed_until: datetime | None
    backups: int
    bytes: int
    quota_bytes: int

    @classmethod
    def of(cls, row: BusinessProtection) -> ProtectionDocument:
        """The document of a business."""
        names = set(cls.model_fields) - {"business_id", "backup_type"}
        return cls(business_id=row.business, backup_type=row.kind, **{name: getattr(row, name) for name in names})


class BusinessesPage(ListPage):
    """Businesses by their keys."""

    businesses: list[ProtectionDocument]


@router.get("/api/v1/businesses", **takes(P.BUSINESSES))
def list_businesses(
    request: Request,
    caller: CallerOf,
    catalog: Annotated[str | None, Query(max_length=100)] = None,
    after: Annotated[str, Query(max_length=64, description="`next` of the page before.")] = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> BusinessesPage:
    """Businesses and how each is protected, by key, a page at a time. A key of one business sees that one."""
    rows = protection_of(_with_businesses(request, catalog), caller.ledger, after=after, limit=limit + 1)
    following = rows[limit - 1].business if len(rows) > limit else None
    return BusinessesPage(next=following, businesses=[ProtectionDocument.of(row) for row in rows[:limit]])
