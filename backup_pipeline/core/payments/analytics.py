"""What businesses bring in: monthly revenue and its movements, revenue by plan and method, growth. Pure, and Decimal.

Everything is counted from what held when: the rows of `business_history`. A business counts at the end of a day when
the registry calls it active and its payment is not overdue beyond the days of grace; its monthly revenue is then its
price divided by the months of its period, to the hundredth. Days and months are those of Asia/Dhaka. Currencies stand
side by side; they are never added to each other.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import cached_property, lru_cache
from itertools import groupby
from typing import Any

from pydantic import TypeAdapter

from backup_pipeline.core.errors import UsageError
from backup_pipeline.core.payments import ZONE
from backup_pipeline.core.payments.accounts import AccountStatus, Price, last_day_counted

CENT = Decimal("0.01")
MOST_MONTHS = 60
NOTHING = Decimal("0.00")


@dataclass(frozen=True)
class HeldState:
    """What held of a business from `at` on: a row of `business_history`."""

    catalog: str
    business: str
    at: datetime
    status: AccountStatus
    plan: str | None = None
    price: Price | None = None
    next_payment_date: date | None = None


@lru_cache(maxsize=4096)  # of ten thousand businesses many pay the same
def monthly(price: Price) -> Decimal:
    """A price as revenue of a month, to the hundredth: so that sums of what is shown are what is shown."""
    return (price.amount / price.period.months).quantize(CENT, ROUND_HALF_UP)


def counts(state: HeldState | None, day: date, grace: int) -> bool:
    """Whether a business of which this holds is active on a day, and not overdue beyond the days of grace."""
    if state is None or state.status is not AccountStatus.ACTIVE:
        return False
    return state.next_payment_date is None or day <= last_day_counted(state.next_payment_date, grace)


def revenue_of(state: HeldState | None, day: date, grace: int) -> Mapping[str, Decimal]:
    """The monthly revenue of a business on a day, under its currency; nothing where it pays nothing."""
    if state is None or state.price is None or not counts(state, day, grace):
        return {}
    return {state.price.currency: monthly(state.price)}


@dataclass(frozen=True)
class Moment:
    """When something is counted: what was written before `until` holds, and dates are compared with `day`."""

    until: datetime
    day: date


def end_of(day: date) -> Moment:
    """The end of a day."""
    until = datetime.combine(day + timedelta(days=1), time(), ZONE)
    return Moment(until.astimezone(UTC), day)  # instants of one timezone are compared ten times as fast


def month_of(day: date) -> str:
    """`2026-11`."""
    return f"{day:%Y-%m}"


def months_until(today: date, count: int) -> Sequence[date]:
    """The first days of the last `count` months, the oldest first; UsageError for more than there is a point in."""
    if not 1 <= count <= MOST_MONTHS:
        message = f"{count} months can not be shown."
        raise UsageError(message, do=f"Ask for 1 to {MOST_MONTHS}.")
    first = today.year * 12 + today.month - count
    return [date(*divmod_month(first + number)) for number in range(count)]


def divmod_month(number: int) -> tuple[int, int, int]:
    """Year, month and 1 of a month counted since the year 0."""
    return number // 12, number % 12 + 1, 1


@dataclass(frozen=True)
class Timeline:
    """What held of one business, in the order of time."""

    states: tuple[HeldState, ...]

    @cached_property
    def _instants(self) -> Sequence[datetime]:
        return [state.at for state in self.states]

    def at(self, moment: Moment) -> HeldState | None:
        """What held then; None before it was registered."""
        place = bisect_left(self._instants, moment.until)
        return self.states[place - 1] if place else None

    def paid_before(self, moment: Moment, currency: str, grace: int) -> bool:
        """Whether there was revenue of a currency at any time before: what counts at all, counts when it begins."""
        return any(
            currency in revenue_of(state, state.at.astimezone(ZONE).date(), grace)
            for state in self.states
            if state.at < moment.until
        )

    @property
    def registered_at(self) -> datetime:
        """When it came."""
        return self.states[0].at


def timelines(states: Iterable[HeldState]) -> Sequence[Timeline]:
    """The businesses of states that stand by catalog, business and time."""
    return [Timeline(tuple(own)) for _, own in groupby(states, key=lambda state: (state.catalog, state.business))]


@dataclass(frozen=True)
class Amount:
    """An amount of a currency."""

    currency: str
    amount: Decimal


@dataclass(frozen=True)
class Movement:
    """How the monthly revenue of a currency moved.

    end = start + new + expansion + reactivation - contraction - churn.
    """

    currency: str
    start: Decimal = NOTHING
    new: Decimal = NOTHING
    expansion: Decimal = NOTHING
    reactivation: Decimal = NOTHING
    contraction: Decimal = NOTHING
    churn: Decimal = NOTHING
    end: Decimal = NOTHING

    @property
    def net(self) -> Decimal:
        """What was added in all."""
        return self.new + self.expansion + self.reactivation - self.contraction - self.churn


def revenue_at(businesses: Iterable[Timeline], moment: Moment, grace: int) -> tuple[Amount, ...]:
    """The monthly revenue of all at a moment, by currency."""
    totals: dict[str, Decimal] = {}
    for business in businesses:
        for currency, amount in revenue_of(business.at(moment), moment.day, grace).items():
            totals[currency] = totals.get(currency, NOTHING) + amount
    return tuple(Amount(currency, totals[currency]) for currency in sorted(totals))


def movements(businesses: Iterable[Timeline], start: Moment, end: Moment, grace: int) -> tuple[Movement, ...]:
    """How the monthly revenue moved from one moment to another, by currency; each business moves in one way."""
    totals: dict[str, dict[str, Decimal]] = {}
    for business in businesses:
        before = revenue_of(business.at(start), start.day, grace)
        after = revenue_of(business.at(end), end.day, grace)
        for currency in {*before, *after}:
            own = totals.setdefault(currency, {})
            for name, amount in _moves(business, currency, before, after, start, grace):
                own[name] = own.get(name, NOTHING) + amount
    return tuple(Movement(currency, **totals[currency]) for currency in sorted(totals))


def _moves(  # two ends of one move
    business: Timeline,
    currency: str,
    before: Mapping[str, Decimal],
    after: Mapping[str, Decimal],
    start: Moment,
    grace: int,
) -> Iterable[tuple[str, Decimal]]:
    first, last = before.get(currency, NOTHING), after.get(currency, NOTHING)
    yield "start", first
    yield "end", last
    if not first:
        yield ("reactivation" if business.paid_before(start, currency, grace) else "new"), last
    elif not last:
        yield "churn", first
    elif last > first:
        yield "expansion", last - first
    else:
        yield "contraction", first - last


@dataclass(frozen=True)
class RevenuePart:
    """What was paid on one day, or in one month: of a currency, a plan and a method."""

    currency: str
    plan: str
    method: str
    amount: Decimal
    payments: int


@dataclass(frozen=True)
class DayFacts:
    """A day as it ended: what analytics keeps of days that are over.

    `active` are the businesses that count at its end, `registered` those that came on it. `revenue` is what was paid on
    it, by `paid_at`.
    """

    day: date
    mrr: tuple[Amount, ...] = ()
    active: int = 0
    registered: int = 0
    revenue: tuple[RevenuePart, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The same as JSON, amounts as texts."""
        return dict(_DAYS.dump_python(self, mode="json"))

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> DayFacts:
        """The day that `as_json` gave."""
        return _DAYS.validate_python(dict(document))


