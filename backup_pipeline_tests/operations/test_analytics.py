"""Analytics over a ledger: each number as independent SQL has it, counted once, fresh after each payment."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import event

from backup_pipeline.core.access import NewUser, Role
from backup_pipeline.core.access.sessions import PersonIdentity
from backup_pipeline.core.errors import BackupError, UsageError
from backup_pipeline.core.payments import ZONE, PaymentRequest, Plan
from backup_pipeline.core.payments.accounts import AccountFilter, AccountStatus, Period, Price, RegistryEntry
from backup_pipeline.operations.payments import MoneyPorts, account_of, verifier, verify_payment, write_plan
from backup_pipeline.operations.payments.accounts import (
    NO_PLAN,
    AccountChange,
    change_account,
    grace_days,
    set_money_settings,
)
from backup_pipeline.operations.payments.analytics import (
    Analysis,
    AnalyticsType,
    BusinessDocument,
    GrowthDocument,
    OverviewDocument,
    RevenueDocument,
    analyse,
    keep_closed_days,
)
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.servers.ledgers import ScratchLedger, new_ledger

START = datetime(2026, 7, 1, 4, tzinfo=UTC)
NOW = datetime(2026, 11, 30, 10, tzinfo=UTC)
PLANS = (
    Plan("basic", "Basic", Price(Decimal("90.00"), "BDT", Period.MONTH)),
    Plan("pro", "Pro", Price(Decimal("200.00"), "BDT", Period.MONTH)),
    Plan("year", "Year", Price(Decimal("1000.00"), "BDT", Period.YEAR)),
    Plan("abroad", "Abroad", Price(Decimal("10.00"), "USD", Period.QUARTER)),
)


@dataclass
class Books:
    """A ledger in which businesses came, paid, changed and left, and its clock."""

    ledger: ScratchLedger
    now: datetime = START

    @property
    def ports(self) -> MoneyPorts:
        return MoneyPorts(self.ledger, lambda: self.now)

    def pay(self, key: str, amount: str, paid_at: datetime | None = None, reference: str = "") -> None:
        request = PaymentRequest(key, Decimal(amount), "cash", reference or str(uuid4()), "karim", paid_at=paid_at)
        own = self.ledger.as_person(verifier(self.ledger, "karim"))
        verify_payment(request, MoneyPorts(own, lambda: self.now), RAHIM)

    def analyse(self, wanted: AnalyticsType, **more: Any) -> Analysis:
        return analyse(wanted, self.ports, **more)

    def sql(self, query: str, **values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.ledger.url) as session:
            return session.execute(query.encode(), values).fetchall()


@pytest.fixture(scope="module")
def books() -> Iterator[Books]:
    """Five months of 14 businesses, by chance and the same each time."""
    with closing(new_ledger()) as ledger:
        chance, made = random.Random(7), Books(ledger)  # no secret
        ledger.as_person(PersonIdentity()).access.users.add(NewUser("karim", Role.SUPER_ADMIN), RAHIM, START)
        for plan in PLANS:
            write_plan(plan, made.ports, RAHIM)
        entries: dict[str, RegistryEntry] = {}
        while made.now < NOW - timedelta(days=1):
            if len(entries) < 14:
                key = f"b{len(entries):02}"
                entries[key] = RegistryEntry(key, f"Business {key}")
            for key in list(entries):
                if chance.random() < 0.08:
                    entries[key] = replace(entries[key], active=not entries[key].active)
            ledger.businesses.register("retail", list(entries.values()), RAHIM, made.now)
            for account in ledger.businesses.list(AccountFilter()):
                happens(made, account.business, chance)
            made.now += timedelta(days=chance.randint(2, 6), minutes=chance.randint(0, 1400))
        made.now = NOW
        yield made


def happens(books: Books, key: str, chance: random.Random) -> None:
    """Something, or nothing, to one business."""
    account, what = account_of(books.ledger, key), chance.random()
    if account.plan is None or what < 0.12:
        plan = chance.choice([*(plan.name for plan in PLANS), NO_PLAN])
        if account.credit:
            change_account(account, AccountChange(credit=Decimal(0)), books.ports, RAHIM)
        change_account(account, AccountChange(plan), books.ports, RAHIM)
    elif what < 0.5 and account.price is not None:
        extra = chance.choice(["0", "0", "35.50"])
        back = timedelta(days=chance.choice([0, 0, 3]))
        books.pay(key, str(account.price.amount * chance.choice([1, 1, 2]) + Decimal(extra)), books.now - back)


STATE = """
    SELECT DISTINCT ON (catalog, business) * FROM business_history
    WHERE at < %(until)s ORDER BY catalog, business, at DESC, id DESC"""
COUNTING = "status = 'active' AND (next_payment_date IS NULL OR %(day)s <= next_payment_date + 7)"
MONTHS = "CASE period WHEN 'month' THEN 1 WHEN 'quarter' THEN 3 WHEN 'half_year' THEN 6 ELSE 12 END"
MRR = f"""
    SELECT currency, sum(round(price / ({MONTHS}), 2)) FROM ({STATE}) AS h
    WHERE {COUNTING} AND price IS NOT NULL GROUP BY currency"""
ACTIVE = f"SELECT count(*) FROM ({STATE}) AS h WHERE {COUNTING}"
CHURNED = f"""
    WITH before AS ({STATE}), after AS ({STATE.replace("until", "end")})
    SELECT count(*) FROM before JOIN after USING (catalog, business)
    WHERE (before.status = 'active' AND (before.next_payment_date IS NULL OR %(day)s <= before.next_payment_date + 7))
    AND NOT (after.status = 'active' AND (after.next_payment_date IS NULL OR %(last)s <= after.next_payment_date + 7))
