"""Restore requests in the console: who sees them, who decides, and about which plan."""

from __future__ import annotations

import re
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import pytest

from backup_pipeline.core.access import UserChange
from backup_pipeline.core.alerts import Alert, Delivery
from backup_pipeline.core.restore import Mode
from backup_pipeline.core.restore.requests import RestoreChange, RestoreStatus
from backup_pipeline.core.scope import PROGRAM
from backup_pipeline.operations.access.users import set_user
from backup_pipeline.web.pages import requests
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.orchestration.installation import until
from backup_pipeline_tests.servers.ledgers import new_ledger
from backup_pipeline_tests.web.deciding import HOSTILE, Office, open_office


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    return open_office(new_ledger(), tmp_path_factory.mktemp("office"))


def _digest(office: Office, number: int) -> str:
    return str((office.row(number).plan or {})["digest"])


@pytest.mark.acceptance("3.31")
def test_the_list_has_the_requests_and_an_empty_one_says_what_is_next(office: Office) -> None:
    number = office.ask(reason="a wrong UPDATE").id
    page = office.as_("nila").get("/requests")
    assert page.status_code == 200
    assert f"Request {number}" in page.text
    assert "waits for approval" in page.text
    assert "/restore/new" not in page.text, "a viewer asks for nothing"
    none = office.as_("rahim").get("/requests?status=running")
    assert "None has this status." in none.text
    assert "/restore/new" in none.text
    assert office.as_("rahim").get("/requests?status=elsewhere").status_code == 422


def test_more_requests_than_fit_are_paged_by_their_numbers(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "_ROWS", 2)
    numbers = [office.ask(reason=f"page {page}").id for page in range(5)]
    karim, seen, address = office.as_("karim"), list[int](), "/requests?status=waiting"
    while address:
        page = karim.get(address).text
        shown = [int(number) for number in re.findall(r'href="/requests/(\d+)">Request', page)]
        assert 1 <= len(shown) <= 2
        seen += shown
        [waiting] = re.findall(r"Waiting <span class=\"count\">(\d+)<", page)
        following = re.search(r'href="([^"]+)" rel="next"', page)
        address = following[1].replace("&amp;", "&") if following else ""
    assert seen == sorted(seen, reverse=True)
    assert set(numbers) <= set(seen)
    assert len(seen) == int(waiting), "each once, and the tab says how many there are"
    assert karim.get("/requests?before=0").status_code == 422
    assert "No such request" in karim.get("/requests?before=1").text


@pytest.mark.acceptance("3.34")
def test_the_page_of_a_request_has_its_plan_with_its_hash(office: Office) -> None:
    row = office.ask(reason="why not")
    page = office.as_("selina").get(f"/requests/{row.id}")
    assert _digest(office, row.id) in page.text
    assert "Into database" in page.text
    assert "public.goods" in page.text
    assert "why not" in page.text
    assert f"backup-pipeline restores show {row.id}" in page.text
    assert "Approve this plan" in page.text


@pytest.mark.acceptance("3.8", "3.9")
def test_another_super_admin_approves_and_nothing_runs_by_that(office: Office) -> None:
    row = office.ask()
    answer = office.as_("karim").post(f"/requests/{row.id}/approve", data={"plan": _digest(office, row.id)})
    assert (answer.status_code, answer.headers["location"]) == (303, f"/requests/{row.id}")
    after = office.row(row.id)
    assert (after.status, str(after.decided_actor)) == (RestoreStatus.APPROVED, "person:karim")
    again = office.as_("selina").post(f"/requests/{row.id}/approve", data={"plan": _digest(office, row.id)})
    assert again.status_code == 409
    assert office.row(row.id) == after


