"""Keys of programs in a real browser: made by the form, shown once, used from outside, and seen in the log of use."""

from __future__ import annotations

import httpx
import psycopg
import pytest
from playwright.sync_api import Browser, expect

from backup_pipeline_tests.browser.test_every_page import sign_in
from backup_pipeline_tests.servers.browser import opened_context, picture
from backup_pipeline_tests.servers.ledgers import new_ledger
from backup_pipeline_tests.web.deciding import open_office
from backup_pipeline_tests.web.serving import served

NAME = "System Integration, by a browser"


@pytest.mark.acceptance("3.17", "3.30")
def test_a_key_is_made_by_the_form_shown_once_and_each_of_its_calls_is_a_row(
    chromium: Browser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    office = open_office(new_ledger(), tmp_path_factory.mktemp("office"), days=1)
    with served(office.console) as address:
        window = opened_context(chromium)
        sign_in(window, address)
        page = window.new_page()
        page.goto(f"{address}/keys/new")
        page.get_by_label("Name").fill(NAME)
        for permission in ("analytics", "backup_status"):
            page.locator(f'input[name="permission"][value="{permission}"]').check()
        page.locator('input[name="limit"]').fill("1000")
        page.get_by_role("button", name="Make it").click()
        secret = page.locator("#secret").inner_text()
        picture(page, "key-made")
        page.get_by_role("link", name="Back to the keys").click()
        expect(page.get_by_text(NAME).first).to_be_visible()
        assert secret not in page.content()
        with httpx.Client(base_url=address, trust_env=False, headers={"Authorization": f"Bearer {secret}"}) as program:
            statuses = [
                program.get(path).status_code for path in ("/api/v1/backups", "/api/v1/backups", "/api/v1/audit")
            ]
        page.goto(f"{address}/usage")
        expect(page.get_by_text("/api/v1/backups").first).to_be_visible()
        picture(page, "usage")
        window.close()
    assert statuses == [200, 200, 403]
    with psycopg.connect(office.ledger.url) as session:
        key = "SELECT name, business, permissions, hourly_limit, shown FROM api_keys WHERE name = %s"
        row = session.execute(key, (NAME,)).fetchall()
        used = "SELECT route, status FROM api_usage_logs JOIN api_keys ON id = key_id WHERE name = %s ORDER BY at"
        calls = session.execute(used, (NAME,)).fetchall()
    assert row == [(NAME, None, ["analytics", "backup_status"], 1000, secret[:8])]
    assert calls == [("GET /api/v1/backups", 200), ("GET /api/v1/backups", 200), ("GET /api/v1/audit", 403)]
