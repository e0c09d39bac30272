"""What is ours of a business is changed here: plan, dates, credit, quota, features; and the settings of money."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal

from backup_pipeline.core.errors import NotFoundError, UsageError
from backup_pipeline.core.ledger import AuditEvent
from backup_pipeline.core.payments import billing_day, checked_date, parse_method, put_on
from backup_pipeline.core.payments.accounts import GRACE_DAYS, BusinessAccount, Feature, features_with
from backup_pipeline.core.ports import Ledger
from backup_pipeline.core.ports.access import Access
from backup_pipeline.core.scope import Actor
from backup_pipeline.operations.payments import MoneyPorts, plan_named

GRACE = "payment_grace_days"
METHODS = "payment_methods"
DEFAULT_METHODS = ("bank_transfer", "bkash", "cash")
_MOST_GRACE = 90
_MOST_QUOTA = 2**50
NO_PLAN = "none"
"""In place of a plan's name: the business pays for nothing."""


@dataclass(frozen=True)
class AccountChange:
    """What is to be different of a business; None leaves it as it is. `plan` is a name, or `NO_PLAN`.

    `quota_bytes` 0 takes the quota away, so that the catalog's holds.
    """

    plan: str | None = None
    next_payment_date: date | None = None
    credit: Decimal | None = None
    quota_bytes: int | None = None


def change_account(account: BusinessAccount, change: AccountChange, ports: MoneyPorts, actor: Actor) -> BusinessAccount:
    """Change a business; one audit row says what was before and after. UsageError for what can not be."""
    now = ports.clock()
    with ports.ledger.at_once() as ledger:
        before = ledger.businesses.get(account.catalog, account.business, lock=True)
        if before is None:
            message = f"There is no business {account.business}."
            raise NotFoundError(message, do="Go back to the list: it may have been removed.")
        after = _changed(before, change, ledger, now)
        if after != replace(before, updated_at=after.updated_at):
            ledger.businesses.put(after, actor)
            detail = {
                "catalog": before.catalog,
                "business": before.business,
                "before": _ours(before),
                "after": _ours(after),
            }
            ledger.audit(AuditEvent(now, actor, "business changed", None, detail))
    return after


def _changed(account: BusinessAccount, change: AccountChange, ledger: Ledger, now: datetime) -> BusinessAccount:
    after = replace(account, updated_at=now)
    if change.credit is not None:
        after = replace(after, credit=change.credit)
    if change.plan is not None and change.plan != account.plan:
        plan = None if change.plan == NO_PLAN else plan_named(ledger, change.plan)
        after = put_on(after, plan, now)
    if change.credit and after.price is None:
        message = f"{after.name} is on no plan: a credit would be of no currency."
        raise UsageError(message, do="Put the business on a plan first.")
    if change.next_payment_date is not None:
        if after.price is None:
            message = f"{after.name} is on no plan: nothing falls due."
            raise UsageError(message, do="Put the business on a plan first.")
        day = checked_date(change.next_payment_date)
        after = replace(after, next_payment_date=day, billing_day=billing_day(day))
    if change.quota_bytes is not None:
        if not 0 <= change.quota_bytes <= _MOST_QUOTA:
            message = f"{change.quota_bytes} bytes can be no quota."
            raise UsageError(message, do="Write 0 for the catalog's quota, or the bytes that may be stored.")
        after = replace(after, quota_bytes=change.quota_bytes or None)
    return after


def _ours(account: BusinessAccount) -> dict[str, object]:
    due, price = account.next_payment_date, account.price
    return {
        "plan": account.plan,
        "price": str(price) if price is not None else None,
        "next_payment_date": due.isoformat() if due is not None else None,
        "credit": str(account.credit),
        "quota_bytes": account.quota_bytes,
    }


def switch_feature(
    account: BusinessAccount, feature: Feature, ports: MoneyPorts, actor: Actor, *, enabled: bool
) -> None:
    """Switch a feature of a business; where it stands so already nothing is written."""
    now = ports.clock()
    with ports.ledger.at_once() as ledger:
        before = features_with(ledger.businesses.features(account.catalog, account.business))[feature]
        if before == enabled:
            return
        ledger.businesses.switch(account, feature, enabled, actor, now)
        detail = {
            "catalog": account.catalog,
            "business": account.business,
            "feature": feature.value,
            "enabled": enabled,
        }
        ledger.audit(AuditEvent(now, actor, "feature switched", None, detail))


def grace_days(access: Access) -> int:
    """So many days after its date a payment is overdue."""
    days = access.setting(GRACE)
    return days if isinstance(days, int) and not isinstance(days, bool) and 0 <= days <= _MOST_GRACE else GRACE_DAYS


def payment_methods(access: Access) -> Sequence[str]:
    """The methods that the form of a payment offers; others can be typed."""
    methods = access.setting(METHODS)
    return [str(each) for each in methods] if isinstance(methods, list) and methods else list(DEFAULT_METHODS)


def set_money_settings(
    ports: MoneyPorts, actor: Actor, *, grace: int | None = None, methods: Sequence[str] | None = None
) -> None:
    """Say for all businesses when a payment is overdue, and which methods are offered; None leaves it as it is."""
    if grace is not None and not 0 <= grace <= _MOST_GRACE:
        message = f"{grace} days of grace are not possible."
        raise UsageError(message, do=f"Write 0 to {_MOST_GRACE}.")
    offered = list(dict.fromkeys(parse_method(each) for each in methods)) if methods is not None else None
    now = ports.clock()
    with ports.ledger.at_once() as ledger:
        for key, value in ((GRACE, grace), (METHODS, offered)):
            if value is not None and ledger.access.setting(key) != value:
                ledger.access.set_setting(key, value, actor, now)
                ledger.audit(AuditEvent(now, actor, "setting_changed", None, {"setting": key, "value": value}))
