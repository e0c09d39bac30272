"""What programs watch: what happens, who did what, keys, and what was called.

GET  /api/v1/events              Server-Sent Events; `Last-Event-ID` loses none
GET  /api/v1/audit               newest first, with the hash chain
GET  /api/v1/keys · /usage
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from typing import Annotated, Any, Self

from fastapi import Depends, Header, Query, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, Field

from backup_pipeline.core.access.api_keys import ApiKey, KeyPermission
from backup_pipeline.core.access.api_usage import UsageRow
from backup_pipeline.core.audit import AuditEntry, AuditFilter
from backup_pipeline.core.errors import LedgerError
from backup_pipeline.web.api import Caller, CallerOf, api_router, takes
from backup_pipeline.web.api.documents import Instant, ListPage
from backup_pipeline.web.events import EventHub, first_number, happening, place_among_streams
from backup_pipeline.web.people import console_access

P = KeyPermission
router = api_router("Watching")

_LARGEST = 2**63 - 1


def _place(request: Request, caller: CallerOf) -> Iterator[EventHub]:
    yield from place_among_streams(request, -caller.key.number)


Place = Annotated[EventHub, Depends(_place)]
LastEventId = Annotated[
    str, Header(max_length=20, description="The id of the last event that was read: what came since comes first.")
]


def _start(caller: CallerOf, last_event_id: LastEventId = "") -> int:
    return first_number(caller.ledger, last_event_id)


Start = Annotated[int, Depends(_start)]


@router.get("/api/v1/events", response_class=EventSourceResponse, **takes(P.EVENTS_READ))
async def events(request: Request, caller: CallerOf, hub: Place, start: Start) -> AsyncIterator[ServerSentEvent]:
    """What happens, while it happens: backups, restores, runs, alerts, businesses, payments; what the key may see.

    Each has a number as its id; numbers grow in the order of the commits. The stream ends when the key does.
    """
    async for event in events_of_key(request, caller, hub, start):
        yield event


async def events_of_key(request: Request, caller: Caller, hub: EventHub, start: int) -> AsyncIterator[ServerSentEvent]:
    """The stream of a key."""

    def may_listen() -> bool:
        access = console_access(request)
        try:
            key = access.access.keys.get(caller.key.number)
        except LedgerError:
            return True  # nothing is read for anybody until it is back
        return key is not None and key.why_over(access.clock()) is None and key.may(P.EVENTS_READ)

    async for event in happening(hub, caller.ledger, start, may_listen):
        yield event


class AuditDocument(BaseModel):
    """A row of the audit, and its place in the chain: each has the SHA-256 of the row before it."""

    number: int
    at: datetime
    actor: str
    action: str
    backup_id: str | None
    detail: dict[str, Any]
    address: str | None
    session: int | None
    request_id: str | None
    previous: str
    sha256: str

    @classmethod
    def of(cls, entry: AuditEntry) -> Self:
        """The document of a row."""
        event = entry.event
        return cls(
            number=entry.number,
            at=event.at,
            actor=str(event.actor),
            action=event.action,
            backup_id=event.backup_id,
            detail=dict(event.detail),
            address=event.address,
            session=event.session,
            request_id=event.request_id,
            previous=entry.previous,
            sha256=entry.sha256,
        )


class AuditPage(ListPage):
    """Some rows of the audit, newest first."""

    rows: list[AuditDocument]


@router.get("/api/v1/audit", **takes(P.AUDIT))
def audit(
    caller: CallerOf,
    actor: Annotated[str, Query(max_length=200)] = "",
    action: Annotated[str, Query(max_length=200)] = "",
    backup_id: Annotated[str, Query(max_length=100)] = "",
    after: Annotated[int | None, Query(ge=1, le=_LARGEST, description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> AuditPage:
    """Who did what, when and from where, newest first."""
    wanted = AuditFilter(actor, action, backup_id)
    rows = caller.ledger.audit_rows.page(wanted, before=after, limit=limit + 1)
    following = str(rows[limit - 1].number) if len(rows) > limit else None
    return AuditPage(next=following, rows=[AuditDocument.of(entry) for entry in rows[:limit]])


class KeyDocument(BaseModel):
    """A key, without what could be used as one. `used` are its calls of the last 60 minutes."""

    number: int
    name: str
    begins: str
    business: str | None
    permissions: list[str]
    limit: int
    used: int
    works: bool
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None

    @classmethod
    def of(cls, key: ApiKey, used: int, now: datetime) -> Self:
        """The document of a key, seen `now`."""
        return cls(
            number=key.number,
            name=key.name,
            begins=key.shown,
            business=key.business,
            permissions=list(key.permissions),
            limit=key.limit,
            used=used,
            works=key.why_over(now) is None,
            created_at=key.created_at,
            expires_at=key.expires_at,
            revoked_at=key.revoked_at,
            last_used_at=key.last_used_at,
        )


class KeysDocument(BaseModel):
    """All keys, by name."""

    keys: list[KeyDocument]


@router.get("/api/v1/keys", **takes(P.KEYS_READ))
def keys(caller: CallerOf) -> KeysDocument:
    """Every key. They are made, limited and revoked by people: on the page API keys, or `backup-pipeline key api`."""
    access, now = caller.access.access, caller.ports.clock()
    used = access.usage.used()
    return KeysDocument(keys=[KeyDocument.of(key, used.get(key.number, 0), now) for key in access.keys.list()])


class UsageDocument(BaseModel):
    """A call, or several that were refused, added up: `calls` says how many."""

    at: datetime
    key: int
    route: str
    allowed: bool
    calls: int
    status: int | None
    ms: int | None
    bytes: int | None
    address: str
    business: str | None
    request_id: str

    @classmethod
    def of(cls, row: UsageRow) -> Self:
        """The document of a row of the log."""
        return cls(**{name: getattr(row, name) for name in cls.model_fields})


class UsagePage(ListPage):
    """Some calls, newest first."""

    calls: list[UsageDocument]


class UsageQuery(BaseModel):
    """Which calls are wanted."""

    key: int | None = Field(default=None, ge=1, le=_LARGEST, description="Another key's; takes `keys:read`.")
    since: Instant | None = None
    after: str = Field(default="", max_length=100, description="`next` of the page before.")
    limit: int = Field(default=50, ge=1, le=500)


@router.get("/api/v1/usage", **takes(P.KEYS_READ, P.USAGE))
def usage(caller: CallerOf, query: Annotated[UsageQuery, Query()]) -> UsagePage:
    """Calls, newest first: the key's own, and with `keys:read` those of all, or of one."""
    key = query.key if caller.permission is P.KEYS_READ else caller.key.number
    rows, following = caller.access.access.usage.page(key=key, since=query.since, after=query.after, limit=query.limit)
    return UsagePage(next=following, calls=[UsageDocument.of(row) for row in rows])
