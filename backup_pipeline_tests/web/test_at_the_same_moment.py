"""Two at the same moment: two approvers, two who use one code or one link, two consoles of one ledger."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore
from uuid import uuid4

import httpx
import pyotp
import pytest

from backup_pipeline.core.access import Role
from backup_pipeline.core.errors import LockedError
from backup_pipeline.core.restore.requests import RestoreRow, RestoreStatus
from backup_pipeline.operations.access.second_factor import confirm_set_up, set_up
from backup_pipeline.operations.access.users import first_admin_link, invite
from backup_pipeline.operations.restore import decisions
from backup_pipeline.web.pages import requests as requests_page
from backup_pipeline.web.pages import restore as restore_page
from backup_pipeline.web.pages import rows
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.servers.ledgers import ScratchLedger, new_ledger
from backup_pipeline_tests.web.deciding import Office, open_office, plan_json
from backup_pipeline_tests.web.people import PASSWORD, Console, console_over


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    return open_office(new_ledger(), tmp_path_factory.mktemp("office"), days=2)


@pytest.fixture
def consoles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Console]]:
    """Two consoles over one ledger, each with connections of its own, as two processes are."""
    ledger, home = new_ledger(), tmp_path_factory.mktemp("consoles")
    other = ScratchLedger(ledger.url)
    both = [console_over(ledger, home), console_over(other, home)]
    for console in both:
        console.browser().get("/nowhere")  # a router is made ready by the first request, in one thread
    yield both
    other.close()


def _at_once(*clicks: Callable[[], httpx.Response]) -> list[int]:
    with ThreadPoolExecutor(len(clicks)) as pool:
        return [answer.result(60).status_code for answer in [pool.submit(click) for click in clicks]]


@pytest.fixture
def both_have_looked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever decides has looked at the request before the other has written."""
    barrier, look = threading.Barrier(2), requests_page._undecided

    def looked(*given: object) -> RestoreRow:
        row = look(*given)  # type: ignore[arg-type]
        barrier.wait(30)
        return row

    monkeypatch.setattr(requests_page, "_undecided", looked)


@pytest.mark.parametrize("second", ["approve", "reject"])
def test_of_two_who_decide_each_is_told_what_became_of_it(office: Office, both_have_looked: None, second: str) -> None:
    row = office.ask("rahim")
    assert row.plan is not None
    form = {"plan": str(row.plan["digest"]), "reason": f"looked at, then {second}"}
    clicks = [
        lambda: office.as_("karim").post(f"/requests/{row.id}/approve", data=form),
        lambda: office.as_("selina").post(f"/requests/{row.id}/{second}", data=form),
    ]
    for name in ("karim", "selina"):
        office.as_(name)
    statuses = _at_once(*clicks)
    after = office.row(row.id)
    decided = [event for event in office.ledger.audits(row.backup_id) if event.detail.get("reason") == form["reason"]]
    if second == "approve":
        assert sorted(statuses) == [303, 409]
        assert after.status is RestoreStatus.APPROVED
        assert after.decided_actor is not None
        assert after.decided_actor.name == ("karim", "selina")[statuses.index(303)]
        assert len(decided) == 1
    else:
        assert statuses in ([303, 303], [409, 303])
        assert after.status is RestoreStatus.REJECTED, "whoever rejects has the last word before anything ran"
        assert len(decided) == Counter(statuses)[303]


def test_two_clicks_at_once_ask_for_one_restore(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have seen that nobody had asked yet."""
    chosen, number, barrier = office.backups()[0], uuid4(), threading.Barrier(2)
    form = {"request": str(number), "backup": chosen.backup_id, "mode": "upsert", "target": "staging", "table": "goods"}
    office.as_("rahim").post("/restore/plan", data=form)
    run = office.ledger.run_requests.get(number)
    assert run is not None
    office.done(run, {"plan": plan_json(chosen)})
    ask = decisions.ask_for_approval

    def asked(*given: object) -> RestoreRow:
        barrier.wait(30)
        return ask(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(restore_page, "ask_for_approval", asked)
    typed = {"confirm": "staging", "reason": "twice"}
    statuses = _at_once(*[lambda: office.as_("rahim").post(f"/restore/plan/{number}/ask", data=typed)] * 2)
    assert sorted(statuses) == [303, 409]
    assert len([row for row in office.ledger.restores.list() if row.reason == "twice"]) == 1


def test_a_code_signs_in_once_whichever_process_is_asked(consoles: list[Console]) -> None:
    first = consoles[0]
    user = first.user("karim", Role.SUPER_ADMIN)
    first.clock.stand()
    consoles[1].clock.stands_at = first.clock.stands_at
    secret = pyotp.TOTP(set_up(user, first.access).secret)
    now = int(first.clock().timestamp())
    confirm_set_up(user, secret.at(now - 30), first.access)
    form = {"name": "karim", "password": PASSWORD, "code": secret.at(now)}
    clicks = [
        lambda console=console, number=number: console.browser(address=f"10.0.0.{number}").post("/login", data=form)
        for number, console in enumerate(consoles * 2)
    ]
    statuses = _at_once(*clicks)
    assert Counter(statuses)[303] == 1, statuses
    assert set(statuses) <= {303, 401, 429}


def test_the_link_of_the_first_administrator_makes_one(consoles: list[Console]) -> None:
    token = first_admin_link(consoles[0].access)
    clicks = [
        lambda console=console, name=name: console.browser().post(
            f"/welcome/{token}", data={"name": name, "password": PASSWORD, "again": PASSWORD}
        )
        for console, name in zip(consoles, ("karim", "mallory"), strict=True)
    ]
    statuses = _at_once(*clicks)
    assert sorted(statuses) == [303, 404]
    assert len(consoles[0].access.access.users.list()) == 1


def test_an_invitation_is_taken_up_once(consoles: list[Console]) -> None:
    user = consoles[0].user("nila")
    token = invite(user, consoles[0].access, RAHIM)
    form = {"password": "violet anchor storm 88", "again": "violet anchor storm 88"}
    statuses = _at_once(
        *(lambda console=console: console.browser().post(f"/welcome/{token}", data=form) for console in consoles)
    )
    assert sorted(statuses) == [303, 404]
    assert len(consoles[0].access.access.sessions.list(user.number)) == 1


def test_what_changes_a_password_gives_no_used_code_back(consoles: list[Console]) -> None:
    """Each change writes what it is about: a code that was used meanwhile stays used."""
    users = consoles[0].access.access.users
    nila = consoles[0].user("nila_with_codes")
    users.change_credentials(nila.number, totp_secret="sealed", totp_step=7, recovery_codes=("kept", "used"))
    before = users.credentials(nila.number)
    assert users.use_step(nila.number, 9)
    assert users.use_recovery_code(nila.number, "used")
    users.change_credentials(nila.number, password_hash="another")
    after = users.credentials(nila.number)
    assert (after.password_hash, after.totp_step, after.recovery_codes) == ("another", 9, ("kept",))
    assert (after.totp_secret, after.password_at) == ("sealed", before.password_at)


def test_who_comes_to_look_at_rows_when_the_line_is_full_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else one person's forty requests are all the threads there are, and no page of anybody is answered."""
    monkeypatch.setattr(rows, "_IN_LINE", BoundedSemaphore(2))
    began = time.monotonic()
    with rows._place_in_line(), rows._place_in_line(), pytest.raises(LockedError), rows._place_in_line():
        pass
    assert time.monotonic() - began < 5
    with rows._place_in_line():
        pass
