"""What the sources want of the pages of backups, in a real browser: shown, clicked, and followed as it happens."""

from __future__ import annotations

import colorsys
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import openpyxl
import psycopg
import pytest
from playwright.sync_api import Locator, Page, expect

from backup_pipeline.core.access import Role
from backup_pipeline.core.ledger import Attempt, Outcome, Status
from backup_pipeline.core.names import Kind, Trigger, new_backup_id
from backup_pipeline.core.runs import DaemonState, RunPhase, RunProgress, RunRequest
from backup_pipeline.core.schedule import next_due
from backup_pipeline.core.scope import Actor, ActorKind, Scope
from backup_pipeline.core.verification import Level, Verification
from backup_pipeline.operations.health import catalog_statistics
from backup_pipeline.operations.run_requests import follow_requests
from backup_pipeline.presentation import duration, size
from backup_pipeline_tests.browser.windows import Windows, sign_in
from backup_pipeline_tests.doubles.ports import ports_for_test
from backup_pipeline_tests.doubles.runs import FakeLauncher
from backup_pipeline_tests.ledger.attempts import attempt, outcome
from backup_pipeline_tests.operations.conftest import Made, shop_backup, shop_url
from backup_pipeline_tests.servers.browser import opened_context
from backup_pipeline_tests.servers.ledgers import ScratchLedger
from backup_pipeline_tests.web.people import console_over
from backup_pipeline_tests.web.serving import served
from backup_pipeline_tests.web.test_reading_pages import declare, made

__all__ = ["shop_backup", "shop_url"]

PEOPLE = {"karim": Role.SUPER_ADMIN, "rahim": Role.ADMIN, "nila": Role.VIEWER}
RAHIM = Actor(ActorKind.PERSON, "rahim")
HUES = {"blue": (195, 255), "purple": (255, 320), "green": (90, 180), "red": (335, 385)}
WAIT_MS = 15_000
"""How long a page may take to show what happens; it is told of it, so it never takes that long."""


@dataclass
class Shop(Windows):
    """A console with one real backup and rows of every kind."""

    backup: Made = field(kw_only=True)

    @property
    def ledger(self) -> ScratchLedger:
        return self.backup.ledger

    def newest_request(self) -> RunRequest:
        return self.ledger.run_requests.list(limit=1)[0]

    def begin(self, request: RunRequest, type_: Trigger) -> Attempt:
        """The row that the run of a request begins with."""
        self.launcher.become(RunPhase.RUNNING)
        follow_requests(self.console.ports, self.launcher)
        run_id = self.followed(request).run_id
        row = begun(type=type_, actor=RAHIM, reason=request.reason, run_id=run_id)
        self.ledger.begin(row)
        return row

    def followed(self, request: RunRequest) -> RunRequest:
        row = self.ledger.run_requests.get(request.id)
        assert row is not None
        return row


def begun(**fields: Any) -> Attempt:
    """A full backup that begins now."""
    now = datetime.now(UTC)
    number = now.microsecond  # two of one second differ
    backup_id = str(new_backup_id(now, Kind.FULL, number))
    return attempt(backup_id, scope=Scope("shop"), created_at=now, started_at=now, partition_date=now.date(), **fields)


def good(row: Attempt) -> Outcome:
    """The end of a backup that went well."""
    counts = {"goods": 500, "sold": 2000}
    return replace(
        outcome(Status.SUCCESS, sha256="ab" * 32, record_count=2500, table_counts=counts),
        finished_at=row.started_at + timedelta(seconds=7),
        verification=Verification(Level.BYTES, row.started_at),
    )


@pytest.fixture(scope="module")
def shop(shop_backup: Made, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Shop]:
    home = tmp_path_factory.mktemp("home")
    declare(home / "catalogs")
    backup = shop_backup.again()
    backup.ledger.put(
        *(made(26 + 24 * day) for day in range(4)),
        made(9, status=Status.FAILED, error_message="The disk of the source is full.", table_counts={}),
        made(60, status=Status.DELETED),
    )
    ports = partial(ports_for_test, store=backup.store, spool=home / "work")
    console = console_over(backup.ledger, home, ports=ports, catalogs=home / "catalogs")
    console.app.state.launcher = launcher = FakeLauncher()
    for name, role in PEOPLE.items():
        console.user(name, role)
    with console.app.state.events, served(console) as address:
        shop = Shop(console, launcher, address, request.getfixturevalue("chromium"), backup=backup)
        yield shop
        shop.close()


