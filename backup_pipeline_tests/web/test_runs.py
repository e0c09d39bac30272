"""Buttons that make runs, the page of one, the settings with the cron service, and what is away, on every page."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from markupsafe import escape

from backup_pipeline.core.ledger import Hold
from backup_pipeline.core.runs import (
    DaemonState,
    JobOrder,
    RequestChange,
    RequestStatus,
    RunLine,
    RunPhase,
    RunProgress,
    RunRequest,
    RunState,
)
from backup_pipeline.core.scope import Actor, ActorKind, Scope
from backup_pipeline.operations.mirror import send_observations
from backup_pipeline.operations.progress import MOST_LINES, RunLogs, progress_in_words
from backup_pipeline.operations.retention.hold import hold_backup, release_backup
from backup_pipeline.operations.run_requests import follow_requests
from backup_pipeline.web.follower import Presence
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.doubles.runs import FakeLauncher
from backup_pipeline_tests.ledger.attempts import NOON
from backup_pipeline_tests.servers.ledgers import new_ledger
from backup_pipeline_tests.web.deciding import HOSTILE, Office, open_office


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    return open_office(new_ledger(), tmp_path_factory.mktemp("office"), days=3)


@pytest.fixture
def dagster(office: Office) -> FakeLauncher:
    """A Dagster of this test's own."""
    launcher = FakeLauncher()
    office.console.app.state.launcher = launcher
    return launcher


def _press(office: Office, name: str, verb: str = "backup", **fields: Any) -> httpx.Response:
    form = {"verb": verb, "catalog": "shop", "request": str(uuid4()), **fields}
    return office.as_(name).post("/runs", data=form)


def _row(office: Office, request: str) -> RunRequest:
    row = office.ledger.run_requests.get(UUID(request))
    assert row is not None
    return row


@pytest.mark.acceptance("4.24")
def test_a_click_makes_a_run_with_who_and_why(office: Office, dagster: FakeLauncher) -> None:
    request = str(uuid4())
    answer = _press(office, "rahim", request=request, reason="before the move", next="/backups")
    assert (answer.status_code, answer.headers["location"]) == (303, "/backups")
    [(order, user)] = dagster.launched
    assert (order.job, user) == ("shop_full_backup", "person:rahim")
    row = _row(office, request)
    assert (row.status, row.actor, row.reason) == (
        RequestStatus.LAUNCHED,
        Actor(ActorKind.PERSON, "rahim"),
        "before the move",
    )
    page = office.as_("rahim").get(f"/runs/{request}")
    assert "waiting for its turn" in page.text
    assert "before the move" in page.text
    assert "backup-pipeline backup --catalog shop" in page.text
    assert request in office.as_("nila").get("/runs").text


@pytest.mark.acceptance("2.30")
def test_a_session_that_ends_while_a_run_goes_on_ends_no_run_and_begins_none(
    office: Office, dagster: FakeLauncher
) -> None:
    """Each click looks at the session anew; what was asked for before belongs to the ledger, in that person's name."""
    request = str(uuid4())
    office.signed_in_anew("rahim")
    assert _press(office, "rahim", request=request).status_code == 303
    karim = office.as_("karim")
    karim.post(f"/users/{office.users['rahim'].number}/sessions/revoke")
    for _ in range(2):  # signed out, then unable to sign in
        late = _press(office, "rahim", request=str(uuid4()))
        assert (late.status_code, late.headers["location"].partition("?")[0]) == (303, "/login")
        assert office.as_("rahim").post(f"/runs/{request}/cancel").headers["location"].startswith("/login")
        karim.post(f"/users/{office.users['rahim'].number}/disable")
    assert len(dagster.launched) == 1
    dagster.become(RunPhase.DONE)
    follow_requests(office.ports, dagster)
    row = _row(office, request)
    assert (row.status, row.actor.name) == (RequestStatus.DONE, "rahim")
    assert "rahim" in karim.get(f"/runs/{request}").text
    karim.post(f"/users/{office.users['rahim'].number}/enable")
    office.signed_in_anew("rahim")


