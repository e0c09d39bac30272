"""Signing in: what is kept, what is refused, and that nobody learns who has an account."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import psycopg
import pytest
from fastapi import Depends
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from backup_pipeline.core.access import Permission, Role, UserChange
from backup_pipeline.operations.access import passwords
from backup_pipeline.operations.access.users import set_user
from backup_pipeline.web import events as streams
from backup_pipeline.web.people import Visitor, allowed, fresh, signed_in
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.servers.ledgers import ScratchLedger, new_ledger
from backup_pipeline_tests.web.people import PASSWORD, Console, console_over


@pytest.fixture(scope="module")
def ledger() -> ScratchLedger:
    return new_ledger()


@pytest.fixture
def console(ledger: ScratchLedger, tmp_path: Path) -> Iterator[Console]:
    made = console_over(ledger, tmp_path)

    @made.app.get("/mine")
    def mine(visitor: Annotated[Visitor, Depends(signed_in)]) -> dict[str, str]:
        return {"name": visitor.user.name, "role": visitor.user.role}

    @made.app.get("/hold")
    def hold(visitor: Annotated[Visitor, Depends(allowed(Permission.HOLD))]) -> str:
        return visitor.user.name

    @made.app.api_route("/delete", methods=["GET", "POST"])
    def delete(visitor: Annotated[Visitor, Depends(fresh(Permission.DELETE))]) -> str:
        return visitor.user.name

    yield made
    ledger.execute("TRUNCATE users, console_sessions, login_failures RESTART IDENTITY")


def test_who_has_not_signed_in_is_led_to_the_form_and_back(console: Console) -> None:
    console.user("karim", Role.ADMIN)
    browser = console.browser()
    answer = browser.get("/mine?day=1")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=/mine%3Fday%3D1")
    form = browser.get(answer.headers["location"])
    assert 'value="/mine?day=1"' in form.text
    sent = browser.post("/login", data={"name": "Karim ", "password": PASSWORD, "next": "/mine?day=1"})
    assert (sent.status_code, sent.headers["location"]) == (303, "/mine?day=1")
    assert browser.get("/mine").json() == {"name": "karim", "role": "admin"}


def test_the_cookie_is_for_the_browser_alone_and_over_https_for_https_alone(console: Console) -> None:
    console.user("karim")
    for base, expected in (
        ("http://127.0.0.1:3001", "backup_session="),
        ("https://backup.example.com", "__Host-backup_session="),
    ):
        answer = console.browser(base).post("/login", data={"name": "karim", "password": PASSWORD})
        [cookie] = [value for value in answer.headers.get_list("set-cookie") if "session" in value]
        assert cookie.startswith(expected)
        assert {"HttpOnly", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))
        assert ("Secure" in cookie.split("; ")) == base.startswith("https")
        assert "Domain" not in cookie


def test_a_password_does_not_travel_readable_by_others(console: Console, ledger: ScratchLedger, tmp_path: Path) -> None:
    console.user("karim")
    given = {"name": "karim", "password": PASSWORD}
    assert console.browser("http://backup.example.com").post("/login", data=given).status_code == 403
    decided = console_over(ledger, tmp_path, console_url="http://backup.example.com")
    assert decided.browser("http://backup.example.com").post("/login", data=given).status_code == 303


def test_behind_a_proxy_that_the_settings_name_the_cookie_is_for_https(
    console: Console, ledger: ScratchLedger, tmp_path: Path
) -> None:
    console.user("karim")
    proxied = console_over(ledger, tmp_path, console_url="https://backup.example.com").browser(
        "http://backup.example.com"
    )
    [cookie] = proxied.post("/login", data={"name": "karim", "password": PASSWORD}).headers.get_list("set-cookie")
    assert cookie.startswith("__Host-backup_session=")
    assert "Secure" in cookie.split("; ")
    sent = {"Cookie": cookie.partition(";")[0]}  # what a browser sends through the proxy
    ended = proxied.post("/account/sessions/revoke", headers=sent)
    word = ended.headers["set-cookie"].partition(";")[0]
    shown = proxied.get("/account", headers={"Cookie": f"{sent['Cookie']}; {word}"})
    cookies = [*ended.headers.get_list("set-cookie"), *shown.headers.get_list("set-cookie")]
    assert [cookie.partition("=")[0] for cookie in cookies] == ["flash", "flash"], "set, and taken back"
    assert all("Secure" in cookie.split("; ") for cookie in cookies)


def test_a_password_is_kept_by_argon2id_with_memory_and_an_old_hash_is_made_anew(
    console: Console, ledger: ScratchLedger, slow_passwords: None
) -> None:
    console.user("karim")
    weak = Argon2Hasher(time_cost=1, memory_cost=64, parallelism=1).hash(PASSWORD)
    ledger.execute("UPDATE users SET password_hash = %s", [weak])
    console.browser().post("/login", data={"name": "karim", "password": "wrong"})
    with psycopg.connect(ledger.url) as session:
        assert session.execute("SELECT password_hash FROM users").fetchall() == [(weak,)]
        console.browser().post("/login", data={"name": "karim", "password": PASSWORD})
        [(kept,)] = session.execute("SELECT password_hash FROM users").fetchall()
    _, algorithm, _, parameters, *_ = kept.split("$")
    assert algorithm == "argon2id"
    memory, times, _ = (int(each.partition("=")[2]) for each in parameters.split(","))
    assert memory >= 19 * 1024  # KiB, and two passes: OWASP's password storage sheet
    assert times >= 2


def test_an_unknown_name_costs_the_same_hash(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []
    verify = PasswordHash.verify_and_update

    def counted(hasher: PasswordHash, password: str, known: str) -> tuple[bool, str | None]:
        hashed.append(known.rpartition("$")[0].rpartition("$")[0])  # the algorithm and its parameters
        return verify(hasher, password, known)

    monkeypatch.setattr(PasswordHash, "verify_and_update", counted)
    console.user("karim")
    for name in ("karim", "nobody"):
        console.browser().post("/login", data={"name": name, "password": "wrong"})
    assert len(hashed) == 2
    assert len(set(hashed)) == 1
    assert hashed[0].startswith("$argon2id$")


def test_what_is_over_is_forgotten_at_a_later_login(console: Console, ledger: ScratchLedger) -> None:
    karim = console.user("karim")
    console.signed_in(karim)
    console.browser(address="10.8.0.1").post("/login", data={"name": "guess", "password": "wrong"})
    console.clock.move(days=32)
    console.signed_in(karim)
    with psycopg.connect(ledger.url) as session:
        assert session.execute("SELECT count(*) FROM console_sessions").fetchone() == (1,)
        assert session.execute("SELECT count(*) FROM login_failures WHERE failures > 0").fetchone() == (0,)


@pytest.mark.parametrize("where", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)"])
def test_nobody_is_led_to_another_site(console: Console, where: str) -> None:
    console.user("karim")
    answer = console.browser().post("/login", data={"name": "karim", "password": PASSWORD, "next": where})
    assert answer.headers["location"] == "/"


def test_whatever_is_wrong_looks_the_same(console: Console) -> None:
    console.user("karim")
    gone = console.user("gone")
    set_user(gone, UserChange(disabled=True), console.access, RAHIM)
    pages: set[str] = set()
    for name, password in (("karim", "wrong"), ("nobody", PASSWORD), ("gone", PASSWORD), ("karim", "x" * 900)):
        answer = console.browser(address=f"10.0.0.{len(pages)}").post(
            "/login", data={"name": name, "password": password}
        )
        assert answer.status_code == 401
        pages.add(re.sub(r'value="(karim|nobody|gone)"|\d\d:\d\d|datetime="[^"]*"', "", answer.text))
        assert not answer.headers.get_list("set-cookie")
    assert len(pages) == 1


def test_the_ledger_knows_no_token(console: Console, ledger: ScratchLedger) -> None:
    browser = console.signed_in(console.user("karim"))
    token = browser.cookies["backup_session"]
    with psycopg.connect(ledger.url) as session:
        rows = session.execute("SELECT console_sessions::text FROM console_sessions").fetchall()
    assert len(token) >= 43
    assert rows
    assert token not in str(rows)


def test_a_token_is_worth_nothing_after_signing_out(console: Console) -> None:
    browser = console.signed_in(console.user("karim"))
    token = browser.cookies["backup_session"]
    assert browser.post("/logout").status_code == 303
    replayed = console.browser()
    replayed.cookies["backup_session"] = token
    assert replayed.get("/mine").headers["location"].startswith("/login")


def test_a_token_from_before_is_not_the_token_of_after(console: Console) -> None:
    """Fixation: whoever put a cookie into a browser is not signed in with it."""
    console.user("karim")
    browser = console.browser()
    browser.cookies["backup_session"] = "planted-by-somebody-else"
    browser.post("/login", data={"name": "karim", "password": PASSWORD})
    planted = console.browser()
    planted.cookies["backup_session"] = "planted-by-somebody-else"
    assert planted.get("/mine").status_code == 303
    first = next(cookie.value for cookie in browser.cookies.jar if cookie.value != "planted-by-somebody-else")
    again = console.browser()
    again.cookies["backup_session"] = str(first)
    again.post("/login", data={"name": "karim", "password": PASSWORD})
    old = console.browser()
    old.cookies["backup_session"] = str(first)
    assert old.get("/mine").status_code == 303, "the session of before ended with the new one"


@pytest.mark.parametrize(("minutes", "alive"), [(59, True), (61, False)])
def test_a_session_that_is_not_used_ends(console: Console, minutes: int, alive: bool) -> None:
    browser = console.signed_in(console.user("karim"))
    console.clock.move(minutes=minutes)
    assert (browser.get("/mine").status_code == 200) == alive


def test_a_page_that_asks_again_by_itself_keeps_nobody_signed_in(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What console.js sends, and the stream that it opens, show no person."""
    monkeypatch.setattr(streams, "MOST_OF_A_SESSION", 0)  # a stream would not end
    browser = console.signed_in(console.user("karim"))
    for _ in range(5):
        console.clock.move(minutes=11)
        assert browser.get("/mine", headers={"X-Backup-Refresh": "1"}).status_code == 200
        assert browser.get("/events").status_code == 503
    console.clock.move(minutes=6)
    assert browser.get("/mine").status_code == 303
    script = browser.get("/static/console.js").text
    assert script.count("fetch(") == script.count('"X-Backup-Refresh": "1"') == 1


