"""The pages Users and Audit: what super admins and admins do there, and what nobody else sees."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from backup_pipeline.core.access import Role, User
from backup_pipeline.core.ledger import AuditEvent
from backup_pipeline.core.scope import Actor, ActorKind
from backup_pipeline_tests.servers.ledgers import ScratchLedger, new_ledger
from backup_pipeline_tests.web.people import Console, console_over

HOSTILE = "=HYPERLINK(\"http://evil\") <script>alert('x')</script> {{ 7*7 }}"


@pytest.fixture(scope="module")
def ledger() -> ScratchLedger:
    return new_ledger()


@pytest.fixture
def console(ledger: ScratchLedger, tmp_path: Path) -> Iterator[Console]:
    yield console_over(ledger, tmp_path)
    ledger.execute("TRUNCATE users, console_sessions, login_failures, one_time_links, system_settings RESTART IDENTITY")


@pytest.fixture
def people(console: Console) -> dict[Role, User]:
    own = {Role.BUSINESS_ADMIN: ("b1",)}
    return {role: console.user(f"the {role.in_words}", role, businesses=own.get(role, ())) for role in Role}


def test_a_super_admin_changes_disables_and_signs_people_out(console: Console, people: dict[Role, User]) -> None:
    boss, viewer = console.signed_in(people[Role.SUPER_ADMIN]), people[Role.VIEWER]
    browser = console.signed_in(viewer)
    path = f"/users/{viewer.number}"
    assert "the viewer" in boss.get("/users").text
    assert boss.post(path, data={"role": "viewer", "may_run": "true"}).status_code == 303
    after = console.access.access.users.get(viewer.number)
    assert after is not None
    assert (after.may_run, after.may_download) == (True, False)
    assert browser.get("/account").status_code == 200, "a switch signs nobody out"
    [session] = console.access.access.sessions.list(viewer.number)
    assert boss.post(f"{path}/sessions/{session.number}/revoke").status_code == 303
    assert browser.get("/account").status_code == 303
    wrong = boss.post(path, data={"role": "business_admin", "businesses": ""})
    assert (wrong.status_code, "needs a business" in wrong.text) == (422, True)
    assert boss.post(path, data={"role": "root"}).status_code == 422
    assert boss.post(f"{path}/disable").status_code == 303
    assert "can not sign in" in boss.get(path).text
    assert boss.get("/users/999").status_code == 404
    me = people[Role.SUPER_ADMIN]
    assert boss.post(f"/users/{me.number}/disable").status_code == 403, "one super admin always stays"


def test_two_super_admins_who_disable_each_other_at_once_leave_one(console: Console, ledger: ScratchLedger) -> None:
    one, other = console.user("one", Role.SUPER_ADMIN), console.user("other", Role.SUPER_ADMIN)
    with psycopg.connect(ledger.url) as session:
        session.execute("SELECT FROM users WHERE id = %s FOR UPDATE", [one.number])
        session.rollback()
    first, second = console.signed_in(one), console.signed_in(other)
    assert first.post(f"/users/{other.number}/disable").status_code == 303
    assert second.post(f"/users/{one.number}/disable").status_code == 303
    assert second.get("/users").headers["location"].startswith("/login"), "the second one was signed out already"
    left = [user for user in console.access.access.users.list() if user.disabled_at is None]
    assert left == [left[0]]


def test_no_name_is_html_or_a_template(console: Console, people: dict[Role, User]) -> None:
    boss = console.signed_in(people[Role.SUPER_ADMIN])
    name = "<img src=x onerror=alert(1)> {{ 7*7 }}"
    page = boss.post("/users", data={"name": name, "role": "viewer"})
    assert page.status_code == 200
    for text in (page.text, boss.get("/users").text, boss.get("/audit").text):
        assert "<img src=x" not in text
        assert "&lt;img src=x onerror=alert(1)&gt; {{ 7*7 }}" in text


@pytest.mark.acceptance("3.27")
def test_the_audit_is_filtered_paged_and_taken_out_without_formulas(console: Console, people: dict[Role, User]) -> None:
    when = datetime(2026, 11, 21, 19, 30, tzinfo=UTC)  # the 22nd in Dhaka
    for number in range(60):
        console.ledger.audit(
            AuditEvent(when, Actor(ActorKind.PERSON, "evil"), HOSTILE, f"b{number}", {"reason": HOSTILE})
        )
    browser = console.signed_in(people[Role.ADMIN])
    first = browser.get("/audit?who=evil")
    assert first.text.count("<tr>") == 51
    assert "<script>alert" not in first.text
    older = first.text.partition('href="/audit?who=evil&amp;before=')[2].partition('"')[0]
    assert browser.get(f"/audit?who=evil&before={older}").text.count("<tr>") == 11
    assert browser.get("/audit?since=2026-11-22&until=2026-11-22&backup=b7").text.count("<tr>") == 2
    assert "Nothing of that kind" in browser.get("/audit?until=2026-11-21&backup=b7").text
    assert browser.get("/audit?since=yesterday").status_code == 422
    answer = browser.get("/audit.csv?who=evil")
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert len(rows) == 60
    assert rows[0]["action"] == f"'{HOSTILE}"
    assert answer.headers["content-disposition"].startswith("attachment")
    assert console.ledger.audits(limit=1)[0].action == "audit_exported"


def test_the_page_says_whether_the_chain_holds(
    console: Console, people: dict[Role, User], ledger: ScratchLedger
) -> None:
    browser = console.signed_in(people[Role.ADMIN])
    browser.post("/audit/verify")
    assert "are what was written" in browser.get("/audit").text
    ledger.execute("ALTER TABLE backup_audit DISABLE TRIGGER backup_audit_append_only")
    ledger.execute("UPDATE backup_audit SET action = 'nothing' WHERE id = (SELECT min(id) + 3 FROM backup_audit)")
    ledger.execute("ALTER TABLE backup_audit ENABLE ALWAYS TRIGGER backup_audit_append_only")
    browser.post("/audit/verify")
    assert "does not fit" in browser.get("/audit").text
