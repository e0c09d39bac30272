"""Runs that people asked for, how far runs are, what happened, and what Dagster is yet to be told: in PostgreSQL."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
from sqlalchemy import Connection, RowMapping, Table, and_, delete, func, null, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert

from backup_pipeline.core.errors import LedgerError
from backup_pipeline.core.runs import (
    REQUEST_MOVES,
    Observation,
    RealtimeEvent,
    RequestChange,
    RequestStatus,
    RunProgress,
    RunRequest,
    RunVerb,
)
from backup_pipeline.core.scope import parse_actor
from backup_pipeline.core.text import redact, url_secrets
from backup_pipeline.ledger import CONNECT_SECONDS, ledger_url
from backup_pipeline.ledger.console_tables import dagster_outbox, realtime_events, run_progress, run_requests
from backup_pipeline.ledger.tables import actor_column, scope_columns, scope_of, storable, utc

logger = logging.getLogger(__name__)

Transaction = Callable[[], AbstractContextManager[Connection]]
"""Begins one on the ledger, and raises every error as a LedgerError."""

_REQUEST = run_requests.c
_PLAIN = tuple(field.name for field in fields(RunRequest) if field.name not in {"scope", "actor", "status", "verb"})
_CHANGED = tuple(field.name for field in fields(RequestChange))


_FORGET_EXAMPLES = """
UPDATE run_requests SET result = jsonb_set(result, '{plan,diff,tables}', (
    SELECT jsonb_agg(t || '{"examples": []}') FROM jsonb_array_elements(result #> '{plan,diff,tables}') t))
WHERE created_at < :before AND result #> '{plan,diff,tables}' @> '[{"examples": [{}]}]'"""


class SqlRunRequests:
    """The port `RunRequests` over the table `run_requests`; safe from any thread."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def add(self, request: RunRequest) -> tuple[RunRequest, bool]:
        """Add a row; the row, and whether it is new. LedgerError where the id is that of a row one may not see."""
        added = insert(run_requests).values(_request_row(request)).on_conflict_do_nothing().returning(_REQUEST.id)
        with self._transaction() as connection:
            new = connection.execute(added).one_or_none() is not None
            row = _one(connection, request.id)
        if row is None:
            message = f"Run request {request.id} is in the ledger already, and somebody else's."
            raise LedgerError(message, do="Load the page again, and send the form that it shows.")
        return row, new

    def take(self, request: UUID, now: datetime, again_after: timedelta) -> bool:
        """Whether the caller may send it to Dagster: of all who ask at once one, and the next not before a while."""
        unsent = or_(_REQUEST.launched_at.is_(None), _REQUEST.launched_at < now - again_after)
        free = and_(_REQUEST.id == request, _REQUEST.status == RequestStatus.REQUESTED, unsent)
        taken = update(run_requests).where(free).values(launched_at=now).returning(_REQUEST.id)
        with self._transaction() as connection:
            return connection.execute(taken).one_or_none() is not None

    def change(self, request: UUID, change: RequestChange) -> RunRequest:
        """Write `change` into the row, and give it back. A move that is not allowed leaves the row as it is."""
        values = {name: storable(getattr(change, name)) for name in _CHANGED if getattr(change, name) is not None}
        with self._transaction() as connection:
            locked = select(_REQUEST.status).where(_REQUEST.id == request).with_for_update()
            before = connection.execute(locked).scalar_one_or_none()
            if before is not None and _may_become(RequestStatus(before), change.status):
                connection.execute(update(run_requests).where(_REQUEST.id == request).values(values))
            row = _one(connection, request)
        if row is None:
            message = f"Run request {request} is not in the ledger."
            raise LedgerError(message, do="It may be another installation's.")
        return row

    def claim(self, request: UUID, run_id: str, now: datetime) -> RunRequest | None:
        """Let a run begin for the request: the row, `running`, with this run in it; None where it may not."""
        mine = or_(_REQUEST.run_id.is_(None), _REQUEST.run_id == run_id)
        waiting = _REQUEST.status.in_([RequestStatus.REQUESTED, RequestStatus.LAUNCHED, RequestStatus.RUNNING])
        values = {
            "status": RequestStatus.RUNNING,
            "run_id": run_id,
            "started_at": func.coalesce(_REQUEST.started_at, now),
            "launched_at": func.coalesce(_REQUEST.launched_at, now),
        }
        claimed = update(run_requests).where(_REQUEST.id == request, waiting, mine).values(values)
        with self._transaction() as connection:
            row = connection.execute(claimed.returning(*_REQUEST)).mappings().one_or_none()
        return _request_of(row) if row is not None else None

    def get(self, request: UUID) -> RunRequest | None:
        """The row with an id."""
        with self._transaction() as connection:
            return _one(connection, request)

    def of_run(self, run_id: str) -> RunRequest | None:
        """The row that a run was launched for."""
        query = select(run_requests).where(_REQUEST.run_id == run_id).order_by(_REQUEST.created_at.desc()).limit(1)
        with self._transaction() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return _request_of(row) if row is not None else None

    def forget_examples(self, before: datetime) -> int:
        """Take the rows of examples out of plans that nobody has asked for since; of how many."""
        with self._transaction() as connection:
            return connection.execute(text(_FORGET_EXAMPLES), {"before": before}).rowcount

    def list(
        self, *, catalog: str | None = None, status: Collection[RequestStatus] = (), limit: int | None = None
    ) -> Sequence[RunRequest]:
        """Rows, newest first."""
        query = select(run_requests).order_by(_REQUEST.created_at.desc(), _REQUEST.id).limit(limit)
        if catalog is not None:
            query = query.where(_REQUEST.catalog == catalog)
        if status:
            query = query.where(_REQUEST.status.in_([str(each) for each in status]))
        with self._transaction() as connection:
            return [_request_of(row) for row in connection.execute(query).mappings()]


def _one(connection: Connection, request: UUID) -> RunRequest | None:
    row = connection.execute(select(run_requests).where(_REQUEST.id == request)).mappings().one_or_none()
    return _request_of(row) if row is not None else None


def _may_become(before: RequestStatus, after: RequestStatus | None) -> bool:
    """Whether the row may be written so. What a run came to may be added when it is over."""
    return after is None or after in REQUEST_MOVES[before]


def _request_row(request: RunRequest) -> dict[str, Any]:
    same = {name: storable(getattr(request, name)) for name in _PLAIN}
    known = {"status": request.status.value, "verb": request.verb.value}
    return same | known | scope_columns(request.scope) | actor_column(request.actor)


def _request_of(row: RowMapping) -> RunRequest:
    values = {name: utc(row[name]) for name in _PLAIN}
    values |= {"scope": scope_of(row), "actor": parse_actor(row["actor"])}
    return RunRequest(**values, status=RequestStatus(row["status"]), verb=RunVerb(row["verb"]))


_SAME = tuple(field.name for field in fields(RunProgress) if field.name not in {"scope", "table"})


class SqlProgress:
    """The port `ProgressRows` over the table `run_progress`; safe from any thread."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def put(self, progress: RunProgress) -> None:
        """Write the row of a run, in place of what it said before."""
        columns = {name: storable(getattr(progress, name)) for name in _SAME} | {"table_name": storable(progress.table)}
        columns |= scope_columns(progress.scope)
        written = insert(run_progress).values(columns)
        changed = {name: value for name, value in columns.items() if name != "run_id"}
        with self._transaction() as connection:
            connection.execute(written.on_conflict_do_update(index_elements=["run_id"], set_=changed))

    def list(self, *, running: bool = True) -> Sequence[RunProgress]:
        """Rows, the newest run first; also those of runs that ended unless only the `running` are wanted."""
        query = select(run_progress).order_by(run_progress.c.started_at.desc(), run_progress.c.run_id)
        if running:
            query = query.where(run_progress.c.finished_at.is_(null()))
        with self._transaction() as connection:
            return [_progress_of(row) for row in connection.execute(query).mappings()]

    def forget(self, before: datetime) -> int:
        """Remove the rows that were not written since; how many."""
        return _forget(self._transaction, run_progress, "updated_at", before)


def _progress_of(row: RowMapping) -> RunProgress:
    return RunProgress(**{name: utc(row[name]) for name in _SAME}, scope=scope_of(row), table=row["table_name"])


_EVENT = realtime_events.c


class SqlEvents:
    """The port `Events` over the table `realtime_events`, which triggers fill; safe from any thread.

    An event gets its number when its transaction commits, under a lock that is held to the end of the commit: who has
    seen a number has seen, or could have seen, every smaller one. `WHERE id > n` therefore misses none.
    """

    def __init__(self, transaction: Transaction, url: str) -> None:
        self._transaction, self._url = transaction, url

    def announcements(self) -> SqlAnnouncements:
        """What tells that there are new ones."""
        return SqlAnnouncements(self._url)

    def since(self, number: int, limit: int) -> Sequence[RealtimeEvent]:
        """Events after that number, the oldest first."""
        query = select(realtime_events).where(_EVENT.id > number).order_by(_EVENT.id).limit(limit)
        with self._transaction() as connection:
            return [_event_of(row) for row in connection.execute(query).mappings()]

    def newest(self) -> int:
        """The number of the newest one; 0 when there is none."""
        with self._transaction() as connection:
            return int(connection.scalar(select(func.coalesce(func.max(_EVENT.id), 0))) or 0)

    def forget(self, before: datetime) -> int:
        """Remove older ones; how many."""
        return _forget(self._transaction, realtime_events, "at", before)


class SqlAnnouncements:
    """The port `Announcements` over LISTEN; for one thread. A number is told, and nothing else.

    Behind a pooler that gives sessions away LISTEN hears nothing, and a connection may be cut: who waits looks into the
    table now and then anyway.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: psycopg.Connection[Any] | None = None

    def wait(self, seconds: float) -> bool:
        """Whether something may have happened since the last call. A new connection may have missed something."""
        try:
            if self._connection is None:
                self._connection = self._listening()
                return True
            return any(True for _ in self._connection.notifies(timeout=seconds, stop_after=1))
        except (psycopg.Error, OSError) as error:
            logger.info("Nothing is heard from the ledger: %s", redact(str(error), *url_secrets(self._url)))
            self.close()
            time.sleep(min(seconds, 1.0))
            return False

    def _listening(self) -> psycopg.Connection[Any]:
        url = ledger_url(self._url).set(drivername="postgresql").render_as_string(hide_password=False)
        connection = psycopg.connect(
            url, autocommit=True, connect_timeout=CONNECT_SECONDS, application_name="backup-pipeline events"
        )
        connection.execute("LISTEN backup_events")
        return connection

    def close(self) -> None:
        """Give the connection back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _event_of(row: RowMapping) -> RealtimeEvent:
    columns = {field.name: utc(row[field.name]) for field in fields(RealtimeEvent) if field.name != "number"}
    return RealtimeEvent(**columns, number=row["id"])


def _forget(transaction: Transaction, table: Table, column: str, before: datetime) -> int:
    with transaction() as connection:
        return connection.execute(delete(table).where(table.c[column] < before)).rowcount


_NOTE = dagster_outbox.c
_TRIES = 5


class SqlObservations:
    """The port `Observations` over the table `dagster_outbox`; safe from any thread."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def add(self, observation: Observation, now: datetime) -> None:
        """Note it, to be sent."""
        detail = {"path": list(observation.asset), "partition": observation.partition}
        row = {"catalog": observation.catalog, "asset": "/".join(observation.asset), "created_at": now}
        with self._transaction() as connection:
            connection.execute(insert(dagster_outbox).values(**storable(row), message=storable(observation.message),
                                                             detail=storable(detail)))  # fmt: skip

    def claim(self) -> tuple[int, Observation] | None:
        """The oldest that was not sent, with its number; None when there is none. What failed often is left out."""
        oldest = select(_NOTE.id).where(_NOTE.sent_at.is_(null()), _NOTE.attempts < _TRIES).order_by(_NOTE.id).limit(1)
        claimed = update(dagster_outbox).where(_NOTE.id == oldest.with_for_update(skip_locked=True).scalar_subquery())
        with self._transaction() as connection:
            row = connection.execute(
                claimed.values(attempts=_NOTE.attempts + 1).returning(*_NOTE)
            ).mappings().one_or_none()  # fmt: skip
        return (row["id"], _observation_of(row)) if row is not None else None

    def settle(self, number: int, error: str | None, now: datetime, *, away: bool = False) -> None:
        """Write down that it was sent, or why not. That Dagster was `away` does not count as a try."""
        values: Mapping[str, object] = {"sent_at": now} if error is None else {"last_error": storable(error)}
        if away:
            values = {**values, "attempts": _NOTE.attempts - 1}
        with self._transaction() as connection:
            connection.execute(update(dagster_outbox).where(_NOTE.id == number).values(values))

    def forget(self, before: datetime) -> int:
        """Remove older ones, sent or given up; how many."""
        old = and_(_NOTE.created_at < before, or_(_NOTE.sent_at.is_not(null()), _NOTE.attempts >= _TRIES))
        with self._transaction() as connection:
            return connection.execute(delete(dagster_outbox).where(old)).rowcount


def _observation_of(row: RowMapping) -> Observation:
    detail = row["detail"]
    return Observation(row["catalog"], tuple(detail["path"]), row["message"], detail["partition"])
