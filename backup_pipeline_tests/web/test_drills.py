"""Drills in the console: coverage, history with its evidence, and starting one."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest

from backup_pipeline.core.audit import AuditFilter
from backup_pipeline.core.drill import DrillFinding, DrillReport, Fault, How, Stages, TableDrill, TableSeconds
from backup_pipeline.core.ledger import AuditEvent
from backup_pipeline.core.scope import SCHEDULE
from backup_pipeline.core.verification import Level, Verification
from backup_pipeline_tests.servers.ledgers import new_ledger
from backup_pipeline_tests.web.deciding import HOSTILE, Office, open_office


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    return open_office(new_ledger(), tmp_path_factory.mktemp("office"))


def report(office: Office, **given: Any) -> DrillReport:
    table = TableDrill("goods", 1_204, 1_204, How.BYTES, How.FINGERPRINT, seconds=TableSeconds(0.1, 0.2, 0.3, 0.4))
    backup = office.backups()[0]
    values: dict[str, Any] = {
        "backup_id": backup.backup_id,
        "catalog": "shop",
        "snapshot_at": backup.snapshot_at,
        "verified": "3 (references)",
        "bytes": 1_000,
        "bytes_to_fetch": 900,
        "tables": (table,),
        "stages": Stages(fetch=1.0, restore=2.0),
        "seconds": 41.0,
    }
    return DrillReport(**{**values, **given})


def drilled(office: Office, of: DrillReport, action: str = "drill", **more: object) -> None:
    """The audit row that a drill leaves."""
    detail = {
        "passed": of.passed, "verified": of.verified, "rows": of.rows, "seconds": of.seconds,
        "predicted_restore_seconds": of.predicted_restore_seconds, "findings": [str(each) for each in of.findings],
        "report": json.loads(json.dumps(of.as_json(), default=str)), **more,
    }  # fmt: skip
    office.ledger.audit(AuditEvent(office.console.clock(), SCHEDULE, action, of.backup_id, detail))


def _newest(office: Office) -> int:
    return office.ledger.audit_rows.page(AuditFilter())[0].number


def test_without_a_drill_the_page_says_what_is_next(office: Office) -> None:
    page = office.as_("rahim").get("/drills")
    assert "not proven" in page.text
    assert "No drill yet." in page.text
    assert "Drill now" in page.text
    viewer = office.as_("nila").get("/drills")
    assert "Drill now" not in viewer.text
    assert "No drill yet." in viewer.text
    own = office.as_("babul").get("/drills")
    assert "A drill restores a whole system" in own.text
    assert "not proven" not in own.text


def test_what_was_proven_is_shown_with_its_evidence(office: Office) -> None:
    of = report(office)
    office.ledger.verified(of.backup_id, Verification(Level.RESTORED, office.console.clock()))
    drilled(office, of)
    page = office.as_("rahim").get("/drills")
    assert "Restored and compared" in page.text
    assert "came back as it was" in page.text
    assert "2.9 s" in page.text, "the predicted time of a restore"
    number = _newest(office)
    viewer, own = office.as_("nila").get("/drills"), office.as_("babul").get("/drills")
    assert "came back as it was" in viewer.text, "whether backups come back is no secret from who looks on"
    assert "/drills/" not in viewer.text.partition("<main")[2], "what the drill saw is the audit's"
    assert office.as_("nila").get(f"/drills/{number}").status_code == 403
    assert "came back as it was" not in own.text
    evidence = office.as_("rahim").get(f"/drills/{number}")
    assert "everything came back as it was" in evidence.text
    assert "data-print" in evidence.text
    answer = office.as_("rahim").get(f"/drills/{number}/evidence.json")
    assert answer.headers["content-disposition"] == f'attachment; filename="drill-{number}.json"'
    document = answer.json()
    assert document["detail"]["report"]["tables"][0]["rows"] == 1_204
    assert document["sha256"] in evidence.text


def test_faults_that_were_put_in_are_told_apart(office: Office) -> None:
    finding = DrillFinding("goods", f"1 row lacks {HOSTILE}")
    found = report(office, injected=Fault.DROP_ROW, findings=(finding,))
    drilled(office, found, "drill with injected fault", outcome="Injected fault drop-row was FOUND, as it should be")
    blind = report(office, injected=Fault.BITFLIP)
    drilled(office, blind, "drill with injected fault", outcome="Injected fault bitflip was not noticed")
    page = office.as_("rahim").get("/drills")
    assert "fault found" in page.text
    assert "fault NOT found" in page.text
    evidence = office.as_("rahim").get(f"/drills/{_newest(office) - 1}")
    assert "&lt;script&gt;" in evidence.text
    assert "<script>alert" not in evidence.text


def test_one_that_could_not_be_done_and_one_of_another_version_are_shown(office: Office) -> None:
    at, backup = office.console.clock(), office.backups()[0].backup_id
    office.ledger.audit(AuditEvent(at, SCHEDULE, "drill", backup, {"failed": "the disk is full"}))
    failed = _newest(office)
    office.ledger.audit(AuditEvent(at, SCHEDULE, "drill", backup, {"passed": True, "report": {"catalog": "shop"}}))
    page = office.as_("rahim").get("/drills")
    assert "the disk is full" in page.text
    assert "It could not be done" in office.as_("rahim").get(f"/drills/{failed}").text
    assert "Another version" in office.as_("rahim").get(f"/drills/{failed + 1}").text


def test_what_is_no_drill_has_no_evidence(office: Office) -> None:
    office.ledger.audit(AuditEvent(office.console.clock(), SCHEDULE, "hold", office.backups()[0].backup_id, {}))
    for path in (f"/drills/{_newest(office)}", "/drills/99999999", f"/drills/{_newest(office)}/evidence.json"):
        assert office.as_("rahim").get(path).status_code == 404


@pytest.mark.parametrize("inject", ["", "drop-row"])
def test_a_drill_is_a_run_also_with_a_fault(office: Office, inject: str) -> None:
    form = {"request": str(uuid4()), "catalog": "shop", "inject": inject}
    assert office.as_("rahim").post("/drills", data=form).status_code == 303
    order, user = office.launcher.launched[-1]
    assert (order.config["ops"], user) == (
        {"shop_drilled": {"config": {"backup_id": "latest", "inject": inject}}},
        "person:rahim",
    )
    assert "waiting for its turn" in office.as_("rahim").get("/drills").text


def test_what_can_not_be_drilled_is_422(office: Office) -> None:
    for form in ({"catalog": "elsewhere"}, {"catalog": "shop", "inject": "earthquake"}, {"catalog": "shop"}):
        data = {"request": str(uuid4()) if "inject" in form or form["catalog"] != "shop" else "x", **form}
        assert office.as_("rahim").post("/drills", data=data).status_code == 422