@pytest.mark.acceptance("3.9")
def test_who_asked_does_not_approve(office: Office) -> None:
    row = office.ask("karim")
    page = office.as_("karim").get(f"/requests/{row.id}")
    assert "another super admin approves it" in page.text
    assert f"/requests/{row.id}/approve" not in page.text
    answer = office.as_("karim").post(f"/requests/{row.id}/approve", data={"plan": _digest(office, row.id)})
    assert answer.status_code == 403
    assert office.row(row.id).status is RestoreStatus.REQUESTED


def test_the_only_super_admin_approves_their_own_and_the_audit_says_so(office: Office) -> None:
    row = office.ask("karim")
    set_user(office.users["selina"], UserChange(disabled=True), office.console.access, RAHIM)
    try:
        assert "the only super admin" in office.as_("karim").get(f"/requests/{row.id}").text
        answer = office.as_("karim").post(f"/requests/{row.id}/approve", data={"plan": _digest(office, row.id)})
        assert answer.status_code == 303
    finally:
        set_user(office.users["selina"], UserChange(disabled=False), office.console.access, RAHIM)
        office.browsers.pop("selina", None)
    [approved] = [
        event
        for event in office.ledger.audits(row.backup_id)
        if event.action == "restore approved" and event.detail["request"] == row.id
    ]
    assert approved.detail["by_who_asked"] is True


def test_what_is_approved_is_the_plan_that_was_on_the_page(office: Office) -> None:
    row = office.ask()
    seen = _digest(office, row.id)
    office.ledger.restores.change(row.id, RestoreChange(plan={**(row.plan or {}), "digest": "f" * 64}))
    answer = office.as_("karim").post(f"/requests/{row.id}/approve", data={"plan": seen})
    assert answer.status_code == 409
    assert "The plan is stale" in answer.text
    assert office.row(row.id).status is RestoreStatus.REQUESTED
    assert office.as_("karim").post(f"/requests/{row.id}/approve").status_code == 422


def test_an_approval_wants_the_password_of_a_moment_ago(office: Office) -> None:
    row = office.ask()
    browser = office.signed_in_anew("selina")
    office.console.clock.move(minutes=6)
    try:
        page = browser.get(f"/requests/{row.id}")
        assert f"/confirm?next=/requests/{row.id}" in page.text
        answer = browser.post(f"/requests/{row.id}/approve", data={"plan": _digest(office, row.id)})
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/confirm")
        assert office.row(row.id).status is RestoreStatus.REQUESTED
    finally:
        office.console.clock.move(minutes=-6)
        office.browsers.clear()


def test_a_rejection_says_why_and_is_for_good(office: Office) -> None:
    row = office.ask()
    assert office.as_("karim").post(f"/requests/{row.id}/reject", data={"reason": " "}).status_code == 422
    answer = office.as_("karim").post(f"/requests/{row.id}/reject", data={"reason": "found elsewhere"})
    assert answer.status_code == 303
    page = office.as_("rahim").get(f"/requests/{row.id}")
    assert "found elsewhere" in page.text
    late = office.as_("karim").post(f"/requests/{row.id}/approve", data={"plan": _digest(office, row.id)})
    assert late.status_code == 409
    assert office.row(row.id).status is RestoreStatus.REJECTED


def test_one_takes_back_ones_own(office: Office) -> None:
    row = office.ask("rahim")
    assert "Take it back" in office.as_("rahim").get(f"/requests/{row.id}").text
    assert office.as_("karim").post(f"/requests/{row.id}/take-back").status_code == 403
    assert office.as_("rahim").post(f"/requests/{row.id}/take-back").status_code == 303
    assert office.row(row.id).status is RestoreStatus.CANCELED


def test_of_another_business_there_is_no_request(office: Office) -> None:
    row = office.ask()
    unknown, foreign = (office.as_("babul").get(f"/requests/{number}") for number in (99_999, row.id))
    assert (unknown.status_code, foreign.status_code) == (404, 404)
    assert _words(foreign.text, row.id) == _words(unknown.text, 99_999)
    assert f"Request {row.id}" not in office.as_("babul").get("/requests").text


