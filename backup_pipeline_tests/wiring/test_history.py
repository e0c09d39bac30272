"""What the shops of the demo have paid: pages of payments and analytics that are not empty, and nothing twice."""

from __future__ import annotations

from datetime import timedelta

from backup_pipeline.core.audit import AuditFilter
from backup_pipeline.core.payments import PaymentFilter, RecordStatus
from backup_pipeline.core.payments.accounts import AccountFilter, RegistryEntry
from backup_pipeline.wiring.history import pay_for_shops
from backup_pipeline_tests.servers.ledgers import new_ledger

SHOPS = [RegistryEntry(f"s{number}", f"Shop {number}") for number in range(5)]
"""As many as the demo has."""


def test_the_shops_have_plans_payments_an_underpaid_one_and_a_refused_duplicate() -> None:
    ledger, texts = new_ledger(), list[str]()
    made = pay_for_shops(ledger, SHOPS, texts.append)
    records = ledger.payments.list(PaymentFilter())
    assert len(records) == made == len({record.reference for record in records})
    now = ledger.now()
    assert all(now - timedelta(days=90) < record.paid_at <= now for record in records)
    accepted = [record for record in records if record.status is RecordStatus.ACCEPTED]
    assert accepted
    assert all(record.amount < record.price.amount and record.reason for record in accepted)
    assert any(record.periods == 3 for record in records), "one pays ahead"
    accounts = ledger.businesses.list(AccountFilter(catalog="retail"))
    assert len(accounts) == len(SHOPS)
    assert {account.plan for account in accounts} == {plan.name for plan in ledger.payments.plans()}
    assert any(account.credit for account in accounts), "one has paid too much"
    overdue = [account for account in accounts if account.next_payment_date and account.next_payment_date < now.date()]
    assert overdue, "one pays no more"
    [refused] = [
        row.event
        for row in ledger.audit_rows.page(AuditFilter(), before=None, limit=20)
        if row.event.action == "payment refused"
    ]
    assert refused.detail["business"] == records[0].business
    assert len(ledger.payments.list(PaymentFilter())) == made, "a reference counts once"
    assert str(made) in texts[0]
