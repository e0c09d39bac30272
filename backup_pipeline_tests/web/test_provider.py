"""Signing in at a provider of identities: the way there and back, and every lie that has been told on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from backup_pipeline.core.access import Role, UserChange
from backup_pipeline.core.access.identities import Claims, parse_group_roles, user_of_claims
from backup_pipeline.core.errors import RefusedError, SettingsError
from backup_pipeline.identities import checked_address
from backup_pipeline.operations.access import set_policy
from backup_pipeline.operations.access.users import set_user
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.servers.identities import CLIENT, SECRET, Provider, provider_of_identities
from backup_pipeline_tests.servers.ledgers import ScratchLedger, new_ledger
from backup_pipeline_tests.web.people import PASSWORD, Browser, Console, console_over

KARIM = {"sub": "8f3a", "email": "karim@example.com", "email_verified": True, "groups": ["admins", "lunch"]}
ROLES = "admins=super_admin staff=viewer shop=business_admin:b1,b2"


@pytest.fixture(scope="module")
def ledger() -> ScratchLedger:
    return new_ledger()


@pytest.fixture(scope="module")
def _running() -> Iterator[Provider]:
    with provider_of_identities() as running:
        yield running


@pytest.fixture
def provider(_running: Provider) -> Provider:
    """It tells the truth, unless a test has it lie."""
    _running.person, _running.sign, _running.lie = dict(KARIM), "RS256", lambda claims: claims
    return _running


@pytest.fixture
def console(ledger: ScratchLedger, provider: Provider, tmp_path: Path) -> Iterator[Console]:
    given: dict[str, Any] = {"oidc_issuer": provider.issuer, "oidc_client_id": CLIENT, "oidc_client_secret": SECRET}
    yield console_over(ledger, tmp_path, **given, oidc_roles=ROLES)
    ledger.execute("TRUNCATE users, console_sessions, login_failures, system_settings RESTART IDENTITY")


def _there(browser: Browser, path: str = "/login/provider?next=/account") -> str:
    """The address that the provider leads back to, after the browser went there."""
    answer = browser.get(path)
    assert answer.status_code == 303, answer.text
    back = httpx.get(answer.headers["location"]).headers["location"]
    assert back.startswith("http://127.0.0.1:3001/login/provider/back?")
    return str(back).removeprefix("http://127.0.0.1:3001")


def test_whom_the_provider_vouches_for_has_the_role_of_the_group(console: Console, provider: Provider) -> None:
    browser = console.browser()
    assert "Sign in with your organisation" in browser.get("/login").text
    answer = browser.get(_there(browser))
    assert (answer.status_code, answer.headers["location"]) == (303, "/account")
    assert browser.get("/users").status_code == 200
    [karim] = console.access.access.users.list()
    assert (karim.name, karim.role) == ("karim@example.com", Role.SUPER_ADMIN)
    provider.person["groups"] = ["staff"]
    console.user("boss", Role.SUPER_ADMIN)
    again = console.browser()
    assert again.get(_there(again)).status_code == 303
    assert again.get("/users").status_code == 403, "the role of today, not of the first time"
    assert browser.get("/account").status_code == 303, "and who had another one is signed out"


def test_the_way_there_has_a_challenge_a_state_and_a_nonce_of_its_own(console: Console, provider: Provider) -> None:
    seen = []
    for _ in range(2):
        _there(console.browser())
        seen.append(provider.asked)
        assert provider.asked["code_challenge_method"] == "S256"
        assert provider.asked["response_type"] == "code"
    assert all(seen[0][name] != seen[1][name] for name in ("state", "nonce", "code_challenge"))


def _ended(claims: dict[str, Any]) -> dict[str, Any]:
    return {**claims, "exp": int(time.time()) - 600, "iat": int(time.time()) - 900}


LIES: dict[str, tuple[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "wrong nonce": ("RS256", lambda claims: {**claims, "nonce": "of another sign-in"}),
    "no nonce": ("RS256", lambda claims: {name: value for name, value in claims.items() if name != "nonce"}),
    "another audience": ("RS256", lambda claims: {**claims, "aud": "another console"}),
    "for others too": ("RS256", lambda claims: {**claims, "aud": [CLIENT, "other"], "azp": "other"}),
    "another issuer": ("RS256", lambda claims: {**claims, "iss": "https://evil.example"}),
    "expired": ("RS256", _ended),
    "no end": ("RS256", lambda claims: {name: value for name, value in claims.items() if name != "exp"}),
    "of tomorrow": ("RS256", lambda claims: {**claims, "nbf": int(time.time()) + 86_400}),
    "issued tomorrow": (
        "RS256",
        lambda claims: {**claims, "iat": int(time.time()) + 86_400, "exp": int(time.time()) + 90_000},
    ),
    "not signed": ("none", lambda claims: claims),
    "signed with what is public": ("HS256", lambda claims: claims),
    "signed by somebody else": ("another key", lambda claims: claims),
    "no subject": ("RS256", lambda claims: {name: value for name, value in claims.items() if name != "sub"}),
}


@pytest.mark.parametrize("lie", LIES)
def test_what_does_not_hold_is_refused(console: Console, provider: Provider, lie: str) -> None:
    provider.sign, provider.lie = LIES[lie]
    browser = console.browser()
    answer = browser.get(_there(browser))
    assert answer.status_code == 403, answer.text
    assert "does not hold" in answer.text
    assert console.access.access.users.list() == []
    assert browser.get("/account").status_code == 303


def test_a_code_that_another_browser_brought_signs_nobody_in(console: Console) -> None:
    """Who gets a victim to open the attacker's way back would have the victim work in the attacker's account."""
    attacker, victim = console.browser(), console.browser()
    back = _there(attacker)
    assert victim.get(back).status_code == 403
    _there(victim)
    assert victim.get(back).status_code == 403
    assert attacker.get(back.replace("state=", "state=x")).status_code == 403
    assert attacker.get(f"/login/provider/back?error=access_denied&state={parse_qs(urlsplit(back).query)['state'][0]}").status_code == 403  # fmt: skip  # noqa: E501
    assert attacker.get(back).status_code == 303


def test_a_code_of_another_sign_in_is_worth_nothing_with_ones_own_state(console: Console, provider: Provider) -> None:
    """Who puts a stolen code into the way back of their own has neither its verifier nor its nonce."""
    victim, attacker = console.browser(), console.browser()
    stolen = parse_qs(urlsplit(_there(victim)).query)["code"][0]
    own = parse_qs(urlsplit(_there(attacker)).query)["state"][0]
    assert attacker.get(f"/login/provider/back?code={stolen}&state={own}").status_code == 403
    # A provider that looks at no challenge: the nonce is another.
    code = parse_qs(urlsplit(_there(victim)).query)["code"][0]
    back = _there(attacker)
    query = parse_qs(urlsplit(back).query)
    provider.codes[code]["code_challenge"] = provider.codes[query["code"][0]]["code_challenge"]
    answer = attacker.get(f"/login/provider/back?code={code}&state={query['state'][0]}")
    assert (answer.status_code, "does not hold" in answer.text) == (403, True)
    assert console.access.access.users.list() == []


def test_an_answer_of_another_issuer_sends_no_code_anywhere(console: Console, provider: Provider) -> None:
    browser = console.browser()
    back = _there(browser)
    assert browser.get(f"{back}&iss=https://evil.example").status_code == 403
    assert parse_qs(urlsplit(back).query)["code"][0] in provider.codes, "the code is not used up"
    assert browser.get(f"{back}&iss={provider.issuer}").status_code == 303


def test_a_way_that_was_begun_long_ago_leads_nowhere(console: Console) -> None:
    """A browser forgets the cookie; who has copied it does not."""
    browser = console.browser()
    back = _there(browser)
    console.clock.move(minutes=11)
    assert browser.get(back).status_code == 403


def test_a_code_that_comes_many_times_at_once_signs_in_once(console: Console) -> None:
    browser = console.browser()
    back, kept = _there(browser), dict(browser.cookies)

    def replay(_: int) -> int:
        same = console.browser()
        same.cookies.update(kept)
        return same.get(back).status_code

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(replay, range(6))) == [303, *[403] * 5]


def test_a_code_counts_once(console: Console) -> None:
    browser = console.browser()
    back = _there(browser)
    kept = dict(browser.cookies)
    assert browser.get(back).status_code == 303
    replayed = console.browser()
    replayed.cookies.update(kept)
    assert replayed.get(back).status_code == 403


def test_a_key_that_is_new_is_asked_for(console: Console, provider: Provider) -> None:
    first = console.browser()
    assert first.get(_there(first)).status_code == 303
    provider.rotate()
    second = console.browser()
    assert second.get(_there(second)).status_code == 303


def test_who_is_in_no_group_disabled_or_has_anothers_name_stays_outside(console: Console, provider: Provider) -> None:
    provider.person["groups"] = ["lunch"]
    browser = console.browser()
    assert "in no group" in browser.get(_there(browser)).text
    provider.person["groups"] = ["staff"]
    console.user("karim@example.com", Role.SUPER_ADMIN)
    taken = browser.get(_there(browser))
    assert (taken.status_code, "user link" in taken.text) == (403, True)
    provider.person["email"] = "other@example.com"
    assert browser.get(_there(browser)).status_code == 303
    [other] = [user for user in console.access.access.users.list() if user.name == "other@example.com"]
    set_user(other, UserChange(disabled=True), console.access, RAHIM)
    assert "was disabled" in browser.get(_there(browser)).text


def test_who_came_by_the_provider_shows_it_there_again_before_what_can_not_be_undone(
    console: Console, provider: Provider
) -> None:
    browser = console.browser()
    browser.get(_there(browser))
    asked = browser.get("/users/new")
    assert asked.headers["location"] == "/confirm?next=/users/new", "a session of the provider's is no fresh password"
    assert "/login/provider?again=true" in browser.get("/confirm?next=/users/new").text
    back = _there(browser, "/login/provider?again=true&next=/users/new")
    assert (provider.asked["prompt"], provider.asked["max_age"]) == ("login", "0")
    assert browser.get(back).headers["location"] == "/users/new"
    assert browser.get("/users/new").status_code == 200


def test_whom_the_provider_asked_for_more_is_not_asked_here(console: Console) -> None:
    set_policy(console.access, RAHIM, second_factor=list(Role))
    browser = console.browser()
    browser.get(_there(browser))
    assert browser.get("/users").status_code == 200


def test_a_provider_that_says_when_is_believed_rather_than_us(console: Console, provider: Provider) -> None:
    provider.person["auth_time"] = int(time.time()) - 3_000
    browser = console.browser()
    browser.get(_there(browser, "/login/provider?again=true&next=/"))
    assert browser.get("/users/new").status_code == 303
    provider.person["auth_time"] = int(time.time()) - 5
    browser.get(_there(browser, "/login/provider?again=true&next=/"))
    assert browser.get("/users/new").status_code == 200


def test_local_login_can_be_off_and_nobody_comes_in_with_a_password_then(console: Console) -> None:
    console.user("karim", Role.SUPER_ADMIN)
    set_policy(console.access, RAHIM, local_login=False)
    assert 'name="password"' not in console.browser().get("/login").text
    assert console.browser().post("/login", data={"name": "karim", "password": PASSWORD}).status_code == 403
    browser = console.browser()
    assert browser.get(_there(browser)).status_code == 303


def test_a_provider_of_another_name_is_none(ledger: ScratchLedger, provider: Provider, tmp_path: Path) -> None:
    given: dict[str, Any] = {"oidc_issuer": provider.issuer + "/", "oidc_client_id": CLIENT}
    answer = console_over(ledger, tmp_path, **given).browser().get("/login/provider")
    assert (answer.status_code, "calls itself" in answer.text) == (422, True)


def test_without_a_provider_there_is_no_way_to_one(ledger: ScratchLedger, tmp_path: Path) -> None:
    browser = console_over(ledger, tmp_path).browser()
    assert browser.get("/login/provider").status_code == 404
    assert "organisation" not in browser.get("/login").text


@pytest.mark.parametrize(
    "address", ["http://login.example.com", "ftp://x", "http://127.0.0.1.evil.example/", "file:///x"]
)
def test_a_provider_is_asked_where_nobody_listens(address: str) -> None:
    with pytest.raises(SettingsError, match="https only"):
        checked_address(address)


def test_groups_are_roles() -> None:
    rules = parse_group_roles(ROLES)

    def user(**values: object) -> tuple[str, Role, tuple[str, ...]]:
        wanted = user_of_claims(Claims("i|s", values), "groups", rules)
        return wanted.name, wanted.role, wanted.businesses

    assert user(groups="staff", sub="s") == ("s", Role.VIEWER, ())
    assert user(groups=["staff", "shop"], name="Karim") == ("Karim", Role.BUSINESS_ADMIN, ("b1", "b2"))
    unproven = user(groups=["staff"], email="boss@example.com", email_verified=False, preferred_username="evil")
    assert unproven[0] == "evil"
    for wrong in ("staff", "staff=root", "shop=business_admin", "staff=viewer:b1", "=viewer"):
        with pytest.raises(SettingsError, match="BACKUP_OIDC_ROLES"):
            parse_group_roles(wrong)
    with pytest.raises(RefusedError, match="in no group"):
        user(sub="s")
