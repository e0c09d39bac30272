"""Each threat that the console's design names, tried: on every route, as every role."""

from __future__ import annotations

import asyncio
import re
import subprocess
from dataclasses import replace
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

import httpx
import pyotp
import pytest
from fastapi.routing import APIRoute

from backup_pipeline.core.access import Role, User
from backup_pipeline.core.access.sessions import PersonIdentity
from backup_pipeline.core.ledger import Status
from backup_pipeline.core.scope import Scope
from backup_pipeline.ledger import access
from backup_pipeline.ledger.access import identity_settings
from backup_pipeline.operations.access.users import invite
from backup_pipeline.postgres.programs import find_binaries
from backup_pipeline.web.pages import ROUTERS
from backup_pipeline.wiring.web_gate import gated
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.ledger.attempts import NOON, attempt, outcome
from backup_pipeline_tests.ledger.restores import wish
from backup_pipeline_tests.servers.ledgers import ScratchLedger, new_ledger
from backup_pipeline_tests.web.people import PASSWORD, Browser, Console, console_over

OWN, OTHER, WHOLE = "20261121T120000Z-full-00000001", "20261121T120000Z-full-00000002", "20261121T120000Z-full-00000003"
UNKNOWN = "20261121T120000Z-full-0000000f"

NOBODY = User(0, "nobody", Role.VIEWER, NOON)

OPEN = {
    # Whoever asks: to sign in and out, and links that are a permission by themselves.
    ("GET", "/login"),
    ("POST", "/login"),
    ("POST", "/logout"),
    ("GET", "/login/provider"),
    ("GET", "/login/provider/back"),
    ("GET", "/welcome/{token}"),
    ("POST", "/welcome/{token}"),
    ("GET", "/d/{token}"),
    ("HEAD", "/d/{token}"),
}
STREAMS = {("GET", "/events")}
"""What does not end by itself: whether it needs a login is asked, what it says is another test's."""
ROUTES = sorted(
    (method, route.path)
    for router in ROUTERS
    for route in router.routes
    if isinstance(route, APIRoute)
    for method in route.methods or ()
)


@pytest.fixture(scope="module")
def ledger() -> ScratchLedger:
    """A backup and a restore request of business b1, of b2, and of the whole."""
    made = new_ledger()
    for backup_id, business in ((OWN, "b1"), (OTHER, "b2"), (WHOLE, None)):
        scope = Scope("retail", business=business)
        made.begin(attempt(backup_id, scope=scope, reason=f"secret of {business}"))
        made.end(backup_id, outcome(Status.SUCCESS, file_name="x.zip", record_count=5))
        made.execute(
            "INSERT INTO run_requests (id, catalog, business, verb, actor, created_at, status, reason) "
            "VALUES (%s, 'retail', %s, 'backup', 'rahim', now(), 'done', %s)",
            [_run_of(backup_id), business, f"secret of {business}"],
        )
        made.restores.add(wish(backup_id=backup_id, scope=scope, reason=f"secret of {business}"))
    return made


