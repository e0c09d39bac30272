"""A console and a Dagster, whole processes: clicks that make runs, whatever dies in between.

The tests follow each other over one `up`. Its own console looks for Dagster where there is none: the one of the test is
another process, which reaches Dagster through a proxy.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import httpx
import psutil
import psycopg
import pytest

from backup_pipeline.core.access import NewUser, Role
from backup_pipeline.core.access.api_keys import KeyPermission, NewKey
from backup_pipeline.core.access.sessions import PersonIdentity
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.restore.requests import RestoreRow, RestoreStatus
from backup_pipeline.core.runs import RequestStatus, RunRequest
from backup_pipeline.embedded import running
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline.operations.access.api_keys import create_key
from backup_pipeline.operations.access.users import create_user
from backup_pipeline.settings import given_settings
from backup_pipeline.wiring.access import access_ports
from backup_pipeline.wiring.addresses import utc_now
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.alerts.servers import free_port
from backup_pipeline_tests.end_to_end.running_up import UP, Up, started, up_environment
from backup_pipeline_tests.faults.fault import After, Fault, Stall
from backup_pipeline_tests.faults.proxy import FaultProxy
from backup_pipeline_tests.orchestration.conftest import Install
from backup_pipeline_tests.orchestration.installation import until
from backup_pipeline_tests.servers.parents import python

PASSWORD = "copper kettle rain 41"
_RUNS = """query($filter: RunsFilter) { runsOrError(filter: $filter) { ... on Runs { results { runId status } } } }"""
_SLOW = (
    "DROP VIEW totals; CREATE VIEW totals AS"
    " SELECT n AS customer_id, 1 AS amount, pg_sleep(CASE n WHEN 5 THEN 600 ELSE 0 END)::text AS orders"
    " FROM generate_series(1, 10) AS n"
)


@dataclass
class Served:
    """A console in a process of its own; it can be killed and started again at the same port."""

    up: Up
    proxy: FaultProxy
    ledger: SqlLedger
    rescue: str
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    cookies: httpx.Cookies = field(default_factory=httpx.Cookies)

    def start(self) -> None:
        dagster = f"http://127.0.0.1:{self.proxy.port}"
        environment = {**up_environment(self.up.home), "BACKUP_DAGSTER_API_URL": dagster}
        command = python(UP, "serve", "--port", str(self.port))
        with (self.up.home / "serve.txt").open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        until(self._answers, 60, every=0.2)

    def kill(self) -> None:
        assert self.process is not None
        family = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        self.process.wait()
        for member in family:
            member.kill()

    def _answers(self) -> bool:
        try:
            return self.ask("GET", "/healthz").status_code == 200
        except httpx.TransportError:
            return False

    def ask(self, method: str, path: str, **given: Any) -> httpx.Response:
        base = f"http://127.0.0.1:{self.port}"
        headers = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}
        with httpx.Client(base_url=base, cookies=self.cookies, timeout=60, trust_env=False) as client:
            answer = client.request(method, path, headers=headers, **given)
            self.cookies = client.cookies
        return answer

    def press(self, request: UUID, **fields: Any) -> httpx.Response:
        form = {"verb": "backup", "catalog": "shop", "request": str(request), **fields}
        return self.ask("POST", "/runs", data=form)

    def sign_in(self) -> None:
        answer = self.ask("POST", "/login", data={"name": "karim", "password": PASSWORD})
        assert answer.status_code == 303, answer.text

    def approved_restore(self, backup_id: str) -> RestoreRow:
        """A request to bring a backup's notes into the other database: planned, asked for and approved by clicks."""
        number = uuid4()
        wish = {"backup": backup_id, "mode": "new", "target": "rescue", "table": "notes"}
        assert self.ask("POST", "/restore/plan", data={"request": str(number), **wish}).status_code == 303
        planned = self.becomes(number, RequestStatus.DONE, RequestStatus.FAILED)
        assert planned.result is not None, planned.error_message
        typed = {"confirm": "rescue", "reason": "the notes are gone"}
        answer = self.ask("POST", f"/restore/plan/{number}/ask", data=typed)
        assert answer.status_code == 303, answer.text
        self.sign_in()  # the password of a moment ago
        kept: Any = planned.result["plan"]
        plan = {"plan": kept["digest"], "reason": "looked at"}
        assert self.ask("POST", f"{answer.headers['location']}/approve", data=plan).status_code == 303
        [row] = self.ledger.restores.list()
        assert row.status is RestoreStatus.APPROVED
        return row

    def restore(self) -> RestoreRow:
        """The one restore that there is."""
        [row] = self.ledger.restores.list()
        return row

    def row(self, request: UUID) -> RunRequest:
        row = self.ledger.run_requests.get(request)
        assert row is not None
        return row

    def becomes(self, request: UUID, *wanted: RequestStatus, within: float = 90) -> RunRequest:
        until(lambda: self.row(request).status in wanted, within, every=0.2)
        return self.row(request)

    def runs(self, request: UUID) -> list[str]:
        """Every run that Dagster has for a request."""
        tags = [{"key": "backup_pipeline/request", "value": str(request)}]
        answer = self.up.ui.ask(_RUNS, filter={"tags": tags})["runsOrError"]["results"]
        return [run["runId"] for run in answer]

    def attempt(self, row: RunRequest) -> Attempt:
        assert row.run_id is not None
        attempt = self.ledger.of_run(row.run_id)
        assert attempt is not None
        return attempt


