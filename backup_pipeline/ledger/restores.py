"""Between the values of `core.restore.requests` and the rows of `restore_requests`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, func, insert, select, update

from backup_pipeline.core.errors import DecidedError
from backup_pipeline.core.restore.requests import RestoreChange, RestoreRow, RestoreStatus, after, check_may_begin
from backup_pipeline.core.scope import Scope, parse_actor
from backup_pipeline.ledger import no_such_restore
from backup_pipeline.ledger.tables import (
    actor_column,
    is_of,
    owner_columns,
    owner_of,
    restore_requests,
    scope_columns,
    scope_of,
    storable,
    utc,
)

_OTHER = {"owner", "scope", "actor", "decided_actor"}
_SAME_NAME = tuple(field.name for field in fields(RestoreRow) if field.name not in _OTHER)


def restore_columns(row: RestoreRow) -> dict[str, Any]:
    """The columns of `row`, but for its number, which the database gives."""
    decided = {"decided_actor": storable(str(row.decided_actor)) if row.decided_actor else None}
    same = {name: storable(getattr(row, name)) for name in _SAME_NAME if name != "id"}
    return same | scope_columns(row.scope) | actor_column(row.actor) | decided | owner_columns(row.owner)


def restore_of(row: RowMapping) -> RestoreRow:
    """The request that a row of `restore_requests` holds, its times in UTC."""
    values = {name: utc(row[name]) for name in _SAME_NAME}
    values |= {"status": RestoreStatus(row["status"]), "tables": tuple(row["tables"]), "owner": owner_of(row)}
    decided = row["decided_actor"]
    values |= {
        "scope": scope_of(row),
        "actor": parse_actor(row["actor"]),
        "decided_actor": parse_actor(decided) if decided else None,
    }
    return RestoreRow(**values)


_LARGEST = 2**31 - 1
"""Of the column; whoever asks may have any number."""


class SqlRestores:
    """The port `Restores` over the table `restore_requests`; safe from any thread.

    `transaction` begins one on the ledger, and raises every error as a LedgerError.
    """

    def __init__(self, transaction: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._transaction = transaction

    def add(self, row: RestoreRow) -> RestoreRow:
        """Add a request; LedgerError unless it is `requested`. Gives the row with its number.

        Of one planning run there is one request, however often somebody clicks: DecidedError for a second one.
        """
        check_may_begin(row)
        added = insert(restore_requests).values(restore_columns(row)).returning(*restore_requests.c)
        planned = str((row.plan or {}).get("run_request", ""))
        with self._transaction() as connection:
            if planned:
                connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(planned, 0))))
                same = restore_requests.c.plan["run_request"].astext == planned
                known = connection.execute(select(restore_requests.c.id).where(same)).scalar()
                if known is not None:
                    message = f"Of this plan there is restore request {known} already."
                    raise DecidedError(message, do=f"Look at it: backup-pipeline restores show {known}.")
            return restore_of(connection.execute(added).mappings().one())

    def change(self, number: int, change: RestoreChange) -> RestoreRow:
        """Write `change` into the row, under its lock; LedgerError for a move that is not allowed."""
        query = select(restore_requests).where(restore_requests.c.id == number)
        with self._transaction() as connection:
            row = connection.execute(query.with_for_update()).mappings().one_or_none()
            if row is None:
                raise no_such_restore(number)
            changed = after(restore_of(row), change)
            connection.execute(
                update(restore_requests).where(restore_requests.c.id == number).values(restore_columns(changed))
            )
        return changed

    def beat(self, number: int, now: datetime, /) -> None:
        """Move the heartbeat of a running restore to `now`; one that does not run keeps its last."""
        running = (restore_requests.c.id == number, restore_requests.c.status == RestoreStatus.RUNNING)
        with self._transaction() as connection:
            if connection.execute(update(restore_requests).where(*running).values(heartbeat_at=now)).rowcount:
                return
        if self.get(number) is None:
            raise no_such_restore(number)

    def get(self, number: int) -> RestoreRow | None:
        """The row of a number."""
        if not 0 < number <= _LARGEST:
            return None
        query = select(restore_requests).where(restore_requests.c.id == number)
        with self._transaction() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return restore_of(row) if row is not None else None

    def list(
        self,
        *,
        scope: Scope | None = None,
        status: Sequence[RestoreStatus] = (),
        run_id: str | None = None,
        before: int | None = None,
        limit: int | None = None,
    ) -> Sequence[RestoreRow]:
        """Rows, newest first: of one scope or all, with one of `status` or any, of one run or any, below a number."""
        query = select(restore_requests).order_by(restore_requests.c.id.desc()).limit(limit)
        if scope is not None:
            query = query.where(is_of(restore_requests, scope))
        if status:
            query = query.where(restore_requests.c.status.in_(list(status)))
        if run_id is not None:
            query = query.where(restore_requests.c.run_id == run_id)
        if before is not None:
            query = query.where(restore_requests.c.id < min(before, _LARGEST))
        with self._transaction() as connection:
            return [restore_of(row) for row in connection.execute(query).mappings()]

    def counts(self, scope: Scope | None = None) -> Mapping[RestoreStatus, int]:
        """How many rows of one scope, or of all, have each status that occurs."""
        query = select(restore_requests.c.status, func.count()).group_by(restore_requests.c.status)
        if scope is not None:
            query = query.where(is_of(restore_requests, scope))
        with self._transaction() as connection:
            return {RestoreStatus(status): count for status, count in connection.execute(query)}
