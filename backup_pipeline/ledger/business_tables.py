"""The tables of businesses and their money as this version of the code uses them; a migration makes them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Identity,
    Index,
    Integer,
    Numeric,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from backup_pipeline.core.payments import RecordStatus
from backup_pipeline.core.payments.accounts import AccountStatus, PaymentStatus, Period
from backup_pipeline.ledger.tables import metadata

__all__ = [
    "analytics_cache",
    "business_features",
    "business_history",
    "businesses",
    "metadata",
    "payment_records",
    "plans",
]

_INSTANT = DateTime(timezone=True)
_MONEY = Numeric(14, 2)


def _listed(names: type[AccountStatus] | type[PaymentStatus] | type[Period] | type[RecordStatus]) -> str:
    return ", ".join(f"'{name}'" for name in names)


plans = Table(
    "plans",
    metadata,
    Column("name", Text, primary_key=True),
    Column("title", Text, nullable=False),
    Column("price", _MONEY, nullable=False),
    Column("currency", Text, nullable=False),
    Column("period", Text, nullable=False),
    Column("offered", Boolean, nullable=False, server_default=text("true")),
    Column("updated_at", _INSTANT, nullable=False),
    Column("actor", Text, nullable=False),
    CheckConstraint("price > 0", name="plans_price_check"),
    CheckConstraint(f"period IN ({_listed(Period)})", name="plans_period_check"),
)

businesses = Table(
    "businesses",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("catalog", Text, nullable=False),
    Column("business", Text, nullable=False),  # its key in the source's registry
    # What the registry says.
    Column("name", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("registered_at", _INSTANT, nullable=False),
    # What is ours: the plan with the price of when the business was put on it.
    Column("plan", Text),
    Column("price", _MONEY),
    Column("currency", Text),
    Column("period", Text),
    Column("payment_status", Text, nullable=False, server_default=PaymentStatus.NONE.value),
    Column("next_payment_date", Date),
    Column("billing_day", SmallInteger),
    Column("credit", _MONEY, nullable=False, server_default=text("0")),
    Column("quota_bytes", BigInteger),
    Column("updated_at", _INSTANT, nullable=False),
    Column("actor", Text, nullable=False),  # who changed it last
    UniqueConstraint("catalog", "business", name="businesses_key"),
    CheckConstraint(f"status IN ({_listed(AccountStatus)})", name="businesses_status_check"),
    CheckConstraint(f"payment_status IN ({_listed(PaymentStatus)})", name="businesses_payment_status_check"),
    CheckConstraint("num_nonnulls(plan, price, currency, period, next_payment_date, billing_day) IN (0, 6)",
                    name="businesses_plan_check"),
    CheckConstraint("price > 0 AND credit >= 0 AND quota_bytes > 0", name="businesses_amounts_check"),
)  # fmt: skip

business_features = Table(
    "business_features",
    metadata,
    Column("catalog", Text, primary_key=True),
    Column("business", Text, primary_key=True),
    Column("feature", Text, primary_key=True),
    Column("enabled", Boolean, nullable=False),
    Column("updated_at", _INSTANT, nullable=False),
    Column("actor", Text, nullable=False),
)

business_history = Table(
    "business_history",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("catalog", Text, nullable=False),
    Column("business", Text, nullable=False),
    Column("at", _INSTANT, nullable=False),  # since when the rest holds
    Column("status", Text, nullable=False),
    Column("plan", Text),
    Column("price", _MONEY),
    Column("currency", Text),
    Column("period", Text),
    Column("next_payment_date", Date),
    Index("business_history_of_business", "catalog", "business", "at"),
)

payment_records = Table(
    "payment_records",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("catalog", Text, nullable=False),
    Column("business", Text, nullable=False),
    Column("plan", Text, nullable=False),
    Column("price", _MONEY, nullable=False),
    Column("currency", Text, nullable=False),
    Column("period", Text, nullable=False),
    Column("amount", _MONEY, nullable=False),
    Column("method", Text, nullable=False),
    Column("reference", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("periods", Integer, nullable=False),
    Column("credit_before", _MONEY, nullable=False),
    Column("credit_after", _MONEY, nullable=False),
    Column("paid_at", _INSTANT, nullable=False),
    Column("verified_at", _INSTANT, nullable=False),
    Column("verified_by", Text, nullable=False),  # the super admin who looked at it
    Column("next_payment_date", Date, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    Column("actor", Text, nullable=False),  # who entered it: that super admin, or a program's key
    UniqueConstraint("method", "reference", name="payment_records_reference"),
    CheckConstraint("amount > 0 AND price > 0 AND periods > 0", name="payment_records_amounts_check"),
    CheckConstraint(f"status IN ({_listed(RecordStatus)})", name="payment_records_status_check"),
    Index("payment_records_of_business", "catalog", "business", "id"),
    Index("payment_records_paid_at", "paid_at"),
)

analytics_cache = Table(
    "analytics_cache",
    metadata,
    Column("type", Text, primary_key=True),
    Column("business", Text, primary_key=True),  # `catalog/businesses/key`, nothing for all
    Column("range", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),  # the newest event of what was read
    Column("computed_at", _INSTANT, nullable=False),
    Column("document", JSONB, nullable=False),
)
