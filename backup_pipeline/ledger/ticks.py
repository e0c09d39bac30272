"""The ticks of businesses in the ledger, whom they missed, and what is stored of each business."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import fields, replace
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    DateTime,
    Double,
    Identity,
    Index,
    Integer,
    RowMapping,
    Subquery,
    Table,
    Text,
    cast,
    column,
    delete,
    func,
    insert,
    select,
    table,
    text,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, distinct_on

from backup_pipeline.core.businesses.ticks import BusinessMiss, Miss, Tick, TickStatus
from backup_pipeline.core.errors import UsageError
from backup_pipeline.core.ledger import GOOD
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.core.payments.accounts import AccountFilter
from backup_pipeline.core.ports.ticks import BusinessRanking, BusinessRecord, BusinessSort
from backup_pipeline.core.scope import Purpose
from backup_pipeline.ledger.business_tables import businesses
from backup_pipeline.ledger.businesses import registered
from backup_pipeline.ledger.tables import backup_logs, metadata, storable, utc

_INSTANT = DateTime(timezone=True)
_COUNTS = ("due", "changed", "unchanged", "failed", "skipped", "fulls", "missed_count")

business_ticks = Table(
    "business_ticks",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("catalog", Text, nullable=False),
    Column("scheduled_at", _INSTANT, nullable=False),
    Column("status", Text, nullable=False),
    Column("by_hand", Boolean, nullable=False, server_default=text("false")),
    *(Column(name, _INSTANT) for name in ("started_at", "finished_at", "snapshot_at", "missed_until")),
    Column("run_id", Text),
    *(Column(name, Integer, nullable=False, server_default=text("0")) for name in _COUNTS),
    *(Column(name, BigInteger, nullable=False, server_default=text("0")) for name in ("rows", "bytes")),
    Column("lag_s", Double),
    Column("left_out", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    Column("message", Text, nullable=False, server_default=""),
    Index("business_ticks_newest", "catalog", "scheduled_at", "id"),
    Index("business_ticks_snapshot", "catalog", "snapshot_at"),
)
business_misses = Table(
    "business_misses",
    metadata,
    Column("tick_id", BigInteger, primary_key=True),
    Column("business", Text, primary_key=True),
    Column("catalog", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Index("business_misses_of_business", "catalog", "business", "tick_id"),
)
_ROW = business_ticks.c
# Who has single businesses sees nothing of the table, and what concerns theirs in the view; everybody else the reverse.
_OWN = table("own_business_ticks", *(column(each.name, each.type) for each in _ROW))
_SEEN = union_all(select(*_ROW), select(*_OWN.c)).subquery("seen_ticks").c
_LOG = backup_logs.c
_MISS = business_misses.c
_LONGEST_WHOLE = 18
"""Digits of a number that PostgreSQL's bigint holds, whatever they are."""
_SAME_NAME = tuple(field.name for field in fields(Tick) if field.name not in {"number", "misses", "left_out"})
_NEWEST_RECORDS = """
SELECT r.business_id, r.backup_id, r.backup_type, r.snapshot_at, greatest(r.confirmed_until, a.confirmed_until)
FROM unnest(CAST(:businesses AS text[])) AS b CROSS JOIN LATERAL (
    SELECT * FROM backup_records WHERE catalog = :catalog AND business_id = b
    AND status IN ('success', 'success_with_warnings') AND snapshot_at IS NOT NULL
    ORDER BY snapshot_at DESC LIMIT 1) AS r
LEFT JOIN LATERAL (
    SELECT confirmed_until FROM backup_records WHERE r.backup_type = 'manual' AND catalog = :catalog AND business_id = b
    AND status IN ('success', 'success_with_warnings') AND snapshot_at IS NOT NULL AND backup_type <> 'manual'
    ORDER BY snapshot_at DESC LIMIT 1) AS a ON true"""
_RECORD_AT = """
SELECT r.business_id, r.backup_id, r.backup_type, r.snapshot_at, greatest(r.confirmed_until, a.confirmed_until)
FROM (SELECT * FROM backup_records WHERE catalog = :catalog AND business_id = :business AND snapshot_at <= :at
    AND status IN ('success', 'success_with_warnings') ORDER BY snapshot_at DESC LIMIT 1) AS r
LEFT JOIN LATERAL (
    SELECT confirmed_until FROM backup_records WHERE r.backup_type = 'manual' AND catalog = :catalog
    AND business_id = :business AND status IN ('success', 'success_with_warnings') AND snapshot_at <= :at
    AND backup_type <> 'manual' ORDER BY snapshot_at DESC LIMIT 1) AS a ON true"""
# Ticks confirm the newest backup of the chain. A manual one that came after it has the same rows for as long.
# One look into the index for each business: to read the rows of them all for their keys takes a second a million.
_WITH_ROWS = """
WITH RECURSIVE found(business, number) AS (
    SELECT min(business), 1 FROM backup_logs WHERE catalog = :catalog AND business > :after
    UNION ALL
    SELECT (SELECT min(l.business) FROM backup_logs l WHERE l.catalog = :catalog AND l.business > f.business),
           f.number + 1
    FROM found f WHERE f.business IS NOT NULL AND f.number < :limit)
SELECT business FROM found WHERE business IS NOT NULL ORDER BY number"""
_NEWEST = (_SEEN.scheduled_at.desc(), _SEEN.id.desc())