def test_a_session_ends_after_twelve_hours_however_it_is_used(console: Console) -> None:
    browser = console.signed_in(console.user("karim"))
    for _ in range(14):
        console.clock.move(minutes=50)
        assert browser.get("/mine").status_code == 200
    console.clock.move(minutes=30)
    assert browser.get("/mine").status_code == 303


@pytest.mark.acceptance("2.30")
def test_another_role_or_none_signs_a_user_out(console: Console) -> None:
    karim = console.user("karim", Role.ADMIN)
    for change in (UserChange(role=Role.VIEWER), UserChange(disabled=True)):
        browser = console.signed_in(karim)
        assert browser.get("/mine").status_code == 200
        karim = set_user(karim, change, console.access, RAHIM)
        assert browser.get("/mine").status_code == 303


def test_who_may_not_gets_403_and_who_has_not_just_confirmed_is_asked(console: Console) -> None:
    assert console.signed_in(console.user("rahim", Role.VIEWER)).get("/hold").status_code == 403
    assert console.signed_in(console.user("admin", Role.ADMIN)).get("/delete").status_code == 403
    browser = console.signed_in(console.user("karim", Role.SUPER_ADMIN))
    assert browser.get("/delete").status_code == 200
    console.clock.move(minutes=6)
    asked = browser.get("/delete?id=1")
    assert (asked.status_code, asked.headers["location"]) == (303, "/confirm?next=/delete%3Fid%3D1")
    posted = browser.post("/delete", headers={"Referer": "http://127.0.0.1:3001/hold?x=1"})
    assert posted.headers["location"] == "/confirm?next=/hold%3Fx%3D1"
    before = browser.cookies["backup_session"]
    assert browser.post("/confirm", data={"password": "wrong"}).status_code == 401
    confirmed = browser.post("/confirm", data={"password": PASSWORD, "next": "/delete?id=1"})
    assert (confirmed.status_code, confirmed.headers["location"]) == (303, "/delete?id=1")
    assert browser.get("/delete?id=1").status_code == 200
    old = console.browser()
    old.cookies["backup_session"] = before
    assert old.get("/mine").status_code == 303, "the token of before is worth nothing"