@pytest.fixture(scope="module")
def served(install: Install, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with install() as installation:
        installation.sql("CREATE DATABASE rescue")
        rescue = urlsplit(installation.source_url)._replace(path="/rescue").geturl()
        patient = {"BACKUP_CONNECT_TIMEOUT_S": "120"}  # a restore that stands still while it connects is no dead server
        installation.configure(
            BACKUP_DAGSTER_API_URL="http://127.0.0.1:9", BACKUP_RESTORE_TARGET_URL_RESCUE=rescue, **patient
        )
        with started(installation, tmp_path_factory.mktemp("console") / "home") as up, _open(up, rescue) as console:
            yield console
        installation.sql("DROP DATABASE rescue WITH (FORCE)")


@contextmanager
def _open(up: Up, rescue: str) -> Iterator[Served]:
    server = running(up.home / "postgres")
    assert server is not None
    ledger = SqlLedger(server.url("backup_ledger"))
    access = access_ports(given_settings(home=up.home), ledger.as_person(PersonIdentity()), utc_now)
    create_user(NewUser("karim", Role.SUPER_ADMIN), access, RAHIM, PASSWORD)
    with FaultProxy(up.ui.url) as proxy:
        console = Served(up, proxy, ledger, rescue)
        console.start()
        try:
            console.sign_in()
            yield console
        finally:
            console.kill()
            ledger.close()


@pytest.mark.acceptance("0.19", "2.2")
def test_two_clicks_at_once_are_one_run_in_the_name_of_who_clicked(served: Served) -> None:
    request = uuid4()
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: served.press(request, reason="before the move", tables="notes"), range(2)))
    assert {answer.status_code for answer in answers} == {303}
    row = served.becomes(request, RequestStatus.DONE, RequestStatus.FAILED)
    assert row.status is RequestStatus.DONE, row.error_message
    assert served.runs(request) == [row.run_id]
    attempt = served.attempt(row)
    assert (str(attempt.actor), attempt.reason, attempt.tables_wanted) == (
        "person:karim",
        "before the move",
        ("notes",),
    )
    assert next(event.actor for event in served.ledger.audits(attempt.backup_id)) == attempt.actor
    assert any(progress.run_id == row.run_id for progress in served.ledger.progress.list(running=False))


def test_a_console_killed_before_the_answer_came_makes_no_second_run(served: Served) -> None:
    """The launch has arrived, its answer has not, and the row does not know."""
    request = uuid4()
    held = served.proxy.on(Fault(Stall(), "/graphql", After(), times=None))
    with ThreadPoolExecutor(1) as pool:
        click = pool.submit(served.press, request, tables="notes")
        until(lambda: bool(served.runs(request)), 60, every=0.2)
        served.kill()
        assert isinstance(click.exception(60), httpx.TransportError)
    assert served.row(request).run_id in {None, *served.runs(request)}
    held.release()
    served.proxy.clear()
    served.start()
    row = served.becomes(request, RequestStatus.DONE, RequestStatus.FAILED)
    assert (row.status, served.runs(request)) == (RequestStatus.DONE, [row.run_id])


def test_without_dagster_the_page_says_what_to_type_and_with_it_again_all_goes_on(served: Served) -> None:
    served.proxy.refuse()
    served.proxy.cut()
    request = uuid4()
    answer = served.press(request, tables="notes")
    assert answer.headers["location"] == f"/runs/{request}"
    page = served.ask("GET", f"/runs/{request}").text
    assert "backup-pipeline backup --catalog shop --table=notes" in page
    until(lambda: "Dagster does not answer" in served.ask("GET", "/backups").text, 40, every=0.5)
    assert "not known" in served.ask("GET", "/settings").text
    served.proxy.accept()
    until(lambda: "Dagster does not answer" not in served.ask("GET", "/backups").text, 40, every=0.5)
    assert "every day at 00:00, Asia/Dhaka" in served.ask("GET", "/settings").text
    assert served.row(request).status is RequestStatus.REFUSED
    assert served.runs(request) == []