def test_two_clicks_at_once_are_one_run(office: Office, dagster: FakeLauncher) -> None:
    office.as_("rahim")
    request = str(uuid4())
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: _press(office, "rahim", request=request), range(6)))
    assert {answer.status_code for answer in answers} == {303}
    assert len(dagster.launched) == 1


def test_the_log_of_a_run_is_on_its_page_while_it_runs(office: Office, dagster: FakeLauncher) -> None:
    request = str(uuid4())
    _press(office, "rahim", request=request)
    [run_id] = dagster.runs
    page = office.as_("rahim").get(f"/runs/{request}").text
    assert "Nothing yet: the run has not begun." in page
    assert f"backup-pipeline runs log {request} --follow" in page
    dagster.lines[run_id] = [_line("goods: 500 rows"), _line(HOSTILE, "error")]
    page = office.as_("rahim").get(f"/runs/{request}").text
    assert "<script>alert" not in page
    assert str(escape(HOSTILE)) in page
    assert page.index("alert(") < page.index("goods: 500 rows"), "the newest first"
    assert '<li class="error">' in page
    dagster.away = True
    away = office.as_("rahim").get(f"/runs/{request}")
    assert (away.status_code, "does not answer" in away.text) == (200, True)
    dagster.away = False
    dagster.runs.clear()
    assert "Dagster does not know the run any more." in office.as_("rahim").get(f"/runs/{request}").text
    assert office.as_("babul").get(f"/runs/{request}").status_code == 404


def test_of_a_long_log_the_end_is_shown_and_what_was_read_is_not_read_again(dagster: FakeLauncher) -> None:
    dagster.lines_at_once = 100
    run_id = dagster.launch(JobOrder("shop_full_backup"), uuid4(), "x")
    dagster.lines[run_id] = [_line(f"line {number}") for number in range(3 * MOST_LINES)]
    logs = RunLogs()
    end = logs.of(run_id, dagster)
    assert end is not None
    assert (len(end.lines), end.lines[0].text, end.lines_in_all) == (MOST_LINES, "line 599", 600)
    dagster.lines[run_id] += [_line("the last")]
    dagster.asked_after.clear()
    end = logs.of(run_id, dagster)
    assert end is not None
    assert (end.lines[0].text, dagster.asked_after) == ("the last", ["600"])
    dagster.lines[run_id] += [_line("more")] * 2_000
    end = logs.of(run_id, dagster)
    assert end is not None
    assert (end.behind, end.lines_in_all) == (True, 1_601), "a page waits for no more than some thousand lines"


def _line(text: str, level: str = "info") -> RunLine:
    return RunLine(datetime.now(UTC), level, "shop_tables", text)


@pytest.mark.acceptance("2.11")
def test_the_schedule_s_kind_can_be_tried(office: Office, dagster: FakeLauncher) -> None:
    request = str(uuid4())
    _press(office, "rahim", request=request, type="automatic", reason="a test")
    assert _row(office, request).detail["automatic"] is True


@pytest.mark.acceptance("2.35")
def test_without_dagster_nothing_runs_and_the_page_says_what_to_type(office: Office, dagster: FakeLauncher) -> None:
    dagster.away = True
    request = str(uuid4())
    answer = _press(office, "rahim", request=request, next="/backups")
    assert answer.headers["location"] == f"/runs/{request}"
    page = office.as_("rahim").get(f"/runs/{request}")
    assert "refused" in page.text
    assert "does not answer" in page.text
    assert "backup-pipeline backup --catalog shop" in page.text


def test_who_may_not_is_refused_and_nothing_is_written(office: Office, dagster: FakeLauncher) -> None:
    before = len(office.ledger.run_requests.list())
    for name, verb in (("nila", "backup"), ("nila", "render"), ("nila", "verify"), ("rahim", "delete"),
                       ("rahim", "prune"), ("babul", "drill")):  # fmt: skip
        assert _press(office, name, verb, rendering="csv").status_code == 403, (name, verb)
    assert _press(office, "babul").status_code == 404  # the whole system is none of a business's
    assert _press(office, "rahim", catalog="other").status_code == 404
    assert _press(office, "rahim", "restore").status_code == 422
    assert _press(office, "rahim", "verify", level="everything").status_code == 422
    assert _press(office, "rahim", request="no id").status_code == 422
    assert len(office.ledger.run_requests.list()) == before
    assert dagster.launched == []