@pytest.fixture(autouse=True)
def _pages_are_closed(shop: Shop) -> Iterator[None]:
    yield
    shop.close_pages()


def _row(page: Page, backup_id: str) -> Locator:
    return page.locator("#listing tbody tr").filter(has_text=backup_id)


def _colour(badge: Locator) -> str:
    """What its computed colour is called."""
    paint = """(e) => {
        const c = document.createElement("canvas").getContext("2d");
        c.fillStyle = getComputedStyle(e).color;
        c.fillRect(0, 0, 1, 1);
        return [...c.getImageData(0, 0, 1, 1).data];
    }"""
    red, green, blue, _ = badge.evaluate(paint)
    hue = colorsys.rgb_to_hsv(red / 255, green / 255, blue / 255)[0] * 360
    names = [name for name, (low, high) in HUES.items() if low <= hue < high or low <= hue + 360 < high]
    assert len(names) == 1, hue
    return names[0]


@pytest.mark.acceptance("2.1", "4.23")
def test_who_has_no_session_signs_in_and_walks_from_the_dashboard_to_the_backups(shop: Shop) -> None:
    window = opened_context(shop.browser)
    page = window.new_page()
    page.goto(f"{shop.address}/admin/backup")
    assert urlsplit(page.url).path == "/login"
    sign_in(page, f"{shop.address}/admin", "rahim")
    assert urlsplit(page.url).path == "/admin"
    expect(page.get_by_role("article", name="Corner shop")).to_be_visible()
    page.get_by_role("navigation", name="Quick actions").get_by_role("link", name="Backup Management").click()
    assert urlsplit(page.url).path == "/admin/backup"
    expect(page.get_by_role("heading", level=1, name="Backups")).to_be_visible()
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Overview", exact=True).click()
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Backups", exact=True).click()
    expect(page.get_by_role("heading", level=1, name="Backups")).to_be_visible()
    window.close()


@pytest.mark.acceptance("4.23")
def test_a_viewer_is_refused_where_backups_are_managed_and_is_offered_no_way_there(shop: Shop) -> None:
    page = shop.page("nila", "/")
    assert page.get_by_role("link", name="Backup Management").count() == 0
    answer = page.goto(f"{shop.address}/admin/backup")
    assert answer is not None
    assert answer.status == 403
    expect(page.get_by_text("nila (viewer) may not")).to_be_visible()


@pytest.mark.acceptance("0.16", "2.14", "2.17", "4.27")
def test_the_list_has_of_each_backup_what_the_ledger_has(shop: Shop) -> None:
    page = shop.page("nila", "/backups")
    shown = [row for row in shop.ledger.list() if row.status is not Status.DELETED]
    assert len(shown) == page.locator("#listing tbody tr").count() == 6
    for row in shown:
        cells = _row(page, row.backup_id)
        expect(cells.locator(".row-link")).to_have_text(row.file_name or row.backup_id)
        at = row.created_at.astimezone(ZoneInfo("Asia/Dhaka"))
        expect(cells.locator("[data-label=Created]")).to_contain_text(f"{at.day} {at:%b}")
        expect(cells.locator("[data-label=Created]")).to_contain_text(f"{at:%H:%M}")
        expect(cells.locator("[data-label=Rows]")).to_have_text(f"{row.record_count:,}")
        expect(cells.locator("[data-label=Size]")).to_have_text(size(row.file_size_bytes or 0))
        if row.status.good:
            expect(cells.locator("[data-label=Tables]")).to_have_text("2")
        expect(cells.locator("[data-label=Status]")).to_contain_text("Completed" if row.status.good else "Failed")


