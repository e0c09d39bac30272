"""Businesses in a real browser: what a day of ticks gave each, its room, and a backup by the button."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from backup_pipeline.core.alerts import Alert, Severity
from backup_pipeline.core.ledger import Status
from backup_pipeline.core.restore.requests import RestoreChange, RestoreStatus
from backup_pipeline.core.runs import RunVerb
from backup_pipeline.core.scope import Scope
from backup_pipeline.operations.alerting import deliver, tell
from backup_pipeline.presentation import size
from backup_pipeline_tests.browser.test_every_page import sign_in
from backup_pipeline_tests.core.retained import backup
from backup_pipeline_tests.servers.browser import DESKTOP, axe_violations, opened_context, picture, sideways
from backup_pipeline_tests.servers.ledgers import new_ledger
from backup_pipeline_tests.web.deciding import Office, add_business, business_plan_json, open_office
from backup_pipeline_tests.web.serving import served
from backup_pipeline_tests.web.test_alerts import Channel
from backup_pipeline_tests.web.ticking import FIVE, TICKS, add_ticks

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

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        """What the ledger's database says to its owner."""
        with psycopg.connect(self.office.ledger.url) as session:
            return session.execute(query.encode()).fetchall()

    def tiles(self, path: str) -> dict[str, str]:
        """What each tile of a page says, by its label."""
        tiles = [tile.inner_text().split("\n\n") for tile in self.go(path).locator(".tile").all()]
        return {label.strip(): " ".join(rest) for label, *rest in tiles}


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


@pytest.fixture(scope="module")
def troubled(desk: Desk) -> Iterator[Desk]:
    """The desk after two failed backups, with alerts that reached nobody, one that did, and requests that wait.

    Its clock stands within the tick after the newest one.
    """
    office, clock = desk.office, desk.office.console.clock
    [(newest,)] = desk.sql("SELECT max(scheduled_at) FROM business_ticks")
    requests = [office.ask(reason=f"wish {number}") for number in range(4)]
    office.ledger.restores.change(requests[0].id, RestoreChange(status=RestoreStatus.CANCELED))
    for number, at in enumerate((newest - timedelta(hours=1), newest - timedelta(hours=2))):
        office.ledger.put(backup(at, salt=90 + number, status=Status.FAILED, error_message="the disk is full"))
    waits = Channel(channels=("mailto://ops@shop", "slack://alarm"), answer="connection refused")
    for text, channel in (("first", waits), ("again", waits), ("once more", Channel())):
        alert = Alert(Severity.FAILURE, f"Backup failed: {text}", text, "Make room.", Scope("shop"), topic="full")
        tell(replace(alert, at=clock()), replace(office.ports, alerter=channel))
    clock.stands_at = newest + FIVE + timedelta(minutes=2)
    yield desk
    clock.stands_at = None


@pytest.mark.acceptance("3.31")
def test_ticks_and_room_are_shown_as_sql_counts_them(troubled: Desk) -> None:
    """Automated status and storage: each business's day, what it has stored, and what goes of it."""
    days = troubled.sql(
        "SELECT a.business, a.name, count(*) FILTER (WHERE t.status IN ('success', 'partial') AND m.outcome IS NULL),"
        " count(*) FILTER (WHERE m.outcome = 'failed'),"
        " count(*) FILTER (WHERE m.outcome = 'skipped' OR t.status = 'skipped'), sum(t.missed_count)"
        " FROM businesses a CROSS JOIN business_ticks t LEFT JOIN business_misses m"
        " ON m.tick_id = t.id AND m.business = a.business"
        " WHERE a.business IN (SELECT business FROM backup_logs) GROUP BY 1, 2 ORDER BY 1"
    )
    stored = dict(_by_key(troubled.sql(
        "SELECT business, count(*), sum(file_size_bytes) FROM backup_logs WHERE business IS NOT NULL GROUP BY 1"
    )))  # fmt: skip
    assert [key for key, *_ in days] == sorted(stored) == ["b1", "b2"]
    for path in ("/businesses", "/retention"):
        page = troubled.go(path)
        for key, name, *counts in days:
            (backups, taken), row = stored[key], page.get_by_role("row").filter(has_text=name)
            if path == "/retention":
                assert sum(_number(_cell(row, label)) for label in ("Stay", "Go")) == backups
                continue
            words = zip(("protected", "failed", "skipped", "missed"), counts, strict=True)
            expected = ", ".join(f"{count} {word}" for word, count in words if count)
            expect(row.get_by_text(re.compile(f"^{expected};"))).to_be_visible()
            room = f"{size(taken)}\n{taken / 10_000:.0f} % of 1.0 MB, {backups} backup"
            assert _cell(row, "Stored").startswith(room)
    fields = "due, changed, unchanged, failed, skipped"
    [newest, *_] = troubled.sql(f"SELECT {fields} FROM business_ticks ORDER BY scheduled_at DESC LIMIT 1")
    first = troubled.go("/businesses").get_by_role("region", name="Ticks").get_by_role("row").nth(1)
    assert tuple(_number(_cell(first, label.strip().title())) for label in fields.split(",")) == newest


