"""Requests that no browser sends: addresses that are none, forms without an end; none is a fault."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from backup_pipeline.web import MOST_BYTES
from backup_pipeline.web.rendering import local_path
from backup_pipeline.wiring.web_gate import gated
from backup_pipeline_tests.servers.ledgers import new_ledger
from backup_pipeline_tests.web.people import ADDRESS, Console, console_over

NO_ADDRESSES = ("//[", "http://[", "//[::1", "http://a]b/", "//evil.example", "/\\evil.example", "\\evil.example")


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Console:
    console = console_over(new_ledger(), tmp_path_factory.mktemp("home"))
    console.user("nila")
    return console


@pytest.mark.parametrize("address", NO_ADDRESSES)
def test_an_address_that_is_none_of_ours_leads_nowhere(console: Console, address: str) -> None:
    assert local_path(address) == "/"
    browser = console.browser()
    assert browser.get("/login", params={"next": address}).status_code == 200
    form = {"name": "nila", "password": "copper kettle rain 41", "next": address}
    answer = browser.post("/login", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


@pytest.mark.parametrize("header", ["Referer", "Origin"])
def test_a_page_that_has_no_address_is_a_foreign_one(console: Console, header: str) -> None:
    application = gated(console.app, "127.0.0.1", console.settings)

    async def post(app: object, **headers: str) -> httpx.Response:
        transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url=ADDRESS) as web:
            return await web.post("/runs", headers=headers)

    assert asyncio.run(post(application, **{header: "http://["})).status_code == 403
    behind = asyncio.run(post(console.app, **{header: "http://["}))
    assert (behind.status_code, behind.headers["location"]) == (303, "/login?next=/")


def test_a_form_that_is_too_long_is_refused_before_it_is_read(console: Console) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(400):
            read += 2**16
            yield b"a" * 2**16

    async def post(**given: object) -> httpx.Response:
        transport = httpx.ASGITransport(console.app, client=("127.0.0.1", 50_000))
        kind = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html"}
        async with httpx.AsyncClient(transport=transport, base_url=ADDRESS, headers=kind) as web:
            return await web.post("/login", **given)  # type: ignore[arg-type]

    told = asyncio.run(post(content=b"name=" + b"a" * MOST_BYTES))
    assert told.status_code == 413
    untold = asyncio.run(post(content=endless()))
    assert untold.status_code == 413
    assert read <= MOST_BYTES + 2 * 2**16
