"""The threads of alerts of the ledger in PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, fields
from datetime import datetime, timedelta

from sqlalchemy import Connection, RowMapping, select, update
from sqlalchemy.dialects.postgresql import insert

from backup_pipeline.core.threads import REMIND_EVERY, Step, Thread, failing, recovered
from backup_pipeline.ledger.rows import utc
from backup_pipeline.ledger.tables import alert_threads


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

    def failing(self, catalog: str, topic: str, now: datetime, failures: int, *, heard: bool = True) -> Step:
        """Add `failures`; what people are told of them."""
        every = self._remind_every
        return self._change(catalog, topic, lambda thread: failing(thread, now, failures, every, heard=heard))

    def recovered(self, catalog: str, topic: str) -> Step:
        """Close the thread; whether people are told."""
        return self._change(catalog, topic, recovered)

    def list(self) -> Sequence[Thread]:
        """The threads that are open, the oldest first."""
        query = select(alert_threads).where(alert_threads.c.opened_at.is_not(None)).order_by(alert_threads.c.opened_at)
        with self._transaction() as connection:
            return [_thread_of(row) for row in connection.execute(query).mappings()]

    def _change(self, catalog: str, topic: str, step: Callable[[Thread], Step]) -> Step:
        """One step under the row's lock, so that of two that happen at once the second sees the first."""
        here = (alert_threads.c.catalog == catalog, alert_threads.c.topic == topic)
        empty = insert(alert_threads).values(asdict(Thread(catalog, topic))).on_conflict_do_nothing()
        with self._transaction() as connection:
            connection.execute(empty)
            found = connection.execute(select(alert_threads).where(*here).with_for_update()).mappings().one()
            taken = step(_thread_of(found))
            connection.execute(update(alert_threads).where(*here).values(asdict(taken.after)))
        return taken


def _thread_of(row: RowMapping) -> Thread:
    return Thread(**{field.name: utc(row[field.name]) for field in fields(Thread)})