_DAYS = TypeAdapter(DayFacts)


def facts_of(
    days: Iterable[date],
    businesses: Sequence[Timeline],
    revenue: Mapping[date, Sequence[RevenuePart]],
    grace: int,
    *,
    now: datetime,
) -> Sequence[DayFacts]:
    """The facts of days. Of the day that is not over, as it stands."""
    came: dict[date, int] = {}
    for business in businesses:
        day = business.registered_at.astimezone(ZONE).date()
        came[day] = came.get(day, 0) + 1
    whole = []
    for day in days:
        moment = Moment(min(end_of(day).until, now + timedelta(microseconds=1)), day)
        whole.append(
            DayFacts(
                day,
                revenue_at(businesses, moment, grace),
                sum(counts(business.at(moment), day, grace) for business in businesses),
                came.get(day, 0),
                tuple(revenue.get(day, ())),
            )
        )
    return whole


@dataclass(frozen=True)
class RevenueMonth:
    """What was paid in a month, of a currency. `change` is that against the month before, in percent."""

    month: str
    currency: str
    amount: Decimal
    payments: int
    change: Decimal | None


@dataclass(frozen=True)
class RevenueShare:
    """What of the whole range was paid for one plan, or by one method."""

    currency: str
    name: str
    amount: Decimal
    payments: int


def percent(part: Decimal | int, whole: Decimal | int) -> Decimal | None:
    """A part of a whole in percent, to the tenth; None of nothing."""
    return (Decimal(part) * 100 / Decimal(whole)).quantize(Decimal("0.1"), ROUND_HALF_UP) if whole else None


