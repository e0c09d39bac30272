"""The leases of the ledger in PostgreSQL: each grant and renewal is one statement, by the database's clock."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from sqlalchemy import Connection, DateTime, RowMapping, delete, func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from backup_pipeline.core.actor import parse_actor
from backup_pipeline.core.errors import LeaseLostError, LedgerError, LedgerUnavailableError
from backup_pipeline.core.leases import Claim, Lease, Reading
from backup_pipeline.core.ports import Clock
from backup_pipeline.ledger.tables import actor_column, leases, owner_columns, owner_of, storable, utc
from backup_pipeline.ledger.tables import backup_readings as readings

_NOW = func.clock_timestamp(type_=DateTime(timezone=True))  # not now(): a statement may have waited for the row
_ATTEMPTS = 5


class SqlLeases:
    """The port `Leases` over the table `leases`; safe from any thread.

    `transaction` begins one on the ledger, and raises every error as a LedgerError. A row stays when its lease is
    given back, so that its token only grows.
    """

    def __init__(self, transaction: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._transaction = transaction

    def acquire(self, claim: Claim, life: timedelta, *, over: int | None = None) -> Lease:
        """Take the lease when it is free, has expired, or is held under the token `over`; the lease as it then is."""
        for _ in range(_ATTEMPTS):
            with self._transaction() as connection:
                taken = connection.execute(_taking(claim, life, over)).mappings().one_or_none()
            held = _lease_of(taken) if taken is not None else self.get(claim.name)
            if held is not None:  # else whoever held it gave it back in between
                return held
        message = f"The lease of {claim.name} changes hands faster than it can be asked for."
        raise LedgerUnavailableError(message, do="Run it again.")

    def renew(self, lease: Lease, life: timedelta) -> Lease | None:
        """Extend the lease; None when it is another's by now, or nobody's."""
        extended = _ours(lease).values(heartbeat_at=_NOW, expires_at=_NOW + life).returning(*leases.c)
        with self._transaction() as connection:
            found = connection.execute(extended).mappings().one_or_none()
        return _lease_of(found) if found is not None else None

    def release(self, lease: Lease) -> None:
        """Give the lease back; nothing happens when it is another's by now."""
        with self._transaction() as connection:
            connection.execute(_ours(lease).values(released_at=_NOW))

    def get(self, name: str) -> Lease | None:
        """The lease of `name`, also an expired one that nobody took; None when it is nobody's."""
        query = select(leases).where(leases.c.name == name, leases.c.released_at.is_(None))
        with self._transaction() as connection:
            found = connection.execute(query).mappings().one_or_none()
        return _lease_of(found) if found is not None else None


def release_of(connection: Connection, holder: str) -> None:
    """Give back, inside a transaction, what the work `holder` holds."""
    held = update(leases).where(leases.c.holder == holder, leases.c.released_at.is_(None))
    connection.execute(held.values(released_at=_NOW))


def _taking(claim: Claim, life: timedelta, over: int | None) -> Any:
    columns = {
        "holder": storable(claim.holder),
        **actor_column(claim.actor),
        "run_id": claim.run_id,
        **owner_columns(claim.owner),
        "acquired_at": _NOW,
        "heartbeat_at": _NOW,
        "expires_at": _NOW + life,
        "released_at": None,
    }
    free = or_(leases.c.released_at.is_not(None), leases.c.expires_at <= _NOW, leases.c.token == over)
    added = upsert(leases).values(name=claim.name, token=1, **columns)
    return added.on_conflict_do_update(
        index_elements=[leases.c.name], set_={**columns, "token": leases.c.token + 1}, where=free
    ).returning(*leases.c)


def _ours(lease: Lease) -> Any:
    return update(leases).where(
        leases.c.name == lease.claim.name, leases.c.token == lease.token, leases.c.released_at.is_(None)
    )


def _lease_of(row: RowMapping) -> Lease:
    owner = owner_of(row)
    assert owner is not None  # noqa: S101  # its columns are NOT NULL
    claim = Claim(row["name"], row["holder"], parse_actor(row["actor"]), owner, row["run_id"])
    return Lease(claim, row["token"], *(utc(row[name]) for name in ("acquired_at", "heartbeat_at", "expires_at")))


class SqlReadings:
    """The port `Readings` over the table `backup_readings`; safe from any thread.

    `transaction` begins one on the ledger, and raises every error as a LedgerError.
    """

    def __init__(self, transaction: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._transaction = transaction

    def begin(self, reading: Reading, life: timedelta) -> Reading:
        """Note a reading; with its number."""
        told = {"backup_id": reading.backup_id, "work": reading.work, **actor_column(reading.actor)}
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
    return Reading(row["backup_id"], row["work"], parse_actor(row["actor"]), owner, row["id"], *times)


EVERY = timedelta(seconds=10)
_LAST_BEAT_SECONDS = 5.0

K = TypeVar("K")
K_contra = TypeVar("K_contra", contravariant=True)

logger = logging.getLogger(__name__)


class Beaten(Protocol[K_contra]):
    """Where beats are written: the ledger by backup id, its restores by number."""

    def beat(self, of: K_contra, now: datetime, /) -> None:
        """Say that the owner is alive."""


class Heartbeat(Generic[K]):
    """Beats at once and then `every` so often, until its context ends.

    A ledger that is away for a while costs beats and a warning; one that refuses for good (no such row) stops the
    beating, as a lease that is lost does. Leaving waits at most five seconds for a beat that is under way.
    """

    def __init__(self, ledger: Beaten[K], of: K, *, clock: Clock, every: timedelta = EVERY) -> None:
        self._ledger = ledger
        self._of = of
        self._clock = clock
        self._every = every.total_seconds()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"heartbeat {of}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join(_LAST_BEAT_SECONDS)

    def _run(self) -> None:
        while self._beat() and not self._stopped.wait(self._every):
            pass

    def _beat(self) -> bool:
        """Whether to go on."""
        try:
            self._ledger.beat(self._of, self._clock())
        except (LedgerError, LeaseLostError) as error:
            logger.warning("No heartbeat for %s: %s", self._of, error)
            return error.transient
        return True
