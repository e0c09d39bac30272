"""The rows of backups in the ledger in PostgreSQL: their lives, copies, audit, and what is due."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from copy import copy as shallow_copy
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, and_, bindparam, func, or_, select, update
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.exc import IntegrityError

from backup_pipeline.core.access.sessions import PersonIdentity
from backup_pipeline.core.alerts import REMIND_EVERY
from backup_pipeline.core.copies import Copy, CopyStatus
from backup_pipeline.core.due import FULL, KnownDues, Settlement, why_dropped
from backup_pipeline.core.ledger import GOOD, Attempt, AuditEvent, Hold, Outcome, Status, after
from backup_pipeline.core.names import Kind
from backup_pipeline.core.schedule import TOLERATED
from backup_pipeline.core.scope import Scope
from backup_pipeline.core.verification import Verification
from backup_pipeline.ledger import (
    CONNECTIONS,
    already_there,
    check_begins,
    ensure_database,
    ledger_engine,
    ledger_errors,
    not_there,
)
from backup_pipeline.ledger.access import SqlAccess, become, refusals_of
from backup_pipeline.ledger.alerts import SqlOutbox, SqlThreads
from backup_pipeline.ledger.analytics import SqlAnalytics
from backup_pipeline.ledger.audit import SqlAuditRows
from backup_pipeline.ledger.businesses import SqlBusinesses, SqlPayments
from backup_pipeline.ledger.console import SqlEvents, SqlObservations, SqlProgress, SqlRunRequests
from backup_pipeline.ledger.downloads import SqlDownloads
from backup_pipeline.ledger.leases import SqlLeases, SqlReadings, SqlShards, release_of
from backup_pipeline.ledger.listing import SqlListings
from backup_pipeline.ledger.migrate import upgrade
from backup_pipeline.ledger.restores import SqlRestores
from backup_pipeline.ledger.shapes import SqlShapes, SqlTallies
from backup_pipeline.ledger.tables import (
    attempt_of,
    attempt_row,
    audit_of,
    audit_row,
    backup_audit,
    backup_copies,
    backup_logs,
    due_accounts,
    hold_columns,
    is_of,
    outcome_row,
    owner_columns,
    owner_of,
    scope_columns,
    scope_of,
    storable,
    utc,
    verification_columns,
    verification_of,
)
from backup_pipeline.ledger.ticks import SqlTicks
from backup_pipeline.ledger.webhooks import SqlWebhooks

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
            missed = [missing for row in plan.missed if (missing := _miss(connection, row, now)) is not None]
            for row in plan.dropped:
                _drop(connection, row, now)
            connection.execute(update(due_accounts).where(account).values(accounted_until=now))
        return replace(plan, expected=tuple(expected), missed=tuple(missed))

    def abandon(self, catalog: str, why: str, *, idle_since: datetime, now: datetime) -> Sequence[Attempt]:
        """Cancel what is expected of a catalog that nobody has accounted for since `idle_since`."""
        account = select(due_accounts.c.accounted_until).where(due_accounts.c.catalog == catalog).with_for_update()
        expected = update(backup_logs).where(is_of(backup_logs, Scope(catalog)), _ROW.status == Status.EXPECTED)
        canceled = expected.values(status=Status.CANCELED, finished_at=now, error_message=why).returning(*_ROW)
        with self._transaction() as connection:
            until = utc(connection.execute(account).scalar_one_or_none())
            if until is not None and until > idle_since:
                return []
            return [attempt_of(row) for row in connection.execute(canceled).mappings()]

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
        query = select(backup_logs).where(is_of(backup_logs, Scope(catalog)), _from(at)).order_by(*_NEWEST_FIRST)
        with self._transaction() as connection:
            return [attempt_of(row) for row in connection.execute(query).mappings().all()]

    def newest_good(self, catalog: str, now: datetime) -> Attempt | None:
        """The newest good full backup that is not of the future."""
        wanted = (is_of(backup_logs, Scope(catalog)), _ROW.kind == FULL, _ROW.status.in_(sorted(GOOD)))
        query = select(backup_logs).where(*wanted, _ROW.created_at <= now + TOLERATED).order_by(*_NEWEST_FIRST).limit(1)
        with self._transaction() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return attempt_of(row) if row is not None else None


def _from(at: datetime) -> ColumnElement[bool]:
    return or_(_ROW.created_at >= at, _ROW.due_at >= at)


def _known(connection: Connection, catalog: str, since: datetime) -> Sequence[Attempt]:
    wanted = and_(is_of(backup_logs, Scope(catalog)), or_(_ROW.status == Status.EXPECTED, _from(since)))
    rows = connection.execute(select(backup_logs).where(wanted).order_by(*_NEWEST_FIRST)).mappings()
    return [attempt_of(row) for row in rows]


def _add(connection: Connection, row: Attempt) -> bool:
    return _is_written(connection, insert(backup_logs).values(attempt_row(row)).on_conflict_do_nothing())


def _is_written(connection: Connection, added: Insert) -> bool:
    """Whether a row was added or changed: of an INSERT the driver's count is not told."""
    return connection.execute(added.returning(_ROW.id)).one_or_none() is not None


