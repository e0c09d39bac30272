"""Analytics on pages and for programs: the numbers of the operation, their age, and who may have them."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from backup_pipeline.core.access.api_keys import KeyPermission
from backup_pipeline.core.ledger import Status
from backup_pipeline.core.scope import Scope
from backup_pipeline_tests.ledger.attempts import attempt, outcome
from backup_pipeline_tests.servers.ledgers import new_ledger
from backup_pipeline_tests.web.calling import program_of
from backup_pipeline_tests.web.deciding import Office, add_business, open_office
from backup_pipeline_tests.web.test_payments import pay, sql

ANALYTICS = "/functions/v1/analytics"


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    office = open_office(new_ledger(), tmp_path_factory.mktemp("office"), days=3)
    add_business(office)
    office.ask("rahim")
    now = datetime.now(UTC)
    office.ledger.threads.failing(Scope("shop"), "full", now, 1)
    own = replace(attempt("of-b1"), scope=Scope("shop", business="b1"), created_at=now, started_at=now)
    office.ledger.begin(own)
    office.ledger.end("of-b1", replace(outcome(Status.SUCCESS), finished_at=now, snapshot_at=now, file_size_bytes=7))
    return office


@pytest.mark.acceptance("3.13", "3.33")
def test_programs_get_each_kind_as_the_source_asks_for_it(office: Office) -> None:
    program = program_of(office.console, KeyPermission.ANALYTICS)
    overview, revenue, growth, business = (
        program.get(f"{ANALYTICS}?type={query}")
        for query in ("overview", "revenue", "growth", "business&business_id=b1")
    )
    for answer in (overview, revenue, growth, business):
        assert answer.status_code == 200, answer.text
    [(paid, count)] = sql(office, "SELECT sum(amount), count(*) FROM payment_records")
    data = overview.json()["data"]
    assert [(each["currency"], each["new"], each["end"]) for each in data["mrr"]] == [("BDT", "200.00", "200.00")]
    [(good, size)] = sql(office, "SELECT count(*), sum(file_size_bytes) FROM backup_logs WHERE status = 'success'")
    backups = data["protection"]
    assert (backups["good"], backups["stored_bytes"], data["success_rate"]) == (good, int(size), "100.0")
    [(alerts,)] = sql(office, "SELECT count(*) FROM alert_threads WHERE opened_at IS NOT NULL")
    [(waiting,)] = sql(office, "SELECT count(*) FROM restore_requests WHERE status IN ('requested', 'approved')")
    assert (backups["open_alerts"], backups["open_requests"]) == (alerts, waiting) == (1, 1)
    recent = "status = 'success' AND confirmed_until > now() - interval '10 minutes'"
    [(protected,)] = sql(office, f"SELECT count(DISTINCT business_id) FROM backup_records WHERE {recent}")
    assert (data["due"], data["protected"]) == (1, protected) == (1, 1), "Dhaka Bikes is not active"
    months = revenue.json()["data"]["months"]
    assert sum(Decimal(each["amount"]) for each in months) == paid
    assert growth.json()["data"]["months"][-1]["registered"] == 2
    own = business.json()["data"]
    assert (own["name"], own["payments"], own["paid"]) == (
        "Rupa Stores", count, [{"currency": "BDT", "amount": str(paid)}],
    )  # fmt: skip


@pytest.mark.acceptance("3.14")
def test_an_answer_says_how_old_it_is_and_is_not_sent_twice(office: Office) -> None:
    program = program_of(office.console, KeyPermission.ANALYTICS)
    office.console.clock.move(minutes=2)
    first = program.get(f"{ANALYTICS}?type=revenue")
    office.console.clock.move(seconds=5)
    second = program.get(f"{ANALYTICS}?type=revenue", headers={"If-None-Match": first.headers["etag"]})
    assert (second.status_code, second.content, second.headers["age"]) == (304, b"", "5")
    assert pay(office, reference="FRESH").status_code == 303
    third = program.get(f"{ANALYTICS}?type=revenue", headers={"If-None-Match": first.headers["etag"]})
    assert (third.status_code, third.headers["age"]) == (200, "0")
    assert third.json()["as_of"] > first.json()["as_of"]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("type=wealth", 422),
        ("type=business", 422),
        ("type=growth&business_id=b1", 422),
        ("type=business&business_id=nobody", 404),
        ("type=revenue&months=61", 422),
    ],
)
def test_what_can_not_be_asked_is_refused(office: Office, query: str, status: int) -> None:
    program = program_of(office.console, KeyPermission.ANALYTICS)
    assert program.get(f"{ANALYTICS}?{query}").status_code == status


def test_a_key_of_a_business_has_the_analytics_of_that_business_alone(office: Office) -> None:
    own = program_of(office.console, KeyPermission.ANALYTICS, business="b1")
    assert own.get(f"{ANALYTICS}?type=business&business_id=b1").json()["data"]["name"] == "Rupa Stores"
    for query in ("type=business&business_id=b2", "type=overview", "type=revenue", "type=business&business_id=nobody"):
        assert own.get(f"{ANALYTICS}?{query}").status_code == 404, query
    other = program_of(office.console, KeyPermission.BUSINESSES)
    assert other.get(f"{ANALYTICS}?type=overview").status_code == 403


@pytest.mark.acceptance("3.13", "3.31")
def test_the_pages_have_pictures_with_the_numbers_that_sql_says(office: Office) -> None:
    karim = office.as_("karim")
    [(paid,)] = sql(office, "SELECT sum(amount) FROM payment_records")
    overview = karim.get("/analytics").text
    assert "Monthly revenue, BDT" in overview
    assert overview.count('<svg class="chart"') == 1
    assert re.search(rf"Paid this month</p><p class=\"value\">{paid:,.2f} BDT", overview)
    revenue = karim.get("/analytics?type=revenue").text
    assert revenue.count('<svg class="chart"') == 3
    assert f"{paid:,.2f}" in revenue
    assert karim.get("/analytics?type=growth").text.count('<svg class="chart"') == 4
    chosen = karim.get("/analytics?type=business")
    assert 'value="shop/b1"' in chosen.text
    for name in ("b1", "shop/b1"):
        assert "Rupa Stores" in karim.get(f"/analytics?type=business&business={name}").text
    assert karim.get("/analytics?type=business&business=nobody").status_code == 404
    assert office.as_("rahim").get("/analytics").status_code == 403


@pytest.mark.parametrize("kind", ["overview", "revenue", "growth", "business&business=b1"])
def test_the_numbers_come_as_a_file_and_the_audit_knows(office: Office, kind: str) -> None:
    answer = office.as_("karim").get(f"/analytics.csv?type={kind}")
    rows = list(csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff"))))
    [(paid,)] = sql(office, "SELECT sum(amount) FROM payment_records")
    column = {"overview": "paid", "growth": "end"}.get(kind, "amount")
    expected = Decimal("200.00") if kind == "growth" else paid
    assert sum(Decimal(row[column]) for row in rows if row["currency"]) == expected
    assert office.ledger.audits(limit=1)[0].action == "analytics exported"
