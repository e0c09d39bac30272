"""Payments, plans and accounts in the console, and payments by programs: each number as SQL has it."""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import psycopg
import pytest

from backup_pipeline.core.access import Role
from backup_pipeline.core.access.api_keys import KeyPermission
from backup_pipeline.core.payments import today_of
from backup_pipeline.core.payments.accounts import RegistryEntry
from backup_pipeline_tests.servers.ledgers import new_ledger
from backup_pipeline_tests.web.calling import Program, program_of
from backup_pipeline_tests.web.deciding import Office, add_business, open_office

SAMPLE = {
    "business_id": "uuid",
    "payment_amount": 200.00,
    "payment_method": "bank_transfer",
    "payment_reference": "TXN123456",
    "verified_by": "admin_uuid",
}
"""The body as the source writes it."""
VERIFY = "/functions/v1/payment-verification"


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    office = open_office(new_ledger(), tmp_path_factory.mktemp("office"), days=1)
    add_business(office)
    return office


@pytest.fixture(scope="module")
def program(office: Office) -> Program:
    """One that may verify; the sample's business and super admin are there."""
    office.console.user("admin_uuid", Role.SUPER_ADMIN)
    names = (("b1", "Rupa Stores"), ("b2", "Dhaka Bikes"), ("uuid", "Sample Stores"))
    entries = [RegistryEntry(key, name) for key, name in names]
    office.ledger.businesses.register("shop", entries, office.users["karim"].actor, datetime.now(UTC))
    assert posted(office, "/accounts/shop/uuid", plan="pro").status_code == 303
    return program_of(office.console, KeyPermission.PAYMENTS_VERIFY)


def posted(office: Office, path: str, by: str = "karim", **fields: str) -> httpx.Response:
    return office.as_(by).post(path, data=fields)


def pay(office: Office, by: str = "karim", **fields: str) -> httpx.Response:
    given = {"business": "shop/b1", "amount": "200.00", "method": "cash", "reference": "", **fields}
    return posted(office, "/payments", by, **given)


def sql(office: Office, query: str, *values: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(office.ledger.url) as session:
        return session.execute(query.encode(), values).fetchall()


@pytest.mark.acceptance("3.11", "3.33")
def test_the_sample_of_the_source_is_verified_word_for_word(office: Office, program: Program) -> None:
    body = (
        '{\n  "business_id": "uuid",\n  "payment_amount": 200.00,\n  "payment_method": "bank_transfer",\n'
        '  "payment_reference": "TXN123456",\n  "verified_by": "admin_uuid"\n}'
    )
    answer = program.post(VERIFY, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200, answer.text
    document = answer.json()
    due = document["next_payment_date"]
    assert [document[name] for name in ("payment_amount", "currency", "status", "payment_status", "periods")] == [
        "200.00", "BDT", "verified", "paid", 1,
    ]  # fmt: skip
    assert sql(office, "SELECT payment_status, next_payment_date::text FROM businesses WHERE business = 'uuid'") == [
        ("paid", due)
    ]
    row = "SELECT amount, method, reference, verified_by, actor FROM payment_records WHERE id = %s"
    assert sql(office, row, document["payment_id"]) == [
        (Decimal("200.00"), "bank_transfer", "TXN123456", "admin_uuid", f"key:{key_name(office)}")
    ]


def key_name(office: Office) -> str:
    [name] = [key.name for key in office.console.access.access.keys.list() if key.may(KeyPermission.PAYMENTS_VERIFY)]
    return name


@pytest.mark.acceptance("3.11")
@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"payment_reference": "TXN-2", "payment_amount": 199.99}, 422, "0.01 BDT are missing"),
        ({"payment_amount": 200.00}, 409, "verified before"),
        ({"payment_reference": "TXN-3", "payment_amount": 400.00}, 200, ""),
        ({"payment_reference": "TXN-4", "payment_amount": 199.99, "accept_reason": "a rounding"}, 200, ""),
        ({"payment_reference": "TXN-5", "payment_amount": 200.001}, 422, "payment_amount"),
        ({"payment_reference": "TXN-6", "payment_amount": -200}, 422, "payment_amount"),
        ({"payment_reference": "TXN-7", "business_id": "nobody"}, 404, "no business"),
        ({"payment_reference": "TXN-8", "verified_by": "rahim"}, 403, "no super admin"),
        ({"payment_reference": "TXN-9", "verified_by": "nobody"}, 403, "no super admin"),
        ({"payment_reference": "TXN-10", "paid_at": "2020-01-01T00:00:00Z"}, 422, "90 days"),
        ({"payment_reference": "TXN-11", "paid_at": "2099-01-01T00:00:00Z"}, 422, "future"),
        ({"payment_reference": "TXN-12", "plan": "gold"}, 422, "plan"),
        ({"payment_reference": ""}, 422, "payment_reference"),
    ],
)
def test_what_a_program_sends_is_verified_or_refused_with_its_reason(
    office: Office, program: Program, change: dict[str, Any], status: int, words: str
) -> None:
    program.post(VERIFY, json=SAMPLE)
    before = sql(office, "SELECT count(*) FROM payment_records")[0][0]
    answer = program.post(VERIFY, json={**SAMPLE, **change})
    assert answer.status_code == status, answer.text
    assert words in answer.text
    after = sql(office, "SELECT count(*) FROM payment_records")[0][0]
    assert after - before == (status == 200)
    if status == 200:
        assert answer.json()["periods"] == (2 if change["payment_amount"] == 400.00 else 1)


