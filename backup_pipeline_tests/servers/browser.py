"""A real browser: the system's Chromium, driven by Playwright. It reaches this machine alone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

DESKTOP = (1440, 900)
PHONE = (390, 844)
_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
"""The first is the same browser without the parts that draw windows: it takes two thirds of the time."""
_ARGUMENTS = (
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)
SCREENSHOTS = "BACKUP_TEST_SCREENSHOTS"
"""The folder where the tests leave a picture of each page that they look at; without it, none is made."""


@contextmanager
def running_chromium() -> Iterator[Browser]:
    """The system's Chromium, without a window; skips where there is none.

    As long as it is there, this thread has a running event loop: not for a whole session of tests.
    """
    program = next((path for name in _NAMES if (path := shutil.which(name))), None)
    if program is None:
        pytest.skip("Chromium is not installed (Debian: apt install chromium)")
    unconfined = ["--no-sandbox"] if os.getuid() == 0 else []  # Chromium's sandbox does not start as root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*_ARGUMENTS, *unconfined])
        try:
            yield browser
        finally:
            browser.close()


def opened_context(
    browser: Browser, size: tuple[int, int] = DESKTOP, *, script: bool = True, dark: bool = False
) -> BrowserContext:
    """A new profile with a window of that size; `script` False: JavaScript is off."""
    return browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        java_script_enabled=script,
        color_scheme="dark" if dark else "light",
        timezone_id="Asia/Dhaka",
        accept_downloads=True,
    )


def axe_violations(page: Page) -> list[str]:
    """What axe-core finds on the page: rule, how bad, and where."""
    results = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]})
    return [_in_words(violation) for violation in results.response["violations"]]


def _in_words(violation: Mapping[str, Any]) -> str:
    places = ", ".join(str(node["target"]) for node in violation["nodes"][:3])
    return f"{violation['id']} ({violation['impact']}): {places}"


def sideways(page: Page) -> int:
    """By how many pixels the page is wider than its window: nobody scrolls sideways on a phone."""
    width: int = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return width


def picture(page: Page, name: str) -> None:
    """Leave a picture of the whole page as `name`.png, where somebody asked for them."""
    if folder := os.environ.get(SCREENSHOTS):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The browser of a module's tests."""
    with running_chromium() as browser:
        yield browser