@pytest.mark.acceptance("2.12")
def test_the_tiles_are_what_sql_counts(shop: Shop) -> None:
    query = """
        SELECT count(*), count(*) FILTER (WHERE type = 'manual'), count(*) FILTER (WHERE type = 'automatic'),
               sum(file_size_bytes) FROM backup_logs WHERE status LIKE 'success%'
    """
    with psycopg.connect(shop.ledger.url) as session:
        [(total, manual, automatic, size_)] = session.execute(query).fetchall()
    values = shop.page("nila", "/backups").locator("#tiles .value").all_inner_texts()
    assert values == [str(total), str(manual), str(automatic), size(int(size_))]
    assert total == manual + automatic > 1


@pytest.mark.acceptance("1.15", "1.16", "4.27")
def test_a_backup_shows_the_system_and_each_table_that_is_in_it(shop: Shop) -> None:
    page = shop.page("nila", f"/backups/{shop.backup.attempt.backup_id}")
    expect(page.locator("dl.facts")).to_contain_text("Corner shop")
    expect(page.get_by_text("Full system backup (all data) of Corner shop")).to_be_visible()
    rows = page.get_by_role("region", name="Tables of this backup").locator("tbody tr")
    expect(rows).to_have_count(len(shop.backup.manifest.tables))
    for table in shop.backup.manifest.tables:
        row = rows.filter(has=page.locator(".lead-cell").get_by_text(table.name, exact=True))
        expect(row.locator("[data-label=Rows]")).to_have_text(f"{table.row_count:,}")


@pytest.mark.acceptance("2.23")
def test_a_failed_row_opens_why_and_what_to_do(shop: Shop) -> None:
    page = shop.page("nila", "/backups?status=failed")
    page.locator("#listing .row-link").click()
    expect(page.get_by_text("The disk of the source is full.")).to_be_visible()
    expect(page.locator(".banner.failure .do")).to_be_visible()


@pytest.mark.acceptance("0.20")
def test_the_next_scheduled_time_is_the_next_tick_of_cron(shop: Shop) -> None:
    due = next_due("0 0 * * *", "Asia/Dhaka", datetime.now(UTC))
    assert due is not None
    card = shop.page("nila", "/").locator("#system-shop")
    line = card.locator("dl.lines div").filter(has=card.page.get_by_text("Next", exact=True))
    local = due.astimezone(ZoneInfo("Asia/Dhaka"))
    expect(line).to_contain_text(re.compile(rf"(today|tomorrow) {local:%H:%M} \(in "))
    expect(line).to_contain_text("every day at 00:00")


@pytest.mark.acceptance("2.22")
def test_durations_are_those_of_the_statistics(shop: Shop) -> None:
    page = shop.page("nila", "/charts?days=90")
    counted = catalog_statistics(shop.ledger.list(), Scope("shop"), None, now=datetime.now(UTC), days=90)
    assert counted.durations is not None
    median, most = duration(counted.durations.median), duration(counted.durations.p95)
    expect(page.get_by_text(f"Median {median}, 95 % within {most}.")).to_be_visible()


@pytest.mark.acceptance("0.17", "2.18")
def test_a_click_on_the_icon_gives_the_bytes_at_once(shop: Shop, tmp_path: Path) -> None:
    page = shop.page("rahim", "/backups")
    with page.expect_download() as download:
        _row(page, shop.backup.attempt.backup_id).get_by_role("button", name="Download").click()
    download.value.save_as(tmp_path / "bundle.zip")
    assert hashlib.sha256((tmp_path / "bundle.zip").read_bytes()).hexdigest() == shop.backup.manifest.bundle.sha256
    assert download.value.suggested_filename == shop.backup.manifest.bundle.name
    assert shop.ledger.audits(shop.backup.attempt.backup_id, limit=1)[0].action == "download"
    viewer = shop.page("nila", "/backups")
    assert _row(viewer, shop.backup.attempt.backup_id).get_by_role("button", name="Download").count() == 0


@pytest.mark.acceptance("1.10")
def test_a_workbook_is_made_by_a_button_and_opens(shop: Shop, tmp_path: Path) -> None:
    page = shop.page("rahim", f"/backups/{shop.backup.attempt.backup_id}")
    with page.expect_download() as download:
        page.get_by_role("button", name="Excel").click()
    download.value.save_as(tmp_path / "backup.xlsx")
    assert openpyxl.load_workbook(tmp_path / "backup.xlsx").sheetnames == ["goods", "sold"]


