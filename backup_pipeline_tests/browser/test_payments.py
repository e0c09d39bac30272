"""Money in a real browser: a payment by the form, and what happens on pages that are open elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from backup_pipeline.core.ledger import Status
from backup_pipeline.core.payments.accounts import RegistryEntry
from backup_pipeline.core.scope import Scope
from backup_pipeline_tests.browser.test_every_page import sign_in
from backup_pipeline_tests.ledger.attempts import attempt, outcome
from backup_pipeline_tests.servers.browser import opened_context, picture
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
