"""What a payment comes to: periods, credit, underpaid, the next date with month ends kept; and what can be none."""

from __future__ import annotations

import calendar
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_pipeline.core.errors import UsageError
from backup_pipeline.core.payments import (
    PaymentRequest,
    Plan,
    RecordStatus,
    UnderpaidError,
    add_months,
    billing_day,
    checked_request,
    parse_amount,
    parse_paid_at,
    put_on,
    today_of,
    verified_payment,
)
from backup_pipeline.core.payments.accounts import (
    AccountStatus,
    BusinessAccount,
    PaymentStanding,
    PaymentStatus,
    Period,
    Price,
)
from backup_pipeline_tests.actors import RAHIM

NOW = datetime(2026, 11, 30, 10, tzinfo=UTC)
TODAY = date(2026, 11, 30)


def account(
    price: str = "200.00", due: date = TODAY, *, credit: str = "0", period: Period = Period.MONTH
) -> BusinessAccount:
    """A business on a plan."""
    cost = Price(Decimal(price), "BDT", period)
    return BusinessAccount(
        "retail", "b1", "Rupa Stores", AccountStatus.ACTIVE, NOW, NOW, "pro", cost, PaymentStatus.UNPAID, due,
        billing_day(due), Decimal(credit),
    )  # fmt: skip


def request(amount: str = "200.00", paid_at: datetime | None = None, **more: str) -> PaymentRequest:
    return PaymentRequest("b1", Decimal(amount), "bank_transfer", "TXN123456", "karim", paid_at=paid_at, **more)


def verified(asked: PaymentRequest, of: BusinessAccount) -> tuple[str, int, str, date]:
    record, after = verified_payment(checked_request(asked, NOW), of, NOW, RAHIM)
    assert (after.credit, after.next_payment_date) == (record.credit_after, record.next_payment_date)
    assert after.payment_status is PaymentStatus.PAID
    return record.status.value, record.periods, str(record.credit_after), record.next_payment_date


@pytest.mark.parametrize(
    ("amount", "credit", "expected"),
    [
        ("200.00", "0", ("verified", 1, "0.00", date(2026, 12, 31))),
        ("400.00", "0", ("verified", 2, "0.00", date(2027, 1, 31))),
        ("250.00", "0", ("verified", 1, "50.00", date(2026, 12, 31))),
        ("150.00", "50.00", ("verified", 1, "0.00", date(2026, 12, 31))),
        ("399.99", "0.01", ("verified", 2, "0.00", date(2027, 1, 31))),
    ],
)
def test_k_times_the_price_pays_for_k_periods_and_the_rest_is_credit(
    amount: str, credit: str, expected: tuple[str, int, str, date]
) -> None:
    assert verified(request(amount), account(credit=credit)) == expected


def test_less_than_the_price_is_underpaid_unless_somebody_accepts_it_with_a_reason() -> None:
    with pytest.raises(UnderpaidError, match=r"0\.01 BDT are missing"):
        verified(request("199.99"), account())
    with pytest.raises(UnderpaidError):
        verified(request("149.99"), account(credit="50.00"))
    assert verified(request("199.99", accept="a rounding"), account()) == ("accepted", 1, "0", date(2026, 12, 31))
    record, _ = verified_payment(checked_request(request(accept="needless"), NOW), account(), NOW, RAHIM)
    assert (record.status, record.reason) == (RecordStatus.VERIFIED, ""), "who paid in full needs no reason"


def test_a_payment_of_the_future_and_one_older_than_ninety_days_are_refused() -> None:
    for paid_at in (NOW + timedelta(hours=1), NOW - timedelta(days=90, seconds=1)):
        with pytest.raises(UsageError, match=r"future|90 days"):
            checked_request(request(paid_at=paid_at), NOW)
    for paid_at in (NOW, NOW - timedelta(days=90)):
        assert checked_request(request(paid_at=paid_at), NOW).paid_at == paid_at


