"""The browser that other tests use is a real one, and what looks at pages finds what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Error, Page

from backup_pipeline_tests.servers.browser import PHONE, axe_violations, opened_context, sideways

GOOD = """<!doctype html><html lang="en"><title>Good</title><main><h1>Good</h1><p>Read me</p></main></html>"""
BAD = """<!doctype html><html><title></title><img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">
<p style="color:#aaa;background:#fff;width:2000px">Nobody reads this</p></html>"""


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    context = opened_context(chromium, PHONE)
    yield context.new_page()
    context.close()


def test_a_good_page_has_no_violations(page: Page) -> None:
    page.set_content(GOOD)
    assert (axe_violations(page), sideways(page)) == ([], 0)


def test_a_bad_page_has_each_of_its_violations(page: Page) -> None:
    page.set_content(BAD)
    violations = " ".join(axe_violations(page))
    assert all(rule in violations for rule in ("image-alt", "html-has-lang", "color-contrast", "document-title"))
    assert sideways(page) > 1000


def test_nothing_but_this_machine_is_reached(page: Page) -> None:
    with pytest.raises(Error, match="ERR_NAME_NOT_RESOLVED"):
        page.goto("http://example.org/")
