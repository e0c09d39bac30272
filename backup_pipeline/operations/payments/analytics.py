"""Analytics: what is counted of businesses, their money and their backups; counted once, by one process, and kept.

An answer is kept with the newest event of what it was counted from. As long as no newer one has come, and for a minute
at most, it is given again, for one question to the ledger; else one process counts, and the others wait for it. Days
that are over are kept for good by `keep_closed_days`; the day that is not over is always counted live.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

from pydantic import TypeAdapter

from backup_pipeline.core.errors import UsageError
from backup_pipeline.core.payments import PaymentFilter, today_of
from backup_pipeline.core.payments.accounts import AccountFilter, AccountStatus, BusinessAccount, Feature, features_with
from backup_pipeline.core.payments.analytics import (
    Amount,
    BackupCounts,
    DayFacts,
    GrowthMonth,
    KeptAnalysis,
    Moment,
    Movement,
    RevenueMonth,
    RevenueShare,
    end_of,
    facts_of,
    growth_months,
    months_until,
    revenue_at,
    revenue_months,
    revenue_shares,
    timelines,
)
from backup_pipeline.core.ports import Ledger
from backup_pipeline.operations.payments import MoneyPorts
from backup_pipeline.operations.payments.accounts import grace_days

FRESH = timedelta(seconds=60)
"""An answer is given again for so long at the most: time alone makes a payment overdue."""
MONTHS = 12
_TREND = 30
_LATELY = timedelta(days=30)
_MOST_KEPT = 800
"""Days that are kept in one go."""
_MONEY = ("business.registered", "business.changed", "payment.verified", "system.status")
_BACKUPS = ("backup", "restore", "alert", "tick")
_JUST_NOW = timedelta(minutes=10)
"""Two ticks of five minutes."""


class AnalyticsType(StrEnum):
    """What is asked for."""

    OVERVIEW = "overview"
    BUSINESS = "business"
    REVENUE = "revenue"
    GROWTH = "growth"


@dataclass(frozen=True)
class OverviewDocument:
    """Everything at a glance. `counting` are the businesses that are active and not overdue beyond the days of grace.

    `due` are those that ticks back up: active, and not paused; `protected` of them those whose backup is known to be
    right as of ten minutes ago or later. `mrr` is that of the month so far, `trend` its last thirty days. `protection`
    is of the last thirty days; `success_rate` in percent.
    """

    month: str
    businesses: int
    active: int
    counting: int
    paused: int
    gone: int
    due: int
    protected: int
    mrr: tuple[Movement, ...]
    revenue: tuple[RevenueMonth, ...]
    protection: BackupCounts
    success_rate: Decimal | None
    trend: tuple[DayFacts, ...]


@dataclass(frozen=True)
class BusinessDocument:
    """One business. `paid` is all that it ever paid, `mrr` what it brings in now, `months` what it paid in each."""

    catalog: str
    business: str
    name: str
    status: str
    plan: str | None
    price: str | None
    standing: str
    next_payment_date: date | None
    credit: Decimal
    registered_at: datetime
    mrr: tuple[Amount, ...]
    paid: tuple[Amount, ...]
    payments: int
    months: tuple[RevenueMonth, ...]
    features: dict[str, bool]
    protection: BackupCounts
    success_rate: Decimal | None


@dataclass(frozen=True)
class RevenueDocument:
    """What was paid in each month, for which plans, and by which methods."""

    months: tuple[RevenueMonth, ...]
    by_plan: tuple[RevenueShare, ...]
    by_method: tuple[RevenueShare, ...]


@dataclass(frozen=True)
class GrowthDocument:
    """How many came, stayed and left in each month, and how the monthly revenue moved."""

    months: tuple[GrowthMonth, ...]


AnalyticsDocument = OverviewDocument | BusinessDocument | RevenueDocument | GrowthDocument


@dataclass(frozen=True)
class Analysis:
    """An answer: the document, when it was counted, and the newest event it knows of.

    `etag` is the same as long as what is in the document is.
    """

    type: AnalyticsType
    range: str
    as_of: datetime
    version: int
    document: AnalyticsDocument
    etag: str = field(default="", compare=False)


_DOCUMENTS: dict[AnalyticsType, TypeAdapter[Any]] = {
    AnalyticsType.OVERVIEW: TypeAdapter(OverviewDocument),
    AnalyticsType.BUSINESS: TypeAdapter(BusinessDocument),
    AnalyticsType.REVENUE: TypeAdapter(RevenueDocument),
    AnalyticsType.GROWTH: TypeAdapter(GrowthDocument),
}


@dataclass(frozen=True)
class _Question:
    """What is counted: the present, the months, and the days of grace."""

    now: datetime
    months: Sequence[date]
    grace: int

    @property
    def today(self) -> date:
        return today_of(self.now)

    @property
    def present(self) -> Moment:
        return Moment(self.now + timedelta(microseconds=1), self.today)


def analyse(
    wanted: AnalyticsType, ports: MoneyPorts, *, account: BusinessAccount | None = None, months: int = MONTHS
) -> Analysis:
    """The answer, counted anew or given again. UsageError for too many months, or no business where one is needed."""
    if (account is None) is (wanted is AnalyticsType.BUSINESS):
        message = "Analytics of a business need the business, and those of all need none."
        raise UsageError(message, do="Give business_id with type=business, and with nothing else.")
    now = ports.clock()
    first = months_until(today_of(now), months)
    span = f"{first[0].isoformat()}..{today_of(now).isoformat()}"
    key = (wanted.value, account.scope.key if account is not None else "", span)
    kinds = _MONEY + (_BACKUPS if wanted in {AnalyticsType.OVERVIEW, AnalyticsType.BUSINESS} else ())
    version, kept = ports.ledger.analytics.answer(key, kinds)
    if not _is_fresh(kept, version, now):
        with ports.ledger.at_once() as ledger:
            ledger.analytics.alone(key)
            version, kept = ledger.analytics.answer(key, kinds)  # somebody else may have counted meanwhile
            if kept is None or not _is_fresh(kept, version, now):
                document = _counted(wanted, ledger, _Question(now, first, grace_days(ledger.access)), account)
                kept = KeptAnalysis(version, now, _DOCUMENTS[wanted].dump_python(document, mode="json"))
                ledger.analytics.keep_answer(key, kept)
    assert kept is not None  # noqa: S101  # fresh, or just counted
    text = json.dumps(kept.document, sort_keys=True)
    etag = hashlib.sha256(f"{key}{text}".encode()).hexdigest()[:32]
    document = _DOCUMENTS[wanted].validate_python(kept.document)
    return Analysis(wanted, span, kept.at, kept.version, document, etag)


def _is_fresh(kept: KeptAnalysis | None, version: int, now: datetime) -> bool:
    return kept is not None and kept.version == version and timedelta(0) <= now - kept.at <= FRESH


def _counted(
    wanted: AnalyticsType, ledger: Ledger, question: _Question, account: BusinessAccount | None
) -> AnalyticsDocument:
    if account is not None:
        return _business(ledger, question, account)
    if wanted is AnalyticsType.REVENUE:
        return _revenue(ledger, question)
    return _growth(ledger, question) if wanted is AnalyticsType.GROWTH else _overview(ledger, question)


def _overview(ledger: Ledger, question: _Question) -> OverviewDocument:
    known = timelines(ledger.analytics.history())
    [month] = growth_months(known, question.months[-1:], question.grace, now=question.now)
    begin = question.today - timedelta(days=_TREND - 1)
    days = _days(ledger, question, min(begin, question.months[-1]))
    standings = ledger.analytics.standings()
    protection = ledger.analytics.protection(question.now - _LATELY)
    catalogs = sorted({states.states[0].catalog for states in known})
    due = {catalog: _due(ledger, catalog) for catalog in catalogs}
    return OverviewDocument(
        month=month.month,
        businesses=sum(standings.values()) - standings.get(AccountStatus.GONE, 0),
        active=standings.get(AccountStatus.ACTIVE, 0),
        counting=month.active_end,
        paused=sum(len(ledger.businesses.paused(catalog)) for catalog in catalogs),
        gone=standings.get(AccountStatus.GONE, 0),
        due=sum(map(len, due.values())),
        protected=sum(_protected(ledger, catalog, keys, question.now) for catalog, keys in due.items()),
        mrr=month.mrr,
        revenue=revenue_months([day for day in days if day.day >= question.months[-1]], question.months[-1:]),
        protection=protection,
        success_rate=protection.success_rate,
        trend=tuple(day for day in days if day.day >= begin),
    )


def _due(ledger: Ledger, catalog: str) -> Sequence[str]:
    active = ledger.businesses.list(AccountFilter(catalog=catalog, statuses=(AccountStatus.ACTIVE,)))
    paused = ledger.businesses.paused(catalog)
    return [account.business for account in active if account.business not in paused]


def _protected(ledger: Ledger, catalog: str, keys: Sequence[str], now: datetime) -> int:
    """How many of the businesses have a backup that is known to be right as of a moment ago."""
    newest = ledger.ticks.newest_records(catalog, keys)
    return sum(record.confirmed_until >= now - _JUST_NOW for record in newest.values() if record.confirmed_until)


def _business(ledger: Ledger, question: _Question, account: BusinessAccount) -> BusinessDocument:
    own = (account.catalog, account.business)
    known = timelines(ledger.analytics.history(*own))
    since = end_of(question.months[0] - timedelta(days=1)).until
    revenue = ledger.analytics.revenue(since, question.present.until, *own)
    days = [DayFacts(day, revenue=tuple(parts)) for day, parts in sorted(revenue.items())]
    totals = ledger.payments.totals(PaymentFilter(catalog=account.catalog, business=account.business))
    protection = ledger.analytics.protection(question.now - _LATELY, *own)
    return BusinessDocument(
        catalog=account.catalog,
        business=account.business,
        name=account.name,
        status=account.status.value,
        plan=account.plan,
        price=str(account.price) if account.price is not None else None,
        standing=account.standing(question.today, question.grace).value,
        next_payment_date=account.next_payment_date,
        credit=account.credit,
        registered_at=account.registered_at,
        mrr=revenue_at(known, question.present, question.grace),
        paid=tuple(Amount(currency, amount) for currency, amount, _ in totals),
        payments=sum(count for _, _, count in totals),
        months=revenue_months(days, question.months),
        features={feature.value: on for feature, on in _features(ledger, account)},
        protection=protection,
        success_rate=protection.success_rate,
    )


def _features(ledger: Ledger, account: BusinessAccount) -> Sequence[tuple[Feature, bool]]:
    return list(features_with(ledger.businesses.features(account.catalog, account.business)).items())


def _revenue(ledger: Ledger, question: _Question) -> RevenueDocument:
    days = _days(ledger, question, question.months[0], only_revenue=True)
    return RevenueDocument(
        revenue_months(days, question.months),
        revenue_shares(days, lambda part: part.plan),
        revenue_shares(days, lambda part: part.method),
    )


def _growth(ledger: Ledger, question: _Question) -> GrowthDocument:
    known = timelines(ledger.analytics.history())
    return GrowthDocument(growth_months(known, question.months, question.grace, now=question.now))


def _days(ledger: Ledger, question: _Question, since: date, *, only_revenue: bool = False) -> Sequence[DayFacts]:
    """The days from `since` until today: those that are kept, and the others counted now; today always is."""
    kept = {day.day: day for day in ledger.analytics.kept_days(since) if day.day < question.today}
    wanted = [since + timedelta(days=number) for number in range((question.today - since).days + 1)]
    missing = [day for day in wanted if day not in kept]
    return sorted(
        [*kept.values(), *_live(ledger, question, missing, only_revenue=only_revenue)], key=lambda day: day.day
    )


def _live(
    ledger: Ledger, question: _Question, days: Sequence[date], *, only_revenue: bool = False
) -> Sequence[DayFacts]:
    revenue = ledger.analytics.revenue(end_of(days[0] - timedelta(days=1)).until, question.present.until)
    if only_revenue:
        return [DayFacts(day, revenue=tuple(revenue.get(day, ()))) for day in days]
    known = timelines(ledger.analytics.history())
    return facts_of(days, known, revenue, question.grace, now=question.now)


def keep_closed_days(ports: MoneyPorts) -> Sequence[DayFacts]:
    """Keep every day that is over and not kept yet, since the first business came; those that were kept now.

    Answers that are too old to be given again go.
    """
    now = ports.clock()
    with ports.ledger.at_once() as ledger:
        ledger.analytics.alone(("day", "", ""))
        known = timelines(ledger.analytics.history())
        if not known:
            return []
        first = today_of(min(business.registered_at for business in known))
        today = today_of(now)
        first = max(first, today - timedelta(days=_MOST_KEPT))
        kept = {day.day for day in ledger.analytics.kept_days(first)}
        days = [first + timedelta(days=number) for number in range((today - first).days)]
        missing = [day for day in days if day not in kept]
        question = _Question(now, (), grace_days(ledger.access))
        facts = _live(ledger, question, missing) if missing else []
        ledger.analytics.keep_days(facts, now)
        ledger.analytics.forget(now - FRESH)
    return facts