@pytest.fixture(scope="module")
def console(ledger: ScratchLedger, tmp_path_factory: pytest.TempPathFactory) -> Console:
    return console_over(ledger, tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def people(console: Console) -> dict[Role, User]:
    own = {Role.BUSINESS_ADMIN: ("b1",)}
    return {role: console.user(f"the {role.in_words}", role, businesses=own.get(role, ())) for role in Role}


@pytest.fixture(scope="module")
def browsers(console: Console, people: dict[Role, User]) -> dict[Role, Browser]:
    return {role: console.signed_in(user) for role, user in people.items()}


def _run_of(backup_id: str) -> UUID:
    return uuid5(NAMESPACE_URL, backup_id)


def _path(template: str, backup_id: str, number: int) -> str:
    path = template.replace("{backup_id}", backup_id)
    if path.startswith("/runs/"):
        path = path.replace("{number}", str(_run_of(backup_id)))
    return re.sub(r"\{[^}]*\}", str(number), path)


def _ask(browser: Browser, method: str, path: str) -> httpx.Response:
    form = {"verb": "backup", "catalog": "isp", "request": str(uuid4())} if path == "/runs" else {}
    return browser.get(path) if method == "GET" else browser.post(path, data=form)


def _foreign(ledger: ScratchLedger) -> list[tuple[str, str, str, str]]:
    """Each route that names something: how to ask for what is another business's, and for what is nowhere."""
    other = next(row.id for row in ledger.restores.list() if row.scope.business == "b2")
    return [
        (method, template, _path(template, OTHER, other), _path(template, UNKNOWN, 999_999))
        for method, template in ROUTES
        if "{" in template and (method, template) not in OPEN and not template.startswith(("/users", "/account"))
    ]


def _same(answer: httpx.Response) -> tuple[int, str]:
    ids = f"{OTHER}|{UNKNOWN}|{_run_of(OTHER)}|{_run_of(UNKNOWN)}|999999"
    text = re.sub(r"\b[0-9a-f]{12}\b|\d\d:\d\d(:\d\d)?|datetime=\"[^\"]*\"", "", re.sub(ids, "ID", answer.text))
    return answer.status_code, re.sub(r"\b[1-9]\b", "ID", text)


def _check_foreign(browser: Browser, ledger: ScratchLedger) -> int:
    tried = _foreign(ledger)
    for method, template, foreign, unknown in tried:
        there, nowhere = _ask(browser, method, foreign), _ask(browser, method, unknown)
        assert _same(there) == _same(nowhere), (method, template)
        assert "secret of b2" not in there.text
    return len(tried)


@pytest.mark.acceptance("3.24")
def test_another_businesss_id_answers_as_one_that_is_nowhere(
    browsers: dict[Role, Browser], ledger: ScratchLedger
) -> None:
    assert _check_foreign(browsers[Role.BUSINESS_ADMIN], ledger) >= 5


@pytest.mark.acceptance("3.24")
def test_a_forgotten_filter_shows_nothing_of_others(
    browsers: dict[Role, Browser], ledger: ScratchLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The code's own filter is patched out: the policies of the ledger are the last wall."""
    monkeypatch.setattr(User, "sees", lambda *_: True)
    assert _check_foreign(browsers[Role.BUSINESS_ADMIN], ledger) >= 5


def test_without_either_wall_it_would_be_seen(browsers: dict[Role, Browser], monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the tests above are about the walls: with both out, another's backup is a page."""
    owner = browsers[Role.BUSINESS_ADMIN]
    assert owner.get(f"/backups/{OWN}").status_code == 200
    assert owner.get(f"/backups/{OTHER}").status_code == 404
    monkeypatch.setattr(User, "sees", lambda *_: True)
    everything = identity_settings(PersonIdentity(replace(NOBODY, role=Role.SUPER_ADMIN)))
    monkeypatch.setattr(access, "identity_settings", lambda _: everything)
    assert "secret of b2" in owner.get(f"/backups/{OTHER}").text


def test_lists_show_ones_own_businesses_alone(browsers: dict[Role, Browser], monkeypatch: pytest.MonkeyPatch) -> None:
    for patched in (False, True):
        if patched:
            monkeypatch.setattr(User, "sees", lambda *_: True)
        for method, template in ROUTES:
            if method == "GET" and "{" not in template and (method, template) not in OPEN | STREAMS:
                text = browsers[Role.BUSINESS_ADMIN].get(template).text
                assert "secret of b2" not in text, template
                assert OTHER not in text, template


def test_a_stolen_dump_signs_nobody_in(console: Console, ledger: ScratchLedger) -> None:
    karim = console.user("thief's victim", Role.ADMIN)
    browser = console.signed_in(karim)
    browser.post("/account/second-factor")
    secret = re.findall(r'<code id="secret">([A-Z2-7]+)</code>', browser.get("/account").text)[0]
    confirmed = browser.post("/account/second-factor/confirm", data={"code": pyotp.TOTP(secret).at(console.clock())})
    codes = re.findall(r"\b(?:[0-9a-f]{4}-){3}[0-9a-f]{4}\b", confirmed.text)
    invitation = invite(karim, console.access, RAHIM)
    dump = subprocess.run(
        [str(find_binaries().tool("pg_dump")), ledger.url], capture_output=True, check=True, text=True
    ).stdout
    assert "thief''s victim" in dump or "thief's victim" in dump
    assert len(codes) == 10
    secrets = [PASSWORD, secret, invitation, browser.cookies["backup_session"], *codes]
    secrets += [code.replace("-", "") for code in codes]
    assert [value for value in secrets if value in dump] == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Referer": "http://evil.example/page"},
    ],
)
def test_a_form_of_another_site_does_nothing(
    console: Console, people: dict[Role, User], ledger: ScratchLedger, headers: dict[str, str]
) -> None:
    application = gated(console.app, "127.0.0.1", console.settings)
    cookies = console.signed_in(people[Role.SUPER_ADMIN]).cookies

    async def post(sent: dict[str, str]) -> httpx.Response:
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:3001", cookies=cookies) as web:
            return await web.post("/users", data={"name": "planted"}, headers=sent)

    assert asyncio.run(post(headers)).status_code == 403
    assert console.access.access.users.named("planted") is None
    ours = {"Origin": "http://127.0.0.1:3001", "Sec-Fetch-Site": "same-origin"}
    assert asyncio.run(post(ours)).status_code == 200
    ledger.execute("DELETE FROM users WHERE name = 'planted'")


def test_no_page_can_be_framed_or_runs_a_script_of_anybody(console: Console, people: dict[Role, User]) -> None:
    answer = console.signed_in(people[Role.SUPER_ADMIN]).get("/users")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"<script(?![^>]*src=)|\son\w+=|\sstyle=", answer.text)
    account = console.signed_in(people[Role.VIEWER])
    account.post("/account/second-factor")
    assert not re.search(r"<script(?![^>]*src=)|\son\w+=|\sstyle=", account.get("/account").text)


def test_the_routes_that_are_open_are_those_that_are_listed() -> None:
    assert set(ROUTES) >= OPEN
