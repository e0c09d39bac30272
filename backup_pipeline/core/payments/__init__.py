"""What is paid: plans, what a payment comes to, and when the next one is due. Amounts are Decimal, never float.

A payment of k times the price pays for k periods. What was paid before and not used (credit) counts with it; what is
left over is credit again. Days are those of Asia/Dhaka, the timezone of the money.
"""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from zoneinfo import ZoneInfo

from backup_pipeline.core.errors import DecidedError, UsageError
from backup_pipeline.core.payments.accounts import BusinessAccount, PaymentStatus, Period, Price
from backup_pipeline.core.scope import Actor

ZONE = ZoneInfo("Asia/Dhaka")
OLDEST = timedelta(days=90)
"""A payment of before is refused: it is a typing error, or a matter for the books."""
AHEAD = timedelta(minutes=5)
"""So much may the clock of whoever names an instant be ahead."""
MOST = Decimal("999999999.99")
MOST_AHEAD_MONTHS = 240
"""More than twenty years at once are a typing error."""
FIRST_DATE, LAST_DATE = date(2000, 1, 1), date(2999, 12, 31)
_LAST_DAY = 31
_CURRENCY = re.compile(r"[A-Z]{3}")
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,38}[a-z0-9])?")
_LONGEST = 200


class UnderpaidError(UsageError):
    """The amount, with the credit, does not pay for a period: a super admin may accept it with a reason."""


class DuplicatePaymentError(DecidedError):
    """That reference of that method was verified before."""


def parse_amount(value: object) -> Decimal:
    """An amount of money: above zero, at most two decimal places; UsageError for everything else.

    A float comes out of JSON only: it is read as it was written, `200.00` and `199.99`.
    """
    try:
        amount = Decimal(str(value).strip()) if not isinstance(value, bool) else Decimal("NaN")
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or not 0 < amount <= MOST:
        message = f"{str(value)[:40]!r} is no amount of money."
        raise UsageError(message, do=f"Write a number above 0, at most {MOST:,}, such as 200.00.")
    cents = amount.quantize(Decimal("0.01"))
    if cents != amount:
        message = f"{amount} has more than two decimal places."
        raise UsageError(message, do="Write the amount that was paid, such as 200.00.")
    return cents


def parse_currency(text: str) -> str:
    """The currency as three capital letters; UsageError when it is none."""
    currency = text.strip().upper()
    if not _CURRENCY.fullmatch(currency):
        message = f"{text[:20]!r} is no currency."
        raise UsageError(message, do="Write its three letters, such as BDT.")
    return currency


def parse_method(text: str) -> str:
    """The method as it is kept, in small letters; UsageError when it can be none."""
    method = text.strip().lower()
    if not _NAME.fullmatch(method):
        message = f"{text[:60]!r} is no method of payment."
        raise UsageError(message, do="Up to 40 of a-z, 0-9, _ and -, such as bank_transfer.")
    return method


def parse_period(text: str) -> Period:
    """The period of that name; UsageError when there is none."""
    try:
        return Period(text)
    except ValueError as error:
        message = f"{text[:40]!r} is no period."
        raise UsageError(message, do=f"Periods are {', '.join(Period)}.") from error


def parse_paid_at(text: str) -> datetime | None:
    """A day, or an instant, as people and programs write it; without a timezone it is Asia/Dhaka's. None for nothing.

    UsageError for what is none.
    """
    if not text.strip():
        return None
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError as error:
        message = f"{text[:40]!r} is no time of a payment."
        raise UsageError(message, do="Write it as 2026-11-29, or 2026-11-29T14:30.") from error
    return at if at.tzinfo is not None else at.replace(tzinfo=ZONE)


def parse_day(text: str) -> date:
    """A day as 2026-12-31; UsageError for what is none, or is of other centuries."""
    try:
        return checked_date(date.fromisoformat(text.strip()))
    except ValueError as error:
        message = f"{text[:40]!r} is no day."
        raise UsageError(message, do="Write it as 2026-12-31.") from error


def parse_credit(text: str) -> Decimal:
    """As `parse_amount`; nothing is a credit, too."""
    return Decimal(0) if re.fullmatch(r"0+(\.0*)?", text.strip()) else parse_amount(text)


def today_of(now: datetime) -> date:
    """The day of an instant in the money's timezone."""
    return now.astimezone(ZONE).date()


@dataclass(frozen=True)
class Plan:
    """What a business can be put on. One that is not `offered` stays with those who have it, and takes nobody new."""

    name: str
    title: str
    price: Price
    offered: bool = True


