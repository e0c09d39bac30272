"""Businesses in a real browser: what a day of ticks gave each, its room, and a backup by the button."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, Page, expect

from backup_pipeline.core.runs import RunVerb
from backup_pipeline_tests.browser.test_every_page import sign_in
from backup_pipeline_tests.servers.browser import DESKTOP, axe_violations, opened_context, picture, sideways
from backup_pipeline_tests.servers.ledgers import new_ledger
from backup_pipeline_tests.web.deciding import Office, add_business, open_office
from backup_pipeline_tests.web.serving import served
from backup_pipeline_tests.web.ticking import TICKS, add_ticks

FIRST = "Rupa Stores"


@dataclass
class Desk:
    """A window in which karim has signed in, and the office behind it."""

    office: Office
    page: Page
    address: str

    def go(self, path: str) -> Page:
        """The page of a path."""
        self.page.goto(self.address + path)
        return self.page


@pytest.fixture(scope="module")
def desk(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    office = open_office(new_ledger(), tmp_path_factory.mktemp("office"), days=1, businesses=True)
    add_business(office)
    add_ticks(office)
    with served(office.console) as address:
        window = opened_context(chromium, DESKTOP)
        sign_in(window, address)
        yield Desk(office, window.new_page(), address)
        window.close()


@pytest.mark.acceptance("3.39")
def test_missed_and_skipped_ticks_and_the_quota_are_seen_and_read(desk: Desk) -> None:
    page = desk.go("/")
    page.get_by_role("navigation", name="Pages", exact=True).get_by_role("link", name="Businesses").click()
    row = page.get_by_role("row").filter(has_text=FIRST)
    strip = row.get_by_role("img", name=f"The last {TICKS} ticks")
    for word in ("3 missed", "2 failed", "2 skipped"):
        expect(strip).to_have_accessible_name(re.compile(word))
    for sort in ("missed", "failed", "skipped"):
        box = strip.locator(f".{sort}").first.bounding_box()
        assert box is not None
        assert box["width"] >= 1, "a gap of one tick of 288 is wide enough to be seen"
    colours = {
        sort: strip.locator(f".{sort}").first.evaluate("cell => getComputedStyle(cell).fill")
        for sort in ("protected", "skipped", "missed")
    }
    assert len(set(colours.values())) == len(colours)
    expect(row.get_by_text("90 % of 1.0 MB")).to_be_visible()
    expect(row.get_by_text("nearly full")).to_be_visible()
    expect(page.get_by_role("region", name="Ticks").get_by_role("row")).to_have_count(5)
    picture(page, "businesses-list")
    page.get_by_role("link", name=FIRST).first.click()
    expect(page.get_by_text("the deadline of 240 s came first")).to_be_visible()
    assert axe_violations(page) == []
    assert sideways(page) == 0
    picture(page, "businesses-one")


def test_a_business_is_backed_up_and_its_restore_is_named_by_clicking(desk: Desk) -> None:
    page = desk.go("/businesses/shop/b1")
    oldest = page.locator("#f-backup option").last.get_attribute("value")
    page.locator("#f-backup").select_option(str(oldest))
    page.get_by_role("button", name="Show the command").click()
    expect(page.get_by_text(f"backup-pipeline businesses restore {oldest}").first).to_be_visible()
    page.get_by_text("Back up now", exact=True).first.click()
    page.get_by_label("What it gets").select_option("full")
    page.get_by_label("Reason").fill("before the import")
    picture(page, "businesses-back-up")
    page.get_by_role("button", name="Back up now").click()
    expect(page.get_by_text("The backup is on its way.")).to_be_visible()
    run = desk.office.newest_run
    assert (run.verb, run.scope.business, run.detail["kind"]) == (RunVerb.BUSINESS, "b1", "full")
