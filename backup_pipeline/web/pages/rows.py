"""The rows of a table of a backup, looked at in the browser without restoring anything."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import BoundedSemaphore
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, Field

from backup_pipeline.core.access import Permission, User
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.content.masking import sees_whole
from backup_pipeline.core.errors import LockedError, NotFoundError
from backup_pipeline.operations.download import AuditTrail
from backup_pipeline.operations.rows import ROWS_ON_A_PAGE, RowsWish, look_at_rows, may_look
from backup_pipeline.web.pages.backups import visible_backup
from backup_pipeline.web.people import Visitor, signed_in
from backup_pipeline.web.rendering import page, systems_of
from backup_pipeline.wiring.ports import open_queries

router = APIRouter()

_LONGEST_S = 20.0
_AT_ONCE = BoundedSemaphore(2)
"""Each look decodes a table in up to 512 MB of memory."""
_PATIENCE_S = 10.0
_IN_LINE = BoundedSemaphore(6)
"""Those two, and who waits for them: whoever asks a hundred times at once takes the threads of no other page."""


class RowsQuery(BaseModel):
    """What stands in the address. `sort` is a column, with `-` in front from the last to the first."""

    q: str = Field(default="", max_length=200)
    sort: str = Field(default="", max_length=100)
    offset: int = Field(default=0, ge=0, le=10_000_000)


def whole_for(user: User) -> bool:
    """Whether the user sees sensitive values as they are."""
    return sees_whole([permission for permission in Permission if user.may(permission)])


def sees_rows(visitor: Visitor, catalog: Catalog | None) -> bool:
    """Whether the visitor may look at rows of a system at all, with what is sensitive masked."""
    return may_look(catalog, whole=whole_for(visitor.user))


@router.get("/backups/{backup_id}/tables/{table}")
def show_rows(
    request: Request,
    backup_id: str,
    table: str,
    visitor: Annotated[Visitor, Depends(signed_in)],
    query: Annotated[RowsQuery, Query()],
) -> Response:
    """A page of rows; each look stands in the audit."""
    row = visible_backup(backup_id, visitor)
    if table not in row.table_counts or not (row.status.good and row.kind.bundled):
        message = f"Backup {row.backup_id} has no rows of a table {table[:100]!r}."
        raise NotFoundError(message, do="Its page shows the tables that it has.")
    catalog = systems_of(request).get(row.scope.catalog)
    wish = RowsWish(table, query.offset, query.q, query.sort.removeprefix("-"), query.sort.startswith("-"))
    audit = AuditTrail(visitor.ledger, visitor.ports.clock, visitor.actor)
    # That a backup is being read, so that nothing removes it meanwhile, is the program's to write down: a viewer's role
    # may not. Whether the visitor sees the backup was asked of the visitor's own ledger, above.
    ports = replace(visitor.ports, ledger=request.app.state.ports.ledger)
    with _place_in_line():
        seen = look_at_rows(wish, row, catalog, ports, open_queries(_LONGEST_S), audit, whole=whole_for(visitor.user))
    return page(
        request,
        "rows.html",
        row=row,
        table=table,
        seen=seen,
        q=query.q,
        sort=query.sort,
        step=ROWS_ON_A_PAGE,
        filtered=bool(query.q or query.sort or query.offset),
        command=f"backup-pipeline query {shlex.quote(seen.sql)} --as-of {row.backup_id}",
    )


@contextmanager
def _place_in_line() -> Iterator[None]:
    """A place among those who look; LockedError where too many wait, or it takes too long."""
    busy = LockedError("Others look at rows now.", do="Try again in a moment.")
    if not _IN_LINE.acquire(blocking=False):
        raise busy
    try:
        if not _AT_ONCE.acquire(timeout=_PATIENCE_S):
            raise busy
        try:
            yield
        finally:
            _AT_ONCE.release()
    finally:
        _IN_LINE.release()