def checked_plan(plan: Plan) -> Plan:
    """The plan, if it can be one; else UsageError."""
    if not _NAME.fullmatch(plan.name):
        message = f"{plan.name[:60]!r} is no name of a plan."
        raise UsageError(message, do="Up to 40 of a-z, 0-9, _ and -, a letter or digit first and last.")
    title = " ".join(plan.title.split()) or plan.name
    if len(title) > _LONGEST or not title.isprintable():
        message = "The title of a plan is at most 200 characters that can be seen."
        raise UsageError(message, do="Write a shorter one.")
    price = Price(parse_amount(plan.price.amount), parse_currency(plan.price.currency), plan.price.period)
    return replace(plan, title=title, price=price)


@dataclass(frozen=True)
class PaymentRequest:
    """What somebody wants verified. `accept` is why a super admin takes less than the price, else nothing.

    `paid_at` None: now. `verified_by` is the super admin who looked at the payment.
    """

    business: str
    amount: Decimal
    method: str
    reference: str
    verified_by: str
    catalog: str | None = None
    paid_at: datetime | None = None
    accept: str = ""


def checked_request(request: PaymentRequest, now: datetime) -> PaymentRequest:
    """The request with its amount, method, reference and time as they are kept; UsageError where one can not be."""
    method, reference = parse_method(request.method), " ".join(request.reference.split())
    if not reference or len(reference) > _LONGEST or not reference.isprintable():
        message = "A payment needs its reference: 1 to 200 characters that can be seen."
        raise UsageError(message, do="Write the number that the bank or the service gave it.")
    paid_at = _in_utc(request.paid_at) if request.paid_at is not None else now
    if paid_at > now + AHEAD:
        message = f"The payment is of the future: {paid_at.astimezone(ZONE):%Y-%m-%d %H:%M} in Asia/Dhaka."
        raise UsageError(message, do="Write when it was paid.")
    if paid_at < now - OLDEST:
        message = f"The payment is of {paid_at.astimezone(ZONE):%Y-%m-%d}, more than {OLDEST.days} days ago."
        raise UsageError(message, do="Correct the date. What is older is not verified here.")
    accept = " ".join(request.accept.split())[: 5 * _LONGEST]
    return replace(
        request, amount=parse_amount(request.amount), method=method, reference=reference,
        paid_at=min(paid_at, now), accept=accept,
    )  # fmt: skip


def _in_utc(at: datetime) -> datetime:
    """The instant; one without a timezone is Asia/Dhaka's, whatever the machine's is."""
    try:
        return (at if at.tzinfo is not None else at.replace(tzinfo=ZONE)).astimezone(UTC)
    except OverflowError as error:
        message = f"{at.isoformat()} is no time of a payment."
        raise UsageError(message, do="Write when it was paid.") from error


class RecordStatus(StrEnum):
    """What became of a payment that is in the ledger: what is refused is not there."""

    VERIFIED = "verified"
    ACCEPTED = "accepted"
    """Less than the price, which a super admin accepted with a reason."""


@dataclass(frozen=True)
class PaymentRecord:
    """A row of `payment_records`. Instants are UTC; `price` is what a period cost when it was paid.

    `credit_before` and `credit_after` are what the business had paid and not used; `number` is the ledger's.
    """

    catalog: str
    business: str
    plan: str
    price: Price
    amount: Decimal
    method: str
    reference: str
    status: RecordStatus
    periods: int
    credit_before: Decimal
    credit_after: Decimal
    paid_at: datetime
    verified_at: datetime
    verified_by: str
    next_payment_date: date
    actor: Actor
    reason: str = ""
    number: int = 0


