"""The page of the car audio platform in a real browser: what its users do there, with runs that really run."""

from __future__ import annotations

import json
import re
import time
import zipfile
from collections.abc import Callable, Iterator

import psycopg
import pytest
from playwright.sync_api import Locator, Page, expect

from backup_pipeline.core.names import Trigger
from backup_pipeline.demo import CAR_AUDIO
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline_tests.browser.demo_console import DemoConsole, open_demo
from backup_pipeline_tests.servers.browser import axe_violations, picture

pytestmark = pytest.mark.slow
WAIT_MS = 60_000
MANIFEST = ["backup_id", "created_at", "type", "tables_backed_up", "total_rows", "backup_version", "platform"]


@pytest.fixture(scope="module")
def platform(
    postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[DemoConsole]:
    home = tmp_path_factory.mktemp("platform")
    with open_demo(CAR_AUDIO, 0.1, postgres_server, home, lambda: request.getfixturevalue("chromium")) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _pages_are_closed(platform: DemoConsole) -> Iterator[None]:
    yield
    platform.close_pages()


def _newest(platform: DemoConsole, wanted: Trigger) -> str:
    return next(row.backup_id for row in platform.ledger.list() if row.type is wanted)


def _row(page: Page, backup_id: str) -> Locator:
    return page.locator("#listing tbody tr").filter(has_text=backup_id)


@pytest.mark.acceptance("2.1", "2.2", "2.3", "2.12")
def test_one_click_makes_a_backup_that_is_followed_to_its_end_with_the_seconds_it_took(
    platform: DemoConsole, record_property: Callable[[str, object], None]
) -> None:
    page = platform.page("rahim", "/admin?system=car_audio")
    page.get_by_role("navigation", name="Quick actions").get_by_role("link", name="Backup Management").click()
    before = int(page.locator("#tiles .tile.manual .value").inner_text())
    page.locator("summary").get_by_text("Create backup", exact=True).click()
    began = time.monotonic()
    page.get_by_role("dialog").get_by_role("button", name="Create backup").click()
    expect(page.locator("#tiles .tile.manual .value")).to_have_text(str(before + 1), timeout=WAIT_MS)
    seconds = time.monotonic() - began
    record_property("seconds from the click to Completed", round(seconds, 1))
    made = _newest(platform, Trigger.MANUAL)
    expect(_row(page, made)).to_contain_text("Completed")
    expect(_row(page, made)).to_contain_text("by rahim")
    picture(page, "car-audio-backups")
    page.goto(f"{platform.address}/runs/{platform.ledger.run_requests.list(limit=1)[0].id}")
    took = page.locator("dl.facts div", has_text="Took").locator("dd")
    expect(took).to_have_text(re.compile(r"\d+\.\d s"), timeout=WAIT_MS)
    assert float(took.inner_text().split()[0]) <= seconds + 1
    assert axe_violations(page) == []


@pytest.mark.acceptance("2.11", "2.15")
def test_the_automatic_backup_is_tried_by_a_button_and_leaves_a_purple_row(platform: DemoConsole) -> None:
    page = platform.page("rahim", "/?system=car_audio")
    page.locator("summary").get_by_text("Test auto backup").click()
    page.get_by_role("dialog").get_by_role("button", name="Run the test").click()
    listing = platform.page("nila", "/backups?system=car_audio&type=automatic")
    badge = listing.locator("#listing .badge.automatic").first
    badge.wait_for(timeout=WAIT_MS)
    expect(listing.locator("#listing .badge.good").first).to_have_text("Completed", timeout=WAIT_MS)
    assert platform.ledger.list()[0].type is Trigger.AUTOMATIC


@pytest.mark.acceptance("2.5", "2.6", "2.18")
def test_the_zip_of_the_platform_is_downloaded_at_once_with_its_manifest(platform: DemoConsole) -> None:
    page = platform.page("rahim", f"/backups/{platform.backup_id}")
    with page.expect_download() as download:
        page.get_by_role("button", name="JSON files (ZIP)").click()
    with zipfile.ZipFile(download.value.path()) as bundle:
        names = set(bundle.namelist())
        manifest = json.loads(bundle.read("manifest.json"))
    assert names == {"manifest.json", *(f"{table}.json" for table in CAR_AUDIO.exported)}
    assert list(manifest) == MANIFEST
    assert (manifest["tables_backed_up"], manifest["platform"]) == (5, "Car Audio Competition Platform")
    with psycopg.connect(platform.system.url) as session:
        counts = [session.execute(f"SELECT count(*) FROM {name}".encode()).fetchone() for name in CAR_AUDIO.exported]
    assert manifest["total_rows"] == sum(count[0] for count in counts if count)


@pytest.mark.acceptance("2.19")
def test_what_was_just_made_is_deleted_by_nobody_and_the_page_says_until_when(platform: DemoConsole) -> None:
    page = platform.page("karim", "/backups?system=car_audio")
    _row(page, platform.backup_id).get_by_role("link", name="Delete").click()
    expect(page.get_by_role("heading", name="It stays")).to_be_visible()
    expect(page.get_by_text("Come back after")).to_be_visible()
    assert page.get_by_role("button", name="Delete it").count() == 0
