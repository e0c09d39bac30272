"""Money in a real browser: a payment by the form, and what happens on pages that are open elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from backup_pipeline.core.ledger import Status
from backup_pipeline.core.payments.accounts import RegistryEntry
from backup_pipeline.core.runs import JobOrder, RequestChange, RequestStatus, RunLine, RunRequest, RunVerb
from backup_pipeline.core.scope import Scope
from backup_pipeline_tests.browser.test_every_page import sign_in
from backup_pipeline_tests.ledger.attempts import attempt, outcome
from backup_pipeline_tests.servers.browser import PHONE, axe_violations, opened_context, picture, sideways
from backup_pipeline_tests.servers.ledgers import new_ledger
from backup_pipeline_tests.web.deciding import Office, add_business, open_office
from backup_pipeline_tests.web.serving import served

SOON = 20_000
"""Milliseconds; a page is current within a second on a machine with nothing else to do."""


@dataclass
class Windows:
    """Two browsers in which people have signed in, and the office behind them."""

    office: Office
    address: str
    first: BrowserContext
    second: BrowserContext

    def opened(self, window: BrowserContext, path: str) -> Page:
        """A page that listens already."""
        page = window.new_page()
        with page.expect_request(f"{self.address}/events"):
            page.goto(f"{self.address}{path}")
        return page


@pytest.fixture(scope="module")
def windows(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Windows]:
    office = open_office(new_ledger(), tmp_path_factory.mktemp("office"), days=1)
    add_business(office)
    with served(office.console) as address:
        pair = (opened_context(chromium), opened_context(chromium))
        for window in pair:
            sign_in(window, address)
        yield Windows(office, address, *pair)
        for window in pair:
            window.close()


@pytest.mark.acceptance("3.12", "3.18")
def test_a_payment_that_is_entered_here_stands_on_the_list_that_is_open_there(windows: Windows) -> None:
    there = windows.opened(windows.second, "/payments")
    expect(there.get_by_text("TXN-LIVE")).to_have_count(0)
    here = windows.first.new_page()
    here.goto(f"{windows.address}/accounts/shop/b1")
    here.get_by_role("link", name="Verify a payment").click()
    here.get_by_label("Amount").fill("199.99")
    here.locator("#f-method").fill("bkash")
    here.get_by_label("Reference").fill("TXN-LIVE")
    here.get_by_role("button", name="Verify as karim").click()
    expect(here.get_by_text("0.01 BDT are missing")).to_be_visible()
    picture(here, "payments-underpaid")
    here.get_by_label("Amount").fill("200")
    here.get_by_role("button", name="Verify as karim").click()
    expect(here.get_by_text("1 × 200.00 BDT a month").first).to_be_visible()
    expect(there.get_by_text("TXN-LIVE")).to_be_visible(timeout=SOON)
    expect(there.get_by_text("400.00 BDT")).to_be_visible(timeout=SOON)
    for page in (here, there):
        page.close()


@pytest.mark.acceptance("3.34")
def test_a_super_admin_looks_after_everything_by_clicking(windows: Windows) -> None:
    """Success rates, use of the API and its limit, a request to review, settings; and the log of a run that stands."""
    office, page = windows.office, windows.first.new_page()
    request = office.ask("rahim", reason="a wrong price")
    page.goto(f"{windows.address}/")
    menu = page.get_by_role("navigation").first
    menu.get_by_role("link", name="Charts").click()
    expect(page.get_by_text("100.0% of 1 attempts in 90 days ended well")).to_be_visible()
    menu.get_by_role("link", name="API keys").click()
    page.get_by_role("link", name="System Integration").click()
    expect(page.get_by_text("0 of 1,000 calls in the last 60 minutes")).to_be_visible()
    page.get_by_label("Calls in any 60 minutes").fill("5000")
    page.get_by_role("button", name="Keep").click()
    expect(page.get_by_text("0 of 5,000 calls in the last 60 minutes")).to_be_visible()
    menu.get_by_role("link", name="Restore requests").click()
    page.locator(f"a[href='/requests/{request.id}']").first.click()
    expect(page.get_by_text("a wrong price").first).to_be_visible()
    menu.get_by_role("link", name="Accounts").click()
    page.get_by_label("Days of grace").fill("9")
    page.locator("form[action='/accounts/settings']").get_by_role("button", name="Keep").click()
    menu.get_by_role("link", name="Audit").click()
    for what in ("setting changed", "api key limited"):
        expect(page.locator("main tbody tr").filter(has_text=what).first).to_be_visible()
    page.close()


def test_the_log_of_a_run_grows_on_the_page_that_is_open(windows: Windows) -> None:
    office, karim = windows.office, windows.office.users["karim"]
    run = RunRequest(uuid4(), Scope("shop"), RunVerb.BACKUP, karim.actor, datetime.now(UTC), reason="before the move")
    office.ledger.run_requests.add(run)
    run_id = office.launcher.launch(JobOrder("shop_full_backup"), run.id, "karim")
    office.ledger.run_requests.change(run.id, RequestChange(RequestStatus.LAUNCHED, run_id=run_id))
    begun = datetime(2026, 11, 30, 18, 0, tzinfo=UTC)
    texts = (
        'Started execution of run for "shop_full_backup".',
        "goods: 500 rows, 81 kB",
        "Materialized value shop goods.",
    )
    office.launcher.lines[run_id] = [RunLine(begun, "debug", "shop_tables", text) for text in texts]
    page = windows.first.new_page()
    page.goto(f"{windows.address}/runs/{run.id}")
    log = page.locator("#log")
    expect(log).to_contain_text("3 lines, the newest first")
    office.launcher.lines[run_id].append(
        RunLine(begun, "error", "shop_tables", "sold: the disk is full\nNo space left")
    )
    expect(log.locator("li").first).to_contain_text("the disk is full", timeout=SOON)
    expect(log).to_contain_text(f"backup-pipeline runs log {run.id} --follow")
    assert axe_violations(page) == []
    picture(page, "run-log")
    page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    assert sideways(page) == 0
    picture(page, "run-log-phone")
    page.close()


@pytest.mark.acceptance("3.18", "3.19")
def test_registrations_payments_backups_and_the_state_of_the_system_are_told_to_open_pages(windows: Windows) -> None:
    office, ledger = windows.office, windows.office.ledger
    accounts, backups, alerts = (windows.opened(windows.second, path) for path in ("/accounts", "/backups", "/alerts"))
    now = datetime.now(UTC)
    names = {"b1": "Rupa Stores", "b2": "Dhaka Bikes", "b9": "Chittagong Tea"}
    entries = [RegistryEntry(key, name) for key, name in names.items()]
    ledger.businesses.register("shop", entries, office.users["karim"].actor, now)
    expect(accounts.get_by_text("Chittagong Tea")).to_be_visible(timeout=SOON)
    ledger.threads.failing(Scope("shop"), "full", now, 3)
    expect(alerts.get_by_text("full backups fail or are missed")).to_be_visible(timeout=SOON)
    ledger.begin(attempt("20261130T000000Z-full-1f3a9c2e"))
    ledger.end("20261130T000000Z-full-1f3a9c2e", outcome(Status.SUCCESS))
    expect(backups.get_by_role("link", name="20261130T000000Z-full-1f3a9c2e", exact=True)).to_be_visible(timeout=SOON)
    for page in (accounts, backups, alerts):
        page.close()
