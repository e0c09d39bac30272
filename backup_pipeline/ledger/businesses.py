"""Businesses with their features, plans and payments in the ledger in PostgreSQL."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, func, insert, or_, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert as insert_or_change
from sqlalchemy.exc import IntegrityError

from backup_pipeline.core.errors import NotFoundError
from backup_pipeline.core.payments import DuplicatePaymentError, PaymentFilter, PaymentRecord, Plan, RecordStatus
from backup_pipeline.core.payments.accounts import (
    AccountFilter,
    AccountStatus,
    BusinessAccount,
    Feature,
    PaymentStatus,
    Period,
    Price,
    RegistryChanges,
    RegistryEntry,
)
from backup_pipeline.core.scope import Actor, parse_actor
from backup_pipeline.ledger.access import Transaction
from backup_pipeline.ledger.business_tables import business_features, businesses, payment_records, plans
from backup_pipeline.ledger.tables import actor_column, storable, utc

_B, _F, _R = businesses.c, business_features.c, payment_records.c
_PLAIN = tuple(
    field.name for field in fields(BusinessAccount) if field.name not in {"status", "payment_status", "price"}
)  # fmt: skip
_OURS = ("plan", "next_payment_date", "billing_day", "credit", "quota_bytes", "updated_at")
# Only what differs is written: of ten thousand businesses a look changes a handful.
_REGISTER = text("""
WITH registry AS (
    SELECT * FROM unnest(CAST(:keys AS text[]), CAST(:names AS text[]), CAST(:statuses AS text[])) AS r (key, name, status)
), differing AS (
    SELECT registry.* FROM registry
    LEFT JOIN businesses AS known ON known.catalog = :catalog AND known.business = registry.key
    WHERE known.business IS NULL OR (known.name, known.status) IS DISTINCT FROM (registry.name, registry.status)
)
INSERT INTO businesses AS known (catalog, business, name, status, registered_at, updated_at, actor)
SELECT :catalog, key, name, status, :now, :now, :actor FROM differing ORDER BY key
ON CONFLICT (catalog, business) DO UPDATE
    SET name = excluded.name, status = excluded.status, updated_at = excluded.updated_at, actor = excluded.actor
