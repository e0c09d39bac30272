"""Analytics as people see them: facts and tables for the terminal, rows for CSV, pictures for pages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from datetime import datetime, time
from decimal import Decimal

from markupsafe import Markup

from backup_pipeline.core.payments import ZONE
from backup_pipeline.core.payments.analytics import Amount, Movement, RevenueMonth, RevenueShare
from backup_pipeline.operations.payments.analytics import (
    Analysis,
    BusinessDocument,
    GrowthDocument,
    OverviewDocument,
    RevenueDocument,
)
from backup_pipeline.presentation import (
    Bytes,
    Part,
    ReportDocument,
    Section,
    Table,
    document,
    facts,
    joined,
    line,
    numbers,
    texts,
)
from backup_pipeline.presentation.charts import Chart, Mark, bar_chart, line_chart, ranked_chart
from backup_pipeline.presentation.payments import money

_MOVES = ("start", "new", "expansion", "reactivation", "contraction", "churn", "end")


def moneys(amounts: Iterable[Amount]) -> str:
    """Amounts of several currencies, which nobody adds: `1,200.00 BDT, 10.00 USD`."""
    return ", ".join(money(each.amount, each.currency) for each in amounts) or "nothing"


def in_percent(value: Decimal | None, *, signed: bool = False) -> str:
    """`12.5 %`; nothing where there is no whole to be a part of."""
    if value is None:
        return ""
    return f"{value:+} %" if signed else f"{value} %"


def analytics_document(analysis: Analysis) -> ReportDocument:
    """The answer as facts and tables."""
    answer = analysis.document
    if isinstance(answer, OverviewDocument):
        report = _overview(answer)
    elif isinstance(answer, BusinessDocument):
        report = _business(answer)
    elif isinstance(answer, RevenueDocument):
        report = _revenue(answer)
    else:
        report = _growth(answer)
    return report


def _overview(answer: OverviewDocument) -> ReportDocument:
    pairs: list[tuple[str, Part]] = [
        ("Businesses", answer.businesses),
        ("Active", answer.active),
        ("Active and not overdue", answer.counting),
        ("Backups paused", answer.paused or None),
        ("Gone", answer.gone or None),
        ("Protected now", f"{answer.protected:,} of {answer.due:,}" if answer.due else ""),
        ("Monthly revenue", moneys(Amount(each.currency, each.end) for each in answer.mrr)),
        ("Paid this month", moneys(Amount(each.currency, each.amount) for each in answer.revenue)),
        *_protection(answer),
    ]
    return joined([document(facts(pairs)), _movements(answer.mrr)])


def _protection(answer: OverviewDocument | BusinessDocument) -> Iterator[tuple[str, Part]]:
    protection = answer.protection
    yield "Good backups in 30 days", protection.good
    yield "Failed or missed", protection.failed
    yield "Success rate", in_percent(answer.success_rate)
    yield "Stored", Bytes(protection.stored_bytes)
    if isinstance(answer, OverviewDocument):
        yield "Businesses with a backup", protection.with_backup
    yield "Newest good backup", protection.newest
    yield "Open restore requests", protection.open_requests
    yield "Open alerts", protection.open_alerts


def _movements(movements: Sequence[Movement]) -> ReportDocument:
    if not movements:
        return document(line("Nothing is paid each month yet."))
    columns = (*texts("Monthly revenue"), *numbers(*(name.capitalize() for name in _MOVES)))
    rows = tuple((each.currency, *(f"{getattr(each, name):,.2f}" for name in _MOVES)) for each in movements)
    return document(Table(columns, rows))


def _business(answer: BusinessDocument) -> ReportDocument:
    own: list[tuple[str, Part]] = [
        ("Business", f"{answer.catalog}/{answer.business}"),
        ("Name", answer.name),
        ("State", answer.status),
        ("Plan", answer.plan or "none"),
        ("Price", answer.price or ""),
        ("Standing", answer.standing),
        ("Next payment", answer.next_payment_date),
        ("Monthly revenue", moneys(answer.mrr)),
        ("Paid in all", moneys(answer.paid)),
        ("Payments", answer.payments),
        *((name, "on" if on else "off") for name, on in answer.features.items()),
        *_protection(answer),
    ]
    return joined([document(facts(own)), _months(answer.months)])


def _months(months: Sequence[RevenueMonth]) -> ReportDocument:
    if not months:
        return document(line("Nothing was paid in these months."))
    columns = (*texts("Month", "Currency"), *numbers("Paid", "Payments", "Change"))
    rows = tuple(
        (each.month, each.currency, f"{each.amount:,.2f}", each.payments, in_percent(each.change, signed=True))
        for each in months
    )
    return document(Table(columns, rows))


def _shares(title: str, shares: Sequence[RevenueShare]) -> Section:
    columns = (*texts(title, "Currency"), *numbers("Paid", "Payments"))
    rows = tuple((each.name, each.currency, f"{each.amount:,.2f}", each.payments) for each in shares)
    return Section((Table(columns, rows),))


def _revenue(answer: RevenueDocument) -> ReportDocument:
    months = _months(answer.months)
    if not answer.by_plan:
        return months
    return months + ReportDocument((_shares("Plan", answer.by_plan), _shares("Method", answer.by_method)))


def _growth(answer: GrowthDocument) -> ReportDocument:
    columns = (
        *texts("Month"), *numbers("Registered", "At start", "Gained", "Churned", "At end", "Churn", "Growth"),
    )  # fmt: skip
    rows = tuple(
        (each.month, each.registered, each.active_start, each.gained, each.churned, each.active_end,
         in_percent(each.churn_rate), in_percent(each.growth, signed=True))
        for each in answer.months
    )  # fmt: skip
    named = [(month.month, each) for month in answer.months for each in month.mrr]
    moves = Table(
        (*texts("Month", "Currency"), *numbers(*(name.capitalize() for name in _MOVES))),
        tuple((month, each.currency, *(f"{getattr(each, name):,.2f}" for name in _MOVES)) for month, each in named),
    )
    return document(Table(columns, rows)) + (document(moves) if named else document())


def analytics_rows(analysis: Analysis) -> Iterator[Sequence[object]]:
    """The numbers of an answer as rows of a file, a head first."""
    answer = analysis.document
    if isinstance(answer, RevenueDocument | BusinessDocument):
        yield from _rows_of(answer.months, RevenueMonth)
    elif isinstance(answer, OverviewDocument):
        yield ("day", "currency", "mrr", "paid", "payments", "active", "registered")
        for day in answer.trend:
            currencies = {each.currency for each in day.mrr} | {part.currency for part in day.revenue}
            for currency in sorted(currencies) or [""]:
                paid = [part for part in day.revenue if part.currency == currency]
                mrr = sum((each.amount for each in day.mrr if each.currency == currency), Decimal("0.00"))
                amount = sum((part.amount for part in paid), Decimal("0.00"))
                count = sum(part.payments for part in paid)
                yield (day.day, currency, mrr, amount, count, day.active, day.registered)
    else:
        own = ("month", "registered", "active_start", "gained", "churned", "active_end", "churn_rate", "growth")
        yield (*own, "currency", *_MOVES)
        for month in answer.months:
            for each in month.mrr or (Movement(""),):
                yield (
                    *(getattr(month, name) for name in own),
                    each.currency,
                    *(getattr(each, name) for name in _MOVES),
                )


def _rows_of(rows: Sequence[RevenueMonth], kind: type[RevenueMonth]) -> Iterator[Sequence[object]]:
    names = [each.name for each in fields(kind)]
    yield names
    for row in rows:
        yield [getattr(row, name) for name in names]


def analytics_charts(analysis: Analysis) -> Sequence[Markup]:
    """The pictures of an answer, each with the table of its numbers; one a currency."""
    answer = analysis.document
    if isinstance(answer, OverviewDocument):
        return [_trend(answer, currency) for currency in sorted({each.currency for each in answer.mrr})]
    if isinstance(answer, GrowthDocument):
        return list(_growth_charts(answer))
    charts = [_paid(answer.months, currency) for currency in sorted({each.currency for each in answer.months})]
    if isinstance(answer, RevenueDocument):
        charts += [
            _ranked("Paid for plans", "Plan", answer.by_plan),
            _ranked("Paid by methods", "Method", answer.by_method),
        ]
    return charts


def _whole(value: float) -> str:
    """A number of an axis of things that are counted: nothing for a part of one."""
    return _short(value) if value == int(value) else ""


def _short(value: float) -> str:
    """A number of an axis: `1.2k`."""
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"


def _trend(answer: OverviewDocument, currency: str) -> Markup:
    marks = []
    for day in answer.trend:
        amount = sum((each.amount for each in day.mrr if each.currency == currency), Decimal("0.00"))
        at = datetime.combine(day.day, time(12), ZONE)
        marks.append(Mark(at, float(amount), day.day.isoformat(), money(amount, currency)))
    note = "Of businesses that are active and not overdue, at the end of each day."
    return line_chart(Chart(f"Monthly revenue, {currency}", ("Day", "Revenue"), tuple(marks), _short, note))


def _paid(months: Sequence[RevenueMonth], currency: str) -> Markup:
    marks = tuple(
        Mark(each.month[2:], float(each.amount), each.month, money(each.amount, currency))
        for each in months
        if each.currency == currency
    )
    return bar_chart(Chart(f"Paid in each month, {currency}", ("Month", "Paid"), marks, _short))


def _ranked(title: str, name: str, shares: Sequence[RevenueShare]) -> Markup:
    several = len({each.currency for each in shares}) > 1
    marks = tuple(
        Mark(
            f"{each.name} {each.currency}" if several else each.name, float(each.amount),
            f"{each.name}, {each.currency}" if several else each.name, money(each.amount, each.currency),
        )
        for each in shares
    )  # fmt: skip
    return ranked_chart(Chart(title, (name, "Paid"), marks, _short))


def _growth_charts(answer: GrowthDocument) -> Iterator[Markup]:
    active = tuple(
        Mark(each.month[2:], each.active_end, each.month, f"{each.active_end:,}") for each in answer.months
    )  # fmt: skip
    note = "Active in the registry of their source, and not overdue, at the end of each month."
    yield bar_chart(Chart("Active businesses", ("Month", "Businesses"), active, _whole, note))
    for name, title in (("registered", "Registered"), ("churned", "Churned")):
        marks = tuple(
            Mark(each.month[2:], getattr(each, name), each.month, f"{getattr(each, name):,}") for each in answer.months
        )
        yield bar_chart(Chart(title, ("Month", "Businesses"), marks, _whole))
    for currency in sorted({own.currency for month in answer.months for own in month.mrr}):
        ends = [(month.month, [own.end for own in month.mrr if own.currency == currency]) for month in answer.months]
        marks = tuple(
            Mark(month[2:], float(sum(own, Decimal(0))), month, money(sum(own, Decimal("0.00")), currency))
            for month, own in ends
        )
        yield bar_chart(Chart(f"Monthly revenue, {currency}", ("Month", "Revenue"), marks, _short))
