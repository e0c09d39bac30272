"""The restore wizard: its steps, what it refuses, the run that plans, and the request that comes of it."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from backup_pipeline.core.restore.requests import RestoreStatus
from backup_pipeline.core.runs import RequestStatus
from backup_pipeline.core.scope import Scope
from backup_pipeline_tests.core.retained import DHAKA, backup
from backup_pipeline_tests.servers.ledgers import new_ledger
from backup_pipeline_tests.web.deciding import HOSTILE, Office, open_office, plan_json
from backup_pipeline_tests.web.test_drills import drilled, report


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    return open_office(new_ledger(), tmp_path_factory.mktemp("office"))


def _planned(office: Office, by: str = "rahim", **plan: Any) -> str:
    """The address of a plan that its run has made."""
    chosen = office.backups()[1]
    number = uuid4()
    form = {"request": str(number), "backup": chosen.backup_id, "mode": "upsert", "target": "staging", "table": "goods"}
    answer = office.as_(by).post("/restore/plan", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/restore/plan/{number}")
    run = office.ledger.run_requests.get(number)
    assert run is not None
    office.done(run, {"plan": plan_json(chosen, **plan)})
    return f"/restore/plan/{number}"


def test_the_first_step_offers_tables_ways_and_named_targets_alone(office: Office) -> None:
    page = office.as_("rahim").get("/restore/new?system=shop")
    assert page.status_code == 200
    for word in ('name="table" value="goods"', 'value="replace"', 'value="staging"', "Create missing, update existing"):
        assert word in page.text
    assert "hunter2" not in page.text
    assert 'aria-current="step"' in page.text


def test_what_was_chosen_stays_in_the_address(office: Office) -> None:
    chosen = "system=shop&table=goods&mode=upsert&target=staging"
    when = office.as_("rahim").get(f"/restore/new?step=when&{chosen}")
    assert when.status_code == 200
    assert '<input type="hidden" name="table" value="goods">' in when.text
    assert office.backups()[0].backup_id in when.text
    plan = office.as_("rahim").get(f"/restore/new?step=plan&{chosen}&backup={office.backups()[3].backup_id}")
    assert "Make the plan" in plan.text
    assert f"restore {office.backups()[3].backup_id} --table goods --mode upsert --target-url" in plan.text
    assert "hunter2" not in plan.text


def test_a_backup_page_leads_into_the_wizard_with_that_backup(office: Office) -> None:
    old = office.backups()[39].backup_id
    assert f"/restore/new?backup={old}" in office.as_("rahim").get(f"/backups/{old}").text
    page = office.as_("rahim").get(f"/restore/new?step=when&mode=upsert&target=staging&backup={old}")
    assert "The one you came from" in page.text


def test_a_date_is_the_newest_backup_of_that_time_or_earlier(office: Office) -> None:
    rows = office.backups()
    taken = rows[5].snapshot_at
    assert taken is not None
    local = taken.astimezone(DHAKA)
    base = "/restore/new?step=plan&system=shop&mode=upsert&target=staging&at="
    at = office.as_("rahim").get(f"{base}{local:%Y-%m-%dT%H:%M}")
    assert rows[5].backup_id in at.text
    before = office.as_("rahim").get(f"{base}{local - timedelta(minutes=1):%Y-%m-%dT%H:%M}")
    assert rows[6].backup_id in before.text
    assert rows[5].backup_id not in before.text
    assert office.as_("rahim").get(f"{base}1999-01-01T00:00").status_code == 422
    assert office.as_("rahim").get(f"{base}yesterday").status_code == 422


@pytest.mark.parametrize(
    "query",
    [
        "step=when&system=shop&mode=upsert",
        "step=when&system=shop&mode=upsert&target=postgresql://evil/db",
        "step=when&system=shop&mode=destroy&target=staging",
        "step=when&system=shop&mode=upsert&target=staging&table=passwords",
        "step=plan&system=shop&mode=upsert&target=staging",
    ],
)
def test_a_step_that_lacks_something_says_so_and_goes_no_further(office: Office, query: str) -> None:
    page = office.as_("rahim").get(f"/restore/new?{query}")
    assert page.status_code == 422
    assert "Make the plan</button>" not in page.text


@pytest.mark.parametrize("target", ["postgresql://evil.example/db", "", "127.0.0.1:5433", "STAGING"])
def test_a_free_target_is_422_and_no_run(office: Office, target: str) -> None:
    before = len(office.launcher.launched)
    form = {"request": str(uuid4()), "backup": office.backups()[0].backup_id, "mode": "upsert", "target": target}
    assert office.as_("rahim").post("/restore/plan", data=form).status_code == 422
    assert len(office.launcher.launched) == before


def test_the_plan_is_made_by_a_run_which_finds_the_wish_in_the_ledger(office: Office) -> None:
    path = _planned(office)
    run = office.newest_run
    assert run.detail["plan"] == {
        "backup_id": office.backups()[1].backup_id, "target": "staging", "mode": "upsert", "tables": ["goods"],
        "into_schema": None,
    }  # fmt: skip
    order, user = office.launcher.launched[-1]
    assert order.config == {"ops": {"shop_restored": {"config": {"request": 0, "dry_run": True}}}}
    assert user == "person:rahim"
    assert office.ledger.restores.list() == [], "a plan is no request"
    page = office.as_("rahim").get(path)
    assert "public.goods" in page.text
    assert str(plan_json(office.backups()[1])["digest"]) in page.text


def test_two_clicks_are_one_run(office: Office) -> None:
    form = {"request": str(uuid4()), "backup": office.backups()[0].backup_id, "mode": "upsert", "target": "staging"}
    before = len(office.launcher.launched)
    for _ in range(2):
        assert office.as_("rahim").post("/restore/plan", data=form).status_code == 303
    assert len(office.launcher.launched) == before + 1


def test_while_the_run_goes_on_the_page_says_so_and_looks_again(office: Office) -> None:
    number = uuid4()
    form = {"request": str(number), "backup": office.backups()[0].backup_id, "mode": "new", "target": "staging"}
    office.as_("rahim").post("/restore/plan", data=form)
    page = office.as_("rahim").get(f"/restore/plan/{number}")
    assert "The plan is being made" in page.text
    assert 'data-live="5"' in page.text
    assert office.as_("rahim").get(f"/restore/plan/{number}/confirm").status_code == 303


def test_without_dagster_the_command_to_type_is_there(office: Office) -> None:
    office.launcher.away = True
    number = uuid4()
    form = {"request": str(number), "backup": office.backups()[0].backup_id, "mode": "upsert", "target": "staging"}
    try:
        office.as_("rahim").post("/restore/plan", data=form)
    finally:
        office.launcher.away = False
    run = office.ledger.run_requests.get(number)
    assert run is not None
    assert run.status is RequestStatus.REFUSED
    page = office.as_("rahim").get(f"/restore/plan/{number}")
    assert "does not answer" in page.text
    assert "--target-url postgresql://owner@127.0.0.1:5433/staging --ask" in page.text


def test_a_refused_plan_goes_no_further(office: Office) -> None:
    path = _planned(office, remark="The key is not there.", refused=True)
    page = office.as_("rahim").get(path)
    assert "This plan can not run" in page.text
    assert f"{path}/confirm" not in page.text
    assert office.as_("rahim").get(f"{path}/confirm").status_code == 303
    answer = office.as_("rahim").post(f"{path}/ask", data={"confirm": "staging", "reason": "try"})
    assert answer.status_code == 422
    assert "The key is not there." in answer.text


def test_confirmed_by_name_and_with_a_reason_it_becomes_a_request(office: Office) -> None:
    path = _planned(office)
    confirm = office.as_("rahim").get(f"{path}/confirm")
    assert "Type the database&#39;s name, staging" in confirm.text
    assert "In the last drill" not in confirm.text
    drilled(office, report(office))
    assert "took about 2.9 s" in office.as_("rahim").get(f"{path}/confirm").text
    wrong = office.as_("rahim").post(f"{path}/ask", data={"confirm": "stagin", "reason": "a wrong UPDATE"})
    assert wrong.status_code == 422
    assert 'aria-invalid="true"' in wrong.text
    assert "a wrong UPDATE" in wrong.text, "what was typed is still there"
    assert office.as_("rahim").post(f"{path}/ask", data={"confirm": "staging", "reason": " "}).status_code == 422
    given = {"confirm": "staging", "reason": "a wrong UPDATE"}
    answer = office.as_("rahim").post(f"{path}/ask", data=given)
    assert answer.status_code == 303
    number = int(re.findall(r"/requests/(\d+)", answer.headers["location"])[0])
    row = office.row(number)
    assert (row.status, row.reason, str(row.actor)) == (RestoreStatus.REQUESTED, "a wrong UPDATE", "person:rahim")
    assert (row.target, row.tables, row.safety_backup) == (
        "postgresql://owner@127.0.0.1:5433/staging",
        ("goods",),
        True,
    )
    assert (row.plan or {})["digest"] == plan_json(office.backups()[1])["digest"]
    again = office.as_("rahim").post(f"{path}/ask", data=given)
    assert again.headers["location"] == f"/requests/{number}", "two clicks are one request"


def test_a_plan_is_of_whoever_asked_for_it(office: Office) -> None:
    path = _planned(office, "rahim")
    assert office.as_("karim").get(path).status_code == 404
    assert office.as_("karim").post(f"{path}/ask", data={"confirm": "staging", "reason": "x"}).status_code == 404
    assert office.as_("karim").get(f"/restore/plan/{uuid4()}").status_code == 404
    assert office.as_("karim").get("/restore/plan/x").status_code == 422


def test_an_approved_request_runs_by_a_click_and_once(office: Office) -> None:
    row = office.ask()
    digest = str((row.plan or {})["digest"])
    early = office.as_("rahim").post(f"/requests/{row.id}/run", data={"request": str(uuid4())})
    assert early.status_code == 403
    office.as_("karim").post(f"/requests/{row.id}/approve", data={"plan": digest})
    before = len(office.launcher.launched)
    for _ in range(2):
        answer = office.as_("rahim").post(f"/requests/{row.id}/run", data={"request": str(uuid4())})
        assert answer.status_code == 303
    assert len(office.launcher.launched) == before + 1
    going = office.as_("rahim").get(f"/requests/{row.id}").text
    assert "It is on its way: staging is as it was until it begins." in going
    assert "Run it now" not in going
    order, _ = office.launcher.launched[-1]
    assert order.config == {"ops": {"shop_restored": {"config": {"request": row.id, "dry_run": False}}}}
    page = office.as_("rahim").get(f"/requests/{row.id}")
    assert "waiting for its turn" in page.text


def test_a_request_that_waits_is_planned_again_by_a_run(office: Office) -> None:
    row = office.ask()
    assert "Make the plan again" in office.as_("rahim").get(f"/requests/{row.id}").text
    assert office.as_("rahim").post(f"/requests/{row.id}/plan", data={"request": str(uuid4())}).status_code == 303
    order, _ = office.launcher.launched[-1]
    assert order.config == {"ops": {"shop_restored": {"config": {"request": row.id, "dry_run": True}}}}


def test_hostile_text_is_text_in_every_step(office: Office) -> None:
    for query in (f"system=shop&at={HOSTILE}&mode=upsert&target=staging&step=plan", f"system=shop&target={HOSTILE}"):
        page = office.as_("rahim").get(f"/restore/new?{query}")
        assert "<script>alert" not in page.text
    path = _planned(office, remark=HOSTILE)
    for page in (
        office.as_("rahim").get(path),
        office.as_("rahim").get(f"{path}/confirm"),
        office.as_("rahim").post(f"{path}/ask", data={"confirm": HOSTILE, "reason": HOSTILE}),
    ):
        assert "<script>alert" not in page.text
        assert "&lt;script&gt;" in page.text


def test_who_has_businesses_restores_those_and_sees_no_other(office: Office) -> None:
    own = backup(office.shelf.now - timedelta(hours=3), salt=7, scope=Scope("shop", business="b1"))
    office.shelf.add(own, partitions=False)
    babul = office.as_("babul")
    when = babul.get("/restore/new?step=when&system=shop&mode=upsert&target=staging")
    assert own.backup_id in when.text
    assert office.backups()[0].backup_id not in when.text
    assert own.backup_id not in office.as_("rahim").get(when.url.raw_path.decode()).text, "one business among many"
    form = {"request": str(uuid4()), "mode": "upsert", "target": "staging", "table": "goods"}
    assert babul.post("/restore/plan", data={**form, "backup": office.backups()[0].backup_id}).status_code == 404
    path = babul.post("/restore/plan", data={**form, "backup": own.backup_id}).headers["location"]
    run = office.ledger.run_requests.get(UUID(form["request"]))
    assert run is not None
    assert run.scope == own.scope
    office.done(run, {"plan": plan_json(own)})
    asked = babul.post(f"{path}/ask", data={"confirm": "staging", "reason": "a wrong UPDATE"})
    assert asked.status_code == 303
    assert babul.get(asked.headers["location"]).status_code == 200
    row = office.ledger.restores.list(limit=1)[0]
    assert (row.scope, row.status) == (own.scope, RestoreStatus.REQUESTED)
    assert babul.post(f"/requests/{row.id}/take-back").status_code == 303
    assert office.row(row.id).status is RestoreStatus.CANCELED
    office.ledger.execute("DELETE FROM backup_logs WHERE business = 'b1'")


def test_what_was_saved_before_a_restore_is_not_the_newest_backup(office: Office) -> None:
    saved = backup(office.shelf.now - timedelta(hours=1), salt=8, scope=Scope("shop").safety)
    office.shelf.add(saved, partitions=False)
    when = "/restore/new?step=when&mode=upsert&target=staging"
    assert saved.backup_id not in office.as_("rahim").get(f"{when}&system=shop").text
    assert saved.backup_id in office.as_("rahim").get(f"{when}&backup={saved.backup_id}").text
    office.ledger.execute("DELETE FROM backup_logs WHERE purpose = 'safety'")