RETURNING known.business, known.xmax = '0' AS is_new  -- a row that was there is locked by this transaction
""")  # noqa: E501


class SqlBusinesses:
    """The port `BusinessAccounts` over the tables `businesses` and `business_features`; safe from any thread."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def register(self, catalog: str, entries: Sequence[RegistryEntry], actor: Actor, now: datetime) -> RegistryChanges:
        """Write what the registry of a source says: who is new, who has changed, and who is there no more."""
        keys = [storable(entry.business) for entry in entries]
        values = {
            "catalog": catalog,
            "keys": keys,
            "names": [storable(entry.name) for entry in entries],
            "statuses": [(AccountStatus.ACTIVE if entry.active else AccountStatus.INACTIVE).value for entry in entries],
            "now": now,
            **actor_column(actor),
        }
        absent = (_B.catalog == catalog, _B.status != AccountStatus.GONE, _B.business != func.all(keys))
        gone = (
            update(businesses)
            .where(*absent)
            .values(status=AccountStatus.GONE.value, updated_at=now, **actor_column(actor))
        )
        with self._transaction() as connection:
            written = connection.execute(_REGISTER, values).all()
            left = connection.scalars(gone.returning(_B.business)).all()
        new = sorted(key for key, is_new in written if is_new)
        return RegistryChanges(new, sorted(key for key, is_new in written if not is_new), sorted(left))

    def list(
        self, wanted: AccountFilter, *, after: tuple[str, str] | None = None, limit: int | None = None
    ) -> Sequence[BusinessAccount]:
        """Businesses by catalog and key: those after a catalog and a key, at most `limit`."""
        query = select(businesses).where(*registered(wanted)).order_by(_B.catalog, _B.business).limit(limit)
        if after is not None:
            query = query.where(tuple_(_B.catalog, _B.business) > tuple_(*map(storable, after)))
        with self._transaction() as connection:
            return [_account_of(row) for row in connection.execute(query).mappings()]

    def get(self, catalog: str, business: str, *, lock: bool = False) -> BusinessAccount | None:
        """A business; with `lock` nobody changes it before the transaction ends."""
        query = select(businesses).where(*_is(catalog, business))
        with self._transaction() as connection:
            row = connection.execute(query.with_for_update() if lock else query).mappings().one_or_none()
        return _account_of(row) if row is not None else None

    def of_key(self, business: str) -> Sequence[BusinessAccount]:
        """The businesses of that key, of whichever catalog."""
        query = select(businesses).where(_B.business == storable(business)).order_by(_B.catalog)
        with self._transaction() as connection:
            return [_account_of(row) for row in connection.execute(query).mappings()]

    def names(self, keys: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], str]:
        """The names of businesses, by catalog and key."""
        query = select(_B.catalog, _B.business, _B.name).where(tuple_(_B.catalog, _B.business).in_(list(keys)))
        with self._transaction() as connection:
            return {(catalog, key): name for catalog, key, name in connection.execute(query)}

    def put(self, account: BusinessAccount, actor: Actor) -> None:
        """Write what is ours of a business."""
        values = {name: getattr(account, name) for name in _OURS} | _price_columns(account.price)
        values |= {"payment_status": account.payment_status.value, **actor_column(actor)}
        own = update(businesses).where(*_is(account.catalog, account.business))
        with self._transaction() as connection:
            if not connection.execute(own.values(values)).rowcount:
                raise no_such_business(account.business)

    def features(self, catalog: str, business: str) -> Mapping[Feature, bool]:
        """What was switched for a business."""
        query = select(_F.feature, _F.enabled).where(_F.catalog == catalog, _F.business == business)
        with self._transaction() as connection:
            rows = connection.execute(query).all()
        return {Feature(name): enabled for name, enabled in rows if name in {*Feature}}

    def switch(self, account: BusinessAccount, feature: Feature, enabled: bool, actor: Actor, now: datetime) -> None:  # noqa: FBT001
        """Switch a feature of a business."""
        changed = {"enabled": enabled, "updated_at": now, **actor_column(actor)}
        key = {"catalog": account.catalog, "business": account.business, "feature": feature.value}
        written = insert_or_change(business_features).values(**key, **changed)
        with self._transaction() as connection:
            connection.execute(written.on_conflict_do_update(index_elements=list(key), set_=changed))

    def paused(self, catalog: str) -> frozenset[str]:
        """The keys of the businesses whose feature `backups` is off."""
        off = (_F.catalog == catalog, _F.feature == Feature.BACKUPS, _F.enabled.is_(False))
        with self._transaction() as connection:
            return frozenset(connection.scalars(select(_F.business).where(*off)))


def no_such_business(business: str) -> NotFoundError:
    """The error for a key that no business has."""
    message = f"There is no business {business[:80]}."
    return NotFoundError(message, do="`backup-pipeline businesses list` shows who there is.")


def _is(catalog: str, business: str) -> tuple[ColumnElement[bool], ...]:
    return _B.catalog == storable(catalog), _B.business == storable(business)


def registered(wanted: AccountFilter) -> Sequence[ColumnElement[bool]]:
    """The conditions on the table `businesses` that a filter stands for."""
    conditions: list[ColumnElement[bool]] = []
    if wanted.statuses:
        conditions.append(_B.status.in_([status.value for status in wanted.statuses]))
    if wanted.catalog is not None:
        conditions.append(_B.catalog == storable(wanted.catalog))
    if wanted.keys is not None:
        conditions.append(_B.business.in_([storable(key) for key in wanted.keys]))
    if wanted.plan is not None:
        conditions.append(_B.plan == storable(wanted.plan))
    if wanted.text:
        words = storable(wanted.text)
        conditions.append(or_(_B.business.icontains(words, autoescape=True), _B.name.icontains(words, autoescape=True)))
    return conditions


def _account_of(row: RowMapping) -> BusinessAccount:
    values = {name: utc(row[name]) for name in _PLAIN}
    return BusinessAccount(
        **values,
        status=AccountStatus(row["status"]),
        payment_status=PaymentStatus(row["payment_status"]),
        price=_price_of(row) if row["price"] is not None else None,
    )


