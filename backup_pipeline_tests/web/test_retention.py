"""Retention in the console: rules, what goes and why, clean-ups by a run, holds, and deleting by hand."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest

from backup_pipeline.core.ledger import Hold
from backup_pipeline.core.names import Trigger
from backup_pipeline.core.runs import RequestStatus
from backup_pipeline.operations.retention import forecast
from backup_pipeline.operations.retention.hold import hold_backup, release_backup
from backup_pipeline.operations.retention.plan import plan_prune
from backup_pipeline.web.follower import Forecaster
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.core.retained import backup
from backup_pipeline_tests.orchestration.installation import until
from backup_pipeline_tests.servers.ledgers import new_ledger
from backup_pipeline_tests.web.deciding import HOSTILE, Office, open_office


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    return open_office(new_ledger(), tmp_path_factory.mktemp("office"))


@pytest.mark.acceptance("3.34")
def test_rules_are_sentences_and_what_goes_has_its_day_and_its_why(office: Office) -> None:
    page = office.as_("nila").get("/retention")
    assert page.status_code == 200
    assert "Each one is kept for 30 days." in page.text
    assert "Each one is kept for ever." in page.text
    assert "At least 3 always stay" in page.text
    oldest = office.backups()[-1].backup_id
    assert f"/backups/{oldest}" in page.text
    assert "keep_within: 30 days were over at" in page.text
    assert "Plan a clean-up now" not in page.text
    assert "Nothing is held." in page.text


def test_what_goes_is_reckoned_before_somebody_looks(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    state, settings = office.console.app.state, office.console.settings
    forecaster = Forecaster(state.forecasts, state.systems.declared, office.ports, settings.prune_versions)
    with forecaster:
        until(lambda: state.forecasts.ahead and "is reckoned anew" not in office.as_("nila").get("/retention").text, 20)
        monkeypatch.setattr(forecast, "forecast_retention", lambda *_, **__: pytest.fail("the page has reckoned"))
        hold_backup(office.backups()[1], Hold(RAHIM, "the audit", None), office.ports)
        page = office.as_("nila").get("/retention")
        assert (page.status_code, "is reckoned anew" in page.text, 'data-live="5"' in page.text) == (200, True, True)
        monkeypatch.undo()
        until(lambda: "is reckoned anew" not in office.as_("nila").get("/retention").text, 20, every=0.2)
    assert not state.forecasts.ahead
    release_backup(office.backups()[1], office.ports, actor=RAHIM, reason="")


def test_a_clean_up_is_planned_by_a_run_looked_at_and_only_then_run(office: Office) -> None:
    number, later = uuid4(), uuid4()
    karim = office.as_("karim")
    assert karim.post("/retention/plan", data={"request": str(number), "catalog": "shop"}).status_code == 303
    order, user = office.launcher.launched[-1]
    assert (order.config["ops"], user) == ({"shop_pruned": {"config": {"dry_run": True}}}, "person:karim")
    early = karim.post("/retention/run", data={"request": str(later), "plan": str(number)})
    assert early.status_code == 422, "without a plan nothing is removed"
    run = office.ledger.run_requests.get(number)
    assert run is not None
    plan = plan_prune(office.shelf.wish, office.ports)
    assert plan.removed
    office.done(run, {"plans": [plan.as_json()], "reports": []})
    page = karim.get(f"/retention/runs/{number}")
    assert page.text.count("</svg>goes</span>") == len(plan.removed)
    assert "Run this clean-up" in page.text
    given = {"request": str(later), "plan": str(number), "reason": "room"}
    assert karim.post("/retention/run", data=given).headers["location"] == f"/retention/runs/{later}"
    order, _ = office.launcher.launched[-1]
    assert order.config["ops"] == {"shop_pruned": {"config": {"dry_run": False}}}
    assert karim.post("/retention/plan", data={"request": str(uuid4()), "catalog": "elsewhere"}).status_code == 422


def test_a_clean_up_of_businesses_alone_can_be_run_from_its_plan(office: Office) -> None:
    karim = office.as_("karim")
    largest = [{"business": HOSTILE, "kept": 7, "going": 4321, "bytes": 9, "stayed": 0}]
    found = {
        "businesses": 2,
        "kept": 7,
        "going": 4321,
        "bytes": 9,
        "ticks": 0,
        "largest": largest,
        "busy": {"b": "read"},
    }
    for going, ticks, runnable in ((4321, 0, True), (0, 288, True), (0, 0, False)):
        number = uuid4()
        karim.post("/retention/plan", data={"request": str(number), "catalog": "shop"})
        run = office.ledger.run_requests.get(number)
        assert run is not None
        plan = {**plan_prune(office.shelf.wish, office.ports).as_json(), "backups": [], "bytes": 0}
        businesses = {**found, "remarks": [], "going": going, "ticks": ticks}
        office.done(run, {"plans": [plan], "reports": [], "businesses": businesses})
        page = karim.get(f"/retention/runs/{number}")
        assert ("Run this clean-up" in page.text) is runnable
        assert "4,321" in page.text
        assert "b was left out: read" in page.text
        assert "<script>alert" not in page.text


def test_what_a_clean_up_removed_and_what_stays_is_shown(office: Office) -> None:
    number = uuid4()
    office.as_("karim").post("/retention/plan", data={"request": str(number), "catalog": "shop"})
    run = office.ledger.run_requests.get(number)
    assert run is not None
    left = {"key": HOSTILE, "why": "locked", "message": "object lock until 2027", "do": HOSTILE, "hidden": False}
    removed = [{"backup_id": "a", "status": "expired", "objects": 2, "bytes": 10, "left": [], "kept": ""}]
    report = {"removed": removed, "partitions": [], "debris": 0, "bytes": 10, "left": [left]}
    office.done(run, {"plans": [], "reports": [report]})
    page = office.as_("karim").get(f"/retention/runs/{number}")
    assert "object lock until 2027" in page.text
    assert "<script>alert" not in page.text
    assert office.as_("karim").get(f"/retention/runs/{uuid4()}").status_code == 404


def test_a_hold_keeps_a_backup_until_the_end_of_the_day_there(office: Office) -> None:
    backup = office.backups()[2]
    path = f"/backups/{backup.backup_id}"
    rahim = office.as_("rahim")
    assert 'name="until"' in rahim.get(path).text
    assert rahim.post(f"{path}/hold", data={"reason": " "}).status_code == 422
    assert rahim.post(f"{path}/hold", data={"reason": "x", "until": "1999-01-01"}).status_code == 422
    assert rahim.post(f"{path}/hold", data={"reason": "x", "until": "soon"}).status_code == 422
    assert rahim.post(f"{path}/hold", data={"reason": "the audit", "until": "2099-12-31"}).status_code == 303
    row = office.ledger.get(backup.backup_id)
    assert row is not None
    assert row.hold is not None
    assert (str(row.hold.actor), row.hold.reason) == ("person:rahim", "the audit")
    assert f"{row.hold.until:%Y-%m-%dT%H:%M}" == "2099-12-31T18:00"
    page = rahim.get("/retention")
    assert "the audit" in page.text
    assert f"/backups/{backup.backup_id}/release" in page.text
    given = {"reason": "over", "next": "/retention"}
    assert rahim.post(f"{path}/release", data=given).headers["location"] == "/retention"
    row = office.ledger.get(backup.backup_id)
    assert row is not None
    assert row.hold is None
    assert [event.action for event in office.ledger.audits(backup.backup_id)] == ["release", "hold"]


def test_a_release_leads_nowhere_else(office: Office) -> None:
    backup = office.backups()[3]
    answer = office.as_("rahim").post(f"/backups/{backup.backup_id}/release", data={"next": "//evil.example"})
    assert answer.headers["location"] == "/"


@pytest.mark.acceptance("0.23", "2.19")
def test_a_backup_is_deleted_by_its_id_a_reason_and_a_run(office: Office) -> None:
    backup = office.backups()[-1]
    path = f"/backups/{backup.backup_id}/delete"
    karim = office.signed_in_anew("karim")
    assert f'action="{path}"' in karim.get(path).text
    before = len(office.launcher.launched)
    for form in ({"confirm": "yes", "reason": "x"}, {"confirm": backup.backup_id, "reason": " "}):
        assert karim.post(path, data={"request": str(uuid4()), **form}).status_code == 422
    assert len(office.launcher.launched) == before
    number = uuid4()
    form = {"request": str(number), "confirm": backup.backup_id, "reason": "a customer asked"}
    assert karim.post(path, data=form).headers["location"] == f"/runs/{number}"
    order, _ = office.launcher.launched[-1]
    given = {"backup_id": backup.backup_id, "confirm": backup.backup_id, "reason": "a customer asked"}
    assert order.config["ops"] == {"shop_deleted": {"config": given}}


def test_what_speaks_against_deleting_is_said_before_and_refused_after(office: Office) -> None:
    newest, held = office.backups()[0], office.backups()[-2]
    karim = office.signed_in_anew("karim")
    hold_backup(held, Hold(RAHIM, "the audit"), office.ports)
    for row, why in ((newest, "the newest good backup"), (held, "the audit")):
        path = f"/backups/{row.backup_id}/delete"
        page = karim.get(path)
        assert why in page.text
        assert f'action="{path}"' not in page.text
        form = {"request": str(uuid4()), "confirm": row.backup_id, "reason": "x"}
        assert karim.post(path, data=form).status_code == 403


def test_one_within_the_grace_says_until_when_it_stays_and_what_may_be_done(office: Office) -> None:
    young = backup(office.console.clock().replace(microsecond=0) - timedelta(minutes=30), type=Trigger.MANUAL, salt=7)
    office.shelf.add(young, partitions=False)
    until = (young.finished_at or young.started_at) + timedelta(minutes=60)
    path, karim = f"/backups/{young.backup_id}/delete", office.signed_in_anew("karim")
    try:
        page = karim.get(path).text
        assert "younger than the grace of 60 minutes" in page
        assert "What may be done" in page
        assert f'Come back after <time datetime="{until.isoformat()}"' in page
        assert f"{until.astimezone(ZoneInfo('Asia/Dhaka')):%H:%M}</time>, in " in page
        form = {"request": str(uuid4()), "confirm": young.backup_id, "reason": "x"}
        refused = karim.post(path, data=form)
        assert refused.status_code == 403
        assert f"Wait until {until:%Y-%m-%d %H:%M} UTC." in refused.text
    finally:
        office.ledger.execute(f"UPDATE backup_logs SET status = 'deleted' WHERE backup_id = '{young.backup_id}'")


def test_deleting_wants_the_password_of_a_moment_ago(office: Office) -> None:
    karim = office.signed_in_anew("karim")
    path = f"/backups/{office.backups()[-1].backup_id}/delete"
    office.console.clock.move(minutes=6)
    try:
        assert karim.get(path).headers["location"].startswith("/confirm?next=/backups/")
        form = {"request": str(uuid4()), "confirm": office.backups()[-1].backup_id, "reason": "x"}
        assert karim.post(path, data=form).headers["location"].startswith("/confirm")
    finally:
        office.console.clock.move(minutes=-6)
        office.browsers.clear()


def test_without_dagster_the_command_is_there(office: Office) -> None:
    number = uuid4()
    office.launcher.away = True
    try:
        office.as_("karim").post("/retention/plan", data={"request": str(number), "catalog": "shop"})
    finally:
        office.launcher.away = False
    run = office.ledger.run_requests.get(UUID(str(number)))
    assert run is not None
    assert run.status is RequestStatus.REFUSED
    assert "backup-pipeline prune --catalog shop" in office.as_("karim").get(f"/retention/runs/{number}").text


def test_hostile_text_is_text(office: Office) -> None:
    backup = office.backups()[4]
    office.as_("rahim").post(f"/backups/{backup.backup_id}/hold", data={"reason": HOSTILE})
    for path in ("/retention", f"/backups/{backup.backup_id}", f"/backups/{backup.backup_id}/delete"):
        page = office.signed_in_anew("karim").get(path)
        assert "&lt;script&gt;" in page.text
        assert "<script>alert" not in page.text