def test_a_deletion_wants_the_password_again(office: Office, dagster: FakeLauncher) -> None:
    backup_id = office.backups()[-1].backup_id
    fields = {"backup_id": backup_id, "confirm": backup_id, "next": f"/backups/{backup_id}"}
    office.signed_in_anew("karim")
    office.console.clock.move(minutes=6)
    try:
        answer = _press(office, "karim", "delete", **fields)
    finally:
        office.console.clock.move(minutes=-6)
    assert answer.headers["location"] == f"/confirm?next=/backups/{backup_id}"
    assert dagster.launched == []
    office.signed_in_anew("karim")
    _press(office, "karim", "delete", **fields)
    [(order, _)] = dagster.launched
    assert order.job == "shop_delete"


@pytest.mark.acceptance("2.3")
def test_the_page_follows_the_run_and_who_asked_may_cancel_it(office: Office, dagster: FakeLauncher) -> None:
    request = str(uuid4())
    _press(office, "rahim", request=request)
    dagster.become(RunPhase.RUNNING)
    follow_requests(office.ports, dagster)
    now = office.ports.clock()
    run_id = _row(office, request).run_id
    assert run_id is not None
    office.ledger.progress.put(
        RunProgress(run_id, Scope("shop"), now - timedelta(seconds=10), now, "tables", "goods", 3, 4, 750, 1000)
    )
    page = office.as_("nila").get(f"/runs/{request}")
    assert "3 of 4 tables, 750 rows, about 3 s left" in page.text
    assert "Cancel" not in page.text
    assert office.as_("nila").post(f"/runs/{request}/cancel").status_code == 403
    assert "3 of 4 tables" in office.as_("nila").get("/runs").text
    assert office.as_("rahim").post(f"/runs/{request}/cancel").status_code == 303
    assert dagster.terminated == [run_id]
    follow_requests(office.ports, dagster)
    assert "canceled" in office.as_("nila").get(f"/runs/{request}").text
    assert office.as_("rahim").post(f"/runs/{request}/cancel").status_code == 403
    assert office.as_("rahim").get(f"/runs/{uuid4()}").status_code == 404


def test_a_run_that_nobody_asked_for_is_stopped_by_who_looks_after_it(office: Office, dagster: FakeLauncher) -> None:
    now = office.ports.clock()
    office.ledger.progress.put(RunProgress("of-the-schedule", Scope("shop"), now, now, "bundle"))
    dagster.runs["of-the-schedule"] = RunState("of-the-schedule", "shop_full_backup", RunPhase.RUNNING)
    path = "/runs/dagster/of-the-schedule/cancel"
    assert path not in office.as_("nila").get("/runs").text
    assert office.as_("nila").post(path).status_code == 403
    assert path in office.as_("rahim").get("/runs").text
    assert office.as_("rahim").post("/runs/dagster/another/cancel").status_code == 404
    assert office.as_("rahim").post(path).status_code == 303
    assert dagster.terminated == ["of-the-schedule"]
    assert next(event.action for event in office.ledger.audits(limit=1)) == "run canceled"


def test_nothing_that_a_run_says_acts_on_its_page(office: Office, dagster: FakeLauncher) -> None:
    request = str(uuid4())
    _press(office, "rahim", request=request, reason=HOSTILE)
    office.ledger.run_requests.change(
        UUID(request), RequestChange(RequestStatus.FAILED, error_message=HOSTILE, result={HOSTILE: HOSTILE})
    )
    for path in (f"/runs/{request}", "/runs"):
        assert "<script>alert" not in office.as_("rahim").get(path).text
        assert "<img src=x" not in office.as_("rahim").get(path).text


