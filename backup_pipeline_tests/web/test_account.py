"""One's own account, invitations and the first administrator, as people meet them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import psycopg
import pyotp
import pytest

from backup_pipeline.core.access import Role, User
from backup_pipeline.core.access.sessions import digest
from backup_pipeline.operations.access.second_factor import is_right_code
from backup_pipeline.operations.access.users import first_admin_link
from backup_pipeline_tests.servers.ledgers import ScratchLedger, new_ledger
from backup_pipeline_tests.web.people import PASSWORD, Browser, Console, console_over

OTHER = "lantern quiet harbour 7"


@pytest.fixture(scope="module")
def ledger() -> ScratchLedger:
    return new_ledger()


@pytest.fixture
def console(ledger: ScratchLedger, tmp_path: Path) -> Iterator[Console]:
    yield console_over(ledger, tmp_path)
    ledger.execute("TRUNCATE users, console_sessions, login_failures, one_time_links, system_settings RESTART IDENTITY")


def _set_up(console: Console, browser: Browser) -> tuple[pyotp.TOTP, list[str]]:
    """A second factor, set up by clicking; its codes and the recovery codes."""
    assert browser.post("/account/second-factor").status_code == 303
    page = browser.get("/account").text
    assert "<svg" in page
    secret = re.findall(r'<code id="secret">([A-Z2-7]+)</code>', page)[0]
    totp = pyotp.TOTP(secret)
    assert browser.post("/account/second-factor/confirm", data={"code": "000000"}).status_code == 422
    confirmed = browser.post("/account/second-factor/confirm", data={"code": totp.at(console.clock())})
    return totp, re.findall(r"\b(?:[0-9a-f]{4}-){3}[0-9a-f]{4}\b", confirmed.text)


def _login(console: Console, user: User, code: str = "", password: str = PASSWORD) -> int:
    answer = console.browser().post("/login", data={"name": user.name, "password": password, "code": code})
    console.clock.move(minutes=20)
    return answer.status_code


def test_a_second_factor_is_asked_for_and_each_code_counts_once(console: Console, ledger: ScratchLedger) -> None:
    karim = console.user("karim", Role.ADMIN)
    totp, codes = _set_up(console, console.signed_in(karim))
    assert len(set(codes)) == 10
    assert _login(console, karim) == 401
    assert _login(console, karim, totp.at(console.clock() - timedelta(minutes=30))) == 401
    code = totp.at(console.clock())
    assert (
        console.browser().post("/login", data={"name": "karim", "password": PASSWORD, "code": code}).status_code == 303
    )
    again = console.browser().post("/login", data={"name": "karim", "password": PASSWORD, "code": code})
    assert again.status_code == 401, "a code that was used is none any more"
    console.clock.move(minutes=20)
    assert _login(console, karim, codes[3].upper()) == 303
    assert _login(console, karim, codes[3]) == 401
    with psycopg.connect(ledger.url) as session:
        dump = str(session.execute("SELECT users::text FROM users").fetchall())
    assert totp.secret not in dump
    assert not [code for code in codes if code in dump or code.replace("-", "") in dump]


def test_a_code_that_comes_many_times_at_once_counts_once(console: Console) -> None:
    karim = console.user("karim", Role.ADMIN)
    totp, recovery = _set_up(console, console.signed_in(karim))
    console.clock.move(minutes=20)
    for code in (totp.at(console.clock()), recovery[0]):
        known = console.access.access.users.credentials(karim.number)
        with ThreadPoolExecutor(8) as pool:
            right = list(pool.map(lambda _: is_right_code(karim, known, code, console.access), range(16)))  # noqa: B023
        assert right.count(True) == 1
    earlier = totp.at(console.clock() - timedelta(seconds=30))
    assert not is_right_code(karim, known, earlier, console.access), "nor one of before it"


def test_the_second_factor_goes_by_who_has_it_or_where_the_telephone_is_lost(console: Console) -> None:
    karim, boss = console.user("karim"), console.user("boss", Role.SUPER_ADMIN)
    browser = console.signed_in(karim)
    _set_up(console, browser)
    assert "set up" in browser.get("/account").text
    assert browser.post("/account/second-factor/remove").status_code == 303
    assert _login(console, karim) == 303
    again = console.signed_in(karim)
    _set_up(console, again)
    console.clock.move(minutes=1)
    assert console.signed_in(boss).post(f"/users/{karim.number}/second-factor/remove").status_code == 303
    assert _login(console, karim) == 303


def test_a_role_that_has_to_have_a_second_factor_sees_nothing_before(console: Console) -> None:
    boss, karim = console.user("boss", Role.SUPER_ADMIN), console.user("karim", Role.ADMIN)
    at_the_top = console.signed_in(boss)
    policy = {"required": ["admin"], "local": "true"}
    assert at_the_top.post("/users/policy", data=policy).status_code == 303
    browser = console.signed_in(karim)
    led = browser.get("/audit")
    assert (led.status_code, led.headers["location"]) == (303, "/account?second_factor=needed")
    assert "needs a second factor" in browser.get("/account").text
    _set_up(console, browser)
    assert browser.get("/audit").status_code == 200
    assert browser.post("/account/second-factor/remove").status_code == 403
    assert at_the_top.get("/audit").status_code == 200, "other roles go on as they were"


def test_what_weakens_an_account_wants_the_password_again(console: Console) -> None:
    browser = console.signed_in(console.user("karim"))
    console.clock.move(minutes=6)
    for path in ("/account/second-factor", "/account/second-factor/remove"):
        assert browser.post(path).headers["location"].startswith("/confirm")


def test_another_password_needs_the_one_of_before_and_ends_other_sessions(console: Console) -> None:
    karim = console.user("karim")
    here, elsewhere = console.signed_in(karim), console.signed_in(karim)
    for sent, word in (
        ({"before": "wrong", "password": OTHER, "again": OTHER}, "not your present password"),
        ({"before": PASSWORD, "password": OTHER, "again": PASSWORD}, "differ"),
        ({"before": PASSWORD, "password": "karim karim karim", "again": "karim karim karim"}, "soon guessed"),
    ):
        refused = here.post("/account/password", data=sent)
        assert (refused.status_code, word in refused.text) == (422, True), word
    assert (
        here.post("/account/password", data={"before": PASSWORD, "password": OTHER, "again": OTHER}).status_code == 303
    )
    assert here.get("/account").status_code == 200
    assert elsewhere.get("/account").status_code == 303
    assert console.signed_in(karim, OTHER).get("/account").status_code == 200


def test_a_browser_that_was_left_open_is_no_place_to_guess_at_the_password(console: Console) -> None:
    console.clock.stand()
    here = console.signed_in(console.user("karim"))
    sent = {"before": "wrong", "password": OTHER, "again": OTHER}
    pages = [here.post("/account/password", data=sent).text for _ in range(5)]
    assert ["Too many tries" in page for page in pages] == [False, False, False, True, True]
    right = here.post("/account/password", data={**sent, "before": PASSWORD})
    assert "Too many tries" in right.text


def test_one_ends_ones_own_sessions_and_nobody_elses(console: Console) -> None:
    karim, rahim = console.user("karim"), console.user("rahim")
    here, elsewhere, other = console.signed_in(karim), console.signed_in(karim), console.signed_in(rahim)
    numbers = {session.user: session.number for session in reversed(console.access.access.sessions.list())}
    foreign = here.post(f"/account/sessions/{numbers[rahim.number]}/revoke")
    unknown = here.post("/account/sessions/999999/revoke")
    assert (foreign.status_code, unknown.status_code) == (404, 404)
    assert other.get("/account").status_code == 200
    assert here.post("/account/sessions/revoke").status_code == 303
    assert elsewhere.get("/account").status_code == 303
    assert here.get("/account").status_code == 200


def test_an_invitation_works_once_and_gives_the_role_that_was_chosen(console: Console, ledger: ScratchLedger) -> None:
    boss = console.signed_in(console.user("boss", Role.SUPER_ADMIN))
    sent = {"name": "rahim@example.com", "role": "business_admin", "businesses": "b1 b2"}
    page = boss.post("/users", data=sent)
    link = re.findall(r'<code id="link">http://127\.0\.0\.1:3001(/welcome/[\w-]+)</code>', page.text)[0]
    with psycopg.connect(ledger.url) as session:
        assert link.rpartition("/")[2] not in str(
            session.execute("SELECT one_time_links::text FROM one_time_links").fetchall()
        )
    invited = console.browser(address="10.0.0.5")
    assert "Welcome, rahim@example.com" in invited.get(link).text
    assert invited.post(link, data={"password": "short", "again": "short"}).status_code == 422
    assert invited.post(link, data={"password": OTHER, "again": OTHER}).status_code == 303
    assert invited.get("/account").status_code == 200
    assert invited.get("/users").status_code == 403
    for replay in (invited.get(link), console.browser().post(link, data={"password": OTHER, "again": OTHER})):
        assert replay.status_code == 404
    [rahim] = [user for user in console.access.access.users.list() if user.name.startswith("rahim")]
    assert (rahim.role, rahim.businesses) == (Role.BUSINESS_ADMIN, ("b1", "b2"))


def test_an_invitation_ends_with_the_next_one_and_with_time(console: Console) -> None:
    boss = console.signed_in(console.user("boss", Role.SUPER_ADMIN))
    karim = console.user("karim")
    links = [re.findall(r"/welcome/[\w-]+", boss.post(f"/users/{karim.number}/invite").text)[0] for _ in range(2)]
    assert console.browser().get(links[0]).status_code == 404
    assert console.browser().get(links[1]).status_code == 200
    console.clock.move(hours=49)
    assert console.browser().get(links[1]).status_code == 404


def test_the_first_admin_comes_from_this_machine_in_time_and_once(console: Console, ledger: ScratchLedger) -> None:
    token = first_admin_link(console.access)
    assert token is not None
    assert console.browser(address="10.0.0.5").get(f"/welcome/{token}").status_code == 403
    sent = {"name": "karim", "password": PASSWORD, "again": PASSWORD}
    assert console.browser(address="10.0.0.5").post(f"/welcome/{token}", data=sent).status_code == 403
    late = console.access.access.links.of_token(digest(token))
    assert late is not None
    assert late.expires_at - late.created_at == timedelta(minutes=15)
    browser = console.browser()
    assert browser.post(f"/welcome/{token}", data=sent).status_code == 303
    assert browser.get("/users").status_code == 200
    assert console.browser().post(f"/welcome/{token}", data={**sent, "name": "other"}).status_code == 404
    assert first_admin_link(console.access) is None


def test_a_first_link_is_worth_nothing_once_there_is_a_user(console: Console) -> None:
    token = first_admin_link(console.access)
    console.user("karim", Role.SUPER_ADMIN)
    sent = {"name": "evil", "password": PASSWORD, "again": PASSWORD}
    assert console.browser().post(f"/welcome/{token}", data=sent).status_code == 404
