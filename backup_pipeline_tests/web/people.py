"""People at browsers: users of a ledger, and a console in this process that they sign in to.

console = console_over(ledger, tmp_path)
karim = console.user("karim", Role.SUPER_ADMIN)
browser = console.signed_in(karim)
browser.get("/users")
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from backup_pipeline.core.access import NewUser, Role, User
from backup_pipeline.core.access.sessions import PersonIdentity
from backup_pipeline.core.ports import Ports
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline.operations.access import AccessPorts
from backup_pipeline.operations.access.users import create_user
from backup_pipeline.settings import Settings, given_settings
from backup_pipeline.web import create_app
from backup_pipeline.wiring.access import access_ports
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.doubles.ports import ports_for_test

PASSWORD = "copper kettle rain 41"
"""Of everybody, unless a test says otherwise."""
ADDRESS = "http://127.0.0.1:3001"


class MovingClock:
    """The present, and more where a test moves it on, or always the same where a test lets it stand."""

    def __init__(self) -> None:
        self.ahead = timedelta()
        self.stands_at: datetime | None = None

    def __call__(self) -> datetime:
        return (self.stands_at or datetime.now(UTC)) + self.ahead

    def stand(self) -> None:
        self.stands_at = datetime.now(UTC)

    def move(self, **by: float) -> None:
        self.ahead += timedelta(**by)


class Browser:
    """Asks the console in this process; keeps cookies, and follows no redirect by itself."""

    def __init__(self, app: FastAPI, base: str, address: str) -> None:
        self._transport = httpx.ASGITransport(app, client=(address, 50_000))
        self._base = base
        self.cookies = httpx.Cookies()

    def get(self, path: str, **given: Any) -> httpx.Response:
        return asyncio.run(self._ask("GET", path, given))

    def post(self, path: str, **given: Any) -> httpx.Response:
        return asyncio.run(self._ask("POST", path, given))

    async def _ask(self, method: str, path: str, given: dict[str, Any]) -> httpx.Response:
        headers = {"Accept": "text/html", "User-Agent": "test browser", **given.pop("headers", {})}
        async with httpx.AsyncClient(transport=self._transport, base_url=self._base, cookies=self.cookies) as client:
            answer = await client.request(method, path, headers=headers, **given)
            self.cookies = client.cookies
        return answer


@dataclass(frozen=True)
class Console:
    """The console over a ledger, with a clock that a test can move."""

    app: FastAPI
    ledger: SqlLedger
    ports: Ports
    settings: Settings
    clock: MovingClock

    @property
    def access(self) -> AccessPorts:
        """Users and sessions, as the console itself."""
        return access_ports(self.settings, self.ledger.as_person(PersonIdentity()), self.clock)

    def user(self, name: str, role: Role = Role.VIEWER, **more: Any) -> User:
        """A user with the password `PASSWORD`."""
        return create_user(NewUser(name, role, **more), self.access, RAHIM, PASSWORD)

    def browser(self, base: str = ADDRESS, address: str = "127.0.0.1") -> Browser:
        """A browser that nobody has signed in with."""
        return Browser(self.app, base, address)

    def signed_in(self, user: User, password: str = PASSWORD) -> Browser:
        """A browser in which the user signed in."""
        browser = self.browser()
        answer = browser.post("/login", data={"name": user.name, "password": password})
        assert answer.status_code == 303, answer.text
        return browser


def console_over(
    ledger: SqlLedger, home: Path, *, ports: Callable[..., Ports] = ports_for_test, **settings: Any
) -> Console:
    """The console over `ledger`, its own files under `home`."""
    clock = MovingClock()
    chosen = given_settings(home=home, **settings)
    made = ports(ledger=ledger, clock=clock)
    return Console(create_app(chosen, made), ledger, made, chosen, clock)
