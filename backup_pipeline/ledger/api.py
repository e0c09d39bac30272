"""Keys of programs in the ledger, the log of their calls that is also their limit, and answers that are kept.

**The limit is exact.** A call locks the row of its key, then counts what that key was allowed in the 60 minutes that
end now, by the clock of the ledger, then adds itself: whoever comes second waits for the lock and counts the first.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    CompoundSelect,
    Connection,
    Row,
    RowMapping,
    Select,
    Update,
    and_,
    cast,
    delete,
    func,
    insert,
    select,
    text,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.dialects.postgresql import insert as insert_or_skip
from sqlalchemy.exc import DBAPIError, IntegrityError

from backup_pipeline.core.access.api_keys import (
    WINDOW,
    Admission,
    ApiKey,
    Call,
    KeptAnswer,
    KeyPermission,
    NewKey,
    Refused,
)
from backup_pipeline.core.access.api_usage import KeyHabits, UsageRow, UsageSum
from backup_pipeline.core.errors import LedgerError, UsageError
from backup_pipeline.core.listing import Position, parse_position
from backup_pipeline.core.scope import Actor, parse_actor
from backup_pipeline.ledger import sqlstate
from backup_pipeline.ledger.console_tables import api_answers, api_keys, api_usage_hours, api_usage_logs
from backup_pipeline.ledger.tables import actor_column, storable, utc

Transaction = Callable[[], AbstractContextManager[Connection]]

_KEY, _LOG, _HOUR, _ANSWER = api_keys.c, api_usage_logs.c, api_usage_hours.c, api_answers.c
_AN_HOUR = timedelta(hours=1)
_SETTLED_AFTER = timedelta(minutes=10)
"""An hour is added up so long after its end: what was refused, and how calls ended, is written by then."""
_ADDED_UP = timedelta(days=8)
"""Nobody looks at sums of before: `LOOKED_BACK` is a week."""
_USED_EVERY = timedelta(minutes=1)
"""That a key is used is written into its row so often, not with each call."""
_LIFE = timedelta(days=90)
_ABANDONED_AFTER = timedelta(minutes=2)
_NO_PARTITION = "23514"

# The call that is the limit-th newest of the window: when it leaves the window there is room again.
_COUNT = text(
    "WITH present AS MATERIALIZED (SELECT clock_timestamp() AS at) "
    "SELECT present.at, "
    "(SELECT count(*) FROM api_usage_logs AS calls WHERE calls.key_id = :key AND calls.allowed "
    "AND calls.at > present.at - CAST(:span AS interval)) AS used, "
    "(SELECT calls.at FROM api_usage_logs AS calls WHERE calls.key_id = :key AND calls.allowed "
    "AND calls.at > present.at - CAST(:span AS interval) ORDER BY calls.at DESC OFFSET :before LIMIT 1) AS oldest "
    "FROM present"
)
_SPAN = f"{int(WINDOW.total_seconds())} seconds"


class SqlApiKeys:
    """The port `ApiKeys` over the table `api_keys`; safe from any thread.

    `transaction` begins one on the ledger, and raises every error as a LedgerError.
    """

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def list(self) -> Sequence[ApiKey]:
        """All, by name."""
        with self._transaction() as connection:
            rows = connection.execute(select(api_keys).order_by(func.lower(_KEY.name))).mappings()
            return [_key_of(row) for row in rows]

    def get(self, number: int) -> ApiKey | None:
        """The key of that number."""
        return self._only(_KEY.id == number)

    def of_digest(self, digest: str) -> ApiKey | None:
        """The key of that digest."""
        return self._only(_KEY.sha256 == digest)

    def _only(self, condition: ColumnElement[bool]) -> ApiKey | None:
        with self._transaction() as connection:
            row = connection.execute(select(api_keys).where(condition)).mappings().one_or_none()
        return _key_of(row) if row is not None else None

    def add(self, key: NewKey, shown: str, digest: str, actor: Actor, now: datetime) -> ApiKey:
        """Keep a key under its digest; UsageError when the name is taken."""
        values = {
            "name": storable(key.name),
            "sha256": digest,
            "shown": shown,
            "business": key.business,
            "permissions": list(key.permissions),
            "hourly_limit": key.limit,
            "created_at": now,
            "expires_at": key.expires_at,
            **actor_column(actor),
        }
        with self._transaction() as connection:
            try:
                row = connection.execute(insert(api_keys).values(values).returning(*_KEY)).mappings().one()
            except IntegrityError as error:
                message = f"There is a key {key.name} already, or was one: the audit knows keys by their names."
                raise UsageError(message, do="Choose another name.") from error
        return _key_of(row)

    def revoke(self, number: int, now: datetime) -> ApiKey | None:
        """End a key that was not ended."""
        alive = update(api_keys).where(_KEY.id == number, _KEY.revoked_at.is_(None))
        return self._changed(alive.values(revoked_at=now))

    def set_limit(self, number: int, limit: int) -> ApiKey | None:
        """Let a key have so many calls an hour."""
        return self._changed(update(api_keys).where(_KEY.id == number).values(hourly_limit=limit))

    def admit(self, digest: str, call: Call) -> Admission | None:
        """Count a call, or refuse it."""
        try:
            return self._admitted(digest, call)
        except LedgerError as error:  # nobody has made this month yet
            if not isinstance(error.__cause__, DBAPIError) or sqlstate(error.__cause__) != _NO_PARTITION:
                raise
        keep_months(self._transaction, _LIFE)
        return self._admitted(digest, call)

    def _admitted(self, digest: str, call: Call) -> Admission | None:
        locked = select(api_keys).where(_KEY.sha256 == digest).with_for_update()
        with self._transaction() as connection:
            row = connection.execute(locked).mappings().one_or_none()
            if row is None:
                return None
            key = _key_of(row)
            counted = connection.execute(_COUNT, {"key": key.number, "span": _SPAN, "before": key.limit - 1}).one()
            at = utc(counted.at)
            if key.why_over(at) is not None:
                return Admission(key, at)
            if counted.oldest is not None:
                return Admission(key, at, counted.used, utc(counted.oldest) + WINDOW)
            connection.execute(insert(api_usage_logs).values(_call_columns(key, call, at)))
            if key.last_used_at is None or at - key.last_used_at > _USED_EVERY:
                last = {"last_used_at": at, "last_address": storable(call.address)}
                connection.execute(update(api_keys).where(_KEY.id == key.number).values(last))
        return Admission(key, at, counted.used + 1)

    def _changed(self, statement: Update) -> ApiKey | None:
        with self._transaction() as connection:
            row = connection.execute(statement.returning(*_KEY)).mappings().one_or_none()
        return _key_of(row) if row is not None else None


def _key_of(row: RowMapping) -> ApiKey:
    return ApiKey(
        number=row["id"],
        name=row["name"],
        shown=row["shown"],
        permissions=tuple(KeyPermission(name) for name in row["permissions"] if name in {*KeyPermission}),
        limit=row["hourly_limit"],
        created_at=utc(row["created_at"]),
        made_by=parse_actor(row["actor"]),
        business=row["business"],
        expires_at=utc(row["expires_at"]),
        revoked_at=utc(row["revoked_at"]),
        last_used_at=utc(row["last_used_at"]),
        last_address=row["last_address"],
    )


def _call_columns(key: ApiKey, call: Call, at: datetime) -> dict[str, Any]:
    of_call = {"request_id": call.request_id, "route": storable(call.route), "address": storable(call.address)}
    return {**of_call, "at": at, "key_id": key.number, "business": key.business, "allowed": True}


def keep_months(transaction: Transaction, life: timedelta) -> None:
    """Make the months of the log that come, and drop those that were over so long ago."""
    with transaction() as connection:
        connection.execute(text("SELECT api_usage_months(CAST(:kept AS interval))"), {"kept": f"{life.days} days"})


class SqlApiUsage:
    """The port `ApiUsage` over the table `api_usage_logs`; safe from any thread."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def finish(self, admission: Admission, call: Call, status: int, ms: int, size: int) -> None:
        """Write what became of a call that was allowed."""
        own = update(api_usage_logs).where(_LOG.at == admission.at, _LOG.request_id == call.request_id)
        hour = admission.at.replace(minute=0, second=0, microsecond=0)
        # Of a call that lasted longer than its hour was waited for, such as a stream, the sum is there already.
        added_up = update(api_usage_hours).where(
            _HOUR.hour == hour, _HOUR.key_id == admission.key.number, _HOUR.route == storable(call.route)
        )
        values = {
            "bytes": _HOUR.bytes + size,
            "slowest": func.greatest(_HOUR.slowest, ms),
            "failed": _HOUR.failed + int(status >= 400),
        }
        with self._transaction() as connection:
            connection.execute(own.values(status=status, ms=ms, bytes=size))
            if timedelta(milliseconds=ms) > _SETTLED_AFTER / 2:
                connection.execute(added_up.values(values))

    def refused(self, sums: Sequence[Refused]) -> None:
        """Write down calls that were refused."""
        rows = [
            {
                "at": each.at,
                "request_id": secrets.token_hex(6),
                "key_id": each.key,
                "route": storable(each.route),
                "allowed": False,
                "calls": each.calls,
                "status": 429,
                "address": storable(each.address),
            }
            for each in sums
        ]
        if rows:
            with self._transaction() as connection:
                connection.execute(insert(api_usage_logs), rows)

    def page(
        self, *, key: int | None = None, since: datetime | None = None, after: str = "", limit: int = 50
    ) -> tuple[Sequence[UsageRow], str | None]:
        """Rows, newest first, that come after a position."""
        query = select(api_usage_logs).order_by(_LOG.at.desc(), _LOG.request_id.desc()).limit(limit + 1)
        if key is not None:
            query = query.where(_LOG.key_id == key)
        if since is not None:
            query = query.where(_LOG.at >= since)
        if after:
            position = parse_position(after)
            query = query.where(tuple_(_LOG.at, _LOG.request_id) < tuple_(position.created_at, position.backup_id))
        with self._transaction() as connection:
            rows = [_usage_of(row) for row in connection.execute(query).mappings().all()]
        page = rows[:limit]
        following = str(Position(page[-1].at, page[-1].request_id)) if len(rows) > limit else None
        return page, following

    def sums(self, since: datetime, *, key: int | None = None, limit: int | None = None) -> Sequence[UsageSum]:
        """By hour, key and route, the newest hour first: kept sums of hours that are over, the calls of the rest."""
        with self._transaction() as connection:
            hours = _hours(connection, since, key).subquery()
            query = select(hours).order_by(hours.c.hour.desc(), hours.c.key_id, hours.c.route).limit(limit)
            return [_sum_of(row) for row in connection.execute(query)]

    def habits(self, since: datetime, late: datetime, *, key: int | None = None) -> Mapping[int, KeyHabits]:
        """What keys did of late beside what is usual, in one query over the sums of hours."""
        with self._transaction() as connection:
            # Looked at three times, made once.
            hours = _hours(connection, since, key).cte("hours").prefix_with("MATERIALIZED", dialect="postgresql")
            habits, new = _habits(hours, late).subquery(), _new_addresses(hours, late).subquery()
            query = select(habits, new.c.addresses).outerjoin(new, new.c.key_id == habits.c.key_id)
            return {
                row.key_id: KeyHabits(
                    int(row.calls), int(row.failed), int(row.refused), row.usual, tuple(row.addresses or ())
                )
                for row in connection.execute(query)
            }

    def add_up(self) -> int:
        """Add up the hours that are over, each once, of the week and a day before the present."""
        last = select(func.max(_HOUR.hour)).scalar_subquery()
        over = func.date_trunc("hour", func.clock_timestamp() - _SETTLED_AFTER, "UTC")
        begin = func.greatest(last + _AN_HOUR, over - _ADDED_UP)
        sums = _sums_of_calls(None, and_(_LOG.at >= begin, _LOG.at < over)).order_by(None)
        columns = [column.name for column in api_usage_hours.columns]
        added = insert_or_skip(api_usage_hours).from_select(columns, sums).on_conflict_do_nothing()
        with self._transaction() as connection:
            return len(connection.execute(added.returning(_HOUR.hour)).all())

    def used(self) -> Mapping[int, int]:
        """How many calls each key had in the 60 minutes until now."""
        within = _LOG.at > func.clock_timestamp() - text(f"interval '{_SPAN}'")
        query = select(_LOG.key_id, func.count()).where(_LOG.allowed, within).group_by(_LOG.key_id)
        with self._transaction() as connection:
            return {key: count for key, count in connection.execute(query)}  # noqa: C416  # rows are no pairs for mypy

    def keep(self, life: timedelta) -> None:
        """Make the months that come, and drop what is over."""
        keep_months(self._transaction, life)
        with self._transaction() as connection:
            connection.execute(delete(api_usage_hours).where(_HOUR.hour < func.clock_timestamp() - life))