@pytest.mark.acceptance("0.19", "2.3", "2.15", "2.16", "4.24", "4.29")
def test_a_click_is_a_run_that_every_open_page_follows_by_itself(shop: Shop) -> None:
    mine, theirs = shop.page("rahim", "/backups"), shop.page("nila", "/backups")
    mine.locator("summary").get_by_text("Create backup").click()
    dialog = mine.get_by_role("dialog")
    dialog.get_by_label("Reason").fill("Before system update")
    dialog.get_by_role("button", name="Create backup").click()
    expect(mine.locator(".flash.active")).to_be_visible()
    order, user = shop.launcher.launched[-1]
    assert (order.job, user) == ("shop_full_backup", "person:rahim")
    request = shop.newest_request()
    assert request.reason == "Before system update"
    row = shop.begin(request, Trigger.MANUAL)
    expect(_row(theirs, row.backup_id)).to_contain_text("In Progress", timeout=WAIT_MS)
    assert _colour(_row(theirs, row.backup_id).locator(".badge.active")) == "blue"
    assert _colour(_row(theirs, row.backup_id).locator(".badge.manual")) == "blue"
    mine.goto(f"{shop.address}/runs/{request.id}")
    now = datetime.now(UTC)
    for done in (1, 2):
        shop.ledger.progress.put(RunProgress(str(row.run_id), Scope("shop"), now, now, "tables", "goods", done, 2))
        expect(mine.get_by_text(f"{done} of 2 tables")).to_be_visible(timeout=WAIT_MS)
    shop.ledger.end(row.backup_id, good(row))
    expect(_row(theirs, row.backup_id)).to_contain_text("Completed", timeout=WAIT_MS)
    assert _colour(_row(theirs, row.backup_id).locator(".badge.good")) == "green"
    assert _colour(theirs.locator("#listing .badge.failure").first) == "red"
    shop.launcher.become(RunPhase.DONE)
    follow_requests(shop.console.ports, shop.launcher)


@pytest.mark.acceptance("2.11", "2.15")
def test_the_automatic_backup_can_be_tried_and_its_row_is_purple(shop: Shop) -> None:
    mine, theirs = shop.page("rahim", "/"), shop.page("nila", "/backups")
    mine.locator("summary").get_by_text("Test auto backup").click()
    mine.get_by_role("dialog").get_by_role("button", name="Run the test").click()
    expect(mine.locator(".flash.active")).to_be_visible()
    request = shop.newest_request()
    assert request.detail["automatic"] is True
    row = shop.begin(request, Trigger.AUTOMATIC)
    badge = _row(theirs, row.backup_id).locator(".badge.automatic")
    expect(badge).to_have_text("automatic", timeout=WAIT_MS)
    assert _colour(badge) == "purple"
    shop.ledger.end(row.backup_id, good(row))
    shop.launcher.become(RunPhase.DONE)
    follow_requests(shop.console.ports, shop.launcher)


@pytest.mark.acceptance("0.23", "2.19")
def test_a_deletion_wants_the_id_and_takes_the_row_out_of_the_list_but_not_of_the_ledger(shop: Shop) -> None:
    oldest = [row for row in shop.ledger.list() if row.status.good][-1]
    theirs, page = shop.page("nila", "/backups"), shop.page("karim", f"/backups/{oldest.backup_id}")
    page.get_by_role("link", name="Delete…").click()
    page.get_by_label("Reason").fill("a customer asked")
    page.get_by_label("The backup's id").fill("yes")
    page.get_by_role("button", name="Delete it").click()
    expect(page.locator(".problem")).to_be_visible()
    page.get_by_label("The backup's id").fill(oldest.backup_id)
    page.get_by_role("button", name="Delete it").click()
    page.wait_for_url(re.compile(r"/runs/"))
    order, user = shop.launcher.launched[-1]
    assert (order.job, user) == ("shop_delete", "person:karim")
    expect(_row(theirs, oldest.backup_id)).to_have_count(1)
    shop.ledger.execute("UPDATE backup_logs SET status = 'deleted' WHERE backup_id = %s", [oldest.backup_id])
    expect(_row(theirs, oldest.backup_id)).to_have_count(0, timeout=WAIT_MS)
    theirs.goto(f"{shop.address}/backups?status=deleted")
    expect(_row(theirs, oldest.backup_id)).to_contain_text("Deleted")


