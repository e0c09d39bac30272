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
from backup_pipeline_tests.web.deciding import Office, add_business, business_plan_json, open_office
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
    picture(page, "businesses-restore-command")
    page.get_by_text("Back up now", exact=True).first.click()
    page.get_by_label("What it gets").select_option("full")
    page.get_by_label("Reason").fill("before the import")
    picture(page, "businesses-back-up")
    page.get_by_role("button", name="Back up now").click()
    expect(page.get_by_text("The backup is on its way.")).to_be_visible()
    run = desk.office.newest_run
    assert (run.verb, run.scope.business, run.detail["kind"]) == (RunVerb.BUSINESS, "b1", "full")


@pytest.mark.acceptance("3.23")
def test_a_feature_is_switched_off_by_clicking_and_the_business_is_shown_paused(desk: Desk) -> None:
    def switch() -> None:
        desk.go("/accounts/shop/b1").locator("form[action='/accounts/shop/b1/features']").filter(
            has=desk.page.locator("input[name='feature'][value='backups']")
        ).get_by_role("button").click()

    switch()
    expect(desk.go("/accounts").get_by_text("backups paused")).to_be_visible()
    assert desk.office.ledger.businesses.paused("shop") == {"b1"}
    switch()
    expect(desk.go("/accounts").get_by_text("backups paused")).to_have_count(0)
    assert desk.office.ledger.businesses.paused("shop") == frozenset()


@pytest.mark.acceptance("3.8", "3.39")
def test_a_business_is_brought_back_by_clicking_its_name_typed_and_its_conflicts_seen(desk: Desk) -> None:
    page = desk.go("/businesses/shop/b1")
    page.get_by_role("link", name="Bring it back here…").click()
    expect(page.get_by_text("Back to when?")).to_be_visible()
    assert (axe_violations(page), sideways(page)) == ([], 0)
    picture(page, "businesses-wizard")
    page.get_by_role("button", name="Make the plan").click()
    expect(page.get_by_text("The plan is being made")).to_be_visible()
    attempt = desk.office.ledger.get(str(desk.office.newest_run.detail["plan"]["backup_id"]))  # type: ignore[index]
    assert attempt is not None
    desk.office.done(desk.office.newest_run, {"plan": business_plan_json(attempt, conflict="2 rows are b2's by now.")})
    expect(page.get_by_text("2 rows are b2's by now.")).to_be_visible(timeout=20_000)
    expect(page.get_by_role("link", name="Next: confirm")).to_have_count(0)
    page.get_by_text("Choose rows").click()
    page.get_by_label("update goods").check()
    page.get_by_role("button", name="Make the plan with them").click()
    expect(page.get_by_text("The plan is being made")).to_be_visible()
    run = desk.office.newest_run
    assert run.detail["plan"]["selection"]["rows"] == {"goods": ["g-1"]}  # type: ignore[index]
    desk.office.done(run, {"plan": business_plan_json(attempt)})
    page.get_by_role("link", name="Next: confirm").click(timeout=20_000)
    page.get_by_label("Type the business's name, Rupa Stores").fill("Rupa Stores")
    page.get_by_label("Reason").fill("a wrong import")
    assert (axe_violations(page), sideways(page)) == ([], 0)
    picture(page, "businesses-confirm")
    page.get_by_role("button", name="Ask for approval").click()
    expect(page.get_by_text("price: 7 → 5").first).to_be_visible()
    picture(page, "businesses-request")
