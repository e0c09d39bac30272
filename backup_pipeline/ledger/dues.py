"""The due times of the ledger in PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, or_, select, update
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.exc import IntegrityError

from backup_pipeline.core.due import FULL, KnownDues, Settlement, why_dropped
from backup_pipeline.core.ledger import GOOD, Attempt, Status
from backup_pipeline.core.schedule import TOLERATED
from backup_pipeline.ledger.connect import already_there, check_begins
from backup_pipeline.ledger.tables import attempt_of, attempt_row, backup_logs, due_accounts, utc

_ROW = backup_logs.c
_NEWEST_FIRST = (_ROW.created_at.desc(), _ROW.backup_id.desc())


class SqlDues:
    """The port `Dues` over `backup_logs` and the table `due_accounts`; safe from any thread.

    `transaction` begins one on the ledger, and raises every error as a LedgerError. Whoever settles holds the lock of
    the catalog's row in `due_accounts`, so that a second one sees what the first has written.
    """

    def __init__(self, transaction: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._transaction = transaction

    def settle(
        self, catalog: str, decide: Callable[[KnownDues], Settlement], *, since: datetime, now: datetime
    ) -> Settlement:
        """Write down what `decide` says; what of it was really written."""
        account = due_accounts.c.catalog == catalog
        with self._transaction() as connection:
            connection.execute(insert(due_accounts).values(catalog=catalog).on_conflict_do_nothing())
            locked = select(due_accounts.c.accounted_until).where(account).with_for_update()
            until = utc(connection.execute(locked).scalar_one())
            plan = decide(KnownDues(until, tuple(_known(connection, catalog, min(since, until or since)))))
            expected = [row for row in plan.expected if _add(connection, row)]
            missed = [found for row in plan.missed if (found := _miss(connection, row, now)) is not None]
            for row in plan.dropped:
                _drop(connection, row, now)
            connection.execute(update(due_accounts).where(account).values(accounted_until=now))
        return replace(plan, expected=tuple(expected), missed=tuple(missed))

    def abandon(self, catalog: str, why: str, *, idle_since: datetime, now: datetime) -> Sequence[Attempt]:
        """Cancel what is expected of a catalog that nobody has accounted for since `idle_since`."""
        account = select(due_accounts.c.accounted_until).where(due_accounts.c.catalog == catalog).with_for_update()
        expected = update(backup_logs).where(_ROW.catalog == catalog, _ROW.status == Status.EXPECTED)
        told = expected.values(status=Status.CANCELED, finished_at=now, error_message=why).returning(*_ROW)
        with self._transaction() as connection:
            until = utc(connection.execute(account).scalar_one_or_none())
            if until is not None and until > idle_since:
                return []
            return [attempt_of(row) for row in connection.execute(told).mappings()]

    def take(self, attempt: Attempt) -> Attempt:
        """Begin the attempt, in the row of its due time where that is still expected."""
        check_begins(attempt)
        with self._transaction() as connection:
            try:
                if attempt.due_at is None or not _is_written(connection, _over(attempt)):
                    attempt = replace(attempt, due_at=None)
                    connection.execute(insert(backup_logs).values(attempt_row(attempt)))
            except IntegrityError as error:
                raise already_there(attempt.backup_id) from error
        return attempt

    def since(self, catalog: str, at: datetime) -> Sequence[Attempt]:
        """The rows that were created, or due, at `at` or later, newest first."""
        query = select(backup_logs).where(_ROW.catalog == catalog, _from(at)).order_by(*_NEWEST_FIRST)
        with self._transaction() as connection:
            return [attempt_of(row) for row in connection.execute(query).mappings()]

    def newest_good(self, catalog: str, now: datetime) -> Attempt | None:
        """The newest good full backup that is not of the future."""
        wanted = (_ROW.catalog == catalog, _ROW.kind == FULL, _ROW.status.in_(sorted(GOOD)))
        query = select(backup_logs).where(*wanted, _ROW.created_at <= now + TOLERATED).order_by(*_NEWEST_FIRST).limit(1)
        with self._transaction() as connection:
            found = connection.execute(query).mappings().one_or_none()
        return attempt_of(found) if found is not None else None


def _from(at: datetime) -> ColumnElement[bool]:
    return or_(_ROW.created_at >= at, _ROW.due_at >= at)


def _known(connection: Connection, catalog: str, since: datetime) -> Sequence[Attempt]:
    wanted = and_(_ROW.catalog == catalog, or_(_ROW.status == Status.EXPECTED, _from(since)))
    found = connection.execute(select(backup_logs).where(wanted).order_by(*_NEWEST_FIRST)).mappings()
    return [attempt_of(row) for row in found]


def _add(connection: Connection, row: Attempt) -> bool:
    return _is_written(connection, insert(backup_logs).values(attempt_row(row)).on_conflict_do_nothing())


def _is_written(connection: Connection, added: Insert) -> bool:
    """Whether a row was added or changed: of an INSERT the driver's count is not told."""
    return connection.execute(added.returning(_ROW.id)).one_or_none() is not None


def _miss(connection: Connection, row: Attempt, now: datetime) -> Attempt | None:
    """The row as `missed`, added where there is none yet; None when somebody has begun it meanwhile."""
    missed = replace(row, status=Status.MISSED, finished_at=now)
    told = {"status": Status.MISSED, "finished_at": now, "error_message": row.error_message}
    written = _unless_begun(insert(backup_logs).values(attempt_row(missed)), told, now).returning(*backup_logs.c)
    found = connection.execute(written).mappings().one_or_none()
    return attempt_of(found) if found is not None else None


def _drop(connection: Connection, row: Attempt, now: datetime) -> None:
    here = update(backup_logs).where(_ROW.backup_id == row.backup_id, _ROW.status == Status.EXPECTED)
    connection.execute(here.values(status=Status.CANCELED, finished_at=now, error_message=why_dropped(row)))


def _over(attempt: Attempt) -> Insert:
    """The row of an attempt, in place of the expected one of its due time; nothing where that has begun or is over."""
    values = {**attempt_row(attempt), "finished_at": None, "error_message": None}
    return _unless_begun(insert(backup_logs).values(values), values, attempt.created_at)


def _unless_begun(added: Insert, values: dict[str, Any], now: datetime) -> Insert:
    """`added`, or `values` in the row of the same due time; one that was missed later than `now` counts as expected."""
    ahead = and_(_ROW.status == Status.MISSED, _ROW.finished_at > now + TOLERATED)
    return added.on_conflict_do_update(
        index_elements=[_ROW.catalog, _ROW.due_at],
        index_where=_ROW.due_at.is_not(None),
        set_=values,
        where=or_(_ROW.status == Status.EXPECTED, ahead),
    )
