"""Payments, plans, and what businesses are on: for super admins alone.

GET  /payments                  newest first, with the form that verifies one
GET  /payments.csv
GET  /plans
GET  /accounts                  every business: how it stands, its plan, its next payment
GET  /accounts/CATALOG/KEY      one of them: plan, dates, credit, quota, features, payments
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import Response, StreamingResponse

from backup_pipeline.core.access import Permission
from backup_pipeline.core.errors import BackupError, DecidedError, UsageError
from backup_pipeline.core.payments import (
    ZONE,
    PaymentFilter,
    PaymentRecord,
    PaymentRequest,
    Plan,
    UnderpaidError,
    parse_amount,
    parse_credit,
    parse_day,
    parse_paid_at,
    parse_period,
    today_of,
)
from backup_pipeline.core.payments.accounts import (
    AccountFilter,
    AccountStatus,
    BusinessAccount,
    Period,
    Price,
    features_with,
    parse_feature,
)
from backup_pipeline.operations.payments import MoneyPorts, verify_payment, write_plan
from backup_pipeline.operations.payments.accounts import (
    NO_PLAN,
    AccountChange,
    change_account,
    grace_days,
    payment_methods,
    set_money_settings,
    switch_feature,
)
from backup_pipeline.presentation.payments import STANDING_TONES, money, payment_words
from backup_pipeline.web.pages.audit import harmless
from backup_pipeline.web.people import Visitor, allowed, in_one_reading, not_there
from backup_pipeline.web.rendering import page, redirect

router = APIRouter()

_Treasurer = Annotated[Visitor, Depends(allowed(Permission.MANAGE_PAYMENTS))]
_Text = Annotated[str, Form(max_length=1_000)]
_PAGE = 50
_OFFERED = 200
"""So many businesses the form of a payment offers by name; of more, the key is typed."""
_MB = 1_000_000


def _ports(visitor: Visitor) -> MoneyPorts:
    return MoneyPorts(visitor.ledger, visitor.ports.clock)


@dataclass(frozen=True)
class PaymentQuery:
    """Which payments are shown; what is empty is no condition. Days are those of Asia/Dhaka."""

    q: Annotated[str, Query(max_length=200)] = ""
    of: Annotated[str, Query(max_length=200)] = ""
    method: Annotated[str, Query(max_length=60)] = ""
    plan: Annotated[str, Query(max_length=60)] = ""
    since: Annotated[str, Query(max_length=10)] = ""
    until: Annotated[str, Query(max_length=10)] = ""

    def wanted(self, catalog: str | None) -> PaymentFilter:
        """The filter; UsageError for what is no day."""
        return PaymentFilter(
            catalog=catalog,
            business=self.of or None,
            method=self.method,
            plan=self.plan,
            text=self.q,
            since=_begin_of(self.since, 0),
            until=_begin_of(self.until, 1),
        )


def _begin_of(text: str, days_on: int) -> datetime | None:
    return datetime.combine(parse_day(text) + timedelta(days=days_on), time(), ZONE) if text else None


_Wanted = Annotated[PaymentQuery, Depends()]


@router.get("/payments")
def payments_page(
    request: Request,
    visitor: _Treasurer,
    query: _Wanted,
    business: Annotated[str, Query(max_length=200)] = "",
    before: Annotated[int | None, Query(ge=0, lt=2**63)] = None,
) -> Response:
    """Payments, newest first; `business` is filled into the form."""
    return _payments(request, visitor, query, {"business": business}, before=before)


@router.post("/payments")
def verify(  # noqa: PLR0913  # the fields of the form
    request: Request,
    visitor: _Treasurer,
    business: _Text = "",
    amount: _Text = "",
    method: _Text = "",
    reference: _Text = "",
    paid_at: _Text = "",
    accept: _Text = "",
) -> Response:
    """Verify a payment in the visitor's own name; what can not be so comes back with what was typed."""
    typed = {"business": business, "amount": amount, "method": method, "reference": reference, "paid_at": paid_at}
    catalog, _, key = business.rpartition("/")
    try:
        wanted = PaymentRequest(
            business=key.strip(),
            amount=parse_amount(amount),
            method=method,
            reference=reference,
            verified_by=str(visitor.user.number),
            catalog=catalog.strip() or None,
            paid_at=parse_paid_at(paid_at),
            accept=accept,
        )
        record = verify_payment(wanted, _ports(visitor), visitor.actor, person=visitor.user)
    except (UsageError, DecidedError) as error:
        return _payments(request, visitor, PaymentQuery(), {**typed, "accept": accept}, problem=error)
    account = visitor.ledger.businesses.get(record.catalog, record.business)
    name = account.name if account is not None else record.business
    return redirect(request, "/payments", payment_words(record, name))


