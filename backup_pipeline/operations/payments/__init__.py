"""Payments and plans: verified, written and listed in one place, whichever door somebody comes by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from backup_pipeline.core.access import Permission, User
from backup_pipeline.core.access.sessions import PersonIdentity
from backup_pipeline.core.errors import NotFoundError, RefusedError, UsageError
from backup_pipeline.core.ledger import AuditEvent
from backup_pipeline.core.payments import (
    DuplicatePaymentError,
    PaymentRecord,
    PaymentRequest,
    Plan,
    UnderpaidError,
    checked_plan,
    checked_request,
    verified_payment,
)
from backup_pipeline.core.payments.accounts import BusinessAccount
from backup_pipeline.core.ports import Clock, Ledger
from backup_pipeline.core.scope import Actor

_LIST = "`backup-pipeline businesses list` shows who there is."


@dataclass(frozen=True)
class MoneyPorts:
    """What the care for businesses and their money needs: the ledger for whoever asks, and a clock."""

    ledger: Ledger
    clock: Clock

    def audit(self, actor: Actor, action: str, detail: Mapping[str, object]) -> None:
        """Add an audit row."""
        self.ledger.audit(AuditEvent(self.clock(), actor, action, None, detail))


def account_of(ledger: Ledger, business: str, catalog: str | None = None) -> BusinessAccount:
    """The business of that key; NotFoundError without one, UsageError where several systems have it."""
    known = [each for each in ledger.businesses.of_key(business) if catalog in (None, each.catalog)]
    if not known:
        message = f"There is no business {business[:80]}."
        raise NotFoundError(message, do=_LIST)
    if len(known) > 1:
        message = f"Several systems have a business {business}: {', '.join(each.catalog for each in known)}."
        raise UsageError(message, do="Name the catalog, too.")
    return known[0]


def verifier(ledger: Ledger, name: str, identity: PersonIdentity | None = None) -> PersonIdentity:
    """Who verifies, by name or number, as somebody for whom the ledger can work; RefusedError for who may not.

    `identity` says from where it is asked. Of who there is, nothing is told.
    """
    asked_from = identity or PersonIdentity()
    users = ledger.as_person(replace(asked_from, user=None, session=None)).access.users
    return replace(asked_from, user=_super_admin(users.get(int(name)) if _is_number(name) else users.named(name), name))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 19


def _super_admin(user: User | None, name: str) -> User:
    if user is None or not user.may(Permission.MANAGE_PAYMENTS):
        message = f"{name[:80]} is no super admin who can sign in: payments are verified by those alone."
        raise RefusedError(message, do="Name a super admin; `backup-pipeline user list` shows who is.")
    return user


def verify_payment(
    request: PaymentRequest, ports: MoneyPorts, actor: Actor, *, person: User | None = None
) -> PaymentRecord:
    """Verify a payment: record, business, audit and event in one transaction, or nothing.

    The ledger is that of the super admin whom `request.verified_by` names (`verifier`), who is `person` where somebody
    has signed in. UnderpaidError, DuplicatePaymentError and UsageError as core/payments.py has them, each leaves an
    audit row; RefusedError where somebody else would be named; NotFoundError without the business.
    """
    now = ports.clock()
    account = account_of(ports.ledger, request.business, request.catalog)
    try:
        wanted = checked_request(request, now)
        with ports.ledger.at_once() as ledger:
            by = _verifier_of(ledger, wanted, person)
            locked = ledger.businesses.get(account.catalog, account.business, lock=True) or account
            record, after = verified_payment(replace(wanted, verified_by=by.name), locked, now, actor)
            record = ledger.payments.add(record)
            ledger.businesses.put(after, actor)
            ledger.audit(AuditEvent(now, actor, "payment verified", None, _detail_of(record)))
    except (UnderpaidError, DuplicatePaymentError, UsageError, RefusedError) as error:
        detail = {"catalog": account.catalog, "business": account.business, "why": error.what}
        ports.audit(actor, "payment refused", detail)
        raise
    return record


def _verifier_of(ledger: Ledger, request: PaymentRequest, person: User | None) -> User:
    """Looked up again, in the transaction of the payment: nobody was disabled meanwhile."""
    name, users = request.verified_by, ledger.access.users
    user = _super_admin(users.get(int(name)) if _is_number(name) else users.named(name), name)
    if person is not None and person.number != user.number:
        message = f"{person.name} can not verify in the name of {user.name}."
        raise RefusedError(message, do="Whoever signed in is who verifies.")
    return user


def _detail_of(record: PaymentRecord) -> dict[str, object]:
    detail = {
        "payment": record.number,
        "catalog": record.catalog,
        "business": record.business,
        "amount": f"{record.amount} {record.price.currency}",
        "method": record.method,
        "reference": record.reference,
        "status": record.status.value,
        "periods": record.periods,
        "credit": str(record.credit_after),
        "paid_at": record.paid_at.isoformat(),
        "next_payment_date": record.next_payment_date.isoformat(),
        "verified_by": record.verified_by,
    }
    return detail | ({"reason": record.reason} if record.reason else {})


def write_plan(plan: Plan, ports: MoneyPorts, actor: Actor) -> Plan:
    """Add a plan, or change it; who is on it keeps the price agreed before. UsageError when it can be none."""
    plan, now = checked_plan(plan), ports.clock()
    with ports.ledger.at_once() as ledger:
        before = ledger.payments.plan(plan.name)
        ledger.payments.put_plan(plan, actor, now)
        detail: dict[str, object] = {"plan": plan.name, "price": str(plan.price), "offered": plan.offered}
        if before is not None:
            detail["before"] = str(before.price)
        ledger.audit(AuditEvent(now, actor, "plan added" if before is None else "plan changed", None, detail))
    return plan


def plan_named(ledger: Ledger, name: str) -> Plan:
    """The plan of that name; NotFoundError when there is none."""
    plan = ledger.payments.plan(name)
    if plan is None:
        message = f"There is no plan {name[:80]}."
        raise NotFoundError(message, do="`backup-pipeline plan list` shows which there are.")
    return plan
