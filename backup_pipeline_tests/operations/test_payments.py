"""Payments as a whole: one transaction or nothing, whoever may, and what the registry of a source says."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from backup_pipeline.core.access import NewUser, Role, User, UserChange
from backup_pipeline.core.access.sessions import PersonIdentity
from backup_pipeline.core.errors import BackupError, DecidedError, LedgerError, NotFoundError, RefusedError, UsageError
from backup_pipeline.core.payments import (
    DuplicatePaymentError,
    PaymentFilter,
    PaymentRecord,
    PaymentRequest,
    Plan,
    UnderpaidError,
)
from backup_pipeline.core.payments.accounts import (
    AccountFilter,
    AccountStatus,
    BusinessAccount,
    Feature,
    Period,
    Price,
    RegistryEntry,
)
from backup_pipeline.operations.payments import MoneyPorts, account_of, verifier, verify_payment, write_plan
from backup_pipeline.operations.payments.accounts import (
    NO_PLAN,
    AccountChange,
    change_account,
    grace_days,
    payment_methods,
    set_money_settings,
    switch_feature,
)
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.servers.ledgers import ScratchLedger, new_ledger

NOW = datetime(2026, 11, 30, 10, tzinfo=UTC)
PRO = Plan("pro", "Pro", Price(Decimal("200.00"), "BDT", Period.MONTH))


@dataclass
class Shop:
    """A ledger with a business on a plan, and a super admin."""

    ledger: ScratchLedger
    karim: User
    nila: User

    @property
    def ports(self) -> MoneyPorts:
        """As the command line has them."""
        return MoneyPorts(self.ledger, lambda: NOW)

    def business(self, key: str = "", name: str = "Rupa Stores", plan: str | None = "pro") -> BusinessAccount:
        """One more business, on a plan."""
        key = key or str(uuid4())
        known = [RegistryEntry(each.business, each.name) for each in self.ledger.businesses.list(AccountFilter())]
        self.ledger.businesses.register("retail", [*known, RegistryEntry(key, name)], RAHIM, NOW)
        account = account_of(self.ledger, key)
        return change_account(account, AccountChange(plan), self.ports, RAHIM) if plan else account

    def pay(
        self, account: BusinessAccount, amount: str = "200.00", reference: str = "", by: str = "karim", **more: Any
    ) -> PaymentRecord:
        """A payment as the command line and the API verify one."""
        request = PaymentRequest(
            account.business, Decimal(amount), "bank_transfer", reference or str(uuid4()), by, **more
        )
        ledger = self.ledger.as_person(verifier(self.ledger, by))
        return verify_payment(request, MoneyPorts(ledger, lambda: NOW), RAHIM)

    def sql(self, query: str, *values: object) -> list[tuple[object, ...]]:
        with psycopg.connect(self.ledger.url) as session:
            return session.execute(query.encode(), values).fetchall()


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    with closing(new_ledger()) as ledger:
        users = ledger.as_person(PersonIdentity()).access.users
        karim = users.add(NewUser("karim", Role.SUPER_ADMIN), RAHIM, NOW)
        nila = users.add(NewUser("nila", Role.ADMIN), RAHIM, NOW)
        write_plan(PRO, MoneyPorts(ledger, lambda: NOW), RAHIM)
        yield Shop(ledger, karim, nila)


@pytest.mark.acceptance("3.11", "3.12")
def test_a_payment_writes_record_business_audit_and_event_at_once(shop: Shop) -> None:
    account = shop.business()
    before = shop.ledger.events.newest()
    record = shop.pay(account, reference="TXN123456")
    assert (record.periods, record.next_payment_date, record.verified_by) == (1, date(2026, 12, 31), "karim")
    assert shop.sql(
        "SELECT amount, method, reference, status, price, currency, period, actor FROM payment_records WHERE id = %s",
        record.number,
    ) == [(Decimal("200.00"), "bank_transfer", "TXN123456", "verified", Decimal("200.00"), "BDT", "month", "rahim")]
    assert shop.sql(
        "SELECT payment_status, next_payment_date, credit FROM businesses WHERE business = %s", account.business
    ) == [("paid", date(2026, 12, 31), Decimal("0.00"))]
    [event] = [each for each in shop.ledger.events.since(before, 50) if each.kind == "payment.verified"]
    assert (event.catalog, event.business, event.subject) == ("retail", account.business, str(record.number))
    assert "200" not in str(event.detail), "who may see events may not see payments"
    audit = shop.ledger.audits(limit=1)[0]
    assert (audit.action, audit.detail["reference"], audit.detail["verified_by"]) == (
        "payment verified", "TXN123456", "karim",
    )  # fmt: skip
    assert shop.ledger.payments.list(PaymentFilter(business=account.business)) == [record]


@pytest.mark.acceptance("3.11", "3.12")
def test_the_same_reference_too_little_and_a_multiple(shop: Shop) -> None:
    account = shop.business()
    shop.pay(account, reference="T-1")
    for again in ("T-1", " T-1 "):
        with pytest.raises(DuplicatePaymentError, match="verified before"):
            shop.pay(shop.business(name="Another"), reference=again)
    with pytest.raises(UnderpaidError, match=r"0\.01 BDT are missing"):
        shop.pay(account, "199.99", reference="T-2")
    assert shop.sql("SELECT count(*) FROM payment_records WHERE reference = 'T-2'") == [(0,)]
    assert shop.ledger.audits(limit=1)[0].action == "payment refused"
    accepted = shop.pay(account, "199.99", reference="T-2", accept="a rounding of the bank")
    assert (accepted.status, accepted.reason) == ("accepted", "a rounding of the bank")
    assert shop.pay(account, "400.00").periods == 2
    assert account_of(shop.ledger, account.business).next_payment_date == date(2027, 3, 31)


def test_a_payment_that_fails_at_its_end_has_written_nothing(shop: Shop) -> None:
    account = shop.business()
    ledger = shop.ledger.as_person(PersonIdentity(shop.karim))

    class Failing(type(ledger)):  # type: ignore[misc]
        def audit(self, event: object) -> None:
            if event.action == "payment verified":  # type: ignore[attr-defined]
                raise LedgerError("the disk is full")
            super().audit(event)

    ledger.__class__ = Failing
    request = PaymentRequest(account.business, Decimal("200.00"), "cash", "R-9", "karim")
    before = shop.ledger.events.newest()
    with pytest.raises(LedgerError):
        verify_payment(request, MoneyPorts(ledger, lambda: NOW), RAHIM)
    assert shop.sql("SELECT count(*) FROM payment_records WHERE reference = 'R-9'") == [(0,)]
    assert account_of(shop.ledger, account.business) == account
    assert shop.ledger.events.newest() == before


def test_two_payments_at_the_same_moment_both_count(shop: Shop) -> None:
    account = shop.business()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: shop.pay(account), range(4)))
    assert account_of(shop.ledger, account.business).next_payment_date == date(2027, 3, 31)

    def one(_: int) -> bool:
        with suppress(DuplicatePaymentError):
            return bool(shop.pay(account, reference="ONCE"))
        return False

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(one, range(4))) == 1
    assert account_of(shop.ledger, account.business).next_payment_date == date(2027, 4, 30)


@pytest.mark.acceptance("3.9")
def test_only_an_active_super_admin_verifies_and_nobody_in_anothers_name(shop: Shop) -> None:
    account = shop.business()
    for name in ("nila", "nobody", "99999", str(shop.nila.number), "²"):
        with pytest.raises(RefusedError, match="no super admin"):
            verifier(shop.ledger, name)
    assert verifier(shop.ledger, str(shop.karim.number)).user == shop.karim
    users = shop.ledger.as_person(PersonIdentity()).access.users
    selina = users.add(NewUser("selina", Role.SUPER_ADMIN), RAHIM, NOW)
    own = MoneyPorts(shop.ledger.as_person(PersonIdentity(selina)), lambda: NOW)
    request = PaymentRequest(account.business, Decimal("200.00"), "cash", "R-10", "karim")
    with pytest.raises(RefusedError, match="in the name of karim"):
        verify_payment(request, own, selina.actor, person=selina)
    users.change(selina.number, UserChange(disabled=True), NOW)
    with pytest.raises(RefusedError, match="no super admin"):
        verify_payment(replace(request, verified_by="selina"), own, selina.actor, person=selina)
    admin = MoneyPorts(shop.ledger.as_person(PersonIdentity(shop.nila)), lambda: NOW)
    with pytest.raises(BackupError):
        verify_payment(request, admin, shop.nila.actor)
    with pytest.raises(RefusedError, match="ledger refuses"):
        admin.ledger.payments.list(PaymentFilter())
    assert account_of(shop.ledger, account.business) == account


def test_a_payment_of_the_past_counts_from_its_day(shop: Shop) -> None:
    account = shop.business()
    change = AccountChange(next_payment_date=date(2026, 9, 1))
    account = change_account(account, change, shop.ports, RAHIM)
    record = shop.pay(account, paid_at=NOW - timedelta(days=60))
    assert (record.paid_at, record.next_payment_date) == (NOW - timedelta(days=60), date(2026, 11, 1))
    with pytest.raises(UsageError, match="90 days"):
        shop.pay(account, paid_at=NOW - timedelta(days=91))


def test_the_registry_says_who_is_there_and_what_did_not_change_is_not_written(shop: Shop) -> None:
    ledger, catalog = shop.ledger, "car_audio"
    entries = [RegistryEntry(f"b{number}", f"Shop {number}", active=number != 3) for number in range(1, 5)]
    before = ledger.events.newest()
    first = ledger.businesses.register(catalog, entries, RAHIM, NOW)
    assert (first.registered, first.changed, first.gone) == (["b1", "b2", "b3", "b4"], [], [])
    kinds = [(each.kind, each.business) for each in ledger.events.since(before, 50)]
    assert kinds == [("business.registered", key) for key in first.registered]
    versions = shop.sql("SELECT business, xmin::text, xmax::text FROM businesses WHERE catalog = %s", catalog)
    nothing = ledger.businesses.register(catalog, entries, RAHIM, NOW + timedelta(minutes=5))
    assert (nothing.registered, nothing.changed, nothing.gone) == ([], [], [])
    assert shop.sql("SELECT business, xmin::text, xmax::text FROM businesses WHERE catalog = %s", catalog) == versions
    entries = [replace(entries[0], name="Dhaka Bikes"), *entries[1:3], RegistryEntry("b5", "New")]
    then = ledger.businesses.register(catalog, entries, RAHIM, NOW + timedelta(minutes=10))
    assert (then.registered, then.changed, then.gone) == (["b5"], ["b1"], ["b4"])
    states = [(each.business, each.name, each.status.value) for each in ledger.businesses.list(AccountFilter(catalog))]
    assert states[:3] == [("b1", "Dhaka Bikes", "active"), ("b2", "Shop 2", "active"), ("b3", "Shop 3", "inactive")]
    [gone] = ledger.businesses.list(AccountFilter(catalog, statuses=(AccountStatus.GONE,)))
    assert gone.business == "b4"
    back = ledger.businesses.register(catalog, [*entries, RegistryEntry("b4", "Shop 4")], RAHIM, NOW)
    assert back.changed == ["b4"]
    history = "SELECT status FROM business_history WHERE catalog = %s AND business = 'b4' ORDER BY id"
    assert [row[0] for row in shop.sql(history, catalog)] == ["active", "gone", "active"]


@pytest.mark.acceptance("3.23")
def test_features_are_on_until_somebody_switches_them(shop: Shop) -> None:
    account = shop.business()
    assert shop.ledger.businesses.paused("retail") == frozenset()
    for enabled in (False, False, True, False):
        switch_feature(account, Feature.BACKUPS, shop.ports, RAHIM, enabled=enabled)
    assert shop.ledger.businesses.paused("retail") == {account.business}
    assert shop.ledger.businesses.paused("car_audio") == frozenset()
    assert shop.ledger.businesses.features("retail", account.business) == {Feature.BACKUPS: False}
    switches = [each for each in shop.ledger.audits(limit=10) if each.action == "feature switched"]
    assert [each.detail["enabled"] for each in switches] == [False, True, False]


@pytest.mark.acceptance("3.23")
@pytest.mark.parametrize("role", ["backup_business_admin", "admin"])
def test_without_self_service_its_own_administrators_ask_for_no_restore(shop: Shop, role: str) -> None:
    """Whichever door they come by: the ledger refuses it. Who cares for all businesses still may."""
    account = shop.business()
    ask = (
        "INSERT INTO restore_requests (backup_id, catalog, business, mode, target, database, actor, created_at, status)"
        " VALUES ('x', 'retail', %s, 'replace', 't', 'd', 'person:owner', now(), 'requested')"
    )
    for enabled in (False, True):
        switch_feature(account, Feature.RESTORE_SELF_SERVICE, shop.ports, RAHIM, enabled=enabled)
        with psycopg.connect(shop.ledger.url) as session:
            for name, value in (
                ("role", role),
                ("backup.businesses", account.business),
                ("backup.actor", "person:owner"),
            ):
                session.execute("SELECT set_config(%s, %s, true)", [name, value])
            if enabled or role == "admin":
                session.execute(ask.encode(), [account.business])
            else:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    session.execute(ask.encode(), [account.business])
            session.rollback()


@pytest.mark.acceptance("3.20")
def test_what_is_ours_of_a_business_is_changed_with_its_history(shop: Shop) -> None:
    account = shop.business(plan=None)
    of_no_currency = AccountChange(credit=Decimal("5.00"))
    for wrong in (AccountChange(next_payment_date=date(2027, 1, 1)), AccountChange(quota_bytes=-1), of_no_currency):
        with pytest.raises(UsageError):
            change_account(account, wrong, shop.ports, RAHIM)
    with pytest.raises(UsageError, match="9999"):
        change_account(account, AccountChange("pro", date(9999, 12, 31)), shop.ports, RAHIM)
    with pytest.raises(NotFoundError, match="no plan gold"):
        change_account(account, AccountChange("gold"), shop.ports, RAHIM)
    after = change_account(account, AccountChange("pro", date(2027, 1, 31), None, 10**9), shop.ports, RAHIM)
    assert (after.plan, after.next_payment_date, after.quota_bytes) == ("pro", date(2027, 1, 31), 10**9)
    assert account_of(shop.ledger, account.business) == after
    write_plan(replace(PRO, price=replace(PRO.price, amount=Decimal("250.00"))), shop.ports, RAHIM)
    assert shop.pay(after).price.amount == Decimal("200.00"), "the price agreed stays"
    write_plan(PRO, shop.ports, RAHIM)
    left = change_account(after, AccountChange(NO_PLAN, quota_bytes=0), shop.ports, RAHIM)
    assert (left.plan, left.next_payment_date, left.quota_bytes) == (None, None, None)
    history = "SELECT plan, next_payment_date FROM business_history WHERE business = %s ORDER BY id"
    assert shop.sql(history, account.business) == [
        (None, None), ("pro", date(2027, 1, 31)), ("pro", date(2027, 2, 28)), (None, None),
    ]  # fmt: skip
    changed = [each for each in shop.ledger.audits(limit=10) if each.action == "business changed"]
    assert (changed[0].detail["before"]["plan"], changed[0].detail["after"]["plan"]) == ("pro", None)  # type: ignore[index]


def test_a_key_that_two_systems_have_wants_its_catalog(shop: Shop) -> None:
    key = str(uuid4())
    shop.business(key)
    shop.ledger.businesses.register("isp", [RegistryEntry(key, "Other")], RAHIM, NOW)
    with pytest.raises(UsageError, match="Several systems"):
        account_of(shop.ledger, key)
    assert account_of(shop.ledger, key, "isp").name == "Other"
    with pytest.raises(NotFoundError):
        account_of(shop.ledger, key, "sales_portal")


def test_settings_of_money_are_written_once_with_their_event(shop: Shop) -> None:
    console = shop.ledger.as_person(PersonIdentity())
    ports, before = MoneyPorts(console, lambda: NOW), shop.ledger.events.newest()
    assert (grace_days(console.access), payment_methods(console.access)[0]) == (7, "bank_transfer")
    for _ in range(2):
        set_money_settings(ports, RAHIM, grace=10, methods=["Cash", "bkash", "cash"])
    assert (grace_days(console.access), payment_methods(console.access)) == (10, ["cash", "bkash"])
    news = [(each.kind, each.subject) for each in shop.ledger.events.since(before, 50)]
    assert news == [("system.status", "payment_grace_days"), ("system.status", "payment_methods")]
    with pytest.raises(UsageError):
        set_money_settings(ports, RAHIM, grace=91)


def test_super_admins_are_a_view_of_users_for_those_who_may_see_them(shop: Shop) -> None:
    with psycopg.connect(shop.ledger.url) as session:
        session.execute("SET ROLE super_admin")
        assert ("karim",) in session.execute("SELECT name FROM super_admins").fetchall()
        assert session.execute("SELECT count(*) FROM super_admins WHERE name = 'nila'").fetchone() == (0,)
        session.execute("RESET ROLE; SET ROLE admin")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute("SELECT FROM super_admins")


def test_a_decided_payment_is_a_conflict_for_the_doors() -> None:
    assert issubclass(DuplicatePaymentError, DecidedError), "409 over HTTP"
    assert issubclass(UnderpaidError, UsageError), "422 over HTTP"