@pytest.mark.acceptance("3.8", "3.10")
def test_a_restore_outlives_the_console_and_is_made_once(served: Served) -> None:
    backup, run = uuid4(), uuid4()
    served.press(backup, tables="notes")
    served.becomes(backup, RequestStatus.DONE)
    number = served.approved_restore(served.attempt(served.row(backup)).backup_id).id
    assert served.ask("POST", f"/requests/{number}/run", data={"request": str(run)}).status_code == 303
    with _paused(served):
        served.kill()
        served.start()
        assert "It runs in rescue" in served.ask("GET", f"/requests/{number}").text
        again = served.ask("POST", f"/requests/{number}/run", data={"request": str(uuid4())})
        assert again.status_code in {303, 409}, "whoever clicks once more starts nothing"
    until(lambda: served.restore().status not in {RestoreStatus.APPROVED, RestoreStatus.RUNNING}, 90, every=0.2)
    assert served.restore().status is RestoreStatus.DONE, served.restore().error_message
    row = served.becomes(run, RequestStatus.DONE)
    assert served.runs(run) == [row.run_id]
    assert served.restore().run_id == row.run_id
    assert "The rows are in rescue" in served.ask("GET", f"/requests/{number}").text
    with psycopg.connect(served.rescue) as session:
        assert session.execute("SELECT count(*) FROM notes").fetchone() == (70,)
    performing = [each for each in served.ledger.run_requests.list() if each.detail.get("request") == number]
    assert [each.id for each in performing] == [run]


@contextmanager
def _paused(served: Served) -> Iterator[None]:
    """The process that restores stands still, in the middle of it."""
    until(lambda: served.restore().owner is not None, 90, every=0.02)
    owner = served.restore().owner
    assert owner is not None
    process = psutil.Process(owner.pid)
    process.suspend()
    try:
        assert served.restore().status is RestoreStatus.RUNNING
        yield
    finally:
        process.resume()


@pytest.mark.acceptance("0.10", "0.13")
def test_a_cron_with_a_key_exports_by_curl(served: Served) -> None:
    """A POST makes a run, the sheets come into the store, and the row says so."""
    access = access_ports(given_settings(home=served.up.home), served.ledger.as_person(PersonIdentity()), utc_now)
    _, key = create_key(NewKey("cron", (KeyPermission.BACKUPS_CREATE, KeyPermission.BACKUP_STATUS)), access, RAHIM)
    url = f"http://127.0.0.1:{served.port}/functions/v1/export-customer-backup?wait=60"
    curl = ["curl", "-sS", "--noproxy", "*", "-X", "POST", url, "-H", f"Authorization: Bearer {key}"]
    curl += ["-H", "Content-Type: application/json", "-d", '{"catalog": "shop"}']
    answer = subprocess.run(curl, capture_output=True, text=True, timeout=120, check=True).stdout
    work = json.loads(answer)
    row = served.becomes(UUID(work["request_id"]), RequestStatus.DONE, RequestStatus.FAILED)
    assert row.status is RequestStatus.DONE, row.error_message
    attempt = served.attempt(row)
    assert (str(attempt.actor), bool(attempt.record_count), attempt.status.good) == ("key:cron", True, True)
    told = httpx.get(
        f"http://127.0.0.1:{served.port}{work['status_url']}", headers={"Authorization": f"Bearer {key}"}, timeout=30
    ).json()
    assert (told["status"], told["backup_id"]) == ("done", attempt.backup_id)
    sheets = [path for path in served.up.home.rglob("sheet-00000.csv") if "/shop/tables/" in str(path)]
    assert sheets
    assert all(path.read_bytes().startswith(b"\xef\xbb\xbf") for path in sheets)


@pytest.mark.acceptance("2.3")
def test_a_run_outlives_the_console_which_then_shows_and_stops_it(served: Served) -> None:
    served.up.installation.sql(_SLOW)
    request = uuid4()
    served.press(request, reason="slow")
    until(served.up.sleeping, 90, every=0.2)
    served.kill()
    served.start()
    row = served.becomes(request, RequestStatus.RUNNING)
    page = served.ask("GET", f"/runs/{request}").text
    assert "running" in page
    assert "3 of 4 tables" in page
    assert served.ask("POST", f"/runs/{request}/cancel").status_code == 303
    row = served.becomes(request, RequestStatus.CANCELED, RequestStatus.FAILED)
    assert row.status is RequestStatus.CANCELED
    assert served.attempt(row).status.value == "canceled"