def _is_on(shop: Shop) -> bool:
    return shop.launcher.known_schedules["shop_daily"].running


@pytest.mark.acceptance("0.21", "0.22", "2.13")
def test_a_super_admin_has_the_tab_of_backups_with_the_switches_of_the_schedules(shop: Shop) -> None:
    page = shop.page("karim", "/settings")
    tab = page.get_by_role("navigation", name="Settings").get_by_role("link", name="Backups")
    assert tab.locator("svg use").get_attribute("href") == "#i-drive"
    tab.click()
    cron = page.locator("#cron")
    expect(cron.get_by_role("heading")).to_contain_text("Running")
    expect(cron).to_contain_text("every day at 00:00, Asia/Dhaka")
    expect(cron.locator(".tile", has_text="Active jobs")).to_contain_text("1")
    expect(cron.locator(".tile", has_text="Next run")).to_contain_text("00:00")
    page.get_by_role("button", name="Stop shop_daily").click()
    expect(page.locator("#cron")).to_contain_text("every schedule is stopped")
    assert not _is_on(shop)
    page.get_by_role("button", name="Start shop_daily").click()
    expect(page.get_by_role("button", name="Stop shop_daily")).to_be_visible()
    assert _is_on(shop)
    healthy, shop.launcher.known_daemons = (
        shop.launcher.known_daemons,
        [DaemonState("SCHEDULER", healthy=False, required=True)],
    )
    page.reload()
    expect(page.locator("#cron").get_by_role("heading")).to_contain_text("Stopped")
    shop.launcher.known_daemons = healthy
    admin = shop.page("rahim", "/settings")
    expect(admin.get_by_role("heading", level=1, name="Settings")).to_be_visible()
    assert admin.get_by_role("link", name="Backups", exact=True).locator("[href='#i-drive']").count() == 0


@pytest.mark.acceptance("2.33", "3.27")
def test_what_people_did_stands_in_the_audit(shop: Shop) -> None:
    page = shop.page("karim", "/audit")
    table = page.locator("main table").first
    for who, what in (("rahim", "download"), ("karim", "schedule stopped"), ("karim", "schedule started")):
        expect(table.locator("tr").filter(has_text=who).filter(has_text=what).first).to_be_visible()


@pytest.mark.acceptance("2.35", "3.35")
def test_a_service_that_is_away_is_named_with_the_step_to_take(shop: Shop) -> None:
    standing = shop.console.app.state.standing
    shop.launcher.away = True
    standing.look(shop.console.ports, shop.launcher)
    try:
        banner = shop.page("nila", "/backups").locator("#away")
        expect(banner).to_contain_text("Dagster does not answer")
        expect(banner).to_contain_text("backup-pipeline up")
        expect(shop.page("karim", "/settings").locator("#cron")).to_contain_text("not known")
    finally:
        shop.launcher.away = False
        standing.look(shop.console.ports, shop.launcher)


@pytest.mark.acceptance("2.36")
def test_the_first_sentence_is_green_only_while_the_newest_backup_is_good(shop: Shop) -> None:
    page = shop.page("nila", "/")
    expect(page.locator("#hero.good")).to_contain_text("Everything is protected.")
    assert page.locator("#hero .sign use").get_attribute("href") == "#i-check"
    row = begun(type=Trigger.AUTOMATIC)
    shop.ledger.begin(row)
    shop.ledger.end(row.backup_id, replace(good(row), status=Status.FAILED, error_message="No."))
    expect(page.locator("#hero.warning")).to_contain_text("1 attempt has failed", timeout=WAIT_MS)
    assert page.locator("#hero .sign use").get_attribute("href") == "#i-warning"