def _miss(connection: Connection, row: Attempt, now: datetime) -> Attempt | None:
    """The row as `missed`, added where there is none yet; None when somebody has begun it meanwhile."""
    missed = replace(row, status=Status.MISSED, finished_at=now)
    values = {"status": Status.MISSED, "finished_at": now, "error_message": row.error_message}
    written = _unless_begun(insert(backup_logs).values(attempt_row(missed)), values, now).returning(*backup_logs.c)
    stored = connection.execute(written).mappings().one_or_none()
    return attempt_of(stored) if stored is not None else None


def _drop(connection: Connection, row: Attempt, now: datetime) -> None:
    expected = update(backup_logs).where(_ROW.backup_id == row.backup_id, _ROW.status == Status.EXPECTED)
    connection.execute(expected.values(status=Status.CANCELED, finished_at=now, error_message=why_dropped(row)))


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


_SAME_NAME = tuple(field.name for field in fields(Copy) if field.name not in {"owner", "scope", "verification"})


def copy_columns(copy: Copy) -> dict[str, Any]:
    """The columns of `copy`."""
    same = {name: storable(getattr(copy, name)) for name in _SAME_NAME}
    return same | scope_columns(copy.scope) | owner_columns(copy.owner) | verification_columns(copy.verification)


def copy_of(row: RowMapping) -> Copy:
    """The copy that a row of `backup_copies` holds, its times in UTC."""
    values = {name: utc(row[name]) for name in _SAME_NAME}
    values |= {"status": CopyStatus(row["status"]), "owner": owner_of(row), "verification": verification_of(row)}
    values |= {"scope": scope_of(row)}
    return Copy(**values)


_KEY = ("backup_id", "store")


