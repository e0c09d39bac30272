"""What living processes have in the ledger: leases, readings, shards; each is taken by one statement, by its clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, DateTime, RowMapping, and_, delete, func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from backup_pipeline.core.errors import LedgerUnavailableError
from backup_pipeline.core.ledger import Claim, Lease, Owner, Reading, Shard, ShardStatus
from backup_pipeline.core.scope import Scope, parse_actor, parse_scope
from backup_pipeline.ledger.tables import actor_column, leases, owner_columns, owner_of, shards, storable, utc
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
            held = _lease_of(taken) if taken is not None else self.get(claim.scope)
            if held is not None:  # else whoever held it gave it back in between
                return held
        message = f"The lease of {claim.scope} changes hands faster than it can be asked for."
        raise LedgerUnavailableError(message, do="Run it again.")

    def renew(self, lease: Lease, life: timedelta) -> Lease | None:
        """Extend the lease; None when it is another's by now, or nobody's."""
        extended = _ours(lease).values(heartbeat_at=_NOW, expires_at=_NOW + life).returning(*leases.c)
        with self._transaction() as connection:
            row = connection.execute(extended).mappings().one_or_none()
        return _lease_of(row) if row is not None else None

    def release(self, lease: Lease) -> None:
        """Give the lease back; nothing happens when it is another's by now."""
        with self._transaction() as connection:
            connection.execute(_ours(lease).values(released_at=_NOW))

    def get(self, scope: Scope) -> Lease | None:
        """The lease of `scope`, also an expired one that nobody took; None when it is nobody's."""
        query = select(leases).where(leases.c.name == scope.key, leases.c.released_at.is_(None))
        with self._transaction() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return _lease_of(row) if row is not None else None


def release_of(connection: Connection, *holders: str) -> None:
    """Give back, inside a transaction, what the works `holders` hold."""
    held = update(leases).where(leases.c.holder.in_(holders), leases.c.released_at.is_(None))
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
    added = upsert(leases).values(name=claim.scope.key, token=1, **columns)
    return added.on_conflict_do_update(
        index_elements=[leases.c.name], set_={**columns, "token": leases.c.token + 1}, where=free
    ).returning(*leases.c)


def _ours(lease: Lease) -> Any:
    return update(leases).where(
        leases.c.name == lease.claim.scope.key, leases.c.token == lease.token, leases.c.released_at.is_(None)
    )


def _lease_of(row: RowMapping) -> Lease:
    owner = owner_of(row)
    assert owner is not None  # noqa: S101  # its columns are NOT NULL
    claim = Claim(parse_scope(row["name"]), row["holder"], parse_actor(row["actor"]), owner, row["run_id"])
    return Lease(claim, row["token"], *(utc(row[name]) for name in ("acquired_at", "heartbeat_at", "expires_at")))


class SqlReadings:
    """The port `Readings` over the table `backup_readings`; safe from any thread.

    `transaction` begins one on the ledger, and raises every error as a LedgerError.
    """

    def __init__(self, transaction: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._transaction = transaction

    def begin(self, reading: Reading, life: timedelta) -> Reading:
        """Note a reading; with its number."""
        columns = {"backup_id": reading.backup_id, "work": reading.work, **actor_column(reading.actor)}
        times = {"began_at": _NOW, "expires_at": _NOW + life}
        added = insert(readings).values(**columns, **owner_columns(reading.owner), **times).returning(*readings.c)
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


_KEPT = timedelta(days=7)
"""Longer than any work lasts: what nobody has closed by then is forgotten."""


class SqlShards:
    """The port `Shards` over the table `shards`; safe from any thread.

    `transaction` begins one on the ledger, and raises every error as a LedgerError.
    """

    def __init__(self, transaction: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._transaction = transaction

    def offer(self, work: str, details: Sequence[Mapping[str, Any]]) -> Sequence[Shard]:
        """Add shards behind those that are there."""
        last = select(func.coalesce(func.max(shards.c.number), 0)).where(shards.c.work == work)
        with self._transaction() as connection:
            connection.execute(delete(shards).where(shards.c.created_at < _NOW - _KEPT))
            first = connection.execute(last).scalar_one() + 1
            added = [Shard(work, number, detail) for number, detail in enumerate(details, first)]
            rows = [{"work": work, "number": each.number, "detail": storable(each.detail)} for each in added]
            if rows:
                connection.execute(insert(shards), rows)
        return added

    def take(self, work: str, owner: Owner, run_id: str | None) -> Shard | None:
        """The first that waits and that nobody else is taking just now."""
        waiting = select(shards.c.number).where(shards.c.work == work, shards.c.status == ShardStatus.WAITING)
        first = waiting.order_by(shards.c.number).limit(1).with_for_update(skip_locked=True).scalar_subquery()
        values = {"status": ShardStatus.RUNNING, "tries": shards.c.tries + 1, "run_id": run_id, "heartbeat_at": _NOW}
        taken = update(shards).where(shards.c.work == work, shards.c.number == first)
        with self._transaction() as connection:
            rows = connection.execute(taken.values(**values, **owner_columns(owner)).returning(*shards.c)).mappings()
            row = rows.one_or_none()
        return _shard_of(row) if row is not None else None

    def beat(self, shard: Shard) -> bool:
        """Give a sign of life."""
        return self._change(shard, heartbeat_at=_NOW)

    def end(self, shard: Shard, result: Mapping[str, Any]) -> bool:
        """Note what came of it."""
        return self._change(shard, status=ShardStatus.DONE, result=storable(result))

    def give_back(self, shard: Shard) -> bool:
        """Let it wait again."""
        return self._change(shard, status=ShardStatus.WAITING, **owner_columns(None), run_id=None, heartbeat_at=None)

    def withdraw(self, work: str, numbers: Sequence[int]) -> None:
        """Forget some."""
        with self._transaction() as connection:
            connection.execute(delete(shards).where(shards.c.work == work, shards.c.number.in_(numbers)))

    def list(self, work: str) -> Sequence[Shard]:
        """All of a work."""
        query = select(shards).where(shards.c.work == work).order_by(shards.c.number)
        with self._transaction() as connection:
            return [_shard_of(row) for row in connection.execute(query).mappings()]

    def close(self, work: str) -> None:
        """Forget all."""
        with self._transaction() as connection:
            connection.execute(delete(shards).where(shards.c.work == work))

    def _change(self, shard: Shard, **values: Any) -> bool:
        with self._transaction() as connection:
            return connection.execute(update(shards).where(_has(shard)).values(**values)).rowcount == 1


def _has(shard: Shard) -> ColumnElement[bool]:
    """The row of the shard, as long as it is whose it was."""
    row = shards.c
    mine = (row.work == shard.work, row.number == shard.number, row.tries == shard.tries)
    return and_(*mine, row.status == ShardStatus.RUNNING)


def _shard_of(row: RowMapping) -> Shard:
    return Shard(
        row["work"],
        row["number"],
        row["detail"],
        ShardStatus(row["status"]),
        row["tries"],
        owner_of(row),
        row["run_id"],
        utc(row["heartbeat_at"]),
        row["result"],
    )
