"""Who reads which backup, in PostgreSQL, by the database's clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta

from sqlalchemy import Connection, DateTime, RowMapping, delete, func, insert, select, update

from backup_pipeline.core.readings import Reading
from backup_pipeline.ledger.rows import owner_columns, owner_of, storable, utc
from backup_pipeline.ledger.tables import backup_readings as readings

_NOW = func.clock_timestamp(type_=DateTime(timezone=True))


class SqlReadings:
    """The port `Readings` over the table `backup_readings`; safe from any thread.

    `transaction` begins one on the ledger, and raises every error as a LedgerError.
    """

    def __init__(self, transaction: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._transaction = transaction

    def begin(self, reading: Reading, life: timedelta) -> Reading:
        """Note a reading; with its number."""
        told = {"backup_id": reading.backup_id, "work": reading.work, "reader": storable(reading.by)}
        times = {"began_at": _NOW, "expires_at": _NOW + life}
        added = insert(readings).values(**told, **owner_columns(reading.owner), **times).returning(*readings.c)
        with self._transaction() as connection:
            connection.execute(delete(readings).where(readings.c.expires_at <= _NOW))
            return _reading_of(connection.execute(added).mappings().one())

    def renew(self, number: int, life: timedelta) -> None:
        """Extend a reading."""
        with self._transaction() as connection:
            connection.execute(update(readings).where(readings.c.id == number).values(expires_at=_NOW + life))

    def end(self, number: int) -> None:
        """Forget a reading."""
        with self._transaction() as connection:
            connection.execute(delete(readings).where(readings.c.id == number))

    def list(self) -> Sequence[Reading]:
        """Those that are not over, the oldest first."""
        living = select(readings).where(readings.c.expires_at > _NOW).order_by(readings.c.id)
        with self._transaction() as connection:
            return [_reading_of(row) for row in connection.execute(living).mappings()]


def _reading_of(row: RowMapping) -> Reading:
    owner = owner_of(row)
    assert owner is not None  # noqa: S101  # its columns are NOT NULL
    times = (utc(row["began_at"]), utc(row["expires_at"]))
    return Reading(row["backup_id"], row["work"], row["reader"], owner, row["id"], *times)
