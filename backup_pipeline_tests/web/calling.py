"""Programs that call the API of a console in this process, each with a key of its own."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from fastapi import FastAPI

from backup_pipeline.core.access.api_keys import KeyPermission, NewKey
from backup_pipeline.operations.access.api_keys import create_key
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.web.people import Console

EVERYTHING = tuple(KeyPermission)


class Program:
    """Calls the API with a key; nothing else comes with a call, cookies least of all."""

    def __init__(self, app: FastAPI, key: str | None, address: str = "127.0.0.1") -> None:
        self.app, self.key, self._address = app, key, address

    def get(self, path: str, **given: Any) -> httpx.Response:
        return self.call("GET", path, **given)

    def post(self, path: str, **given: Any) -> httpx.Response:
        return self.call("POST", path, **given)

    def call(self, method: str, path: str, **given: Any) -> httpx.Response:
        return asyncio.run(self._call(method, path, given))

    async def _call(self, method: str, path: str, given: dict[str, Any]) -> httpx.Response:
        own = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        headers = {**own, **given.pop("headers", {})}
        transport = httpx.ASGITransport(self.app, client=(self._address, 50_000))
        base = given.pop("base", "http://127.0.0.1:3001")
        async with httpx.AsyncClient(transport=transport, base_url=base) as client:
            return await client.request(method, path, headers=headers, **given)


def program_of(console: Console, *permissions: KeyPermission, name: str = "", **more: Any) -> Program:
    """A program with a new key that has those permissions, or all of them."""
    chosen = permissions or EVERYTHING
    name = name or f"program {len(console.access.access.keys.list()) + 1}"
    _, secret = create_key(NewKey(name, chosen, **more), console.access, RAHIM)
    return Program(console.app, secret)
