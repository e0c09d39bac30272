"""Pages that stay current by themselves, in a real browser, whose connections to one place are few."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Route, expect

from backup_pipeline_tests.browser.test_every_page import sign_in
from backup_pipeline_tests.servers.browser import opened_context
from backup_pipeline_tests.servers.ledgers import new_ledger
from backup_pipeline_tests.web.deciding import Office, open_office
from backup_pipeline_tests.web.serving import served

HIDDEN = "Object.defineProperty(document, 'hidden', { get: () => window.unseen ?? false })"
"""Without a window every page counts as seen; here a test says which is not."""
IMPATIENT = """
const timeout = AbortSignal.timeout.bind(AbortSignal);
AbortSignal.timeout = (ms) => timeout(window.patience?.shift() ?? ms);
"""
"""A test says how long a page waits for its next answers."""
MOST_CONNECTIONS = 6
"""So many a browser opens to one place over HTTP/1.1."""
WAIT_MS = 30_000
EVENT = """
WITH event AS (
    INSERT INTO realtime_events (kind, catalog, subject, detail) VALUES ('backup', 'shop', 'b', '{}') RETURNING id
) SELECT pg_notify('backup_events', id::text) FROM event
"""


@dataclass
class Window:
    """Somebody's window at the console of an office."""

    office: Office
    context: BrowserContext
    address: str

    def open(self, path: str) -> Page:
        """A page that is current, and listens."""
        page = self.context.new_page()
        with page.expect_request(_asks_again):
            page.goto(f"{self.address}{path}", timeout=WAIT_MS)
        return page

    def delete(self, backup_id: str) -> None:
        """Let a backup go, as a run of somebody else does."""
        self.office.ledger.execute("UPDATE backup_logs SET status = 'deleted' WHERE backup_id = %s", [backup_id])


@pytest.fixture(scope="module")
def window(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Window]:
    office = open_office(new_ledger(), tmp_path_factory.mktemp("office"), days=9)
    with office.console.app.state.events, served(office.console) as address:
        context = opened_context(chromium)
        context.add_init_script(HIDDEN)
        context.add_init_script(IMPATIENT)
        sign_in(context, address)
        yield Window(office, context, address)
        context.close()


@pytest.fixture
def page(window: Window) -> Iterator[Page]:
    page = window.open("/backups")
    yield page
    page.close()


def _asks_again(request: object) -> bool:
    headers: dict[str, str] = getattr(request, "headers", {})
    return "x-backup-refresh" in headers


def _row(page: Page, backup_id: str) -> Locator:
    return page.locator("#listing tbody tr").filter(has_text=backup_id)


def _oldest(window: Window) -> str:
    return [row.backup_id for row in window.office.backups() if row.status.good][-1]


def _look_away(page: Page, *, unseen: bool) -> None:
    page.evaluate("unseen => { window.unseen = unseen; document.dispatchEvent(new Event('visibilitychange')) }", unseen)


def test_many_pages_are_open_at_once_and_each_is_current_when_it_is_seen(window: Window) -> None:
    pages = []
    for _ in range(MOST_CONNECTIONS + 2):
        page = window.context.new_page()
        with page.expect_request(f"{window.address}/events"):
            page.goto(f"{window.address}/", timeout=WAIT_MS)
        _look_away(page, unseen=True)
        pages.append(page)
    with pages[0].expect_request(f"{window.address}/events"):
        _look_away(pages[0], unseen=False)
    for page in pages:
        page.close()


def test_an_answer_that_fails_or_never_comes_is_asked_for_again(window: Window, page: Page) -> None:
    ills: list[Callable[[Route], None]] = [lambda _: None, lambda route: route.fulfill(status=503, body="busy")]

    def answer(route: Route) -> None:
        ills.pop(0)(route) if ills and _asks_again(route.request) else route.continue_()

    page.route("**/backups", answer)
    page.evaluate("window.patience = [300]")
    gone = _oldest(window)
    expect(_row(page, gone)).to_have_count(1)
    window.delete(gone)
    expect(_row(page, gone)).to_have_count(0, timeout=WAIT_MS)
    assert ills == []


def test_a_page_that_may_not_listen_asks_and_listens_later(window: Window) -> None:
    """A browser gives a stream up for good that is refused, such as one too many."""
    page = window.context.new_page()
    page.clock.install()
    page.route("**/events", lambda route: route.fulfill(status=503, body="Too many streams are open."), times=1)
    with page.expect_response(lambda answer: answer.status == 503):
        page.goto(f"{window.address}/backups")
    with page.expect_request(f"{window.address}/events"):
        page.clock.run_for(31_000)
    page.close()


def test_what_happened_behind_a_dialog_is_there_when_it_is_closed(window: Window, page: Page) -> None:
    page.locator("details.ask > summary").first.click()
    expect(page.locator("dialog[open]")).to_be_visible()
    gone = _oldest(window)
    page.evaluate("new EventSource('/events').onmessage = () => document.body.classList.add('rung')")
    window.delete(gone)
    page.locator("body.rung").wait_for()
    page.wait_for_timeout(500)  # the page would have asked by now
    expect(_row(page, gone)).to_have_count(1)
    page.keyboard.press("Escape")
    expect(_row(page, gone)).to_have_count(0, timeout=WAIT_MS)


def test_a_row_goes_while_the_focus_is_on_a_link_of_another_and_stays_there(window: Window, page: Page) -> None:
    link = page.locator("#listing a.row-link").first
    link.focus()
    address = link.get_attribute("href")
    gone = _oldest(window)
    window.delete(gone)
    expect(_row(page, gone)).to_have_count(0, timeout=WAIT_MS)
    assert page.evaluate("document.activeElement.getAttribute('href')") == address


def test_what_happens_without_a_pause_does_not_put_a_page_off(window: Window, page: Page) -> None:
    """Each event within a quarter of a second of the one before, as in a tick over many businesses."""
    gone = _oldest(window)
    window.delete(gone)
    for _ in range(100):
        window.office.ledger.execute(EVENT)
        if not _row(page, gone).count():
            return
        page.wait_for_timeout(80)
    pytest.fail("the page waited for a moment without events")
