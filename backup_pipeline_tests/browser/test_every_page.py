"""Every page in a real browser: on a phone and on a desk, in the light and in the dark, without JavaScript too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page

from backup_pipeline_tests.servers.browser import DESKTOP, PHONE, axe_violations, opened_context, picture, sideways
from backup_pipeline_tests.servers.ledgers import new_ledger
from backup_pipeline_tests.web.deciding import Office, add_business, open_office
from backup_pipeline_tests.web.people import PASSWORD
from backup_pipeline_tests.web.serving import served
from backup_pipeline_tests.web.test_every_route import OPEN, RULES, filled
from backup_pipeline_tests.web.ticking import add_ticks

MOST_BYTES = 60_000
"""What a first visit may load before the page is there."""
NO_PAGES = {
    "GET /audit.csv",
    "GET /payments.csv",
    "GET /analytics.csv",
    "GET /events",
    "GET /admin",
    "GET /admin/backup",
}
"""What is no page, or one that has another address too."""
PAGES = [
    *(route for route, rule in RULES.items() if route.startswith("GET ") and rule.takes != OPEN),
    "GET /login",
    "GET /reference",
    "GET /welcome/{token}",
    "GET /backups/not-there",
    "GET /settings?tab=backups",
    "GET /settings?tab=system",
    "GET /analytics?type=revenue",
    "GET /analytics?type=growth",
    "GET /analytics?type=business",
    "GET /analytics?type=business&business=b1",
]


@dataclass
class Opened:
    """The console with somebody signed in, in three windows."""

    office: Office
    address: str
    desk: BrowserContext
    phone: BrowserContext
    plain: BrowserContext

    def url(self, route: str) -> str:
        return self.address + filled(self.office, route)[1]


@pytest.fixture(scope="module")
def opened(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    office = open_office(new_ledger(), tmp_path_factory.mktemp("office"), days=9, businesses=True)
    office.ask("rahim")
    add_business(office)
    add_ticks(office)
    with served(office.console) as address:
        windows = (
            opened_context(chromium, DESKTOP),
            opened_context(chromium, PHONE, dark=True),
            opened_context(chromium, PHONE, script=False),
        )
        for window in windows:
            sign_in(window, address)
        yield Opened(office, address, *windows)
        for window in windows:
            window.close()


def sign_in(window: BrowserContext, address: str) -> None:
    page = window.new_page()
    page.goto(f"{address}/login")
    page.get_by_label("Name").fill("karim")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda url: urlsplit(url).path == "/")
    page.close()


@pytest.fixture
def page(opened: Opened, request: pytest.FixtureRequest) -> Page:
    """The page of a window. It is one for all tests: a new one is a process, and takes as long as what is looked at."""
    window: BrowserContext = getattr(opened, request.param)
    return window.pages[0] if window.pages else window.new_page()


@contextmanager
def heard(page: Page, events: Mapping[str, Callable[[Any], object]]) -> Iterator[None]:
    """Listen to the page's events as long as the context lasts."""
    for event, listener in events.items():
        page.on(event, listener)  # type: ignore[call-overload]
    try:
        yield
    finally:
        for event, listener in events.items():
            page.remove_listener(event, listener)


def _name(route: str) -> str:
    return (
        route.removeprefix("GET /").replace("?tab=", "-").replace("/", "-").replace("{", "").replace("}", "")
        or "overview"
    )


def _is_complaint(message: ConsoleMessage) -> bool:
    """What the browser says against the page; of answers that are errors, the answers tell more."""
    return message.type == "error" and "Failed to load resource" not in message.text


@pytest.mark.parametrize("page", ["desk", "phone"], indirect=True)
@pytest.mark.parametrize("route", [route for route in PAGES if route not in NO_PAGES])
def test_a_page_fits_its_window_and_everybody_can_use_it(opened: Opened, page: Page, route: str) -> None:
    complaints: list[str] = []
    listeners: dict[str, Callable[[Any], object]] = {
        "pageerror": lambda error: complaints.append(str(error)),
        "console": lambda message: complaints.append(message.text) if _is_complaint(message) else None,
        "response": lambda part: complaints.append(f"{part.status} {part.url}") if part.status >= 400 else None,
    }
    address = opened.url(route)
    with heard(page, listeners):
        page.goto(address, wait_until="load")
    size = "phone" if page.viewport_size == {"width": PHONE[0], "height": PHONE[1]} else "desk"
    picture(page, f"{_name(route)}-{size}")
    assert axe_violations(page) == []
    assert sideways(page) == 0
    assert [complaint for complaint in complaints if not complaint.endswith(f" {address}")] == []


def test_a_first_visit_loads_little(opened: Opened, chromium: Browser) -> None:
    loaded: list[int] = []
    window = opened_context(chromium, DESKTOP)
    window.add_cookies(opened.desk.cookies())  # type: ignore[arg-type]
    page = window.new_page()
    page.on("requestfinished", lambda done: loaded.append(done.sizes()["responseBodySize"]))
    page.goto(f"{opened.address}/", wait_until="load")
    window.close()
    assert len(loaded) >= 3  # the page, its style sheet, its script
    assert sum(loaded) < MOST_BYTES


@pytest.mark.parametrize("page", ["plain"], indirect=True)
@pytest.mark.parametrize("route", [route for route in PAGES if route not in NO_PAGES])
def test_a_page_says_what_it_is_without_javascript(opened: Opened, page: Page, route: str) -> None:
    page.goto(opened.url(route))
    assert page.locator("h1").count() == 1
    assert page.get_by_text("JavaScript").count() == 0
    assert page.locator("[aria-busy=true], .spinner").count() == 0
