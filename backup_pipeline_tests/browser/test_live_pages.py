"""Pages that stay current by themselves, in a real browser, whose connections to one place are few."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from backup_pipeline_tests.browser.test_every_page import sign_in
from backup_pipeline_tests.servers.browser import opened_context
from backup_pipeline_tests.servers.ledgers import new_ledger
from backup_pipeline_tests.web.deciding import open_office
from backup_pipeline_tests.web.serving import served

HIDDEN = "Object.defineProperty(document, 'hidden', { get: () => window.unseen ?? false })"
"""Without a window every page counts as seen; here a test says which is not."""
MOST_CONNECTIONS = 6
"""So many a browser opens to one place over HTTP/1.1."""


@pytest.fixture(scope="module")
def window(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[BrowserContext, str]]:
    office = open_office(new_ledger(), tmp_path_factory.mktemp("office"), days=3)
    with served(office.console) as address:
        window = opened_context(chromium)
        window.add_init_script(HIDDEN)
        sign_in(window, address)
        yield window, address
        window.close()


def _look_away(page: Page, *, unseen: bool) -> None:
    page.evaluate("unseen => { window.unseen = unseen; document.dispatchEvent(new Event('visibilitychange')) }", unseen)


def test_many_pages_are_open_at_once_and_each_is_current_when_it_is_seen(window: tuple[BrowserContext, str]) -> None:
    context, address = window
    pages = []
    for _ in range(MOST_CONNECTIONS + 2):
        page = context.new_page()
        with page.expect_request(f"{address}/events"):
            page.goto(f"{address}/", timeout=15_000)
        _look_away(page, unseen=True)
        pages.append(page)
    with pages[0].expect_request(f"{address}/events"):
        _look_away(pages[0], unseen=False)
    for page in pages:
        page.close()