def _words(text: str, number: int) -> list[str]:
    """What the page says, but for the number that was asked for and the id of the request."""
    content = text.partition("<main")[2]
    return [line.replace(f" {number}.", " N.") for line in content.splitlines() if "request-id" not in line]


def test_hostile_text_is_text(office: Office) -> None:
    row = office.ask(reason=HOSTILE, remark=HOSTILE, mode=Mode.REPLACE)
    office.as_("karim").post(f"/requests/{row.id}/reject", data={"reason": HOSTILE})
    office.ledger.execute("UPDATE restore_requests SET error_message = %s WHERE id = %s", (HOSTILE, row.id))
    for path in (f"/requests/{row.id}", "/requests"):
        page = office.as_("karim").get(path)
        assert page.status_code == 200
        assert "<script>alert" not in page.text
        assert "<img src=x" not in page.text
    detail = office.as_("karim").get(f"/requests/{row.id}").text
    assert detail.count("&lt;script&gt;") >= 4


def test_a_plan_of_another_version_is_shown_in_short(office: Office) -> None:
    row = office.ask()
    older = {"digest": "a" * 64, "tables": [{"name": "goods", "target": ["public", "goods"], "action": "upsert"}]}
    office.ledger.restores.change(row.id, RestoreChange(plan=older))
    page = office.as_("karim").get(f"/requests/{row.id}")
    assert page.status_code == 200
    assert "written by another version" in page.text


def test_what_was_done_is_shown_table_by_table(office: Office) -> None:
    row = office.ask()
    restores = office.ledger.restores
    restores.change(row.id, RestoreChange(RestoreStatus.RUNNING, started_at=row.created_at))
    table = {"name": "goods", "target": ["public", "goods"], "loaded": 7, "inserted": 3, "updated": 2, "deleted": 0}
    report = {
        "backup_id": row.backup_id, "catalog": "shop", "snapshot_at": row.created_at.isoformat(), "target": row.target,
        "database": "staging", "mode": "upsert", "tables": [{**table, "unchanged": 2, "seconds": 0.5}],
        "bytes_fetched": 1000, "seconds": 3.25, "safety_backup_id": "20261121T120000Z-full-00000009", "notes": [],
    }  # fmt: skip
    restores.change(row.id, RestoreChange(RestoreStatus.DONE, finished_at=row.created_at, report=report))
    page = office.as_("rahim").get(f"/requests/{row.id}")
    assert "Restored in 3.2 s" in page.text
    assert "20261121T120000Z-full-00000009" in page.text


@dataclass
class SlowChannel:
    """The port `Alerter` with a channel that takes its time."""

    channels: Sequence[str] = ("mailto://ops@shop",)
    sent: list[Alert] = field(default_factory=list)
    answers: threading.Event = field(default_factory=threading.Event)

    def send(self, alert: Alert, only: Collection[str] | None = None) -> Sequence[Delivery]:
        self.answers.wait(20)
        self.sent.append(alert)
        return [Delivery(name) for name in self.channels]


def test_a_decision_is_told_by_the_channels_without_waiting_for_them(office: Office) -> None:
    """Also one of somebody whose role may write no message; what is noted goes out even if the console dies now."""
    state, channel = office.console.app.state, SlowChannel()
    before, state.ports = state.ports, replace(office.ports, alerter=channel)
    try:
        row = office.ask()
        office.as_("karim").post(f"/requests/{row.id}/reject", data={"reason": "not today"})
        noted = office.ledger.outbox.list()
        assert [entry.alert.title for entry in noted][:1] == [f"Restore rejected: shop into staging (request {row.id})"]
        assert channel.sent == []
        channel.answers.set()
        until(lambda: bool(channel.sent) and not office.ledger.outbox.list(), 20)
        assert channel.sent[0].what == "The request of rahim is rejected, by karim. Reason: not today"
        assert next(event.actor for event in office.ledger.audits(limit=9) if event.action == "alert") == PROGRAM
    finally:
        channel.answers.set()
        state.ports = before