class SqlTicks:
    """The port `TickRows`; safe from any thread.

    `transaction` begins one on the ledger, and raises every error as a LedgerError.
    """

    def __init__(self, transaction: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._transaction = transaction

    def begin(self, tick: Tick) -> Tick:
        """Add a tick; with its number."""
        with self._transaction() as connection:
            added = insert(business_ticks).values(_row_of(tick)).returning(_ROW.id)
            return replace(tick, number=connection.execute(added).scalar_one())

    def end(self, tick: Tick) -> None:
        """Write what became of it, with its misses."""
        misses = [
            {
                "tick_id": tick.number,
                "catalog": tick.catalog,
                "business": storable(miss.business),
                "outcome": miss.outcome.value,
                "reason": storable(miss.reason),
            }
            for miss in tick.misses
        ]
        with self._transaction() as connection:
            connection.execute(update(business_ticks).where(_ROW.id == tick.number).values(_row_of(tick)))
            if misses:
                connection.execute(insert(business_misses), misses)

    def abandon(self, catalog: str, *, before: int, now: datetime) -> int:
        """End, as failed, the ticks with smaller numbers that run no more; how many."""
        died = update(business_ticks).where(
            _ROW.catalog == catalog, _ROW.status == TickStatus.RUNNING.value, _ROW.id < before
        )
        values = {"status": TickStatus.FAILED.value, "finished_at": now, "message": "Its process ended without a word."}
        with self._transaction() as connection:
            return connection.execute(died.values(values)).rowcount

    def forget(self, catalog: str, *, before: datetime, limit: int) -> int:
        """Remove ticks that were due before then, with their misses; how many."""
        going = select(_ROW.id).where(*_older(catalog, before)).order_by(_ROW.id).limit(limit)
        with self._transaction() as connection:
            numbers = connection.execute(going).scalars().all()
            connection.execute(delete(business_misses).where(_MISS.tick_id.in_(numbers)))
            return connection.execute(delete(business_ticks).where(_ROW.id.in_(numbers))).rowcount

    def older(self, catalog: str, *, before: datetime) -> int:
        """How many ticks `forget` would remove."""
        with self._transaction() as connection:
            return connection.execute(select(func.count()).where(*_older(catalog, before))).scalar_one()

    def last(self, catalog: str) -> Tick | None:
        """The newest of the schedule by its scheduled time, whatever became of it."""
        query = select(*_SEEN).where(_SEEN.catalog == catalog, ~_SEEN.by_hand).order_by(*_NEWEST).limit(1)
        with self._transaction() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return _tick_of(row, ()) if row is not None else None

    def list(  # what is asked for
        self,
        catalog: str,
        *,
        since: datetime | None = None,
        limit: int = 288,
        of: Sequence[str] | None = None,
        by_hand: bool = True,
    ) -> Sequence[Tick]:
        """Ticks, newest first, each with its misses; with `of` with those of these businesses alone."""
        query = select(*_SEEN).where(_SEEN.catalog == catalog).order_by(*_NEWEST).limit(limit)
        if since is not None:
            query = query.where(func.coalesce(_SEEN.missed_until, _SEEN.scheduled_at) >= since)
        if not by_hand:
            query = query.where(~_SEEN.by_hand)
        with self._transaction() as connection:
            rows = connection.execute(query).mappings().all()
            missed = select(business_misses).where(_MISS.tick_id.in_([row["id"] for row in rows]))
            if of is not None:
                missed = missed.where(_MISS.catalog == catalog, _MISS.business.in_(list(of)))
            misses: dict[int, list[BusinessMiss]] = {}
            for row in connection.execute(missed.order_by(_MISS.business)).mappings():
                miss = BusinessMiss(row["business"], Miss(row["outcome"]), row["reason"])
                misses.setdefault(row["tick_id"], []).append(miss)
        return [_tick_of(row, tuple(misses.get(row["id"], ()))) for row in rows]

    def ordered(
        self, wanted: BusinessRanking, *, after: tuple[str, str] | None, limit: int
    ) -> Sequence[tuple[str, str]]:
        """Businesses in an order: what they are ordered by, as text, and key."""
        query = select(businesses.c.business).where(*registered(AccountFilter(wanted.catalog, wanted.text)))
        value: Any = businesses.c.name
        if wanted.sort is not BusinessSort.NAME:
            counted = _misses_since(wanted) if wanted.sort is BusinessSort.MISSES else _stored_of(wanted.catalog)
            query = query.outerjoin(counted, counted.c.business == businesses.c.business)
            value = -func.coalesce(counted.c.value, 0)
        query = query.add_columns(value.label("value")).order_by(value, businesses.c.business).limit(limit)
        if after is not None:
            begin = storable(after[0]) if wanted.sort is BusinessSort.NAME else -_whole(after[0])
            query = query.where(tuple_(value, businesses.c.business) > tuple_(begin, storable(after[1])))
        with self._transaction() as connection:
            rows = connection.execute(query).all()
        return [(value if isinstance(value, str) else str(-value), business) for business, value in rows]

    def newest_backups(self, catalog: str, since: datetime) -> Mapping[str, str]:
        """Of each business the newest good backup since then that a chain goes on from: no manual one."""
        query = (
            select(_LOG.business, _LOG.backup_id)
            .ext(distinct_on(_LOG.business))
            .where(*_of_businesses(catalog), _LOG.type == Trigger.AUTOMATIC.value, _LOG.snapshot_at >= since)
            .order_by(_LOG.business, _LOG.snapshot_at.desc())
        )
        with self._transaction() as connection:
            return {row.business: row.backup_id for row in connection.execute(query)}

    def record_at(self, catalog: str, business: str, at: datetime) -> BusinessRecord | None:
        """The newest good backup of a business whose rows are of that time or earlier, manual or not."""
        wanted = {"catalog": catalog, "business": storable(business), "at": at}
        with self._transaction() as connection:
            row = connection.execute(text(_RECORD_AT), wanted).one_or_none()
        return BusinessRecord(*(utc(value) for value in row)) if row is not None else None

    def newest_records(self, catalog: str, businesses: Sequence[str]) -> Mapping[str, BusinessRecord]:
        """Of each of these businesses its newest good backup, manual or not."""
        with self._transaction() as connection:
            rows = connection.execute(text(_NEWEST_RECORDS), {"catalog": catalog, "businesses": list(businesses)})
            records = [BusinessRecord(*(utc(value) for value in row)) for row in rows]
        return {record.business: record for record in records}

    def businesses(self, catalog: str, *, after: str = "", limit: int) -> Sequence[str]:
        """The businesses that have rows of backups, by key: those after `after`, at most `limit`."""
        with self._transaction() as connection:
            rows = connection.execute(text(_WITH_ROWS), {"catalog": catalog, "after": after, "limit": limit})
            return list(rows.scalars())

    def stored(self, catalog: str, businesses: Sequence[str]) -> Mapping[str, tuple[int, int]]:
        """Of each of these businesses how many backups are stored, and their bytes."""
        size = func.coalesce(func.sum(_LOG.file_size_bytes), 0)
        wanted = (*_of_businesses(catalog), _LOG.business.in_(businesses))
        query = select(_LOG.business, func.count(), size).where(*wanted).group_by(_LOG.business)
        with self._transaction() as connection:
            return {business: (count, int(total)) for business, count, total in connection.execute(query)}


def _older(catalog: str, before: datetime) -> tuple[Any, ...]:
    """The ticks of before then, without the newest of the schedule; those at work have not ended yet."""
    newest = select(_SEEN.id).where(_SEEN.catalog == catalog, ~_SEEN.by_hand).order_by(*_NEWEST).limit(1)
    due = func.coalesce(_ROW.missed_until, _ROW.scheduled_at)
    at_work = _ROW.status == TickStatus.RUNNING.value
    return _ROW.catalog == catalog, due < before, ~at_work, _ROW.id.not_in(newest)


def _misses_since(wanted: BusinessRanking) -> Subquery:
    ticks = select(_SEEN.id).where(_SEEN.catalog == wanted.catalog, _SEEN.scheduled_at >= wanted.since, ~_SEEN.by_hand)
    counted = select(_MISS.business, func.count().label("value"))
    return counted.where(_MISS.catalog == wanted.catalog, _MISS.tick_id.in_(ticks)).group_by(_MISS.business).subquery()


def _stored_of(catalog: str) -> Subquery:
    size = cast(func.coalesce(func.sum(_LOG.file_size_bytes), 0), BigInteger)
    return select(_LOG.business, size.label("value")).where(*_of_businesses(catalog)).group_by(_LOG.business).subquery()


def _whole(text: str) -> int:
    if text.isascii() and text.isdecimal() and len(text) <= _LONGEST_WHOLE:
        return int(text)
    message = f"{text[:20]!r} is no place in this order."
    raise UsageError(message, do="Begin with the first page.")


def _of_businesses(catalog: str) -> tuple[Any, ...]:
    return (
        _LOG.catalog == catalog,
        _LOG.business.is_not(None),
        _LOG.purpose == Purpose.BACKUP.value,
        _LOG.status.in_(sorted(GOOD)),
        _LOG.kind.in_([Kind.FULL.value, Kind.INCREMENTAL.value]),
    )


def _row_of(tick: Tick) -> dict[str, Any]:
    return {name: storable(getattr(tick, name)) for name in _SAME_NAME} | {"left_out": list(tick.left_out)}


def _tick_of(row: RowMapping, misses: tuple[BusinessMiss, ...]) -> Tick:
    values = {name: utc(row[name]) for name in _SAME_NAME}
    values |= {"status": TickStatus(row["status"]), "left_out": tuple(row["left_out"])}
    return Tick(number=row["id"], misses=misses, **values)