def _payments(  # what the one page shows
    request: Request,
    visitor: Visitor,
    query: PaymentQuery,
    typed: Mapping[str, str],
    *,
    before: int | None = None,
    problem: BackupError | None = None,
) -> Response:
    chosen = request.query_params.get("system") or None
    today = today_of(visitor.ports.clock())
    month = PaymentFilter(catalog=chosen, since=_begin_of(today.replace(day=1).isoformat(), 0))
    with in_one_reading(visitor) as reader:
        ledger = reader.ledger
        records = ledger.payments.list(query.wanted(chosen), before=before, limit=_PAGE + 1)
        rows = records[:_PAGE]
        values = {
            "records": rows,
            "names": ledger.businesses.names({(each.catalog, each.business) for each in rows}),
            "offered": ledger.businesses.list(AccountFilter(catalog=chosen), limit=_OFFERED),
            "methods": payment_methods(ledger.access),
            "plans": ledger.payments.plans(),
            "this_month": ledger.payments.totals(month),
        }
    return page(
        request,
        "payments.html",
        status=200 if problem is None else 409 if isinstance(problem, DecidedError) else 422,
        **values,
        following=rows[-1].number if len(records) > _PAGE else None,
        filtered=any(vars(query).values()),
        wanted=query,
        typed={"amount": "", "method": "", "reference": "", "paid_at": "", "accept": "", **typed},
        problem=problem,
        underpaid=isinstance(problem, UnderpaidError),
        today=today,
        money=money,
        live=problem is None,
        command="backup-pipeline payment list",
    )


_COLUMNS = ("payment", "catalog", "business", "plan", "amount", "currency", "method", "reference", "status", "periods",
            "credit", "paid_at", "verified_at", "verified_by", "next_payment_date", "reason", "actor")  # fmt: skip


@router.get("/payments.csv")
def payments_file(request: Request, visitor: _Treasurer, query: _Wanted) -> Response:
    """The payments that the filter leaves, all of them, as CSV; no cell of it runs as a formula."""
    wanted = query.wanted(request.query_params.get("system") or None)
    filters = {name: value for name, value in vars(query).items() if value}
    _ports(visitor).audit(visitor.actor, "payments exported", filters)
    headers = {"Content-Disposition": f'attachment; filename="payments_{today_of(visitor.ports.clock())}.csv"'}
    return StreamingResponse(_lines(visitor, wanted), media_type="text/csv; charset=utf-8", headers=headers)


def _lines(visitor: Visitor, wanted: PaymentFilter) -> Iterator[str]:
    yield "\N{ZERO WIDTH NO-BREAK SPACE}" + ",".join(_COLUMNS) + "\r\n"
    before: int | None = None
    while records := visitor.ledger.payments.list(wanted, before=before, limit=1_000):
        text = io.StringIO()
        csv.writer(text).writerows([harmless(cell) for cell in _cells(record)] for record in records)
        yield text.getvalue()
        before = records[-1].number