class SqlCopies:
    """The port `Copies` over the table `backup_copies`; safe from any thread.

    `transaction` begins one on the ledger, and raises every error as a LedgerError.
    """

    def __init__(self, transaction: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._transaction = transaction

    def put(self, copy: Copy) -> None:
        """Write the row of a backup in a store, in place of what it said before."""
        columns = copy_columns(copy)
        written = insert(backup_copies).values(columns)
        changed = {name: value for name, value in columns.items() if name not in _KEY}
        with self._transaction() as connection:
            connection.execute(written.on_conflict_do_update(index_elements=list(_KEY), set_=changed))

    def get(self, backup_id: str, store: str) -> Copy | None:
        """The row of a backup in the store at a URL."""
        return next(iter(self.list(backup_id=backup_id, store=store)), None)

    def list(
        self,
        *,
        backup_id: str | None = None,
        scope: Scope | None = None,
        store: str | None = None,
        status: CopyStatus | None = None,
    ) -> Sequence[Copy]:
        """Rows, the newest backup first: of one backup, scope, store and status, or of all."""
        query = select(backup_copies).order_by(backup_copies.c.backup_id.desc(), backup_copies.c.store)
        wanted = {"backup_id": backup_id, "store": store, "status": status}
        if scope is not None:
            query = query.where(is_of(backup_copies, scope))
        for name, value in wanted.items():
            if value is not None:
                query = query.where(backup_copies.c[name] == value)
        with self._transaction() as connection:
            return [copy_of(row) for row in connection.execute(query).mappings().all()]


_ADDED = insert(backup_logs)
_WRITTEN_WHOLE = _ADDED.on_conflict_do_update(
    index_elements=["backup_id"], set_={column.name: _ADDED.excluded[column.name] for column in _ROW}
)
"""Adds whole rows, or writes them in place of those that are there."""


_BUNDLES = [kind for kind in Kind if kind.bundled]


class SqlLedger:
    """The port `Ledger` over the tables of `ledger.tables`; safe from any thread.

    Every method raises LedgerError: LedgerUnavailableError when waiting can help. Nothing connects before it is used.
    """

    def __init__(self, url: str, *, remind_every: timedelta = REMIND_EVERY, connections: int = CONNECTIONS) -> None:
        self._url = url
        self._engine = ledger_engine(url, connections=connections)
        self._remind_every = remind_every
        self._identity: PersonIdentity | None = None
        self._held: Connection | None = None
        self._open_parts()

    def _open_parts(self) -> None:
        self.access = SqlAccess(self._transaction)
        self.audit_rows = SqlAuditRows(self._transaction)
        self.restores = SqlRestores(self._transaction)
        self.dues = SqlDues(self._transaction)
        self.threads = SqlThreads(self._transaction, self._remind_every)
        self.leases = SqlLeases(self._transaction)
        self.shards = SqlShards(self._transaction)
        self.outbox = SqlOutbox(self._transaction)
        self.copies = SqlCopies(self._transaction)
        self.shapes = SqlShapes(self._transaction)
        self.readings = SqlReadings(self._transaction)
        self.tallies = SqlTallies(self._transaction)
        self.run_requests = SqlRunRequests(self._transaction)
        self.progress = SqlProgress(self._transaction)
        self.events = SqlEvents(self._transaction, self._url)
        self.observations = SqlObservations(self._transaction)
        self.listings = SqlListings(self._transaction)
        self.downloads = SqlDownloads(self._transaction)
        self.webhooks = SqlWebhooks(self._transaction)
        self.ticks = SqlTicks(self._transaction)
        self.businesses = SqlBusinesses(self._transaction)
        self.payments = SqlPayments(self._transaction)
        self.analytics = SqlAnalytics(self._transaction)

    def as_person(self, identity: PersonIdentity) -> Self:
        """This ledger, over the same connections, for one person: each transaction has that person's role and no more.

        LedgerError, naming the grant, where the user of the URL may not become that role.
        """
        other = shallow_copy(self)
        other._identity, other._held = identity, None
        other._open_parts()
        return other

    @contextmanager
    def at_once(self) -> Iterator[Self]:
        """This ledger with one transaction for all that is asked of it in the context, for one thread."""
        with self._transaction() as connection:
            other = shallow_copy(self)
            other._held = connection
            other._open_parts()
            yield other

    @classmethod
    def create(cls, url: str) -> SqlLedger:
        """The ledger at `url`, its database created when it is missing and this is allowed, its tables up to date."""
        ensure_database(url)
        upgrade(url)
        return cls(url)

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    def now(self) -> datetime:
        """The present by the database's clock."""
        with self._transaction() as connection:
            now: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
        return now.astimezone(UTC)

    def begin(self, attempt: Attempt) -> None:
        """Add the attempt's row; LedgerError unless it is `running`, or when its backup id is there already."""
        check_begins(attempt)
        with self._transaction() as connection:
            try:
                connection.execute(insert(backup_logs).values(attempt_row(attempt)))
            except IntegrityError as error:
                raise already_there(attempt.backup_id) from error

    def beat(self, backup_id: str, now: datetime) -> None:
        """Move the heartbeat of a running attempt to `now`; one that has ended keeps its last."""
        running = update(backup_logs).where(
            backup_logs.c.backup_id == backup_id, backup_logs.c.status == Status.RUNNING
        )
        with self._transaction() as connection:
            if connection.execute(running.values(heartbeat_at=now)).rowcount:
                return
        if self.get(backup_id) is None:
            raise not_there(backup_id)

    def end(self, backup_id: str, outcome: Outcome) -> None:
        """Write `outcome` into the row, under its lock; LedgerError for a move that `statuses` does not allow."""
        self.end_all({backup_id: outcome})

    def end_all(self, outcomes: Mapping[str, Outcome]) -> None:
        """Three statements, however many there are; rows are locked in the order of their ids, whoever ends them."""
        query = select(backup_logs).where(_ROW.backup_id.in_(list(outcomes))).order_by(_ROW.id).with_for_update()
        with self._transaction() as connection:
            rows = {row["backup_id"]: row for row in connection.execute(query).mappings()}
            for backup_id in outcomes.keys() - rows.keys():
                raise not_there(backup_id)
            changed = [
                {"row": rows[backup_id]["id"], **outcome_row(after(attempt_of(rows[backup_id]), outcome))}
                for backup_id, outcome in outcomes.items()
            ]
            if changed:
                values = {name: bindparam(name, type_=_ROW[name].type) for name in changed[0] if name != "row"}
                connection.execute(update(backup_logs).where(_ROW.id == bindparam("row")).values(values), changed)
                release_of(connection, *outcomes)

    def verified(self, backup_id: str, verification: Verification) -> None:
        """Write into the row what a verification came to, in place of what an earlier one did."""
        self._set(backup_id, verification_columns(verification))

    def hold(self, backup_id: str, hold: Hold | None) -> None:
        """Write a hold into the row, or that there is none."""
        self._set(backup_id, hold_columns(hold))

    def expires(self, backup_id: str, at: datetime | None) -> None:
        """Write into the row when the rules let the backup go at the earliest."""
        self._set(backup_id, {"expires_at": at})

    def get(self, backup_id: str) -> Attempt | None:
        """The row of a backup id."""
        return self._first(select(backup_logs).where(backup_logs.c.backup_id == backup_id))

    def of_run(self, run_id: str) -> Attempt | None:
        """The newest row that belongs to a Dagster run."""
        return self._first(select(backup_logs).where(backup_logs.c.run_id == run_id))

    def last_good(self, scope: Scope, before: datetime | None = None) -> Attempt | None:
        """The newest good full or selective backup of `scope` with counted tables, created before `before`."""
        query = select(backup_logs).where(
            is_of(backup_logs, scope),
            backup_logs.c.status.in_(sorted(GOOD)),
            backup_logs.c.kind.in_(_BUNDLES),
            backup_logs.c.table_counts != {},
        )
        return self._first(query if before is None else query.where(backup_logs.c.created_at < before))

    def list(
        self,
        *,
        scope: Scope | None = None,
        status: Sequence[Status] = (),
        since: datetime | None = None,
        limit: int | None = None,
    ) -> Sequence[Attempt]:
        """Rows, newest first: of one scope or all, with one of `status` or any, at most `limit`."""
        query = select(backup_logs)
        if scope is not None:
            query = query.where(is_of(backup_logs, scope))
        if status:
            query = query.where(backup_logs.c.status.in_(list(status)))
        if since is not None:
            query = query.where(backup_logs.c.created_at > since)
        return self._all(query.limit(limit))

    def adopt(self, rows: Sequence[Attempt], events: Sequence[AuditEvent]) -> None:
        """Write whole rows, in place of those of the same backups, and their audit rows, in one transaction."""
        with self._transaction() as connection:
            if rows:
                connection.execute(_WRITTEN_WHOLE, [attempt_row(row) for row in rows])
            if events:
                connection.execute(insert(backup_audit), [audit_row(event) for event in events])

    def audit(self, event: AuditEvent) -> None:
        """Add an audit row; nobody can change it afterwards."""
        with self._transaction() as connection:
            connection.execute(insert(backup_audit).values(audit_row(event)))

    def audits(self, backup_id: str | None = None, *, limit: int | None = None) -> Sequence[AuditEvent]:
        """Audit rows, newest first: of one backup or all, at most `limit`."""
        query = select(backup_audit).order_by(backup_audit.c.id.desc()).limit(limit)
        if backup_id is not None:
            query = query.where(backup_audit.c.backup_id == backup_id)
        with self._transaction() as connection:
            return [audit_of(row) for row in connection.execute(query).mappings().all()]

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with ledger_errors(self._url), refusals_of(self._identity):
            if self._held is not None:
                yield self._held
                return
            with self._engine.begin() as connection:
                if self._identity is not None:
                    become(connection, self._identity)
                yield connection

    def _set(self, backup_id: str, values: Mapping[str, object]) -> None:
        row = update(backup_logs).where(backup_logs.c.backup_id == backup_id)
        with self._transaction() as connection:
            if not connection.execute(row.values(values)).rowcount:
                raise not_there(backup_id)

    def _all(self, query: Select[*tuple[object, ...]]) -> Sequence[Attempt]:
        with self._transaction() as connection:
            return [attempt_of(row) for row in connection.execute(query.order_by(*_NEWEST_FIRST)).mappings().all()]

    def _first(self, query: Select[*tuple[object, ...]]) -> Attempt | None:
        return next(iter(self._all(query.limit(1))), None)