def revenue_months(days: Iterable[DayFacts], months: Sequence[date]) -> tuple[RevenueMonth, ...]:
    """The revenue of each month and currency, months without any too; the oldest first."""
    totals: dict[tuple[str, str], tuple[Decimal, int]] = {}
    for day in days:
        for part in day.revenue:
            key = (part.currency, month_of(day.day))
            amount, payments = totals.get(key, (NOTHING, 0))
            totals[key] = amount + part.amount, payments + part.payments
    whole: list[RevenueMonth] = []
    for currency in sorted({currency for currency, _ in totals}):
        before: Decimal | None = None
        for first in months:
            amount, payments = totals.get((currency, month_of(first)), (NOTHING, 0))
            change = percent(amount - before, before) if before is not None else None
            whole.append(RevenueMonth(month_of(first), currency, amount, payments, change))
            before = amount
    return tuple(whole)


def revenue_shares(days: Iterable[DayFacts], name: Callable[[RevenuePart], str]) -> tuple[RevenueShare, ...]:
    """The revenue of the days by what `name` says of each part, the largest first within a currency."""
    totals: dict[tuple[str, str], tuple[Decimal, int]] = {}
    for day in days:
        for part in day.revenue:
            amount, payments = totals.get((part.currency, name(part)), (NOTHING, 0))
            totals[part.currency, name(part)] = amount + part.amount, payments + part.payments
    ordered = sorted(totals.items(), key=lambda each: (each[0][0], -each[1][0], each[0][1]))
    return tuple(RevenueShare(currency, own, amount, payments) for (currency, own), (amount, payments) in ordered)


@dataclass(frozen=True)
class GrowthMonth:
    """A month of growth: active at its end = active at its start + gained - churned.

    `churn_rate` is churned ÷ active at the start, `growth` what active became, both in percent; None where nobody was.
    """

    month: str
    registered: int
    active_start: int
    gained: int
    churned: int
    active_end: int
    churn_rate: Decimal | None
    growth: Decimal | None
    mrr: tuple[Movement, ...]


def growth_months(
    businesses: Sequence[Timeline], months: Sequence[date], grace: int, *, now: datetime
) -> tuple[GrowthMonth, ...]:
    """The growth of each month; the last one as far as it has come."""
    today = now.astimezone(ZONE).date()
    came: dict[str, int] = {}
    for business in businesses:
        month = month_of(business.registered_at.astimezone(ZONE).date())
        came[month] = came.get(month, 0) + 1
    return tuple(
        _growth_of(first, businesses, came, grace, Moment(now + timedelta(microseconds=1), today)) for first in months
    )


def _growth_of(
    first: date, businesses: Sequence[Timeline], came: Mapping[str, int], grace: int, present: Moment
) -> GrowthMonth:
    start, end = month_ends(first, present)
    at_start = [counts(business.at(start), start.day, grace) for business in businesses]
    at_end = [counts(business.at(end), end.day, grace) for business in businesses]
    pairs = list(zip(at_start, at_end, strict=True))
    gained, churned = pairs.count((False, True)), pairs.count((True, False))
    return GrowthMonth(
        month=month_of(first),
        registered=came.get(month_of(first), 0),
        active_start=sum(at_start),
        gained=gained,
        churned=churned,
        active_end=sum(at_end),
        churn_rate=percent(churned, sum(at_start)),
        growth=percent(gained - churned, sum(at_start)),
        mrr=movements(businesses, start, end, grace),
    )


def month_ends(first: date, present: Moment) -> tuple[Moment, Moment]:
    """The end of the month before, and that of the month, or the present where it is not over."""
    following = date(*divmod_month(first.year * 12 + first.month))
    end = end_of(following - timedelta(days=1))
    return end_of(first - timedelta(days=1)), end if end.until <= present.until else present


@dataclass(frozen=True)
class BackupCounts:
    """How backups stand: those that ended well or not since a moment, what is stored, and what waits for somebody.

    `with_backup` are the businesses of which there is a good backup at all, `open_alerts` the alerts that go on.
    """

    good: int = 0
    failed: int = 0
    stored_bytes: int = 0
    newest: datetime | None = None
    with_backup: int = 0
    open_requests: int = 0
    open_alerts: int = 0

    @property
    def success_rate(self) -> Decimal | None:
        """Good ones of all that ended, in percent; None where none did."""
        return percent(self.good, self.good + self.failed)


@dataclass(frozen=True)
class KeptAnalysis:
    """An answer that is kept: the newest event it knows of, when it was counted, and the answer as JSON."""

    version: int
    at: datetime
    document: Mapping[str, Any]