@pytest.mark.acceptance("0.22", "2.13")
def test_the_cron_service_is_shown_and_its_schedules_are_switched(office: Office, dagster: FakeLauncher) -> None:
    page = office.as_("karim").get("/settings")
    assert "Running" in page.text
    assert "every day at 00:00, Asia/Dhaka" in page.text
    answer = office.as_("karim").post("/settings/schedules/shop_daily/stop")
    assert (answer.status_code, dagster.known_schedules["shop_daily"].running) == (303, False)
    assert "every schedule is stopped" in office.as_("karim").get("/settings").text
    office.as_("karim").post("/settings/schedules/shop_daily/start")
    assert dagster.known_schedules["shop_daily"].running
    assert [event.action for event in office.ledger.audits(limit=2)] == ["schedule started", "schedule stopped"]
    assert office.as_("karim").post("/settings/schedules/other/start").status_code == 404
    read_only = office.as_("rahim").get("/settings").text
    assert "/settings/schedules/" not in read_only


@pytest.mark.acceptance("0.21", "0.22")
def test_the_tab_of_backups_is_for_super_admins_with_every_attempt_and_every_switch(
    office: Office, dagster: FakeLauncher
) -> None:
    [backup, *_] = office.backups()
    tab = office.as_("karim").get("/settings?tab=backups")
    assert tab.status_code == 200
    assert '<a href="/settings?tab=backups" aria-current="page"><svg class="icon"' in tab.text
    assert 'href="#i-drive"' in tab.text
    assert f'href="/backups/{backup.backup_id}/delete"' in tab.text
    assert "Create backup" in tab.text
    admin = office.as_("rahim").get("/settings")
    assert "tab=backups" not in admin.text
    assert "i-drive" not in admin.text.partition("</svg>")[2]
    assert office.as_("rahim").get("/settings?tab=backups").status_code == 403
    assert f"/backups/{backup.backup_id}/delete" not in office.as_("rahim").get("/backups").text


@pytest.mark.acceptance("0.23")
def test_what_was_removed_stays_in_the_tab_of_backups(office: Office, dagster: FakeLauncher) -> None:
    [*_, oldest] = office.backups()
    office.ledger.execute(f"UPDATE backup_logs SET status = 'deleted' WHERE backup_id = '{oldest.backup_id}'")
    try:
        assert oldest.backup_id not in office.as_("karim").get("/backups").text
        assert oldest.backup_id in office.as_("karim").get("/settings?tab=backups").text
        few = office.as_("karim").get("/settings?tab=backups&status=completed").text
        assert oldest.backup_id not in few
        assert '<a class="button" href="/settings?tab=backups">Clear</a>' in few
    finally:
        office.ledger.execute(f"UPDATE backup_logs SET status = 'success' WHERE backup_id = '{oldest.backup_id}'")


@pytest.mark.acceptance("0.22")
def test_a_schedule_is_switched_where_it_is_shown(office: Office, dagster: FakeLauncher) -> None:
    assert 'name="next" value="/settings?tab=backups"' in office.as_("karim").get("/settings?tab=backups").text
    path = "/settings/schedules/shop_daily/stop"
    answer = office.as_("karim").post(path, data={"next": "/settings?tab=backups"})
    assert answer.headers["location"] == "/settings?tab=backups"
    assert "every schedule is stopped" in office.as_("karim").get("/settings?tab=backups").text
    assert office.as_("karim").post(path, data={"next": "//evil.example"}).headers["location"] == "/"


@pytest.mark.acceptance("3.34")
def test_what_is_decided_for_everybody_is_shown_changed_and_in_the_audit(office: Office, dagster: FakeLauncher) -> None:
    karim = office.signed_in_anew("karim")
    assert "Nobody has changed anything" in karim.get("/settings?tab=system").text
    form = {"required": ["admin"], "local": "true", "next": "/settings?tab=system"}
    answer = karim.post("/users/policy", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, "/settings?tab=system")
    try:
        page = karim.get("/settings?tab=system").text
        assert re.search(
            r"A second factor is compulsory for<span[^>]*>second_factor_roles</span></td>[^/]*>admin<", page
        )
        assert ">karim</span>" in page
        changed = [event.detail for event in office.ledger.audits(limit=5) if event.action == "setting_changed"]
        assert {"setting": "second_factor_roles", "value": ["admin"]} in changed
        assert office.as_("rahim").get("/settings?tab=system").headers["location"] == "/account?second_factor=needed"
    finally:
        karim.post("/users/policy", data={"local": "true"})
    assert office.as_("rahim").get("/settings?tab=system").status_code == 403
    assert office.as_("rahim").post("/users/policy", data={"local": "true"}).status_code == 403