def _cells(record: PaymentRecord) -> Iterator[str]:
    yield from (str(record.number), record.catalog, record.business, record.plan)
    yield from (str(record.amount), record.price.currency, record.method, record.reference, record.status.value)
    yield from (str(record.periods), str(record.credit_after))
    yield from (record.paid_at.isoformat(), record.verified_at.isoformat(), record.verified_by)
    yield from (record.next_payment_date.isoformat(), record.reason, str(record.actor))


@router.get("/plans")
def plans_page(request: Request, visitor: _Treasurer, plan: Annotated[str, Query(max_length=60)] = "") -> Response:
    """The plans, and the form for one; `plan` is filled into it."""
    known = visitor.ledger.payments.plan(plan) if plan else None
    typed = {"name": known.name, "title": known.title, "price": f"{known.price.amount}", "offered": known.offered,
             "currency": known.price.currency, "period": known.price.period.value} if known else {}  # fmt: skip
    return _plans(request, visitor, typed)


@router.post("/plans")
def keep_plan(  # noqa: PLR0913  # the fields of the form
    request: Request,
    visitor: _Treasurer,
    name: _Text = "",
    title: _Text = "",
    price: _Text = "",
    currency: _Text = "BDT",
    period: _Text = Period.MONTH.value,
    offered: Annotated[bool, Form()] = False,  # noqa: FBT002  # a box of a form
) -> Response:
    """Add a plan, or change the one of that name."""
    typed = {"name": name, "title": title, "price": price, "currency": currency, "period": period, "offered": offered}
    try:
        cost = Price(parse_amount(price), currency, parse_period(period))
        plan = write_plan(Plan(name.strip(), title, cost, offered), _ports(visitor), visitor.actor)
    except UsageError as error:
        return _plans(request, visitor, typed, problem=error)
    return redirect(request, "/plans", f"Plan {plan.title}: {plan.price}. Whoever is on it keeps the price agreed.")


def _plans(
    request: Request, visitor: Visitor, typed: Mapping[str, Any], problem: BackupError | None = None
) -> Response:
    empty = {"name": "", "title": "", "price": "", "currency": "BDT", "period": Period.MONTH.value, "offered": True}
    return page(
        request,
        "plans.html",
        status=422 if problem is not None else 200,
        plans=visitor.ledger.payments.plans(),
        typed={**empty, **typed},
        periods=[(each.value, each.in_words) for each in Period],
        problem=problem,
        money=money,
        command="backup-pipeline plan list",
    )


@router.get("/accounts")
def accounts_page(
    request: Request,
    visitor: _Treasurer,
    q: Annotated[str, Query(max_length=200)] = "",
    plan: Annotated[str, Query(max_length=60)] = "",
    gone: Annotated[str, Query(max_length=5)] = "",
    after: Annotated[str, Query(max_length=300)] = "",
) -> Response:
    """Every business by its key, a page at a time."""
    chosen = request.query_params.get("system") or None
    wanted = AccountFilter(catalog=chosen, text=q, plan=plan or None)
    if gone:
        wanted = replace(wanted, statuses=tuple(AccountStatus))
    catalog, slash, key = after.partition("/")
    known = visitor.ledger.businesses.list(wanted, after=(catalog, key) if slash else None, limit=_PAGE + 1)
    rows = known[:_PAGE]
    grace, today = grace_days(visitor.ledger.access), today_of(visitor.ports.clock())
    paused = {name: visitor.ledger.businesses.paused(name) for name in {each.catalog for each in rows}}
    return page(
        request,
        "accounts.html",
        accounts=[(each, each.standing(today, grace), each.business in paused[each.catalog]) for each in rows],
        following=f"{rows[-1].catalog}/{rows[-1].business}" if len(known) > _PAGE else None,
        filtered=bool(q or plan or gone),
        tones=STANDING_TONES,
        plans=visitor.ledger.payments.plans(),
        grace=grace,
        methods=payment_methods(visitor.ledger.access),
        money=money,
        live=True,
        command="backup-pipeline businesses list",
    )


