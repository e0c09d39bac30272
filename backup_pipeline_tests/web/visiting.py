"""The console in this process, asked as a browser asks it."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from fastapi import FastAPI

HTML = {"Accept": "text/html"}


def asked(app: FastAPI, path: str, method: str = "GET", **given: Any) -> httpx.Response:
    """The answer of `app`; redirects are not followed."""
    return asyncio.run(_asked(app, path, method, given))


async def _asked(app: FastAPI, path: str, method: str, given: dict[str, Any]) -> httpx.Response:
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 50_000))
    given["headers"] = {**HTML, **given.get("headers", {})}
    cookies = given.pop("cookies", None)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:3001", cookies=cookies) as client:
        return await client.request(method, path, **given)
