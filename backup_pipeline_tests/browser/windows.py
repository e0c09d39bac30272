"""People with a window each of the real browser, at one console that is served."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Page

from backup_pipeline_tests.doubles.runs import FakeLauncher
from backup_pipeline_tests.servers.browser import opened_context
from backup_pipeline_tests.web.people import PASSWORD, Console


@dataclass
class Windows:
    """A console that is served, its Dagster, and a window for each person."""

    console: Console
    launcher: FakeLauncher
    address: str
    browser: Browser
    windows: dict[str, BrowserContext] = field(default_factory=dict)
    pages: list[Page] = field(default_factory=list)

    def page(self, name: str, path: str) -> Page:
        """A page in the window of somebody, who is signed in."""
        if name not in self.windows:
            self.windows[name] = opened_context(self.browser)
            page = self.windows[name].new_page()
            sign_in(page, f"{self.address}/login", name)
            page.close()
        page = self.windows[name].new_page()
        self.pages.append(page)
        page.goto(self.address + path)
        return page

    def close_pages(self) -> None:
        """Each open page listens to events on a connection of its own, of which a browser opens six to one place."""
        while self.pages:
            self.pages.pop().close()

    def close(self) -> None:
        for window in self.windows.values():
            window.close()


def sign_in(page: Page, address: str, name: str) -> None:
    page.goto(address)
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda url: urlsplit(url).path != "/login")