def test_a_key_without_the_permission_verifies_nothing(office: Office, program: Program) -> None:
    other = program_of(office.console, KeyPermission.ANALYTICS, KeyPermission.BUSINESSES)
    assert other.post(VERIFY, json={**SAMPLE, "payment_reference": "TXN-20"}).status_code == 403
    again = {"Idempotency-Key": "one"}
    first = program.post("/api/v1/payments", json={**SAMPLE, "payment_reference": "TXN-21"}, headers=again)
    second = program.post("/api/v1/payments", json={**SAMPLE, "payment_reference": "TXN-21"}, headers=again)
    assert (first.status_code, second.status_code, first.json()) == (200, 200, second.json())


@pytest.mark.acceptance("3.12")
def test_a_payment_is_entered_verified_listed_and_told(office: Office) -> None:
    before = office.ledger.events.newest()
    answer = pay(office, amount="250.00", reference="BK-1", paid_at=today_of(datetime.now(UTC)).isoformat())
    assert (answer.status_code, answer.headers["location"]) == (303, "/payments")
    listed = office.as_("karim").get("/payments").text
    for words in ("1 × 200.00 BDT a month", "BK-1", "Rupa Stores", "250.00 BDT", "credit 50.00 BDT"):
        assert words in listed
    assert [each.kind for each in office.ledger.events.since(before, 10)] == ["payment.verified", "business.changed"]
    actor = sql(office, "SELECT actor, verified_by FROM payment_records WHERE reference = 'BK-1'")
    assert actor == [("person:karim", "karim")]
    assert pay(office, amount="150.00", reference="BK-2").status_code == 303, "with the credit it is enough"


def test_what_can_not_be_comes_back_with_what_was_typed(office: Office) -> None:
    short = pay(office, amount="199.99", reference="BK-3")
    assert short.status_code == 422
    assert 'value="BK-3"' in short.text
    assert "Accept it as it is" in short.text
    assert "Accept it as it is" not in office.as_("karim").get("/payments").text
    taken = pay(office, amount="199.99", reference="BK-3", accept="his brother pays the rest")
    assert taken.status_code == 303
    assert "his brother pays the rest" in office.as_("karim").get("/payments").text
    assert pay(office, reference="BK-3").status_code == 409
    for fields in ({"amount": "12,50"}, {"paid_at": "soon"}, {"method": ""}, {"reference": " "}):
        assert pay(office, **{"reference": "BK-4", **fields}).status_code == 422, fields
    assert pay(office, business="nobody", reference="BK-4").status_code == 404
    assert pay(office, "rahim", reference="BK-4").status_code == 403
    assert sql(office, "SELECT count(*) FROM payment_records WHERE reference = 'BK-4'") == [(0,)]