@pytest.mark.acceptance("3.31")
def test_failed_backups_alerts_and_requests_that_wait_are_shown_as_sql_counts_them(troubled: Desk) -> None:
    [(good, failed, taken, with_backup)] = troubled.sql(
        "SELECT count(*) FILTER (WHERE status = 'success'), count(*) FILTER (WHERE status = 'failed'),"
        " sum(file_size_bytes) FILTER (WHERE status = 'success'), count(DISTINCT business) FROM backup_logs"
    )
    [(unsent,)] = troubled.sql("SELECT count(*) FROM alert_outbox WHERE delivered_at IS NULL")
    [(threads, failures)] = troubled.sql(
        "SELECT count(*), sum(failures) FROM alert_threads WHERE opened_at IS NOT NULL"
    )
    asked = dict(troubled.sql("SELECT status, count(*) FROM restore_requests GROUP BY 1"))
    waiting = asked["requested"]
    assert min(failed, unsent, failures, waiting) >= 2, "numbers that a page can have wrong"
    overview = troubled.go("/")
    expect(overview.locator("#hero").get_by_text(f"{unsent} alerts have not reached anybody.")).to_be_visible()
    expect(overview.locator("#now").get_by_text("Waits for you")).to_have_count(waiting)
    picture(overview, "monitoring-overview")
    tiles = troubled.tiles("/analytics")
    assert tiles["Backups that succeed"].endswith(f"{good} good, {failed} failed or missed in 30 days")
    assert tiles["Backups that succeed"].startswith(f"{100 * good / (good + failed):.1f} %")
    assert tiles["Stored"] == f"{size(taken)} {with_backup} businesses have a backup"
    assert tiles["Open"] == f"{threads} alert {waiting} restore requests wait"
    totals = troubled.tiles("/backups")
    assert (totals["Total backups"], totals["Total size"]) == (str(good), size(taken))
    expect(troubled.go("/backups?status=failed").locator("#listing tbody tr")).to_have_count(failed)
    tabs = troubled.go("/requests").get_by_role("navigation", name="Status").get_by_role("link").all_inner_texts()
    shown = {label: int(count) for label, count in (tab.split() for tab in tabs if len(tab.split()) == 2)}
    assert (shown["All"], shown["Waiting"]) == (sum(asked.values()), waiting)


@pytest.mark.acceptance("3.31")
def test_each_alert_stands_on_its_page_with_what_the_ledger_knows_of_it(troubled: Desk) -> None:
    away = Channel(channels=("slack://alarm",), answer="still away")
    deliver(replace(troubled.office.ports, alerter=away), early=True)
    page = troubled.go("/alerts")
    opened = page.get_by_role("region", name="What goes wrong now").locator("tbody tr")
    kept = troubled.sql("SELECT scope, topic, failures FROM alert_threads WHERE opened_at IS NOT NULL")
    assert [(_cell(row, "What").split()[0], _number(_cell(row, "Times"))) for row in opened.all()] == [
        (topic, failures) for _, topic, failures in kept
    ]
    unsent = troubled.sql(
        "SELECT alert->>'title', channel, attempts, last_error FROM alert_outbox WHERE delivered_at IS NULL"
    )
    rows = page.get_by_role("region", name="Alerts", exact=True).locator("tbody tr").all()
    shown = [
        (row.locator("strong").inner_text(), _cell(row, "Channel"), int(_cell(row, "Tries")), _cell(row, "Last answer"))
        for row in rows
    ]
    assert sorted(shown) == sorted(unsent)
    assert len(shown) >= 2
    picture(page, "monitoring-alerts")


def _cell(row: Locator, label: str) -> str:
    return row.locator(f"td[data-label='{label}']").inner_text().strip()


def _number(text: str) -> int:
    return int(text.replace(",", ""))


def _by_key(rows: list[tuple[Any, ...]]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    for key, *values in rows:
        yield key, tuple(values)
