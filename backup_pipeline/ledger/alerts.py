"""The outbox of the ledger in PostgreSQL: two processes never have the same alert in their hands."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, and_, delete, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or_skip

from backup_pipeline.core.alerts import (
    REMIND_EVERY,
    Alert,
    OutboxEntry,
    Thread,
    ThreadStep,
    alert_json,
    alert_of,
    claimed,
    failing,
    recovered,
    settled,
)
from backup_pipeline.core.scope import Scope, parse_scope
from backup_pipeline.ledger import no_such_entry
from backup_pipeline.ledger.tables import alert_outbox as outbox
from backup_pipeline.ledger.tables import alert_threads, storable, utc

_SAME_NAME = tuple(field.name for field in fields(OutboxEntry) if field.name not in {"id", "alert"})


class SqlOutbox:
    """The port `Outbox` over the table `outbox`; safe from any thread.

    `transaction` begins one on the ledger, and raises every error as a LedgerError.
    """

    def __init__(self, transaction: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._transaction = transaction

    def add(self, alert: Alert, channels: Sequence[str], now: datetime) -> Sequence[OutboxEntry]:
        """Note the alert for each channel, claimed by whoever adds it."""
        noted = [claimed(OutboxEntry(0, alert, channel, created_at=now, next_try_at=now), now) for channel in channels]
        with self._transaction() as connection:
            return [_added(connection, entry) for entry in noted]

    def claim(self, now: datetime, *, without: Collection[str] = (), early: bool = False) -> OutboxEntry | None:
        """Take the oldest undelivered entry that is due, or `early` any that nobody else has, to deliver it."""
        with self._transaction() as connection:
            row = connection.execute(_free(now, without, early=early)).mappings().one_or_none()
            return _written(connection, claimed(_entry_of(row), now)) if row is not None else None

    def settle(self, number: int, error: str | None, now: datetime) -> OutboxEntry:
        """Write down what became of an attempt."""
        query = select(outbox).where(outbox.c.id == number).with_for_update()
        with self._transaction() as connection:
            row = connection.execute(query).mappings().one_or_none()
            if row is None:
                raise no_such_entry(number)
            return _written(connection, settled(_entry_of(row), error, now))

    def forget(self, before: datetime) -> int:
        """Remove what was delivered before that time; how many."""
        with self._transaction() as connection:
            return connection.execute(delete(outbox).where(outbox.c.delivered_at < before)).rowcount

    def list(self, *, undelivered: bool = True, limit: int | None = None) -> Sequence[OutboxEntry]:
        """Entries, newest first."""
        query = select(outbox).order_by(outbox.c.id.desc()).limit(limit)
        if undelivered:
            query = query.where(outbox.c.delivered_at.is_(None))
        with self._transaction() as connection:
            return [_entry_of(row) for row in connection.execute(query).mappings()]


def _free(now: datetime, without: Collection[str], *, early: bool) -> Select[*tuple[Any, ...]]:
    """As `Entry.free` says; what another claims at this very moment is passed over."""
    unclaimed = or_(outbox.c.claimed_until.is_(None), outbox.c.claimed_until <= now)
    due = and_(outbox.c.given_up_at.is_(None), outbox.c.next_try_at <= now)
    query = select(outbox).where(outbox.c.delivered_at.is_(None), unclaimed, outbox.c.channel.not_in(list(without)))
    query = query if early else query.where(due)
    return query.order_by(outbox.c.id).limit(1).with_for_update(skip_locked=True)


def _added(connection: Connection, entry: OutboxEntry) -> OutboxEntry:
    added = insert(outbox).values(_columns(entry)).returning(*outbox.c)
    return _entry_of(connection.execute(added).mappings().one())


def _written(connection: Connection, entry: OutboxEntry) -> OutboxEntry:
    connection.execute(update(outbox).where(outbox.c.id == entry.id).values(_columns(entry)))
    return entry


def _columns(entry: OutboxEntry) -> dict[str, Any]:
    alert = {"alert": storable(alert_json(entry.alert))}
    return alert | {name: storable(getattr(entry, name)) for name in _SAME_NAME}


def _entry_of(row: RowMapping) -> OutboxEntry:
    return OutboxEntry(id=row["id"], alert=alert_of(row["alert"]), **{name: utc(row[name]) for name in _SAME_NAME})


class SqlThreads:
    """The port `Threads` over the table `alert_threads`; safe from any thread.

    `transaction` begins one on the ledger, and raises every error as a LedgerError.
    """

    def __init__(
        self,
        transaction: Callable[[], AbstractContextManager[Connection]],
        remind_every: timedelta = REMIND_EVERY,
    ) -> None:
        self._transaction = transaction
        self._remind_every = remind_every

    def failing(self, scope: Scope, topic: str, now: datetime, failures: int, *, reachable: bool = True) -> ThreadStep:
        """Add `failures`; what people are told of them."""
        every = self._remind_every
        return self._change(scope, topic, lambda thread: failing(thread, now, failures, every, reachable=reachable))

    def recovered(self, scope: Scope, topic: str) -> ThreadStep:
        """Close the thread; whether people are told."""
        return self._change(scope, topic, recovered)

    def list(self) -> Sequence[Thread]:
        """The threads that are open, the oldest first."""
        query = select(alert_threads).where(alert_threads.c.opened_at.is_not(None)).order_by(alert_threads.c.opened_at)
        with self._transaction() as connection:
            return [_thread_of(row) for row in connection.execute(query).mappings()]

    def _change(self, scope: Scope, topic: str, step: Callable[[Thread], ThreadStep]) -> ThreadStep:
        """One step under the row's lock, so that of two that happen at once the second sees the first."""
        own = (alert_threads.c.scope == scope.key, alert_threads.c.topic == topic)
        empty = insert_or_skip(alert_threads).values(_thread_columns(Thread(scope, topic))).on_conflict_do_nothing()
        with self._transaction() as connection:
            connection.execute(empty)
            row = connection.execute(select(alert_threads).where(*own).with_for_update()).mappings().one()
            taken = step(_thread_of(row))
            connection.execute(update(alert_threads).where(*own).values(_thread_columns(taken.after)))
        return taken


def _thread_of(row: RowMapping) -> Thread:
    values = {field.name: utc(row[field.name]) for field in fields(Thread)}
    return Thread(**(values | {"scope": parse_scope(row["scope"])}))


def _thread_columns(thread: Thread) -> dict[str, Any]:
    return {**{field.name: getattr(thread, field.name) for field in fields(Thread)}, "scope": thread.scope.key}