@pytest.mark.acceptance("2.13", "3.35")
def test_a_daemon_that_stands_still_is_a_stopped_service(office: Office, dagster: FakeLauncher) -> None:
    dagster.known_daemons = (DaemonState("SCHEDULER", healthy=False, required=True, error="no heartbeat"),)
    page = office.as_("karim").get("/settings").text
    assert "Stopped" in page
    assert "no heartbeat" in page
    dagster.away = True
    assert "not known" in office.as_("karim").get("/settings").text


@pytest.mark.acceptance("2.35", "3.35")
def test_what_is_away_stands_on_every_page_since_when_and_what_to_do(office: Office, dagster: FakeLauncher) -> None:
    standing: Presence = office.console.app.state.standing
    assert "does not answer" not in office.as_("nila").get("/backups").text
    dagster.away = True
    standing.look(office.ports, dagster)
    since = standing.away[0].since
    standing.look(office.ports, dagster)
    assert [(each.name, each.since) for each in standing.away] == [("Dagster", since)]
    page = office.as_("nila").get("/backups").text
    assert "Dagster does not answer" in page
    assert "Lists, downloads, holds and approvals work" in page
    assert "backup-pipeline up" in page
    dagster.away = False
    dagster.known_daemons = (DaemonState("SCHEDULER", healthy=False, required=True),)
    office.console.clock.move(minutes=3)
    standing.look(office.ports, dagster)
    office.console.clock.move(minutes=-3)
    assert [each.name for each in standing.away] == ["Dagster's daemon"]
    dagster.known_daemons = (DaemonState("SCHEDULER", healthy=True, required=True),)
    standing.look(office.ports, dagster)
    assert standing.away == []


def test_decisions_reach_dagster_also_when_it_was_away(office: Office, dagster: FakeLauncher) -> None:
    attempt = office.backups()[0]
    dagster.away = True
    hold_backup(attempt, Hold(RAHIM, "the audit"), office.ports)
    release_backup(replace(attempt, hold=Hold(RAHIM, "the audit")), office.ports, actor=RAHIM, reason="it is over")
    assert send_observations(office.ports, dagster) == 0
    dagster.away = False
    assert send_observations(office.ports, dagster) == 2
    day = attempt.partition_date.isoformat()
    assert [(asset, at) for asset, at, _ in dagster.observed] == [(("shop", "bundle"), day)] * 2
    assert "held by" in dagster.observed[0][2]
    assert "released by" in dagster.observed[1][2]
    assert send_observations(office.ports, dagster) == 0


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        ({}, ""),
        ({"tables_total": 24, "tables_done": 18, "rows": 171_202}, "18 of 24 tables, 171,202 rows"),
        ({"rows": 500, "estimated_rows": 1_000, "seconds": 8}, "500 rows, about 8 s left"),
        ({"rows": 10, "estimated_rows": 1_000, "seconds": 8}, "10 rows"),
        ({"rows": 500, "estimated_rows": 1_000, "seconds": 1}, "500 rows"),
        ({"rows": 1_500, "estimated_rows": 1_000, "seconds": 8}, "1,500 rows"),
        ({"bytes": 50, "total_bytes": 100, "seconds": 300}, "50 of 100 bytes, about 5 min left"),
    ],
)
def test_how_far_it_is_says_nothing_that_nobody_knows(progress: dict[str, int], words: str) -> None:
    seconds = progress.pop("seconds", 0)
    row = RunProgress("r", Scope("shop"), NOON, NOON + timedelta(seconds=seconds), **progress)  # type: ignore[arg-type]
    assert progress_in_words(row) == words