def _hours(connection: Connection, since: datetime, key: int | None) -> CompoundSelect[*tuple[Any, ...]]:
    """The sums by hour, key and route: of hours that were added up as they are kept, of the rest made of the calls."""
    first, last = connection.execute(select(func.min(_HOUR.hour), func.max(_HOUR.hour))).one()
    kept = select(api_usage_hours)
    kept = kept.where(_HOUR.key_id == key) if key is not None else kept
    if first is None:
        return union_all(kept, _sums_of_calls(key, _LOG.at >= since))
    begin, end = max(_next_hour(since), utc(first)), utc(last) + _AN_HOUR
    before = _sums_of_calls(key, and_(_LOG.at >= since, _LOG.at < begin))
    after = _sums_of_calls(key, and_(_LOG.at >= since, _LOG.at >= end))
    return union_all(kept.where(_HOUR.hour >= begin), before, after)


def _habits(hours: CTE, late: datetime) -> Select[*tuple[Any, ...]]:
    of = hours.c
    names = ("allowed", "failed", "refused")
    by_hour = select(of.key_id, of.hour, *(func.sum(of[name]).label(name) for name in names)).group_by(
        of.key_id, of.hour
    )
    each = by_hour.subquery().c

    def lately(column: ColumnElement[Any]) -> ColumnElement[Any]:
        return func.coalesce(func.sum(column).filter(each.hour > late), 0)

    usual = func.percentile_disc(0.5).within_group(each.allowed).filter(each.hour <= late)
    return select(
        each.key_id,
        lately(each.allowed).label("calls"),
        lately(each.failed).label("failed"),
        lately(each.refused).label("refused"),
        cast(usual, BigInteger).label("usual"),
    ).group_by(each.key_id)