def test_the_list_is_filtered_paged_and_counted_as_sql_does(office: Office) -> None:
    karim = office.as_("karim")
    many = (
        "INSERT INTO payment_records SELECT (r).* FROM (SELECT jsonb_populate_record(p, jsonb_build_object("
        "'id', 1000 + n, 'reference', 'PAGE-' || lpad(n::text, 2, '0'), 'amount', 100 + n,"
        "'method', CASE WHEN mod(n, 2) = 1 THEN 'bkash' ELSE 'cash' END)) AS r"
        " FROM payment_records AS p, generate_series(0, 54) AS n WHERE p.reference = 'TXN1') AS made RETURNING id"
    )
    assert len(sql(office, many.replace("SELECT (r)", "OVERRIDING SYSTEM VALUE SELECT (r)"))) == 55
    [(amount, count)] = sql(
        office,
        "SELECT sum(amount), count(*) FROM payment_records WHERE (paid_at AT TIME ZONE 'Asia/Dhaka')::date >= "
        "date_trunc('month', now() AT TIME ZONE 'Asia/Dhaka')",
    )
    first = karim.get("/payments").text
    assert f"{amount:,.2f} BDT" in first
    assert f"{count} payments" in first
    [older] = re.findall(r'href="(/payments\?before=\d+)" rel="next"', first)
    assert "PAGE-00" in karim.get(older).text
    assert "PAGE-00" not in first
    only = karim.get("/payments?method=bkash&q=page").text
    assert ("PAGE-01" in only, "PAGE-02" in only) == (True, False)
    tomorrow = (today_of(datetime.now(UTC)) + timedelta(days=1)).isoformat()
    assert "Nothing fits" in karim.get(f"/payments?since={tomorrow}").text
    for odd in ("since=soon", "since=9999-12-31&until=9999-12-31", f"before={2**63}", "before=-1"):
        assert karim.get(f"/payments?{odd}").status_code == 422, odd
    file = karim.get("/payments.csv?method=bkash")
    rows = list(csv.DictReader(io.StringIO(file.text.removeprefix("\ufeff"))))
    [(expected,)] = sql(office, "SELECT sum(amount) FROM payment_records WHERE method = 'bkash'")
    assert sum(Decimal(row["amount"]) for row in rows) == expected
    assert office.as_("rahim").get("/payments.csv").status_code == 403


@pytest.mark.acceptance("3.20", "3.34")
def test_plans_accounts_and_settings_are_edited_and_stand_in_the_audit(office: Office) -> None:
    karim = office.as_("karim")
    assert posted(office, "/plans", name="basic", title="Basic", price="90", period="quarter").status_code == 303
    assert "90.00 BDT" in karim.get("/plans").text
    assert 'value="Basic"' in karim.get("/plans?plan=basic").text
    wrong = posted(office, "/plans", name="basic", price="free", period="quarter")
    assert (wrong.status_code, "no amount of money" in wrong.text) == (422, True)
    address = "/accounts/shop/b2"
    assert posted(office, address, plan="basic").status_code == 422, "it takes nobody new"
    posted(office, "/plans", name="basic", title="Basic", price="90", period="quarter", offered="true")
    kept = posted(office, address, plan="basic", next_payment="2027-02-28", credit="5", quota="12")
    assert kept.status_code == 303
    row = (
        "SELECT plan, price, period, next_payment_date::text, credit, quota_bytes FROM businesses WHERE business = 'b2'"
    )
    assert sql(office, row) == [("basic", Decimal("90.00"), "quarter", "2027-02-28", Decimal("5.00"), 12_000_000)]
    shown = karim.get(address).text
    for words in ("Dhaka Bikes", "90.00 BDT a quarter", "5.00 BDT", 'value="12"', 'value="2027-02-28"'):
        assert words in shown
    for fields in ({"plan": "gold"}, {"plan": "basic", "quota": "much"}, {"plan": "basic", "next_payment": "soon"}):
        assert posted(office, address, **fields).status_code in {404, 422}
    assert posted(office, "/accounts/settings", grace="10", methods="cash, bkash").status_code == 303
    assert sql(office, "SELECT key, value FROM system_settings ORDER BY key") == [
        ("payment_grace_days", 10), ("payment_methods", ["cash", "bkash"]),
    ]  # fmt: skip
    kept_settings = karim.get("/settings?tab=system").text
    assert "Days after which a payment is overdue" in kept_settings
    actions = {event.action for event in office.ledger.audits(limit=20)}
    assert {"plan added", "plan changed", "business changed", "setting_changed"} <= actions
    assert posted(office, address, plan="none", credit="0").status_code == 303
    assert "Dhaka Bikes: no plan." in karim.get("/accounts?plan=basic").text
    assert "Nothing fits" in karim.get("/accounts?plan=basic").text


@pytest.mark.acceptance("3.23")
def test_a_feature_is_switched_off_and_the_business_is_shown_paused(office: Office) -> None:
    karim, address = office.as_("karim"), "/accounts/shop/b1/features"
    assert "backups paused" not in karim.get("/accounts").text
    assert posted(office, address, feature="backups", enabled="off").status_code == 303
    assert "backups paused" in karim.get("/accounts").text
    assert office.ledger.businesses.paused("shop") == {"b1"}
    assert posted(office, address, feature="wings", enabled="on").status_code == 422
    assert posted(office, address, feature="backups", enabled="on").status_code == 303
    assert office.ledger.businesses.paused("shop") == frozenset()
    assert karim.get("/accounts/shop/nobody").status_code == 404
    assert karim.get("/accounts?q=rupa").text.count("row-link") == 1
