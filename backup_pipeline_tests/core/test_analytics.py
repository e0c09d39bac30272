"""Revenue and growth over histories of every kind: what moved accounts for what is there, to the cent."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backup_pipeline.core.errors import UsageError
from backup_pipeline.core.payments import ZONE
from backup_pipeline.core.payments.accounts import AccountStatus, Period, Price
from backup_pipeline.core.payments.analytics import (
    Amount,
    DayFacts,
    HeldState,
    Moment,
    Movement,
    RevenuePart,
    end_of,
    facts_of,
    growth_months,
    month_of,
    monthly,
    months_until,
    movements,
    percent,
    revenue_at,
    revenue_months,
    revenue_shares,
    timelines,
)

NOW = datetime(2026, 11, 30, 10, tzinfo=UTC)
GRACE = 7
PRO, BASIC = Price(Decimal("200.00"), "BDT", Period.MONTH), Price(Decimal("90.00"), "BDT", Period.MONTH)
YEARLY, DOLLARS = Price(Decimal("1000.00"), "BDT", Period.YEAR), Price(Decimal("10.00"), "USD", Period.MONTH)
ACTIVE = AccountStatus.ACTIVE


def at(day: date, hour: int = 12) -> datetime:
    return datetime(day.year, day.month, day.day, hour, tzinfo=ZONE)


def held(
    day: date, price: Price | None = PRO, due: date = date(2030, 1, 1), status: AccountStatus = ACTIVE
) -> HeldState:
    """What held from noon of a day on."""
    plan, falls_due = ("pro", due) if price is not None else (None, None)
    return HeldState("retail", "a", at(day), status, plan, price, falls_due)


def moved(*states: HeldState, first: date = date(2026, 11, 1)) -> dict[str, Decimal]:
    [own] = movements(timelines(states), end_of(first - timedelta(days=1)), end_of(date(2026, 11, 30)), GRACE)
    return {name: value for name, value in vars(own).items() if name != "currency" and value}


def test_a_price_of_a_longer_period_is_revenue_of_each_month() -> None:
    assert [monthly(price) for price in (PRO, YEARLY)] == [Decimal("200.00"), Decimal("83.33")]


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([held(date(2026, 11, 5))], {"new": 200, "end": 200}),
        ([held(date(2026, 10, 5))], {"start": 200, "end": 200}),
        ([held(date(2026, 10, 5), BASIC), held(date(2026, 11, 5))], {"start": 90, "expansion": 110, "end": 200}),
        ([held(date(2026, 10, 5)), held(date(2026, 11, 5), BASIC)], {"start": 200, "contraction": 110, "end": 90}),
        ([held(date(2026, 10, 5)), held(date(2026, 11, 5), None)], {"start": 200, "churn": 200}),
        (
            [held(date(2026, 10, 5)), held(date(2026, 11, 5), status=AccountStatus.INACTIVE)],
            {"start": 200, "churn": 200},
        ),
        # Nothing was written: the date has passed, and the days of grace with it.
        ([held(date(2026, 10, 5), due=date(2026, 11, 10))], {"start": 200, "churn": 200}),
        ([held(date(2026, 10, 5), due=date(2026, 11, 23))], {"start": 200, "end": 200}),
        (
            [held(date(2026, 8, 5), due=date(2026, 9, 5)), held(date(2026, 11, 5), BASIC)],
            {"reactivation": 90, "end": 90},
        ),
        # Came and left between the two: it is as if it had never been, until it comes again.
        ([held(date(2026, 10, 5), None), held(date(2026, 11, 5)), held(date(2026, 11, 7), None)], None),
    ],
)
def test_each_business_moves_in_one_way(states: list[HeldState], expected: dict[str, int] | None) -> None:
    if expected is None:
        assert movements(timelines(states), end_of(date(2026, 10, 31)), end_of(date(2026, 11, 30)), GRACE) == ()
        return
    assert moved(*states) == {name: Decimal(value) for name, value in expected.items()}


def test_who_goes_to_another_currency_leaves_the_one_and_is_new_in_the_other() -> None:
    states = [held(date(2026, 10, 5)), held(date(2026, 11, 5), DOLLARS)]
    both = movements(timelines(states), end_of(date(2026, 10, 31)), end_of(date(2026, 11, 30)), GRACE)
    assert both == (
        Movement("BDT", start=Decimal("200.00"), churn=Decimal("200.00")),
        Movement("USD", new=Decimal("10.00"), end=Decimal("10.00")),
    )


DAYS = st.dates(date(2026, 6, 1), date(2026, 11, 30))
PRICES = st.sampled_from([PRO, BASIC, YEARLY, DOLLARS, None])
STATES = st.tuples(
    DAYS, PRICES, st.dates(date(2026, 5, 1), date(2027, 3, 1)), st.sampled_from(AccountStatus),
    st.integers(0, 23),
)  # fmt: skip


@st.composite
def histories(draw: st.DrawFn) -> list[HeldState]:
    """Up to six businesses, whose states stand as the ledger gives them."""
    whole = []
    for number in range(draw(st.integers(0, 6))):
        own = sorted(draw(st.lists(STATES, min_size=1, max_size=8)), key=lambda each: (each[0], each[4]))
        for day, price, due, status, hour in own:
            due_then = due if price is not None else None
            whole.append(HeldState("retail", f"b{number}", at(day, hour), status, None, price, due_then))
    return whole


def by_hand(states: list[HeldState], moment: Moment, grace: int) -> dict[str, Decimal]:
    """The same by the plainest way: the last row of each business, and a sum."""
    totals: dict[str, Decimal] = {}
    for key in {state.business for state in states}:
        before = [state for state in states if state.business == key and state.at < moment.until]
        last = before[-1] if before else None
        if last is None or last.status is not ACTIVE or last.price is None or last.next_payment_date is None:
            continue
        if (moment.day - last.next_payment_date).days <= grace:
            own = totals.get(last.price.currency, Decimal(0))
            totals[last.price.currency] = own + round(last.price.amount / last.price.period.months, 2)
    return totals


@pytest.mark.acceptance("3.13")
@settings(max_examples=50)
@given(histories(), st.integers(0, 30))
def test_the_end_is_the_start_and_what_moved_whatever_happened(states: list[HeldState], grace: int) -> None:
    known = growth_months(timelines(states), months_until(date(2026, 11, 30), 6), grace, now=NOW)
    ends: dict[str, Decimal] = {}
    active = 0
    for month in known:
        assert month.active_start == active
        assert month.active_end == month.active_start + month.gained - month.churned
        active = month.active_end
        for own in month.mrr:
            assert own.end == own.start + own.net
            assert own.start == ends.get(own.currency, Decimal(0))
            assert min(own.new, own.expansion, own.reactivation, own.contraction, own.churn) >= 0
        ends = {own.currency: own.end for own in month.mrr if own.end}
    assert ends == by_hand(states, Moment(NOW + timedelta(microseconds=1), date(2026, 11, 30)), grace)


@settings(max_examples=50)
@given(histories(), st.lists(DAYS, min_size=3, max_size=3))
def test_movements_add_up_over_time(states: list[HeldState], days: list[date]) -> None:
    first, second, third = (end_of(day) for day in sorted(days))
    known = timelines(states)
    net: dict[str, Decimal] = {}
    for start, end in ((first, second), (second, third)):
        for own in movements(known, start, end, GRACE):
            net[own.currency] = net.get(own.currency, Decimal(0)) + own.net
    at_once = {own.currency: own.net for own in movements(known, first, third, GRACE)}
    assert {currency: value for currency, value in net.items() if value} == {
        currency: value for currency, value in at_once.items() if value
    }
    assert {each.currency: each.amount for each in revenue_at(known, third, GRACE)} == by_hand(states, third, GRACE)


def test_a_day_ends_at_midnight_in_dhaka() -> None:
    late = HeldState("retail", "a", datetime(2026, 11, 29, 18, tzinfo=UTC), ACTIVE, "pro", PRO, date(2027, 1, 1))
    facts = facts_of([date(2026, 11, 29), date(2026, 11, 30)], timelines([late]), {}, GRACE, now=NOW)
    assert [(day.active, day.registered, day.mrr) for day in facts] == [
        (0, 0, ()), (1, 1, (Amount("BDT", Decimal("200.00")),)),
    ]  # fmt: skip


def test_revenue_stands_by_month_plan_and_method() -> None:
    def day(day: date, *parts: tuple[str, str, str, int]) -> DayFacts:
        return DayFacts(day, revenue=tuple(RevenuePart(c, p, m, Decimal(a), 1) for c, p, m, a in parts))

    days = [
        day(date(2026, 9, 3), ("BDT", "pro", "cash", 100), ("BDT", "basic", "cash", 100)),
        day(date(2026, 11, 3), ("BDT", "pro", "bkash", 150), ("USD", "pro", "cash", 10)),
    ]
    months = revenue_months(days, months_until(date(2026, 11, 30), 3))
    assert [(each.month, each.currency, int(each.amount), each.change) for each in months] == [
        ("2026-09", "BDT", 200, None), ("2026-10", "BDT", 0, Decimal("-100.0")), ("2026-11", "BDT", 150, None),
        ("2026-09", "USD", 0, None), ("2026-10", "USD", 0, None), ("2026-11", "USD", 10, None),
    ]  # fmt: skip
    plans = revenue_shares(days, lambda part: part.plan)
    assert [(each.currency, each.name, int(each.amount), each.payments) for each in plans] == [
        ("BDT", "pro", 250, 2), ("BDT", "basic", 100, 1), ("USD", "pro", 10, 1),
    ]  # fmt: skip
    assert sum(each.amount for each in revenue_shares(days, lambda part: part.method)) == 360


def test_months_and_percents() -> None:
    assert [month_of(each) for each in months_until(date(2026, 2, 28), 3)] == ["2025-12", "2026-01", "2026-02"]
    assert (percent(1, 3), percent(5, 0)) == (Decimal("33.3"), None)
    for count in (0, 61):
        with pytest.raises(UsageError):
            months_until(date(2026, 2, 28), count)
