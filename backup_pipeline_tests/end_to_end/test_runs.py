"""A console and a Dagster, whole processes: what `runs` asks its web server, and clicks that make runs, whatever dies.

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
from datetime import UTC, datetime
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
from backup_pipeline.core.errors import DagsterAwayError, LaunchUnsureError, NotFoundError, RefusedError
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.restore.requests import RestoreRow, RestoreStatus
from backup_pipeline.core.runs import JobOrder, RequestStatus, RunPhase, RunRequest, RunVerb
from backup_pipeline.core.scope import Scope
from backup_pipeline.embedded import running
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline.operations.access.api_keys import create_key
from backup_pipeline.operations.access.users import create_user
from backup_pipeline.operations.progress import log_lines
from backup_pipeline.runs import DagsterAddress, GraphQLLauncher
from backup_pipeline.settings import given_settings
from backup_pipeline.wiring.access import access_ports
from backup_pipeline.wiring.addresses import utc_now
from backup_pipeline_tests.actors import KARIM, RAHIM
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


@pytest.fixture(scope="module")
def up(served: Served) -> Up:
    return served.up


@pytest.fixture(scope="module")
def proxy(up: Up) -> Iterator[FaultProxy]:
    """Between the launcher and the web server, to take one from the other."""
    with FaultProxy(up.ui.url) as between:
        yield between


@pytest.fixture(scope="module")
def launcher(up: Up, proxy: FaultProxy) -> Iterator[GraphQLLauncher]:
    adapter = GraphQLLauncher(DagsterAddress(f"http://127.0.0.1:{proxy.port}", "backup_pipeline", patience_s=10))
    yield adapter
    adapter.close()


def _order(up: Up, **given: object) -> JobOrder:
    values = {
        "config": {"ops": {"shop_tables": {"config": {"reason": "from outside"}}}},
        "assets": (("shop", "notes"),),
        "partition": up.installation.today.isoformat(),
    }
    return JobOrder("shop_tables_only", **{**values, **given})  # type: ignore[arg-type]


def _asked_for(up: Up, order: JobOrder) -> UUID:
    """The id of a request for the run in the ledger: a run that nobody asked for there refuses to begin."""
    now = datetime.now(UTC)
    # As if it were being sent: else the console sends it, too, where this test is slow.
    request = RunRequest(
        uuid4(), Scope("shop"), RunVerb.TABLES, KARIM, now, detail={"order": order.as_json()}, launched_at=now
    )
    with up.ledger() as ledger:
        ledger.run_requests.add(request)
    return request.id


def _ended(launcher: GraphQLLauncher, run_id: str) -> RunPhase:
    def phase() -> RunPhase:
        state = launcher.state(run_id)
        assert state is not None
        return state.phase

    until(lambda: phase() in {RunPhase.DONE, RunPhase.FAILED, RunPhase.CANCELED}, 60)
    return phase()


def test_a_run_is_launched_found_by_its_request_and_followed_to_its_end(up: Up, launcher: GraphQLLauncher) -> None:
    request = _asked_for(up, _order(up))
    assert launcher.find(request) is None
    run_id = launcher.launch(_order(up), request, "person:karim")
    known = launcher.find(request)
    assert known is not None
    assert (known.run_id, known.job, known.request) == (run_id, "shop_tables_only", str(request))
    assert _ended(launcher, run_id) is RunPhase.DONE, launcher.state(run_id)
    ended = launcher.state(run_id)
    assert ended is not None
    assert ended.started_at is not None
    assert ended.finished_at is not None
    attempt = up.attempt(run_id)
    assert attempt is not None
    assert (attempt.reason, attempt.tables_wanted) == ("from outside", ("notes",))
    lines = list(log_lines(run_id, launcher, follow=True, pause=lambda: None))
    assert [line.at for line in lines] == sorted(line.at for line in lines)
    assert any(line.step == "shop_tables" and "notes" in line.text for line in lines)
    assert {line.level for line in lines} <= {"debug", "info", "warning"}
    assert launcher.log(str(uuid4())) is None


def test_what_can_not_be_launched_is_refused_with_the_reason(up: Up, launcher: GraphQLLauncher) -> None:
    with pytest.raises(RefusedError, match="nothing_of_the_kind"):
        launcher.launch(JobOrder("nothing_of_the_kind"), uuid4(), "karim")
    wrong = _order(up, config={"ops": {"shop_tables": {"config": {"because": 1}}}})
    request = uuid4()
    with pytest.raises(RefusedError, match="because"):
        launcher.launch(wrong, request, "karim")
    assert launcher.find(request) is None
    assert launcher.state(str(uuid4())) is None
    with pytest.raises(RefusedError, match="was not stopped"):
        launcher.terminate(str(uuid4()))


def test_a_run_that_failed_says_why(up: Up, launcher: GraphQLLauncher) -> None:
    run_id = launcher.launch(
        JobOrder("shop_restore", {"ops": {"shop_restored": {"config": {"request": 99}}}}), uuid4(), "x"
    )
    assert _ended(launcher, run_id) is RunPhase.FAILED
    state = launcher.state(run_id)
    assert state is not None
    assert "There is no restore request 99." in state.error


@pytest.mark.acceptance("0.22")
def test_schedules_are_stopped_and_started(launcher: GraphQLLauncher) -> None:
    before = {schedule.name: schedule for schedule in launcher.schedules()}
    daily = before["shop_daily"]
    assert (daily.job, daily.cron, daily.timezone, daily.running) == (
        "shop_full_backup",
        "0 0 * * *",
        "Asia/Dhaka",
        True,
    )
    assert len(daily.next_ticks) == 3
    launcher.stop_schedule("shop_daily")
    launcher.stop_schedule("shop_daily")
    assert not {schedule.name: schedule for schedule in launcher.schedules()}["shop_daily"].running
    launcher.start_schedule("shop_daily")
    launcher.start_schedule("shop_daily")
    assert {schedule.name: schedule for schedule in launcher.schedules()}["shop_daily"].running
    with pytest.raises(NotFoundError, match="no_such"):
        launcher.stop_schedule("no_such")
    with pytest.raises(RefusedError, match="no_such"):
        launcher.start_schedule("no_such")


def test_daemons_and_code_locations_say_how_they_are(launcher: GraphQLLauncher) -> None:
    until(lambda: all(daemon.healthy for daemon in launcher.daemons() if daemon.required), 60)
    scheduler = next(daemon for daemon in launcher.daemons() if daemon.name == "SCHEDULER")
    assert scheduler.last_sign is not None
    [location] = launcher.locations()
    assert (location.name, location.error, location.loading) == ("backup_pipeline", "", False)


def test_a_note_stands_in_the_history_of_an_asset(up: Up, launcher: GraphQLLauncher) -> None:
    day = up.installation.today.isoformat()
    launcher.observe(("shop", "bundle"), day, "Backup x is held by person:karim.")
    query = """query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
      assetObservations(limit: 5) { description partition } } } }"""
    node = up.ui.ask(query, key={"path": ["shop", "bundle"]})["assetNodeOrError"]
    assert {"description": "Backup x is held by person:karim.", "partition": day} in node["assetObservations"]


def test_dagster_that_is_away_or_silent_is_told_in_time(up: Up, proxy: FaultProxy) -> None:
    impatient = GraphQLLauncher(DagsterAddress(f"http://127.0.0.1:{proxy.port}", "backup_pipeline", patience_s=2))
    try:
        late = proxy.on(Fault(Stall(), "/graphql", After()))
        request = _asked_for(up, _order(up))
        with pytest.raises(LaunchUnsureError, match="does not answer"):
            impatient.launch(_order(up), request, "karim")
        late.release()
        assert late.fired
        launched = impatient.find(request)
        assert launched is not None  # the answer alone was lost
        assert _ended(impatient, launched.run_id) is RunPhase.DONE
        proxy.refuse()
        proxy.cut()
        with pytest.raises(DagsterAwayError) as away:
            impatient.schedules()
        assert not isinstance(away.value, LaunchUnsureError)
    finally:
        proxy.accept()
        impatient.close()


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
