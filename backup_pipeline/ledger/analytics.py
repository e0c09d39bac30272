"""What analytics reads and keeps in the ledger in PostgreSQL: histories, sums of payments, kept days, answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import ColumnElement, Date, RowMapping, cast, func, literal, select, text, union_all
from sqlalchemy.dialects.postgresql import insert

from backup_pipeline.core.ledger import GOOD, Status
from backup_pipeline.core.payments import ZONE
from backup_pipeline.core.payments.accounts import AccountStatus, Period, Price
from backup_pipeline.core.payments.analytics import BackupCounts, DayFacts, HeldState, KeptAnalysis, RevenuePart
from backup_pipeline.core.restore.requests import RestoreStatus
from backup_pipeline.ledger.access import Transaction
from backup_pipeline.ledger.business_tables import analytics_cache, business_history, businesses, payment_records
from backup_pipeline.ledger.console_tables import realtime_events
from backup_pipeline.ledger.tables import alert_threads, backup_logs, restore_requests, storable, utc

_H, _R, _C, _L = business_history.c, payment_records.c, analytics_cache.c, backup_logs.c
_DAY = "day"
_BAD = (Status.FAILED, Status.MISSED)
_OPEN = (RestoreStatus.REQUESTED, RestoreStatus.APPROVED)


class SqlAnalytics:
    """The port `AnalyticsRows`; safe from any thread. Days are those of the money's timezone."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def history(self, catalog: str | None = None, business: str | None = None) -> Sequence[HeldState]:
        """What held of every business, or of one, in the order of businesses and of time."""
        query = select(business_history).order_by(_H.catalog, _H.business, _H.at, _H.id)
        if business is not None:
            query = query.where(_H.catalog == storable(catalog), _H.business == storable(business))
        with self._transaction() as connection:
            return [_state_of(row) for row in connection.execute(query).mappings()]

    def revenue(
        self, since: datetime, until: datetime, catalog: str | None = None, business: str | None = None
    ) -> Mapping[date, Sequence[RevenuePart]]:
        """What was paid on each day, by currency, plan and method; days without any are not there."""
        day = cast(func.timezone(ZONE.key, _R.paid_at), Date)
        keys = (day, _R.currency, _R.plan, _R.method)
        query = select(*keys, func.sum(_R.amount), func.count()).where(_R.paid_at >= since, _R.paid_at < until)
        if business is not None:
            query = query.where(_R.catalog == storable(catalog), _R.business == storable(business))
        days: dict[date, list[RevenuePart]] = {}
        with self._transaction() as connection:
            for of, *part in connection.execute(query.group_by(*keys).order_by(*keys)):
                days.setdefault(of, []).append(RevenuePart(*part))
        return days

    def kept_days(self, since: date) -> Sequence[DayFacts]:
        """The days that are kept, the oldest first."""
        query = select(_C.document).where(_C.type == _DAY, _C.range >= since.isoformat()).order_by(_C.range)
        with self._transaction() as connection:
            return [DayFacts.read(document) for document in connection.scalars(query)]

    def keep_days(self, days: Sequence[DayFacts], now: datetime) -> None:
        """Keep days that are over; one that is kept already is written anew."""
        if not days:
            return
        rows = [
            {"type": _DAY, "business": "", "range": day.day.isoformat(), "version": 0, "computed_at": now,
             "document": day.as_json()}
            for day in days
        ]  # fmt: skip
        written = insert(analytics_cache).values(rows)
        changed = {name: written.excluded[name] for name in ("computed_at", "document")}
        with self._transaction() as connection:
            connection.execute(
                written.on_conflict_do_update(index_elements=["type", "business", "range"], set_=changed)
            )

    def answer(self, key: tuple[str, str, str], kinds: Sequence[str]) -> tuple[int, KeptAnalysis | None]:
        """The newest event of these kinds, and the answer that is kept under a key: one question."""
        of = (
            select(realtime_events.c.id)
            .where(realtime_events.c.kind == literal(kind))
            .order_by(realtime_events.c.id.desc())
            .limit(1)
            .subquery()
            for kind in kinds
        )
        newest = union_all(*(select(each.c.id) for each in of)).subquery()
        version = select(func.coalesce(func.max(newest.c.id), 0).label("newest")).subquery()
        own = (_C.type == key[0]) & (_C.business == storable(key[1])) & (_C.range == key[2])
        query = select(version.c.newest, _C.version, _C.computed_at, _C.document).select_from(
            version.outerjoin(analytics_cache, own)
        )
        with self._transaction() as connection:
            row = connection.execute(query).mappings().one()
        if row["document"] is None:
            return row["newest"], None
        return row["newest"], KeptAnalysis(row["version"], utc(row["computed_at"]), row["document"])

    def keep_answer(self, key: tuple[str, str, str], answer: KeptAnalysis) -> None:
        """Keep an answer, in place of the one before."""
        changed = {"version": answer.version, "computed_at": answer.at, "document": storable(answer.document)}
        names = ("type", "business", "range")
        written = insert(analytics_cache).values(**dict(zip(names, map(storable, key), strict=True)), **changed)
        with self._transaction() as connection:
            connection.execute(written.on_conflict_do_update(index_elements=list(names), set_=changed))

    def forget(self, before: datetime) -> int:
        """Remove answers of before, which nobody is given any more; kept days stay. How many."""
        old = analytics_cache.delete().where(_C.type != _DAY, _C.computed_at < before)
        with self._transaction() as connection:
            return connection.execute(old).rowcount

    def alone(self, key: tuple[str, str, str]) -> None:
        """Wait until nobody else computes the answer; until the transaction ends (`Ledger.at_once`) nobody does."""
        lock = text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))")
        with self._transaction() as connection:
            connection.execute(lock, {"key": "analytics\x1f" + "\x1f".join(key)})

    def protection(self, since: datetime, catalog: str | None = None, business: str | None = None) -> BackupCounts:
        """How backups stand: those that ended since then, what is stored, and what waits for somebody."""
        of_logs: list[ColumnElement[bool]] = []
        of_requests: list[ColumnElement[bool]] = []
        if business is not None:
            for columns, conditions in ((_L, of_logs), (restore_requests.c, of_requests)):
                conditions += [columns.catalog == storable(catalog), columns.business == storable(business)]
        ended = func.coalesce(_L.finished_at, _L.created_at) >= since
        good, bad = _L.status.in_(sorted(GOOD)), _L.status.in_([status.value for status in _BAD])
        whole = select(
            func.count().filter(good, ended).label("good"),
            func.count().filter(bad, ended).label("failed"),
            func.coalesce(func.sum(_L.file_size_bytes).filter(good), 0).label("stored_bytes"),
            func.max(func.coalesce(_L.finished_at, _L.created_at)).filter(good).label("newest"),
            func.count(_L.business.distinct()).filter(good, _L.business.is_not(None)).label("with_backup"),
        ).where(*of_logs)
        waiting = select(func.count()).where(
            restore_requests.c.status.in_([status.value for status in _OPEN]), *of_requests
        )
        alerts = select(func.count()).where(alert_threads.c.opened_at.is_not(None))
        if business is not None:
            alerts = alerts.where(alert_threads.c.scope == storable(f"{catalog}/businesses/{business}"))
        with self._transaction() as connection:
            row = connection.execute(whole).mappings().one()
            requests, open_alerts = connection.scalar(waiting), connection.scalar(alerts)
        values: dict[str, Any] = {**row, "stored_bytes": int(row["stored_bytes"]), "newest": utc(row["newest"])}
        return BackupCounts(**values, open_requests=int(requests or 0), open_alerts=int(open_alerts or 0))

    def standings(self) -> Mapping[AccountStatus, int]:
        """How many businesses the registries call what."""
        query = select(businesses.c.status, func.count()).group_by(businesses.c.status)
        with self._transaction() as connection:
            return {AccountStatus(status): count for status, count in connection.execute(query)}


def _state_of(row: RowMapping) -> HeldState:
    price = Price(row["price"], row["currency"], Period(row["period"])) if row["price"] is not None else None
    return HeldState(
        row["catalog"], row["business"], utc(row["at"]), AccountStatus(row["status"]), row["plan"], price,
        row["next_payment_date"],
    )  # fmt: skip