def _new_addresses(hours: CTE, late: datetime) -> Select[*tuple[Any, ...]]:
    """The addresses that a key calls from of late, and did not before, where it has called before."""
    address = func.jsonb_array_elements_text(hours.c.addresses).label("address")
    lately = select(hours.c.key_id, address).where(hours.c.hour > late).distinct().subquery().c
    earlier = hours.alias("earlier")
    before = select(earlier.c.key_id).where(earlier.c.key_id == lately.key_id, earlier.c.hour <= late)
    known = before.where(earlier.c.addresses.op("?")(lately.address))
    addresses = func.array_agg(aggregate_order_by(lately.address, lately.address)).label("addresses")
    new = select(lately.key_id, addresses).where(before.exists(), ~known.exists())
    return new.group_by(lately.key_id)


def _sums_of_calls(key: int | None, which: ColumnElement[bool]) -> Select[*tuple[Any, ...]]:
    """The sums of calls, with the columns of `api_usage_hours`."""
    hour = func.date_trunc("hour", _LOG.at, "UTC").label("hour")
    query = select(
        hour,
        _LOG.key_id,
        _LOG.route,
        func.coalesce(func.sum(_LOG.calls).filter(_LOG.allowed), 0).label("allowed"),
        func.coalesce(func.sum(_LOG.calls).filter(~_LOG.allowed), 0).label("refused"),
        func.count().filter(_LOG.allowed, _LOG.status >= 400).label("failed"),
        func.coalesce(func.sum(_LOG.bytes), 0).label("bytes"),
        func.coalesce(func.max(_LOG.ms), 0).label("slowest"),
        func.to_jsonb(func.array_agg(_LOG.address.distinct())).label("addresses"),
    )
    query = query.where(which).group_by(hour, _LOG.key_id, _LOG.route)
    return query.where(_LOG.key_id == key) if key is not None else query


