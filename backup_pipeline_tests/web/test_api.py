"""The ground of the API: keys, permissions, problems, requests that come twice, and what a call leaves behind."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from backup_pipeline.core.access.api_keys import KeyPermission
from backup_pipeline.core.runs import RequestChange, RequestStatus
from backup_pipeline.operations.access.api_keys import limit_key, revoke_key
from backup_pipeline.web.api.reference import api_document, operations_of
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.doubles.runs import FakeLauncher
from backup_pipeline_tests.servers.ledgers import new_ledger
from backup_pipeline_tests.web.calling import Program, program_of
from backup_pipeline_tests.web.deciding import Office, open_office

P = KeyPermission


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    return open_office(new_ledger(), tmp_path_factory.mktemp("office"), days=3)


@pytest.fixture(scope="module")
def program(office: Office) -> Program:
    return program_of(office.console, name="everything")


def _rows(office: Office, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(office.ledger.url) as session:
        return session.execute(query.encode()).fetchall()


@pytest.mark.acceptance("3.15", "4.36")
@pytest.mark.parametrize(
    ("header", "says"),
    [
        (None, "A program calls with a key."),
        ("Basic a2FyaW06cGFzc3dvcmQ=", "A program calls with a key."),
        ("Bearer sk_short", "none: a key is sk_ and 32 characters"),
        (f"Bearer sk_{'A' * 32}", "not known here"),
    ],
)
def test_without_a_key_that_works_nobody_is_answered(office: Office, header: str | None, says: str) -> None:
    answer = Program(office.console.app, None).get(
        "/api/v1/backups", headers={"Authorization": header} if header else {}
    )
    assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    problem = answer.json()
    assert says in problem["detail"]
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert problem["do"]


def test_a_key_that_was_revoked_or_has_expired_is_worth_nothing(office: Office) -> None:
    program = program_of(office.console, P.BACKUP_STATUS, name="revoked")
    assert program.get("/api/v1/backups").status_code == 200
    (key,) = [key for key in office.console.access.access.keys.list() if key.name == "revoked"]
    revoke_key(key.number, office.console.access, RAHIM)
    answer = program.get("/api/v1/backups")
    assert (answer.status_code, answer.json()["detail"]) == (401, "The key was revoked.")
    soon = program_of(office.console, P.BACKUP_STATUS, name="over", expires_at=datetime.now(UTC) + timedelta(days=1))
    office.ledger.execute("UPDATE api_keys SET expires_at = now() - interval '1 second' WHERE name = 'over'")
    assert "has expired" in soon.get("/api/v1/backups").json()["detail"]


def test_a_session_is_worth_nothing_on_the_api_and_a_key_nothing_on_a_page(office: Office, program: Program) -> None:
    karim = office.as_("karim")
    assert karim.get("/api/v1/backups").status_code == 401
    for path in ("/", "/backups", "/users"):
        answer = program.get(path, headers={"Accept": "text/html"})
        assert (answer.status_code, answer.headers["location"].partition("?")[0]) == (303, "/login")
    assert "set-cookie" not in program.get("/api/v1/backups").headers


def test_a_key_does_not_travel_where_it_can_be_read(program: Program) -> None:
    answer = program.get("/api/v1/backups", base="http://backup.example.com")
    assert (answer.status_code, answer.json()["status"]) == (403, 403)
    assert "over plain HTTP" in answer.json()["detail"]


def _calls() -> list[tuple[str, str, tuple[KeyPermission, ...]]]:
    return [(each.method, each.path, tuple(each.permissions)) for each in operations_of(api_document())]


@pytest.mark.acceptance("3.25", "4.36")
@pytest.mark.parametrize(("method", "path", "any_of"), _calls())
def test_a_key_with_every_permission_but_that_of_the_route_is_refused(
    office: Office, method: str, path: str, any_of: tuple[KeyPermission, ...]
) -> None:
    others = tuple(permission for permission in P if permission not in any_of)
    program = program_of(office.console, *others, name=f"without {method} {path}".replace(":", " ")[:90])
    answer = program.call(method, path)
    assert (answer.status_code, answer.json()["type"]) == (403, "urn:backup-pipeline:problem:not-allowed")
    assert any_of[0].value in answer.json()["detail"]


@pytest.mark.acceptance("3.17", "3.22")
def test_a_call_is_a_row_with_its_route_status_time_bytes_and_address(office: Office) -> None:
    program = program_of(office.console, P.BACKUP_STATUS, name="logged")
    good = program.get("/api/v1/backups?limit=1")
    bad = program.get("/api/v1/backups/none")
    assert (good.status_code, bad.status_code) == (200, 404)
    assert (good.headers["ratelimit-limit"], bad.headers["ratelimit-remaining"]) == ("1000", "998")
    rows = _rows(
        office,
        "SELECT route, status, bytes, address, request_id, allowed, ms >= 0 FROM api_usage_logs "
        "JOIN api_keys ON api_keys.id = key_id WHERE name = 'logged' ORDER BY at",
    )
    first = ("GET /api/v1/backups", 200, len(good.content), "127.0.0.1", good.headers["x-request-id"], True, True)
    second = ("GET /api/v1/backups/{backup_id}", 404, len(bad.content), "127.0.0.1")
    assert rows[0] == first
    assert rows[1][:4] == second
    (key,) = [key for key in office.console.access.access.keys.list() if key.name == "logged"]
    assert (key.last_address, key.last_used_at is not None) == ("127.0.0.1", True)


@pytest.mark.acceptance("3.16")
def test_above_its_limit_a_key_is_told_when_there_is_room_again(office: Office) -> None:
    program = program_of(office.console, P.BACKUP_STATUS, name="limited", limit=2)
    answers = [program.get("/api/v1/backups?limit=1") for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 429, 429, 429]
    last = answers[-1]
    assert 3_500 < int(last.headers["retry-after"]) <= 3_601
    assert (last.headers["ratelimit-limit"], last.headers["ratelimit-remaining"]) == ("2", "0")
    assert "2 calls of 60 minutes" in last.json()["detail"]
    meter = office.console.app.state.meter
    meter.write()
    sums = (
        "SELECT calls, status FROM api_usage_logs JOIN api_keys ON api_keys.id = key_id "
        "WHERE name = 'limited' AND NOT allowed"
    )
    assert _rows(office, sums) == [(3, 429)], "three refusals are one row"
    (key,) = [key for key in office.console.access.access.keys.list() if key.name == "limited"]
    limit_key(key.number, 3, office.console.access, RAHIM)
    assert program.get("/api/v1/backups").status_code == 429, "the process remembers it for a while"
    meter._now = lambda before=meter._now: before() + 11
    assert [program.get("/api/v1/backups").status_code for _ in range(2)] == [200, 429]
    office.ledger.execute("UPDATE api_usage_logs SET at = at - interval '61 minutes' WHERE allowed")
    meter._now = lambda before=meter._now: before() + 11
    assert program.get("/api/v1/backups").status_code == 200, "what is older counts no more"


def test_a_key_of_a_business_sees_that_one_alone(office: Office) -> None:
    own = program_of(office.console, P.BACKUP_STATUS, P.BACKUPS_CREATE, P.BACKUPS_DOWNLOAD, name="of b1", business="b1")
    backup = office.backups()[0].backup_id
    assert own.get("/api/v1/backups").json()["backups"] == []
    for path in (f"/api/v1/backups/{backup}", f"/api/v1/backups/{backup}/tables", f"/api/v1/backups/{backup}/download"):
        assert own.get(path).status_code == 404
    assert own.post("/api/v1/backups", json={"catalog": "shop"}).status_code == 404


def test_lists_go_on_where_they_ended(office: Office, program: Program) -> None:
    seen, after = [], ""
    for _ in range(3):
        page = program.get(f"/api/v1/backups?limit=1&after={after}").json()
        seen += [each["backup_id"] for each in page["backups"]]
        after = page["next"] or ""
    assert seen == [row.backup_id for row in office.backups()]
    assert after == ""
    assert program.get("/api/v1/backups?after=nowhere").status_code == 422


@pytest.mark.acceptance("3.27")
def test_a_backup_is_asked_for_and_its_end_is_told(office: Office, program: Program) -> None:
    office.console.app.state.launcher = FakeLauncher()
    answer = program.post("/api/v1/backups", json={"catalog": "shop", "reason": "before the move"})
    assert answer.status_code == 202
    work = answer.json()
    assert (work["verb"], work["status"], work["asked_by"]) == ("backup", "launched", "key:everything")
    assert answer.headers["location"] == work["status_url"]
    assert program.get(work["status_url"]).status_code == 202
    change = RequestChange(RequestStatus.DONE, finished_at=datetime.now(UTC))
    office.ledger.run_requests.change(office.newest_run.id, change)
    over = program.get(f"{work['status_url']}?wait=60")
    assert (over.status_code, over.json()["status"], over.json()["over"]) == (200, "done", True)
    assert _rows(
        office, "SELECT count(*) FROM backup_audit WHERE actor = 'key:everything' AND action = 'run requested'"
    )
    other = program_of(office.console, P.BACKUPS_CREATE, name="another")
    assert other.get(work["status_url"]).status_code == 404, "without backup_status one sees one's own alone"


def test_the_same_request_twice_is_one(office: Office, program: Program) -> None:
    office.console.app.state.launcher = launcher = FakeLauncher()
    same = {"json": {"catalog": "shop", "reason": "twice"}, "headers": {"Idempotency-Key": "7b0c"}}
    first, second = (program.post("/api/v1/backups", **same) for _ in range(2))
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json() == second.json()
    assert second.headers["idempotency-replayed"] == "true"
    assert len(launcher.launched) == 1
    other = program.post("/api/v1/backups", json={"catalog": "shop"}, headers={"Idempotency-Key": "7b0c"})
    assert (other.status_code, "another request" in other.json()["detail"]) == (422, True)
    again = {"json": {"catalog": "nowhere"}, "headers": {"Idempotency-Key": "7b0d"}}
    assert [program.post("/api/v1/backups", **again).status_code for _ in range(2)] == [404, 404]
    office.ledger.execute("UPDATE api_answers SET status = NULL WHERE idempotency_key = '7b0c'")
    assert program.post("/api/v1/backups", **same).status_code == 409, "it is at work"


def test_what_does_not_fit_is_a_problem_that_says_what_to_do(program: Program) -> None:
    for answer, status in (
        (program.post("/api/v1/backups", json={"catalog": ""}), 422),
        (program.post("/api/v1/backups", json={"catalog": "shop", "hurry": 1}), 422),
        (program.post("/api/v1/backups", content="{", headers={"Content-Type": "application/json"}), 422),
        (program.get("/api/v1/backups?since=2026-01-01T00:00:00"), 422),
        (program.get("/api/v1/nothing"), 404),
        (program.get("/api/v1/backups?catalog=%00"), 422),
        (program.get("/api/v1/backups?after=20261130T000000.000000Z~%00"), 422),
        (program.get("/api/v1/usage?after=20261130T000000.000000Z~%00"), 422),
        (program.post("/api/v1/backups", content=b"[" * 100_000, headers={"Content-Type": "application/json"}), 400),
        (put := program.call("PUT", "/api/v1/backups"), 405),
    ):
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
        assert {"type", "title", "status", "detail", "do", "request_id"} == set(answer.json())
        assert answer.json()["do"]
    assert put.headers["allow"] == "GET, POST"


def test_what_is_too_long_is_refused_and_costs_no_line_of_the_log(
    program: Program, caplog: pytest.LogCaptureFixture
) -> None:
    answer = program.post("/api/v1/backups", content=b" " * 2**21, headers={"Content-Type": "application/json"})
    assert (answer.status_code, caplog.records) == (413, [])


def test_the_bytes_of_a_backup_come_with_their_hash(office: Office, program: Program) -> None:
    row = office.backups()[0]
    answer = program.get(f"/api/v1/backups/{row.backup_id}/download")
    assert answer.status_code == 200
    assert answer.headers["x-checksum-sha256"] == row.sha256
    assert program.get(f"/api/v1/backups/{row.backup_id}/download?as=pdf").status_code == 422
    assert program.get(f"/api/v1/backups/{row.backup_id}").json()["outcome"] == "success"
    tables = program.get(f"/api/v1/backups/{row.backup_id}/tables").json()["tables"]
    assert {table["name"]: table["rows"] for table in tables} == dict(row.table_counts)


def test_freshness_is_told_to_whoever_may_ask(program: Program) -> None:
    answer = program.get("/api/v1/freshness")
    assert (answer.status_code, answer.json()["status"] in {"fresh", "overdue"}) == (200, True)


def test_the_reference_needs_nothing_from_elsewhere(office: Office) -> None:
    page = office.console.browser().get("/reference")
    assert page.status_code == 200
    assert 'src="http' not in page.text
    assert "/api/v1/backups/{backup_id}/tables" in page.text
    document = office.console.browser().get("/api/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert [route.path for route in operations_of(document) if not route.permissions] == []