def test_twenty_quick_tries_get_four_answers(console: Console) -> None:
    """Three are free, and the delays that follow count for who is quick, too."""
    console.clock.stand()
    console.user("karim")

    def attempt(number: int) -> int:
        return console.browser(address=f"10.1.0.{number}").post(
            "/login", data={"name": "karim", "password": f"wrong {number}"}
        ).status_code  # fmt: skip

    with ThreadPoolExecutor(8) as threads:
        statuses = list(threads.map(attempt, range(20)))
    assert statuses.count(401) <= 4
    assert statuses.count(429) >= 16
    refused = console.browser().post("/login", data={"name": "karim", "password": PASSWORD})
    assert refused.status_code == 429, "the right password waits, too"
    assert int(refused.headers["retry-after"]) >= 1
    console.clock.move(hours=1)
    console.signed_in(next(user for user in console.access.access.users.list() if user.name == "karim"))


def test_names_that_nobody_has_wait_as_long(console: Console) -> None:
    console.clock.stand()
    statuses = [
        console.browser(address=f"10.2.0.{number}").post("/login", data={"name": "nobody", "password": "x"}).status_code
        for number in range(6)
    ]
    assert statuses == [401, 401, 401, 429, 429, 429]


def test_one_address_that_tries_many_names_waits(console: Console) -> None:
    console.clock.stand()
    browser = console.browser(address="10.3.0.1")
    statuses = [browser.post("/login", data={"name": f"n{n}", "password": "x"}).status_code for n in range(16)]
    assert statuses[:12] == [401] * 12
    assert 429 in statuses[12:]