@router.post("/accounts/settings")
def keep_settings(
    request: Request,
    visitor: Annotated[Visitor, Depends(allowed(Permission.MANAGE_SETTINGS))],
    grace: Annotated[int, Form()],
    methods: _Text = "",
) -> Response:
    """When a payment is overdue, and which methods the form offers."""
    set_money_settings(_ports(visitor), visitor.actor, grace=grace, methods=methods.replace(",", " ").split())
    return redirect(request, "/accounts", f"A payment is overdue {grace} days after its date.")


@router.get("/accounts/{catalog}/{business}")
def account_page(request: Request, visitor: _Treasurer, catalog: str, business: str) -> Response:
    """One business."""
    return _account(request, visitor, _known(visitor, catalog, business))


@router.post("/accounts/{catalog}/{business}")
def change(  # noqa: PLR0913  # the fields of the form
    request: Request,
    visitor: _Treasurer,
    catalog: str,
    business: str,
    plan: _Text = NO_PLAN,
    next_payment: _Text = "",
    credit: _Text = "",
    quota: _Text = "",
) -> Response:
    """What is ours of the business from now on. An empty date or credit stays; an empty quota is the catalog's."""
    account = _known(visitor, catalog, business)
    try:
        change = AccountChange(
            plan=plan,
            next_payment_date=parse_day(next_payment) if next_payment and plan != NO_PLAN else None,
            credit=parse_credit(credit) if credit else None,
            quota_bytes=_quota_of(quota),
        )
        after = change_account(account, change, _ports(visitor), visitor.actor)
    except UsageError as error:
        return _account(request, visitor, account, problem=error)
    price = str(after.price) if after.price is not None else "no plan"
    return redirect(request, _address_of(account), f"{after.name}: {price}.")


def _quota_of(text: str) -> int:
    if not text.strip():
        return 0
    if not (text.strip().isascii() and text.strip().isdecimal()):
        message = f"{text[:20]!r} is no quota."
        raise UsageError(message, do="Write whole megabytes, or nothing for the catalog's quota.")
    return int(text) * _MB


@router.post("/accounts/{catalog}/{business}/features")
def switch(
    request: Request, visitor: _Treasurer, catalog: str, business: str, feature: _Text, enabled: _Text
) -> Response:
    """Switch a feature of the business."""
    account, chosen, on = _known(visitor, catalog, business), parse_feature(feature), enabled == "on"
    switch_feature(account, chosen, _ports(visitor), visitor.actor, enabled=on)
    text = f"{account.name}: {chosen} is {'on' if on else 'off'}."
    return redirect(request, _address_of(account), text, tone="good" if on else "warning")


def _known(visitor: Visitor, catalog: str, business: str) -> BusinessAccount:
    account = visitor.ledger.businesses.get(catalog, business)
    if account is None:
        raise not_there()
    return account


def _address_of(account: BusinessAccount) -> str:
    return f"/accounts/{quote(account.catalog, safe='')}/{quote(account.business, safe='')}"


def _account(
    request: Request, visitor: Visitor, account: BusinessAccount, problem: BackupError | None = None
) -> Response:
    ledger, today = visitor.ledger, today_of(visitor.ports.clock())
    own = PaymentFilter(catalog=account.catalog, business=account.business)
    plans = [plan for plan in ledger.payments.plans() if plan.offered or plan.name == account.plan]
    standing = account.standing(today, grace_days(ledger.access))
    return page(
        request,
        "account_of_business.html",
        status=422 if problem is not None else 200,
        account=account,
        address=_address_of(account),
        standing=standing,
        tone=STANDING_TONES[standing],
        features=features_with(ledger.businesses.features(account.catalog, account.business)),
        plans=[(NO_PLAN, "No plan"), *((plan.name, f"{plan.title}: {plan.price}") for plan in plans)],
        quota=account.quota_bytes // _MB if account.quota_bytes else "",
        records=ledger.payments.list(own, limit=20),
        problem=problem,
        money=money,
        command=f"backup-pipeline businesses set {account.business}",
    )