"""
LOCAL = "(paid_at AT TIME ZONE 'Asia/Dhaka')"


def moment(first: str) -> dict[str, Any]:
    """The end of the day before a month begins."""
    begin = date.fromisoformat(f"{first}-01")
    return {"until": datetime(begin.year, begin.month, 1, tzinfo=ZONE), "day": begin - timedelta(days=1)}


def end_of_month(month: str) -> dict[str, Any]:
    if month == "2026-11":
        return {"end": NOW, "last": date(2026, 11, 30)}
    following = moment(f"2026-{int(month[5:]) + 1:02}")
    return {"end": following["until"], "last": following["day"]}


@pytest.mark.acceptance("3.13")
def test_growth_is_what_sql_says_of_every_month(books: Books) -> None:
    document = books.analyse(AnalyticsType.GROWTH, months=5).document
    assert isinstance(document, GrowthDocument)
    assert [month.month for month in document.months] == ["2026-07", "2026-08", "2026-09", "2026-10", "2026-11"]
    for month in document.months:
        start, end = moment(month.month), end_of_month(month.month)
        assert [(month.active_start,)] == books.sql(ACTIVE, **start)
        assert [(month.active_end,)] == books.sql(ACTIVE, until=end["end"], day=end["last"])
        assert [(month.churned,)] == books.sql(CHURNED, **start, **end)
        registered = "SELECT count(*) FROM businesses WHERE to_char(registered_at AT TIME ZONE 'Asia/Dhaka', 'YYYY-MM') = %(month)s"  # noqa: E501
        assert [(month.registered,)] == books.sql(registered, month=month.month)
        for when, name in ((start, "start"), ({"until": end["end"], "day": end["last"]}, "end")):
            own = {each.currency: getattr(each, name) for each in month.mrr if getattr(each, name)}
            assert own == dict(books.sql(MRR, **when)), (month.month, name)
        assert all(each.end == each.start + each.net for each in month.mrr)
    moves = [each for month in document.months for each in month.mrr]
    names = ("new", "expansion", "reactivation", "contraction", "churn")
    assert all(any(getattr(each, name) for each in moves) for name in names), "each kind of movement is among them"


@pytest.mark.acceptance("3.13")
def test_revenue_is_what_sql_says_by_month_plan_and_method(books: Books) -> None:
    document = books.analyse(AnalyticsType.REVENUE, months=3).document
    assert isinstance(document, RevenueDocument)
    by_month = f"SELECT to_char({LOCAL}, 'YYYY-MM'), currency, sum(amount), count(*) FROM payment_records WHERE {LOCAL} >= '2026-09-01' GROUP BY 1, 2"  # noqa: E501
    found = {(each.month, each.currency, each.amount, each.payments) for each in document.months if each.payments}
    assert found == set(books.sql(by_month))
    for name, shares in (("plan", document.by_plan), ("method", document.by_method)):
        query = f"SELECT currency, {name}, sum(amount), count(*) FROM payment_records WHERE {LOCAL} >= '2026-09-01' GROUP BY 1, 2"  # noqa: E501
        assert {(each.currency, each.name, each.amount, each.payments) for each in shares} == set(books.sql(query))


@pytest.mark.acceptance("3.13", "3.31")
def test_the_overview_is_what_sql_says(books: Books) -> None:
    document = books.analyse(AnalyticsType.OVERVIEW).document
    assert isinstance(document, OverviewDocument)
    present = {"until": NOW + timedelta(microseconds=1), "day": date(2026, 11, 30)}
    assert {each.currency: each.end for each in document.mrr if each.end} == dict(books.sql(MRR, **present))
    assert [(document.counting,)] == books.sql(ACTIVE, **present)
    assert [(document.active,)] == books.sql("SELECT count(*) FROM businesses WHERE status = 'active'")
    assert len(document.trend) == 30
    for day in document.trend[::7]:
        until = datetime.combine(day.day + timedelta(days=1), datetime.min.time(), ZONE)
        assert {each.currency: each.amount for each in day.mrr} == dict(books.sql(MRR, until=until, day=day.day))
    paid = f"SELECT currency, sum(amount) FROM payment_records WHERE {LOCAL} >= '2026-11-01' GROUP BY 1"
    assert {each.currency: each.amount for each in document.revenue} == dict(books.sql(paid))


@pytest.mark.acceptance("3.13")
def test_a_business_is_what_sql_says(books: Books) -> None:
    [(key,)] = books.sql(
        "SELECT business FROM payment_records GROUP BY business ORDER BY count(*) DESC, business LIMIT 1"
    )
    document = books.analyse(AnalyticsType.BUSINESS, account=account_of(books.ledger, key)).document
    assert isinstance(document, BusinessDocument)
    paid = (
        "SELECT currency, sum(amount), sum(count(*)) OVER () FROM payment_records WHERE business = %(key)s GROUP BY 1"
    )
    rows = books.sql(paid, key=key)
    assert {(each.currency, each.amount, document.payments) for each in document.paid} == set(rows)
    months = f"SELECT to_char({LOCAL}, 'YYYY-MM'), currency, sum(amount), count(*) FROM payment_records WHERE business = %(key)s GROUP BY 1, 2"  # noqa: E501
    found = {(each.month, each.currency, each.amount, each.payments) for each in document.months if each.payments}
    assert found == set(books.sql(months, key=key))
    with pytest.raises(UsageError):
        books.analyse(AnalyticsType.BUSINESS)
    with pytest.raises(UsageError):
        books.analyse(AnalyticsType.GROWTH, account=account_of(books.ledger, key))


@contextmanager
def counted(ledger: ScratchLedger) -> Iterator[list[str]]:
    """The statements that are asked of the ledger meanwhile."""
    statements: list[str] = []

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        statements.append(statement)

    event.listen(ledger._engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(ledger._engine, "before_cursor_execute", note)


def tables_of(statements: list[str]) -> set[str]:
    names = ("business_history", "payment_records", "businesses", "backup_logs", "realtime_events", "analytics_cache")
    return {name for name in names for statement in statements if f"{name}" in statement}


@pytest.mark.acceptance("3.14")
@pytest.mark.parametrize("wanted", [AnalyticsType.OVERVIEW, AnalyticsType.REVENUE, AnalyticsType.GROWTH])
def test_a_second_call_asks_nothing_and_a_payment_is_seen_at_once(books: Books, wanted: AnalyticsType) -> None:
    books.now += timedelta(minutes=2)
    first = books.analyse(wanted)
    books.now += timedelta(seconds=59)
    with counted(books.ledger) as statements:
        again = books.analyse(wanted)
    assert (again, again.etag, again.as_of) == (first, first.etag, first.as_of)
    asked = [each for each in statements if "SET LOCAL" not in each and "set_config" not in each]
    assert len(asked) == 1, "whether there is a newer event, and the kept answer"
    assert tables_of(asked) == {"realtime_events", "analytics_cache"}
    account = change_account(account_of(books.ledger, "b00"), AccountChange("pro"), books.ports, RAHIM)
    books.pay(account.business, "200.00")
    fresh = books.analyse(wanted)
    assert (fresh.as_of, fresh.version > first.version) == (books.now, True)
    books.now += timedelta(seconds=61)
    assert books.analyse(wanted).as_of == books.now, "time alone makes a payment overdue"


def test_of_many_who_ask_at_once_one_counts(books: Books) -> None:
    books.now += timedelta(minutes=2)
    barrier = threading.Barrier(4)

    def ask(_: int) -> Analysis:
        barrier.wait()
        return books.analyse(AnalyticsType.GROWTH)

    with counted(books.ledger) as statements, ThreadPoolExecutor(4) as pool:
        answers = set(pool.map(ask, range(4)))
    assert len(answers) == 1
    assert sum("FROM business_history" in statement for statement in statements) == 1


@pytest.mark.acceptance("3.14")
def test_closed_days_are_kept_and_a_late_payment_opens_its_day_again(books: Books) -> None:
    books.now += timedelta(minutes=2)
    live = books.analyse(AnalyticsType.REVENUE).document
    kept = keep_closed_days(books.ports)
    assert (kept[0].day, kept[-1].day, len(kept)) == (date(2026, 7, 1), date(2026, 11, 29), 152)
    assert keep_closed_days(books.ports) == []
    books.now += timedelta(minutes=2)
    assert books.analyse(AnalyticsType.REVENUE).document == live
    day = date(2026, 11, 3)
    books.pay("b00", "200.00", datetime(2026, 11, 3, 12, tzinfo=ZONE))
    assert books.sql("SELECT count(*) FROM analytics_cache WHERE type = 'day' AND range = '2026-11-03'") == [(0,)]
    document = books.analyse(AnalyticsType.REVENUE).document
    assert isinstance(document, RevenueDocument)
    november = f"SELECT currency, sum(amount) FROM payment_records WHERE {LOCAL} >= '2026-11-01' GROUP BY 1"
    found = {each.currency: each.amount for each in document.months if each.month == "2026-11" and each.amount}
    assert found == dict(books.sql(november))
    assert [each.day for each in keep_closed_days(books.ports)] == [day]


def test_a_payment_and_the_keeping_of_its_day_at_the_same_moment_leave_no_old_day(books: Books) -> None:
    """The payment is written when the day was read, and committed after the day was kept."""
    paid_at, day = datetime(2026, 10, 5, 12, tzinfo=ZONE), date(2026, 10, 5)
    own = books.ledger.as_person(verifier(books.ledger, "karim"))
    with psycopg.connect(books.ledger.url) as session:
        session.execute("DELETE FROM analytics_cache WHERE range = '2026-10-05'")
    with ThreadPoolExecutor(1) as pool:
        with own.at_once() as ledger:
            request = PaymentRequest("b00", Decimal("200.00"), "cash", "RACE", "karim", paid_at=paid_at)
            verify_payment(request, MoneyPorts(ledger_at(ledger), lambda: books.now), RAHIM)
            keeping = pool.submit(keep_closed_days, books.ports)
            assert not waited(keeping, 0.3), "it waits for the payment"
        [kept] = keeping.result(10)
    [(amount,)] = books.sql("SELECT sum(amount) FROM payment_records WHERE reference = 'RACE'")
    assert (kept.day, sum(part.amount for part in kept.revenue) >= amount) == (day, True)


def ledger_at(ledger: Any) -> Any:
    """The ledger of a transaction, whose inner ones are that same one."""
    inner = lambda: closing_nothing(ledger)  # noqa: E731
    ledger.at_once = inner
    return ledger


@contextmanager
def closing_nothing(ledger: Any) -> Iterator[Any]:
    yield ledger


def waited(future: Any, seconds: float) -> bool:
    try:
        future.result(seconds)
    except TimeoutError:
        return False
    return True


def test_grace_decides_who_counts(books: Books) -> None:
    console = books.ledger.as_person(PersonIdentity())
    books.now += timedelta(minutes=2)
    late, *_ = books.ledger.businesses.list(AccountFilter(statuses=(AccountStatus.ACTIVE,)))
    if late.plan is None:
        change_account(late, AccountChange("pro"), books.ports, RAHIM)
    change_account(late, AccountChange(next_payment_date=date(2026, 11, 10)), books.ports, RAHIM)
    before = books.analyse(AnalyticsType.OVERVIEW).document
    set_money_settings(MoneyPorts(console, lambda: books.now), RAHIM, grace=90)
    after = books.analyse(AnalyticsType.OVERVIEW).document
    set_money_settings(MoneyPorts(console, lambda: books.now), RAHIM, grace=7)
    assert isinstance(before, OverviewDocument)
    assert isinstance(after, OverviewDocument)
    assert after.counting == before.counting + 1
    assert grace_days(books.ledger.access) == 7


def test_who_may_not_see_payments_may_not_analyse(books: Books) -> None:
    users = books.ledger.as_person(PersonIdentity()).access.users
    nila = users.add(NewUser(f"nila {uuid4()}", Role.ADMIN), RAHIM, NOW)
    own = MoneyPorts(books.ledger.as_person(PersonIdentity(nila)), lambda: books.now)
    with pytest.raises(BackupError):
        analyse(AnalyticsType.REVENUE, own)