def test_many_who_are_right_come_in_from_one_address(console: Console) -> None:
    """An office at nine o'clock: what is being looked at counts for nobody else."""
    people = [console.user(f"p{number}") for number in range(16)]
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(console.signed_in, people))


def test_who_has_signed_in_is_answered_however_many_try_to(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    karim = console.user("karim")
    browser = console.signed_in(karim)
    monkeypatch.setattr(passwords, "_IN_LINE", threading.BoundedSemaphore(1))
    with passwords.in_line():
        for _ in range(5):
            full = console.browser().post("/login", data={"name": "karim", "password": PASSWORD})
            assert (full.status_code, full.headers["retry-after"]) == (429, "3")
        assert browser.get("/mine").status_code == 200
    console.signed_in(karim)  # what was refused for the line counted as no try


@pytest.mark.acceptance("3.27")
def test_what_happened_is_in_the_audit_with_address_session_and_request(
    console: Console, ledger: ScratchLedger
) -> None:
    browser = console.signed_in(console.user("karim"))
    console.browser(address="10.9.9.9").post("/login", data={"name": "karim", "password": "wrong"})
    console.browser(address="10.9.9.8").post("/login", data={"name": PASSWORD, "password": "in the wrong field"})
    browser.post("/logout")
    events = {event.action: event for event in ledger.audits(limit=4)}
    assert set(events) == {"sign_in", "sign_in_failed", "sign_out"}
    assert all(event.address and event.request_id for event in events.values())
    assert PASSWORD not in str(ledger.audits())
    assert str(events["sign_in"].actor) == "person:karim"