def test_an_instant_without_a_timezone_is_dhakas_and_no_instant_breaks_anything() -> None:
    naive = checked_request(request(paid_at=datetime(2026, 11, 30, 12)), NOW)  # noqa: DTZ001
    assert naive.paid_at == datetime(2026, 11, 30, 6, tzinfo=UTC)
    for odd in ("0001-01-01", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"):
        with pytest.raises(UsageError):
            checked_request(request(paid_at=parse_paid_at(odd)), NOW)


def test_a_typing_error_does_not_pay_for_centuries() -> None:
    assert verified(request("48000.00"), account())[1] == 240
    with pytest.raises(UsageError, match="20 years"):
        verified(request("48200.00"), account())
    with pytest.raises(UsageError, match="2999"):
        verified(request(), account(due=date(2999, 12, 15)))


def test_a_business_on_no_plan_has_nothing_to_pay() -> None:
    with pytest.raises(UsageError, match="on no plan"):
        verified(request(), put_on(account(), None, NOW))


@pytest.mark.parametrize(
    ("due", "paid", "expected"),
    [
        (date(2026, 12, 15), NOW, date(2027, 1, 15)),  # paid early: the date that stood counts
        (date(2026, 9, 15), NOW, date(2026, 12, 31)),  # paid late: the day of the payment counts, a last one stays one
        (date(2026, 9, 15), datetime(2026, 10, 30, tzinfo=UTC), date(2026, 11, 30)),
        (date(2026, 11, 30), datetime(2026, 11, 29, 18, 30, tzinfo=UTC), date(2026, 12, 31)),  # the 30th in Dhaka
    ],
)
def test_the_next_date_is_after_the_later_of_the_date_and_the_payment(
    due: date, paid: datetime, expected: date
) -> None:
    assert verified(request(paid_at=paid), account(due=due))[3] == expected


def test_month_ends_are_kept_and_a_thirtieth_comes_back_after_february() -> None:
    days = [date(2027, 1, 31)]
    for _ in range(3):
        days.append(add_months(days[-1], 1, billing_day(days[0])))
    assert days[1:] == [date(2027, 2, 28), date(2027, 3, 31), date(2027, 4, 30)]
    assert add_months(date(2028, 1, 31), 1, 31) == date(2028, 2, 29)
    of = account(due=date(2027, 1, 30))
    for expected in (date(2027, 2, 28), date(2027, 3, 30)):
        _, of = verified_payment(checked_request(request(), NOW), of, NOW, RAHIM)
        assert of.next_payment_date == expected
    assert add_months(date(2026, 11, 30), 12, billing_day(date(2026, 11, 30))) == date(2027, 11, 30)


@given(
    st.dates(date(2020, 1, 1), date(2090, 1, 1)), st.integers(1, 40), st.integers(1, 40),
)  # fmt: skip
def test_periods_paid_one_by_one_and_at_once_end_on_the_same_day(begin: date, first: int, second: int) -> None:
    day = billing_day(begin)
    at_once = add_months(begin, first + second, day)
    assert add_months(add_months(begin, first, day), second, day) == at_once
    last = calendar.monthrange(at_once.year, at_once.month)[1]
    was_last = begin.day == calendar.monthrange(begin.year, begin.month)[1]
    assert at_once.day == (last if was_last else min(begin.day, last))


@given(
    st.decimals("0.01", "5000", places=2), st.decimals("0.01", "99999", places=2), st.decimals("0", "4000", places=2)
)
def test_no_cent_is_lost(price: Decimal, amount: Decimal, credit: Decimal) -> None:
    of = account(str(price), credit=str(credit))
    try:
        record, after = verified_payment(replace(request(), amount=amount), of, NOW, RAHIM)
    except UnderpaidError:
        assert amount + credit < price
    except UsageError:
        assert (amount + credit) / price >= 241, "more than twenty years at once"
    else:
        assert record.periods * price + after.credit == amount + credit
        assert 0 <= after.credit < price


@pytest.mark.parametrize(
    "value", ["", "0", "-1", "nan", "inf", "1.001", "12,50", "1e20", True, None, "٣", float("nan"), [200]]
)
def test_what_is_no_amount_of_money(value: object) -> None:
    if value == "٣":
        assert parse_amount(value) == 3, "digits of every script are digits"
        return
    with pytest.raises(UsageError):
        parse_amount(value)


def test_a_number_of_json_is_read_as_it_was_written() -> None:
    assert [str(parse_amount(each)) for each in (200.00, 199.99, 200, "200.00", " 0.1 ")] == [
        "200.00", "199.99", "200.00", "200.00", "0.10",
    ]  # fmt: skip


def test_a_time_without_a_timezone_is_that_of_dhaka() -> None:
    assert parse_paid_at("2026-11-30") == datetime(2026, 11, 29, 18, tzinfo=UTC)
    assert parse_paid_at("2026-11-30T06:00:00Z") == datetime(2026, 11, 30, 6, tzinfo=UTC)
    assert parse_paid_at(" ") is None
    assert today_of(datetime(2026, 11, 29, 18, tzinfo=UTC)) == TODAY
    with pytest.raises(UsageError):
        parse_paid_at("yesterday")


def test_who_is_put_on_a_plan_owes_from_today_and_keeps_a_date_that_stands() -> None:
    free = put_on(account(), None, NOW)
    assert (free.price, free.next_payment_date, free.payment_status) == (None, None, PaymentStatus.NONE)
    basic = Plan("basic", "Basic", Price(Decimal("90.00"), "BDT", Period.MONTH))
    begun = put_on(free, basic, NOW)
    assert (begun.plan, begun.next_payment_date, begun.billing_day) == ("basic", TODAY, 31)
    assert begun.payment_status is PaymentStatus.UNPAID
    moved = put_on(account(due=date(2027, 1, 5)), basic, NOW)
    assert (moved.plan, moved.price, moved.next_payment_date) == ("basic", basic.price, date(2027, 1, 5))
    with pytest.raises(UsageError, match="takes nobody new"):
        put_on(free, replace(basic, offered=False), NOW)
    dollars = replace(basic, price=replace(basic.price, currency="USD"))
    for plan in (dollars, None):
        with pytest.raises(UsageError, match="would be lost"):
            put_on(account(credit="5.00"), plan, NOW)


@pytest.mark.parametrize(
    ("days", "standing"),
    [(1, PaymentStanding.PAID), (0, PaymentStanding.DUE), (-7, PaymentStanding.DUE), (-8, PaymentStanding.OVERDUE)],
)
def test_how_a_business_stands_follows_from_its_date(days: int, standing: PaymentStanding) -> None:
    assert account(due=TODAY + timedelta(days=days)).standing(TODAY, 7) is standing
