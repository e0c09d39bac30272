"""A business as the ledger keeps it: what the source's registry says of it, what it pays for, and what is switched on.

Existence, name and whether it is active come from the registry of the source; everything about money is the ledger's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from backup_pipeline.core.errors import UsageError
from backup_pipeline.core.scope import Scope

GRACE_DAYS = 7
"""Days after `next_payment_date` in which a business still counts as paying, unless the setting says otherwise."""


class AccountStatus(StrEnum):
    """What the registry of the source says of a business."""

    ACTIVE = "active"
    INACTIVE = "inactive"
    GONE = "gone"
    """It is in the registry no more; its backups and payments stay."""


class PaymentStatus(StrEnum):
    """What the last payment left. Whether it is overdue by now follows from the next date (`standing`)."""

    NONE = "none"
    """There is no plan to pay for."""
    UNPAID = "unpaid"
    PAID = "paid"


class PaymentStanding(StrEnum):
    """How a business stands with its payments on a day."""

    FREE = "free"
    PAID = "paid"
    DUE = "due"
    """The day has come, or is over by no more than the days of grace."""
    OVERDUE = "overdue"


class Period(StrEnum):
    """How long a price is for."""

    MONTH = "month"
    QUARTER = "quarter"
    HALF_YEAR = "half_year"
    YEAR = "year"

    @property
    def months(self) -> int:
        """The months of it."""
        return {Period.MONTH: 1, Period.QUARTER: 3, Period.HALF_YEAR: 6, Period.YEAR: 12}[self]

    @property
    def in_words(self) -> str:
        """For people: `half year`."""
        return self.value.replace("_", " ")


@dataclass(frozen=True)
class Price:
    """What is to be paid for each period: an amount above zero of a currency (ISO 4217), in hundredths at the least."""

    amount: Decimal
    currency: str
    period: Period

    def __str__(self) -> str:
        return f"{self.amount:,.2f} {self.currency} a {self.period.in_words}"


@dataclass(frozen=True)
class BusinessAccount:
    """A business: a row of `businesses`. Dates are those of the money's timezone, instants UTC.

    `plan` and `price` are None together: nothing is to be paid then, and there is no `next_payment_date` either. The
    price is the one of the plan when the business was put on it. `credit` was paid and not used. `billing_day` is the
    day of a month on which payments fall due, 31 for the last. `quota_bytes` None: the catalog's.
    """

    catalog: str
    business: str
    name: str
    status: AccountStatus
    registered_at: datetime
    updated_at: datetime
    plan: str | None = None
    price: Price | None = None
    payment_status: PaymentStatus = PaymentStatus.NONE
    next_payment_date: date | None = None
    billing_day: int | None = None
    credit: Decimal = Decimal(0)
    quota_bytes: int | None = None

    @property
    def scope(self) -> Scope:
        """What its backups are about."""
        return Scope(self.catalog, business=self.business)

    def standing(self, today: date, grace_days: int) -> PaymentStanding:
        """How it stands on a day."""
        if self.next_payment_date is None:
            return PaymentStanding.FREE
        if today < self.next_payment_date:
            return PaymentStanding.PAID
        in_time = today <= last_day_counted(self.next_payment_date, grace_days)
        return PaymentStanding.DUE if in_time else PaymentStanding.OVERDUE


def last_day_counted(next_payment_date: date, grace_days: int) -> date:
    """The last day on which a business whose payment falls due then is not overdue."""
    return next_payment_date + timedelta(days=grace_days)


@dataclass(frozen=True)
class RegistryEntry:
    """A business as the source's registry has it."""

    business: str
    name: str
    active: bool = True


@dataclass(frozen=True)
class RegistryChanges:
    """What a look at the registry changed: keys, each list sorted."""

    registered: Sequence[str] = ()
    changed: Sequence[str] = ()
    gone: Sequence[str] = ()


class Feature(StrEnum):
    """What can be switched for a business."""

    BACKUPS = "backups"
    RESTORE_SELF_SERVICE = "restore_self_service"

    @property
    def default(self) -> bool:
        """Whether it is on where nobody has said anything."""
        return True

    @property
    def in_words(self) -> str:
        """What it is, for people."""
        return {
            Feature.BACKUPS: "Backups: off, the business is paused and never due",
            Feature.RESTORE_SELF_SERVICE: "Its own administrators may ask for a restore",
        }[self]


def parse_feature(text: str) -> Feature:
    """The feature of that name; UsageError when there is none."""
    try:
        return Feature(text)
    except ValueError as error:
        message = f"{text[:40]!r} is no feature."
        raise UsageError(message, do=f"Features are {', '.join(Feature)}.") from error


def features_with(switched: Mapping[Feature, bool]) -> Mapping[Feature, bool]:
    """Every feature, with what was said of it or its default."""
    return {feature: switched.get(feature, feature.default) for feature in Feature}


@dataclass(frozen=True)
class AccountFilter:
    """Which businesses are wanted; what is empty is no condition. `text` is looked for in key and name."""

    catalog: str | None = None
    text: str = ""
    plan: str | None = None
    statuses: tuple[AccountStatus, ...] = (AccountStatus.ACTIVE, AccountStatus.INACTIVE)
    keys: tuple[str, ...] | None = None