def verified_payment(
    request: PaymentRequest, account: BusinessAccount, now: datetime, actor: Actor
) -> tuple[PaymentRecord, BusinessAccount]:
    """The record of a checked request, and the business as it is after it.

    UnderpaidError where amount and credit are less than the price and nobody accepts that; UsageError where there is
    nothing to be paid.
    """
    if account.plan is None or account.price is None or account.next_payment_date is None:
        message = f"{account.name} ({account.business}) is on no plan: there is nothing to be paid."
        raise UsageError(message, do="Put the business on a plan first.")
    price, available = account.price, request.amount + account.credit
    periods, rest = int(available // price.amount), available % price.amount
    accepted = periods == 0
    if accepted:
        if not request.accept:
            raise _underpaid(request, account, price)
        periods, rest = 1, Decimal(0)
    paid_at = request.paid_at or now
    due, day = next_date(account, paid_at, periods)
    after = replace(
        account, payment_status=PaymentStatus.PAID, next_payment_date=due, billing_day=day, credit=rest, updated_at=now
    )
    record = PaymentRecord(
        catalog=account.catalog,
        business=account.business,
        plan=account.plan,
        price=price,
        amount=request.amount,
        method=request.method,
        reference=request.reference,
        status=RecordStatus.ACCEPTED if accepted else RecordStatus.VERIFIED,
        periods=periods,
        credit_before=account.credit,
        credit_after=rest,
        paid_at=paid_at,
        verified_at=now,
        verified_by=request.verified_by,
        next_payment_date=due,
        actor=actor,
        reason=request.accept if accepted else "",
    )
    return record, after


def _underpaid(request: PaymentRequest, account: BusinessAccount, price: Price) -> UnderpaidError:
    credit = f" and {account.credit:,.2f} of credit" if account.credit else ""
    missing = price.amount - request.amount - account.credit
    message = f"{request.amount:,.2f}{credit} is less than {price}: {missing:,.2f} {price.currency} are missing."
    return UnderpaidError(message, do="Ask for the rest; a super admin may accept it as it is, with a reason.")


def next_date(account: BusinessAccount, paid_at: datetime, periods: int) -> tuple[date, int]:
    """When the next payment is due after `periods` were paid for, and on which day of a month that falls.

    The later of the date that stood and the day of the payment, and so many periods. A last day of a month stays one.
    """
    assert account.price is not None  # noqa: S101  # the caller has looked
    assert account.next_payment_date is not None  # noqa: S101
    paid_on = today_of(paid_at)
    if paid_on > account.next_payment_date:
        begin, day = paid_on, billing_day(paid_on)
    else:
        begin, day = account.next_payment_date, account.billing_day or billing_day(account.next_payment_date)
    months = periods * account.price.period.months
    if months > MOST_AHEAD_MONTHS:
        message = f"That pays for {periods:,} periods at once: more than {MOST_AHEAD_MONTHS // 12} years."
        raise UsageError(message, do="Correct the amount.")
    return checked_date(add_months(begin, months, day)), day


def checked_date(day: date) -> date:
    """A day on which something can be paid; UsageError for one of other centuries."""
    if not FIRST_DATE <= day <= LAST_DATE:
        message = f"{day.isoformat()} is no day on which anything is paid."
        raise UsageError(message, do=f"Dates are from {FIRST_DATE.year} to {LAST_DATE.year}.")
    return day


def billing_day(day: date) -> int:
    """The day of a month on which payments fall due that begin with `day`: 31 for the last one of any month."""
    last = calendar.monthrange(day.year, day.month)[1]
    return _LAST_DAY if day.day == last else day.day


def add_months(begin: date, months: int, day: int) -> date:
    """The `day` of the month that many months later, or its last day where it has no such."""
    year, month = divmod(begin.year * 12 + begin.month - 1 + months, 12)
    return date(year, month + 1, min(day, calendar.monthrange(year, month + 1)[1]))


def put_on(account: BusinessAccount, plan: Plan | None, now: datetime) -> BusinessAccount:
    """The business on a plan at its price, or on none. The first payment is due today; a date that stands is kept.

    UsageError where the plan takes nobody new, or credit of another currency would be lost.
    """
    if plan is None:
        _check_no_credit(account, None)
        return replace(
            account, plan=None, price=None, payment_status=PaymentStatus.NONE, next_payment_date=None,
            billing_day=None, updated_at=now,
        )  # fmt: skip
    if not plan.offered and plan.name != account.plan:
        message = f"Plan {plan.name} takes nobody new."
        raise UsageError(message, do="`backup-pipeline plan list` shows which do.")
    _check_no_credit(account, plan.price.currency)
    today = today_of(now)
    first = account.next_payment_date is None
    return replace(
        account,
        plan=plan.name,
        price=plan.price,
        payment_status=PaymentStatus.UNPAID if first else account.payment_status,
        next_payment_date=today if first else account.next_payment_date,
        billing_day=billing_day(today) if first else account.billing_day,
        updated_at=now,
    )


def _check_no_credit(account: BusinessAccount, currency: str | None) -> None:
    if account.credit and account.price is not None and account.price.currency != currency:
        credit = f"{account.credit:,.2f} {account.price.currency}"
        message = f"{account.name} has {credit} of credit, which would be lost."
        raise UsageError(message, do="Give it back first, and set the credit to 0.")


@dataclass(frozen=True)
class PaymentFilter:
    """Which payments are wanted; what is empty is no condition. `text` is looked for in reference and business."""

    catalog: str | None = None
    business: str | None = None
    method: str = ""
    plan: str = ""
    text: str = ""
    since: datetime | None = None
    until: datetime | None = None