def _price_of(row: RowMapping) -> Price:
    return Price(row["price"], row["currency"], Period(row["period"]))


def _price_columns(price: Price | None) -> dict[str, Any]:
    if price is None:
        return {"price": None, "currency": None, "period": None}
    return {"price": price.amount, "currency": price.currency, "period": price.period.value}


_RECORD = tuple(
    field.name for field in fields(PaymentRecord) if field.name not in {"number", "price", "status", "actor"}
)


class SqlPayments:
    """The port `Payments` over the tables `plans` and `payment_records`; safe from any thread."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def plans(self) -> Sequence[Plan]:
        """All, by name."""
        with self._transaction() as connection:
            return [_plan_of(row) for row in connection.execute(select(plans).order_by(plans.c.name)).mappings()]

    def plan(self, name: str) -> Plan | None:
        """The plan of that name."""
        with self._transaction() as connection:
            row = connection.execute(select(plans).where(plans.c.name == storable(name))).mappings().one_or_none()
        return _plan_of(row) if row is not None else None

    def put_plan(self, plan: Plan, actor: Actor, now: datetime) -> None:
        """Add a plan, or write it in place of the one of its name."""
        changed = {
            "title": storable(plan.title),
            "offered": plan.offered,
            "updated_at": now,
            **_price_columns(plan.price),
            **actor_column(actor),
        }
        written = insert_or_change(plans).values(name=plan.name, **changed)
        with self._transaction() as connection:
            connection.execute(written.on_conflict_do_update(index_elements=["name"], set_=changed))

    def add(self, record: PaymentRecord) -> PaymentRecord:
        """Add a payment; DuplicatePaymentError where method and reference are there already."""
        values = {name: storable(getattr(record, name)) for name in _RECORD}
        values |= {"status": record.status.value, **_price_columns(record.price), **actor_column(record.actor)}
        with self._transaction() as connection:
            try:
                number = connection.scalar(insert(payment_records).values(values).returning(_R.id))
            except IntegrityError as error:
                message = f"{record.method} {record.reference} was verified before."
                do = "Nothing was booked again. `backup-pipeline payment list` shows for whom it was."
                raise DuplicatePaymentError(message, do=do) from error
        return replace(record, number=int(number or 0))

    def list(
        self, wanted: PaymentFilter, *, before: int | None = None, limit: int | None = None
    ) -> Sequence[PaymentRecord]:
        """Payments, newest first."""
        query = select(payment_records).where(*_paid(wanted)).order_by(_R.id.desc()).limit(limit)
        if before is not None:
            query = query.where(_R.id < before)
        with self._transaction() as connection:
            return [_record_of(row) for row in connection.execute(query).mappings()]

    def totals(self, wanted: PaymentFilter) -> Sequence[tuple[str, Decimal, int]]:
        """What was paid in all: a currency, its amount, and how many payments."""
        query = select(_R.currency, func.sum(_R.amount), func.count()).where(*_paid(wanted))
        with self._transaction() as connection:
            rows = connection.execute(query.group_by(_R.currency).order_by(_R.currency)).all()
        return [(currency, amount, count) for currency, amount, count in rows]


def _paid(wanted: PaymentFilter) -> Sequence[ColumnElement[bool]]:
    equal = {"catalog": wanted.catalog, "business": wanted.business, "method": wanted.method, "plan": wanted.plan}
    conditions = [_R[name] == storable(value) for name, value in equal.items() if value]
    if wanted.text:
        words = storable(wanted.text)
        conditions.append(
            or_(_R.reference.icontains(words, autoescape=True), _R.business.icontains(words, autoescape=True))
        )
    if wanted.since is not None:
        conditions.append(_R.paid_at >= wanted.since)
    if wanted.until is not None:
        conditions.append(_R.paid_at < wanted.until)
    return conditions


def _plan_of(row: RowMapping) -> Plan:
    return Plan(row["name"], row["title"], _price_of(row), row["offered"])


def _record_of(row: RowMapping) -> PaymentRecord:
    values = {name: utc(row[name]) for name in _RECORD}
    return PaymentRecord(
        **values,
        number=row["id"],
        price=_price_of(row),
        status=RecordStatus(row["status"]),
        actor=parse_actor(row["actor"]),
    )
