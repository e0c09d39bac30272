"""The outbox of the ledger in PostgreSQL: two processes never have the same alert in their hands."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, and_, delete, insert, or_, select, update

from backup_pipeline.core.alerts import Alert
from backup_pipeline.core.outbox import Entry, alert_json, alert_of, claimed, settled
from backup_pipeline.ledger.refusals import no_such_entry
from backup_pipeline.ledger.rows import storable, utc
from backup_pipeline.ledger.tables import alert_outbox as outbox

_SAME_NAME = tuple(field.name for field in fields(Entry) if field.name not in {"id", "alert"})


class SqlOutbox:
    """The port `Outbox` over the table `outbox`; safe from any thread.

    `transaction` begins one on the ledger, and raises every error as a LedgerError.
    """

    def __init__(self, transaction: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._transaction = transaction

    def add(self, alert: Alert, channels: Sequence[str], now: datetime) -> Sequence[Entry]:
        """Note the alert for each channel, claimed by whoever adds it."""
        noted = [claimed(Entry(0, alert, channel, created_at=now, next_try_at=now), now) for channel in channels]
        with self._transaction() as connection:
            return [_added(connection, entry) for entry in noted]

    def claim(self, now: datetime, *, without: Collection[str] = (), early: bool = False) -> Entry | None:
        """Take the oldest undelivered entry that is due, or `early` any that nobody else has, to deliver it."""
        with self._transaction() as connection:
            found = connection.execute(_free(now, without, early=early)).mappings().one_or_none()
            return _written(connection, claimed(_entry_of(found), now)) if found is not None else None

    def settle(self, number: int, error: str | None, now: datetime) -> Entry:
        """Write down what became of an attempt."""
        row = select(outbox).where(outbox.c.id == number).with_for_update()
        with self._transaction() as connection:
            found = connection.execute(row).mappings().one_or_none()
            if found is None:
                raise no_such_entry(number)
            return _written(connection, settled(_entry_of(found), error, now))

    def forget(self, before: datetime) -> int:
        """Remove what was delivered before that time; how many."""
        with self._transaction() as connection:
            return connection.execute(delete(outbox).where(outbox.c.delivered_at < before)).rowcount

    def list(self, *, undelivered: bool = True, limit: int | None = None) -> Sequence[Entry]:
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


def _added(connection: Connection, entry: Entry) -> Entry:
    added = insert(outbox).values(_columns(entry)).returning(*outbox.c)
    return _entry_of(connection.execute(added).mappings().one())


def _written(connection: Connection, entry: Entry) -> Entry:
    connection.execute(update(outbox).where(outbox.c.id == entry.id).values(_columns(entry)))
    return entry


def _columns(entry: Entry) -> dict[str, Any]:
    told = {"alert": storable(alert_json(entry.alert))}
    return told | {name: storable(getattr(entry, name)) for name in _SAME_NAME}


def _entry_of(row: RowMapping) -> Entry:
    return Entry(id=row["id"], alert=alert_of(row["alert"]), **{name: utc(row[name]) for name in _SAME_NAME})