def _sum_of(row: Row[Any]) -> UsageSum:
    return UsageSum(
        utc(row.hour), row.key_id, row.route, int(row.allowed), int(row.refused), row.failed,
        int(row.bytes), row.slowest, tuple(row.addresses),
    )  # fmt: skip


def _next_hour(at: datetime) -> datetime:
    """The first full hour that does not begin before `at`, in UTC."""
    full = at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return full if full == at else full + _AN_HOUR


def _usage_of(row: RowMapping) -> UsageRow:
    return UsageRow(
        at=utc(row["at"]),
        key=row["key_id"],
        route=row["route"],
        allowed=row["allowed"],
        calls=row["calls"],
        request_id=row["request_id"],
        address=row["address"],
        business=row["business"],
        status=row["status"],
        ms=row["ms"],
        bytes=row["bytes"],
    )


class SqlKeptAnswers:
    """The port `KeptAnswers` over the table `api_answers`; safe from any thread."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def claim(self, key: int, idempotency_key: str, fingerprint: str, now: datetime) -> KeptAnswer | None:
        """None where the request is new, else what is known of the one before."""
        own = {"key_id": key, "idempotency_key": idempotency_key}
        begun = {"fingerprint": fingerprint, "at": now, "status": None, "body": ""}
        abandoned = (_ANSWER.status.is_(None)) & (_ANSWER.at < now - _ABANDONED_AFTER)
        added = insert_or_skip(api_answers).values({**own, **begun}).on_conflict_do_update(
            index_elements=list(own), set_=begun, where=abandoned
        )  # fmt: skip
        with self._transaction() as connection:
            if connection.execute(added.returning(_ANSWER.at)).one_or_none() is not None:
                return None
            row = connection.execute(select(api_answers).filter_by(**own)).mappings().one()
        return KeptAnswer(row["fingerprint"], row["status"], row["body"], utc(row["at"]))

    def settle(self, key: int, idempotency_key: str, status: int, body: str) -> None:
        """Keep the answer."""
        own = update(api_answers).where(_ANSWER.key_id == key, _ANSWER.idempotency_key == idempotency_key)
        with self._transaction() as connection:
            connection.execute(own.values(status=status, body=storable(body)))

    def drop(self, key: int, idempotency_key: str) -> None:
        """Keep none."""
        with self._transaction() as connection:
            connection.execute(delete(api_answers).filter_by(key_id=key, idempotency_key=idempotency_key))

    def forget(self, before: datetime) -> int:
        """Remove what is older."""
        with self._transaction() as connection:
            return connection.execute(delete(api_answers).where(_ANSWER.at < before)).rowcount
