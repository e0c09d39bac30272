"""What programs do over the API: restores, the sources' own endpoints, the audit, keys, use, and events."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from uuid import UUID

import httpx
import pytest

from backup_pipeline.core.access.api_keys import KeyPermission
from backup_pipeline.core.content import communication_metrics, summary_document
from backup_pipeline.core.ledger import Attempt, Status
from backup_pipeline.core.runs import JobOrder, RequestChange, RequestStatus
from backup_pipeline.core.scope import Scope
from backup_pipeline.demo import SALES_PORTAL, create_system
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.operations.access.api_keys import revoke_key
from backup_pipeline.settings import BUILT_IN_CATALOGS
from backup_pipeline.web import events
from backup_pipeline.web.api.reference import api_document
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.core.retained import backup
from backup_pipeline_tests.doubles.ports import ports_for_test
from backup_pipeline_tests.doubles.runs import FakeLauncher
from backup_pipeline_tests.ledger.attempts import attempt, outcome
from backup_pipeline_tests.operations.made import Place
from backup_pipeline_tests.orchestration.installation import until
from backup_pipeline_tests.servers.ledgers import ScratchLedger, new_ledger
from backup_pipeline_tests.servers.postgres import temporary_database
from backup_pipeline_tests.systems.system import catalog_of
from backup_pipeline_tests.web.calling import Program, program_of
from backup_pipeline_tests.web.deciding import Office, open_office
from backup_pipeline_tests.web.people import console_over
from backup_pipeline_tests.web.serving import served

P = KeyPermission


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    office = open_office(new_ledger(), tmp_path_factory.mktemp("office"), days=3)
    customers = "catalog: isp_customers\ntimezone: Asia/Dhaka\ntables: {goods: null}\n"
    (office.console.settings.catalogs / "isp_customers.yaml").write_text(customers)
    return office


@pytest.fixture(scope="module")
def program(office: Office) -> Program:
    return program_of(office.console, name="everything")


@pytest.fixture
def launcher(office: Office) -> FakeLauncher:
    office.console.app.state.launcher = launcher = FakeLauncher()
    return launcher


def of_business(office: Office, business: str) -> Attempt:
    row = backup(datetime(2026, 11, 1, 12, tzinfo=UTC))
    row = replace(row, backup_id=row.backup_id[:-1] + business[-1], scope=Scope("shop", business=business))
    office.ledger.put(row)
    return row


@pytest.mark.acceptance("3.33")
def test_a_restore_is_asked_for_and_never_made(office: Office, program: Program, launcher: FakeLauncher) -> None:
    row = office.backups()[0]
    order = {"backup_id": row.backup_id, "tables": ["goods"], "target": "staging", "reason": "a wrong UPDATE"}
    answer = program.post("/api/v1/restores", json=order)
    assert answer.status_code == 202, answer.text
    asked = answer.json()
    assert (asked["status"], asked["asked_by"], asked["mode"]) == ("requested", "key:everything", "insert-missing")
    assert "hunter2" not in answer.text
    [(order_sent, user)] = launcher.launched
    assert (order_sent.job, user) == ("shop_restore", "key:everything")
    assert order_sent.config["ops"] == {
        "shop_restored": {"config": {"request": asked["restore_request"], "dry_run": True}}
    }
    assert program.get(asked["status_url"]).json() == asked
    for path in ("approve", "run", "reject"):
        assert program.post(f"{asked['status_url']}/{path}").status_code == 404
        assert program.post(f"/requests/{asked['restore_request']}/{path}").headers["location"].startswith("/login")
    listed = program.get("/api/v1/restores?status=requested&limit=1").json()
    assert [each["restore_request"] for each in listed["restores"]] == [asked["restore_request"]]
    other = program_of(office.console, P.RESTORES_REQUEST, name="asks")
    assert other.get(asked["status_url"]).status_code == 404, "of its own alone"
    for wrong in ({"tables": ["nothing"]}, {"target": "postgresql://evil@example.com/x"}, {"mode": "all"}):
        assert program.post("/api/v1/restores", json={**order, **wrong}).status_code == 422


@pytest.mark.acceptance("3.33")
def test_data_restore_takes_the_body_of_the_sources(office: Office, program: Program, launcher: FakeLauncher) -> None:
    row = of_business(office, "b1")
    body = {"business_id": "b1", "backup_id": row.backup_id, "restore_type": "full"}
    assert program.post("/functions/v1/data-restore", json={**body, "mode": "replace"}).status_code in {202, 422}
    own = program_of(office.console, P.RESTORES_REQUEST, name="of b1", business="b1")
    assert own.post("/functions/v1/data-restore", json={**body, "business_id": "b2"}).status_code == 404
    other = program_of(office.console, P.RESTORES_REQUEST, name="of b2", business="b2")
    assert other.post("/functions/v1/data-restore", json=body).status_code == 404
    selective = {**body, "restore_type": "selective"}
    answer = own.post("/functions/v1/data-restore", json=selective)
    assert (answer.status_code, "names its tables" in answer.json()["detail"]) == (422, True)
    verbatim = {"business_id": "uuid", "backup_id": "uuid", "restore_type": "full"}
    assert program.post("/functions/v1/data-restore", json=verbatim).status_code == 404


@pytest.mark.acceptance("0.10", "0.13")
@pytest.mark.parametrize("body", [{"json": {}}, {}, {"json": {"reason": "by cron"}}])
def test_the_customers_are_exported_by_a_post(program: Program, launcher: FakeLauncher, body: dict[str, Any]) -> None:
    answer = program.post("/functions/v1/export-customer-backup", **body)
    assert answer.status_code == 202, answer.text
    [(order, _)] = launcher.launched
    assert order.job == "isp_customers_full_backup"
    assert program.get(answer.json()["status_url"]).json()["catalog"] == "isp_customers"


def test_without_dagster_nothing_is_promised(program: Program, office: Office) -> None:
    office.console.app.state.launcher = FakeLauncher(away=True)
    answer = program.post("/api/v1/backups", json={"catalog": "shop"})
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:backup-pipeline:problem:away")
    assert "backup-pipeline backup --catalog shop" in answer.json()["do"]


@pytest.mark.acceptance("3.15", "3.33")
def test_api_security_validates_keys_and_tells_their_use(office: Office, program: Program) -> None:
    own = program_of(office.console, P.USAGE, P.BACKUP_STATUS, name="curious", limit=10)
    answer = own.post("/functions/v1/api-security", json={"action": "validate"}).json()
    assert (answer["valid"], answer["name"], answer["rate_limit"], answer["remaining"]) == (True, "curious", 10, 9)
    lacks = own.post("/functions/v1/api-security", json={"action": "validate", "permission": "analytics"}).json()
    assert (lacks["valid"], "analytics" in lacks["why_not"]) == (False, True)
    used = own.post("/functions/v1/api-security", json={"action": "usage"}).json()["usage"]
    assert [(each["route"], each["calls"]) for each in used] == [("POST /functions/v1/api-security", 3)]
    foreign = {"action": "validate", "api_key": own.key}
    assert own.post("/functions/v1/api-security", json=foreign).status_code == 403
    assert program.post("/functions/v1/api-security", json=foreign).json()["name"] == "curious"
    unknown = {"action": "validate", "api_key": "sk_" + "0" * 32}
    assert program.post("/functions/v1/api-security", json=unknown).json()["valid"] is False
    assert own.post("/functions/v1/api-security", json={"action": "delete"}).status_code == 422


def test_a_key_sees_its_own_calls_and_with_keys_read_all(office: Office, program: Program) -> None:
    own = program_of(office.console, P.USAGE, name="own calls")
    own.get("/api/v1/usage")
    seen = own.get("/api/v1/usage").json()["calls"]
    assert {call["route"] for call in seen} == {"GET /api/v1/usage"}
    assert len({call["key"] for call in seen}) == 1
    first = program.get("/api/v1/usage?limit=1").json()
    rest = program.get(f"/api/v1/usage?limit=500&after={first['next']}").json()["calls"]
    assert first["calls"][0]["request_id"] not in {call["request_id"] for call in rest}
    assert len({call["key"] for call in rest}) > 1
    keys = program.get("/api/v1/keys").json()["keys"]
    assert {"own calls", "everything"} <= {key["name"] for key in keys}
    assert program.key is not None
    assert program.key[8:] not in json.dumps(keys)


def test_the_audit_comes_page_by_page_with_its_chain(office: Office, program: Program) -> None:
    first = program.get("/api/v1/audit?limit=2").json()
    second = program.get(f"/api/v1/audit?limit=2&after={first['next']}").json()
    rows = first["rows"] + second["rows"]
    assert [row["number"] for row in rows] == sorted((row["number"] for row in rows), reverse=True)
    assert all(later["previous"] == earlier["sha256"] for later, earlier in pairwise(rows))


@pytest.mark.acceptance("3.18")
def test_events_are_told_to_programs_by_their_rights_and_none_is_lost(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    every, own = (
        program_of(office.console, P.EVENTS_READ, name=f"listens {business}", business=business)
        for business in (None, "b1")
    )

    def make(backup_id: str, business: str | None = None) -> None:
        row = attempt(backup_id)
        office.ledger.begin(replace(row, scope=replace(row.scope, business=business)))
        done = replace(outcome(Status.SUCCESS, sha256="x"), finished_at=office.ledger.now())
        office.ledger.end(backup_id, done)

    monkeypatch.setattr(events, "_ASK_AGAIN_S", 0.5)
    with served(office.console) as address, office.console.app.state.events:
        with _stream(f"{address}/api/v1/events", every) as told:
            make("e1")
            make("e2", "b2")
            until(lambda: len(told.events) >= 4, 20)
        make("e3", "b1")
        with _stream(f"{address}/functions/v1/realtime-events", every, told.last_id) as again:
            until(lambda: len(again.events) >= 2, 20)
        with _stream(f"{address}/api/v1/events", own, "0") as of_b1:
            until(lambda: len(of_b1.events) >= 2, 20)
            (key,) = [key for key in office.console.access.access.keys.list() if key.name == "listens b1"]
            revoke_key(key.number, office.console.access, RAHIM)
            until(lambda: of_b1.ended, 20)
    assert [event["subject"] for event in told.events] == ["e1", "e1", "e2", "e2"]
    assert [event["subject"] for event in again.events] == ["e3", "e3"]
    assert {event["business"] for event in of_b1.events} == {"b1"}


class _stream:  # noqa: N801  # used as a function
    """What a program is told, from a thread of its own."""

    def __init__(self, url: str, program: Program, last_id: str = "") -> None:
        self.events: list[dict[str, Any]] = []
        self.last_id, self.ended, self.open = "", False, False
        headers = {"Authorization": f"Bearer {program.key}", **({"Last-Event-ID": last_id} if last_id else {})}
        self._client = httpx.Client(timeout=60, trust_env=False, headers=headers)
        self._thread = threading.Thread(target=self._read, args=(url,), daemon=True)

    def __enter__(self) -> _stream:
        self._thread.start()
        until(lambda: self.open or self.ended, 20)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def _read(self, url: str) -> None:
        try:
            with self._client.stream("GET", url) as answer:
                self.open = True
                for line in answer.iter_lines():
                    if line.startswith("data:"):
                        self.events.append(json.loads(line.removeprefix("data:")))
                    elif line.startswith("id:"):
                        self.last_id = line.removeprefix("id:").strip()
        except (httpx.HTTPError, RuntimeError):
            pass
        self.ended = True


class _Making(FakeLauncher):
    """A Dagster that makes the backup at once, and says a moment later that it is done."""

    def __init__(self, url: str, place: Place, ledger: ScratchLedger) -> None:
        super().__init__()
        self.url, self.place, self.ledger = url, place, ledger

    def launch(self, order: JobOrder, request: UUID, user: str) -> str:
        run_id = super().launch(order, request, user)
        made = self.place.back_up(self.url, catalog_of("sales_portal"))
        self.ledger.execute(
            "UPDATE backup_logs SET run_id = %s, reason = (SELECT reason FROM run_requests WHERE id = %s) "
            "WHERE backup_id = %s",
            [run_id, request, made.backup_id],
        )
        done = RequestChange(RequestStatus.DONE, finished_at=datetime.now(UTC))
        threading.Timer(0.3, lambda: self.ledger.run_requests.change(request, done)).start()
        return run_id


@pytest.fixture(scope="module")
def portal(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Place]]:
    folder = tmp_path_factory.mktemp("portal")
    with temporary_database(postgres_server) as url:
        create_system(url, SALES_PORTAL, scale=0.05)
        ledger = new_ledger()
        place = Place(folder / "spool", ledger=ledger)

        def ports(**given: Any) -> Any:
            return ports_for_test(store=place.store, spool=folder / "spool", **given)

        (folder / "catalogs").mkdir()
        shutil.copy(BUILT_IN_CATALOGS / "sales_portal.yaml", folder / "catalogs")
        console = console_over(ledger, folder, ports=ports, catalogs=folder / "catalogs")
        console.app.state.launcher = _Making(url, place, ledger)
        yield console, place


@pytest.mark.acceptance("4.1", "4.2")
@pytest.mark.parametrize("path", ["/api/admin/comprehensive-backup", "/api/admin/create-backup"])
def test_a_comprehensive_backup_is_made_and_summed_up(portal: tuple[Any, Place], path: str) -> None:
    console, place = portal
    program = program_of(console, P.BACKUPS_CREATE, P.BACKUPS_DOWNLOAD, P.BACKUP_STATUS)
    for body in ({}, {"reason": ""}, {"reason": "  "}):
        answer = program.post(path, json=body)
        assert (answer.status_code, "reason" in answer.json()["detail"]) == (422, True)
    answer = program.post(path, json={"reason": "Before major update"})
    assert answer.status_code == 200, answer.text
    made = answer.json()
    assert (made["version"], made["backupType"], made["reason"]) == ("3.0.0", "comprehensive", "Before major update")
    expected = summary_document(communication_metrics(place.manifest.tables))
    assert made["metadata"]["communicationSummary"] == expected
    assert list(expected)[:4] == ["totalSMS", "totalDocuments", "smsSuccessRate", "documentsGenerated"]
    row = place.ledger.get(made["backup_id"])
    assert row is not None
    assert made["metadata"]["totalRecords"] == row.record_count
    file = program.get(made["download_url"])
    assert (file.status_code, file.json()["metadata"]["totalRecords"]) == (200, row.record_count)
    is_old = path.endswith("create-backup")
    assert ("deprecation" in answer.headers) is is_old
    assert ("successor-version" in answer.headers.get("link", "")) is is_old
    assert api_document()["paths"][path]["post"].get("deprecated", False) is is_old
