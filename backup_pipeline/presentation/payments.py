"""Plans, payments and what businesses are on, as people see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal

from backup_pipeline.core.payments import ZONE, PaymentRecord, Plan, RecordStatus
from backup_pipeline.core.payments.accounts import AccountStatus, BusinessAccount, Feature, PaymentStanding
from backup_pipeline.presentation import (
    Part,
    ReportDocument,
    Span,
    Table,
    Tone,
    document,
    facts,
    line,
    numbers,
    prose,
    texts,
)

STANDING_TONES = {
    PaymentStanding.FREE: Tone.QUIET,
    PaymentStanding.PAID: Tone.GOOD,
    PaymentStanding.DUE: Tone.WARNING,
    PaymentStanding.OVERDUE: Tone.WRONG,
}
"""What each standing means to its reader."""


def money(amount: Decimal, currency: str) -> str:
    """An amount for people: `1,200.00 BDT`."""
    return f"{amount:,.2f} {currency}"


def plans_document(plans: Sequence[Plan]) -> ReportDocument:
    """What businesses can be put on."""
    if not plans:
        return document(line("There is no plan yet. `backup-pipeline plan set NAME PRICE` adds the first."))
    rows = tuple(
        (plan.name, plan.title, f"{plan.price.amount:,.2f}", plan.price.currency, plan.price.period.in_words,
         "yes" if plan.offered else Span("no", Tone.QUIET))
        for plan in plans
    )  # fmt: skip
    columns = (*texts("Plan", "Title"), *numbers("Price"), *texts("Currency", "For a", "Offered"))
    return document(Table(columns, rows))


def payments_document(records: Sequence[PaymentRecord]) -> ReportDocument:
    """What was paid, newest first."""
    if not records:
        return document(line("No payment was verified."))
    columns = (
        *numbers("No."), *texts("Paid", "Business", "Plan"), *numbers("Amount"), *texts("Method", "Reference"),
        *numbers("Periods"), *texts("Next payment", "Verified by"), prose("State"),
    )  # fmt: skip
    return document(Table(columns, tuple(_record(record) for record in records)))


def _record(record: PaymentRecord) -> tuple[Part, ...]:
    accepted = record.status is RecordStatus.ACCEPTED
    state = Span(f"accepted: {record.reason}", Tone.WARNING) if accepted else Span("verified", Tone.GOOD)
    return (
        record.number,
        record.paid_at.astimezone(ZONE).date(),
        f"{record.catalog}/{record.business}",
        record.plan,
        money(record.amount, record.price.currency),
        record.method,
        record.reference,
        record.periods,
        record.next_payment_date,
        record.verified_by,
        state,
    )


def payment_words(record: PaymentRecord, name: str) -> str:
    """What a payment came to, in a sentence."""
    count = f"{record.periods} × {record.price}"
    credit = f"; credit {money(record.credit_after, record.price.currency)}" if record.credit_after else ""
    accepted = f", accepted: {record.reason}" if record.status is RecordStatus.ACCEPTED else ""
    return f"{name}: {count}{accepted}. Next payment {record.next_payment_date.isoformat()}{credit}."


def accounts_document(
    accounts: Sequence[BusinessAccount], today: date, grace: int, paused: frozenset[str]
) -> ReportDocument:
    """Businesses, with how they stand; `paused` are `catalog/key`."""
    if not accounts:
        return document(line("No business is registered. The registry of a source is read with each tick."))
    columns = (
        *texts("Business", "Name", "State", "Plan", "Price", "Standing", "Next payment"),
        *numbers("Credit"),
    )
    return document(Table(columns, tuple(_account(account, today, grace, paused) for account in accounts)))


def _account(account: BusinessAccount, today: date, grace: int, paused: frozenset[str]) -> tuple[Part, ...]:
    key = f"{account.catalog}/{account.business}"
    state: Part = account.status.value if account.status is AccountStatus.ACTIVE else Span(account.status, Tone.QUIET)
    if key in paused:
        state = Span(f"{account.status}, backups paused", Tone.WARNING)
    standing = account.standing(today, grace)
    price = str(account.price) if account.price is not None else ""
    credit = f"{account.credit:,.2f}" if account.credit else ""
    return (
        key, account.name, state, account.plan or "", price, Span(standing.value, STANDING_TONES[standing]),
        account.next_payment_date, credit,
    )  # fmt: skip


def account_document(
    account: BusinessAccount, features: Mapping[Feature, bool], today: date, grace: int
) -> ReportDocument:
    """One business."""
    standing = account.standing(today, grace)
    return document(
        facts(
            [
                ("Business", f"{account.catalog}/{account.business}"),
                ("Name", account.name),
                ("State", account.status.value),
                ("Plan", account.plan or "none"),
                ("Price", str(account.price) if account.price is not None else ""),
                ("Standing", Span(standing.value, STANDING_TONES[standing])),
                ("Next payment", account.next_payment_date),
                ("Credit", money(account.credit, account.price.currency) if account.price and account.credit else ""),
                *((feature.value, "on" if on else Span("off", Tone.WARNING)) for feature, on in features.items()),
            ]
        )
    )
