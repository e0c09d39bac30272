"""`backup-pipeline up`, as a person uses it: one command, the UI, one Ctrl-C that leaves nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import httpx
import psutil
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from backup_pipeline.core.ledger import Status
from backup_pipeline.embedded import running
from backup_pipeline_tests.alerts.servers import free_port
from backup_pipeline_tests.end_to_end.graphql import LOCATION
from backup_pipeline_tests.end_to_end.running_up import UP, Up, begun, started, up_environment
from backup_pipeline_tests.orchestration.conftest import Install
from backup_pipeline_tests.orchestration.installation import until
from backup_pipeline_tests.orchestration.test_instance import DAEMONS
from backup_pipeline_tests.servers.parents import python

SLOW = (
    "DROP VIEW totals; CREATE VIEW totals AS"
    " SELECT n AS customer_id, 1 AS amount, pg_sleep(CASE n WHEN 5 THEN 600 ELSE 0 END)::text AS orders"
    " FROM generate_series(1, 10) AS n"
)
GONE_WITHIN_S = 2.0


@pytest.fixture(scope="module")
def up(install: Install, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Everything, started once for this file, whose tests follow each other."""
    with install() as installation:
        branch = installation.catalog_file.read_text().replace("catalog: shop", "catalog: branch").split("  orders:")[0]
        dated = branch.replace(
            "grace_minutes: 0", f"grace_minutes: 0\nschedule: null\nstart_date: {installation.past(3)}"
        )
        installation.catalog_file.with_name("branch.yaml").write_text(dated)
        with started(installation, tmp_path_factory.mktemp("up") / "home") as running_up:
            yield running_up


LAUNCH = """mutation { launchPipelineExecution(executionParams: { mode: "default", runConfigData: "{}", selector: {
  repositoryLocationName: "backup_pipeline", repositoryName: "__repository__", pipelineName: "purge_events" } })
  { __typename } }"""
RUNS = "{ runsOrError { ... on Runs { results { runId } } } }"
JSON = "application/json"


@pytest.mark.acceptance("2.28", "3.28")
def test_it_says_what_a_person_wants_to_know(up: Up) -> None:
    until(lambda: "Doctor " in (up.home / "said.txt").read_text(), 60)
    said = (up.home / "said.txt").read_text()
    for line in (
        f"Dagster UI   http://127.0.0.1:{up.port}\n",
        f"Console      http://127.0.0.1:{up.console_port}\n",
        f"First login  http://127.0.0.1:{up.console_port}/welcome/",
        f"Health       http://127.0.0.1:{up.console_port}/healthz/freshness",
        f"Logs         {up.home}/logs",
        "Backups      shop: none yet, next 20",
        "Stop         Ctrl-C",
        "Clean-up     shop: nothing is due",
        "Doctor       ",
    ):
        assert line in said
    assert len(said.splitlines()) < 20
    assert set(up.logs()) == {"code", "web", "daemon", "console", "doctor"}
    assert re.search(r"Z ok store: ", up.logs()["doctor"])


def test_the_link_that_it_prints_makes_the_first_super_admin_once(up: Up) -> None:
    link = re.findall(r"First login  (http://\S+)", (up.home / "said.txt").read_text())[0]
    form = {"name": "karim", "password": "copper kettle rain 41", "again": "copper kettle rain 41"}
    with httpx.Client() as browser:
        assert "The first administrator" in browser.get(link).text
        assert browser.post(link, data=form).headers["location"] == "/"
        assert "karim" in browser.get(f"http://127.0.0.1:{up.console_port}/users").text
    assert httpx.post(link, data=form).status_code == 404


AUTOMATION = """{ repositoriesOrError { ... on RepositoryConnection { nodes {
  schedules { name scheduleState { status } } sensors { name sensorState { status } } } } } }"""


def test_what_it_starts_runs_its_schedules_and_sensors(up: Up) -> None:
    """They are stopped by default, and nothing of this installation asks for them but `up`."""
    [loaded] = up.ui.ask(AUTOMATION)["repositoriesOrError"]["nodes"]
    states = {each["name"]: each["scheduleState"]["status"] for each in loaded["schedules"]}
    states |= {each["name"]: each["sensorState"]["status"] for each in loaded["sensors"]}
    assert {"shop_daily", "backup_failed", "backup_overdue"} <= set(states)
    assert set(states.values()) == {"RUNNING"}


def test_a_page_of_another_site_launches_nothing(up: Up) -> None:
    """One link, one form, one script or one name bound to 127.0.0.1 would be enough, without the gate."""
    host, ours = f"127.0.0.1:{up.port}", f"http://127.0.0.1:{up.port}"
    before = up.ui.ask(RUNS)
    query = f"/graphql?query={quote(LAUNCH)}"
    posted = json.dumps({"query": LAUNCH})
    json_host = {"host": host, "content_type": JSON}
    bound = {"host": f"evil.example:{up.port}", "content_type": JSON}
    asset = "/report_asset_materialization/shop/notes"
    refused = {
        "a link": up.send("GET", query, host=host),
        "a link that a browser asks for": up.send("GET", query, host=host, accept="*/*", sec_fetch_site="cross-site"),
        "HEAD": up.send("HEAD", query, host=host),
        "a form": up.send("POST", query, host=host, content_type="text/plain"),
        "a script": up.send("POST", "/graphql", posted, **json_host, origin="http://evil.example"),
        "a sandboxed frame": up.send("POST", "/graphql", posted, **json_host, origin="null"),
        "text": up.send("POST", "/graphql", posted, host=host, content_type="text/plain"),
        "as JSON": up.send("POST", "/graphql", posted, host=host, content_type="text/plain;application/json"),
        "a form of parts": up.send("POST", query, "--x--", host=host, content_type="multipart/form-data; boundary=x"),
        "a name that is bound to us": up.send("POST", "/graphql", posted, **bound),
        "its page": up.send("GET", "/", host="evil.example"),
        "a report": up.send("POST", asset, host=host, origin="http://evil.example"),
    }
    answers = {way: status for way, (status, _) in refused.items()}
    assert {status for status in answers.values() if status < 400} == set(), answers
    assert up.ui.ask(RUNS) == before
    assert "Refused GET /graphql" in up.logs()["web"]
    assert up.send("POST", "/graphql", json.dumps({"query": RUNS}), **json_host, origin=ours)[0] == 200
    status, page = up.send("GET", "/", host=host)
    assert (status, "<!DOCTYPE html>" in page) == (200, True)


def test_a_websocket_opens_for_our_own_page_and_for_no_other(up: Up) -> None:
    url, protocol = f"ws://127.0.0.1:{up.port}/graphql", [Subprotocol("graphql-ws")]
    for origin in ("http://evil.example", "null", f"http://localhost:{up.port}"):
        with pytest.raises(InvalidStatus) as refused, connect(url, origin=Origin(origin), subprotocols=protocol):
            pass
        assert refused.value.response.status_code == 403
    with connect(url, origin=Origin(f"http://127.0.0.1:{up.port}"), subprotocols=protocol) as ours:
        ours.send(json.dumps({"type": "connection_init"}))
        assert json.loads(ours.recv(timeout=20)) == {"type": "connection_ack"}
        subscription = "subscription { locationStateChangeEvents { event { eventType } } }"
        ours.send(json.dumps({"id": "1", "type": "start", "payload": {"query": subscription}}))
        with pytest.raises(TimeoutError):
            ours.recv(timeout=1)  # nothing has changed, and no error came


def test_the_console_answers_to_its_own_names_alone(up: Up) -> None:
    for path in ("/healthz", "/healthz/freshness", "/metrics"):
        assert up.send("GET", path, host="evil.example")[0] == 421
        assert up.send("GET", path, host=f"localhost:{up.console_port}")[0] == 200


def test_a_second_one_is_refused_with_the_process_that_runs(up: Up) -> None:
    environment = {**os.environ, "BACKUP_HOME": str(up.home)}
    command = python(UP, "up", "--port", str(free_port()), "--console-port", str(free_port()))
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 11, ended.stderr
    assert f"process {up.process.pid}, http://127.0.0.1:{up.port}" in ended.stderr
    assert "--port 3100" in ended.stderr


def test_a_run_terminated_in_the_ui_stops_its_sql_and_is_canceled(up: Up) -> None:
    up.installation.sql(SLOW)
    run_id = up.ui.materialize(up.installation.today.isoformat(), "shop/totals", "shop/notes")
    until(up.sleeping, 60)
    up.ui.terminate(run_id)
    took = until(lambda: not up.sleeping(), 30, every=0.02)
    assert up.ui.ended(run_id) == "CANCELED"
    assert took < GONE_WITHIN_S, f"the query ran on for {took:.2f} s"
    attempt = up.attempt(run_id)
    assert attempt is not None
    assert attempt.status is Status.CANCELED


def test_one_table_is_rerun_from_the_ui(up: Up) -> None:
    run_id = up.ui.materialize(up.installation.today.isoformat(), "shop/notes")
    assert up.ui.ended(run_id) == "SUCCESS"
    attempt = up.attempt(run_id)
    assert attempt is not None
    assert (attempt.kind, attempt.tables_wanted, attempt.record_count) == ("selective", ("notes",), 70)
    assert attempt.status.good
    assert attempt.file_size_bytes
    assert len(up.processes("code-server")) == len(up.processes("grpc")) == 1  # for web server and daemon


def test_partitions_begin_with_the_installation_or_where_the_catalog_says(up: Up) -> None:
    today = up.installation.today.isoformat()
    assert up.ui.partitions("shop/notes")[-1] == up.ui.partitions("shop/bundle")[0] == today
    assert up.ui.partitions("branch/customers") == [up.installation.past(back).isoformat() for back in (3, 2, 1, 0)]


def test_a_backfill_over_days_that_are_over_is_refused_before_it_runs(up: Up) -> None:
    days = [up.installation.past(back).isoformat() for back in (3, 2, 1, 0)]
    before, alerts = up.ui.launched(), up.installation.alerts()
    answer = up.ui.backfill(days, "branch/customers", "branch/bundle")
    assert answer["__typename"] == "PythonError"
    assert f"3 days, {days[0]} to {days[2]}, are over (it is {days[3]} in Asia/Dhaka)" in answer["message"]
    assert f"Materialize {days[3]} alone" in answer["message"]
    assert up.ui.launched() == before
    assert up.installation.alerts() == alerts


@pytest.mark.slow
def test_a_backfill_of_today_and_a_late_one_run(up: Up) -> None:
    """The daemon looks for backfills every half minute, so both are launched at once."""
    today, yesterday = up.installation.today, up.installation.past()
    late = json.dumps({"ops": {"branch_tables": {"config": {"late": True}}}})
    launched = {
        today: up.ui.backfill([today.isoformat()], "shop/notes"),
        yesterday: up.ui.backfill([yesterday.isoformat()], "branch/customers", config=late),
    }
    for day, answer in launched.items():
        assert answer["__typename"] == "LaunchBackfillSuccess", answer
        [run_id] = up.ui.backfill_ended(answer["backfillId"])
        attempt = up.attempt(run_id)
        assert attempt is not None
        assert (attempt.partition_date, attempt.late, attempt.status.good) == (day, day != today, True)


def test_a_run_of_the_command_line_stands_among_its_job_s_and_is_executed_again_without_a_warning(up: Up) -> None:
    command = python(UP, "backup", "--catalog", "shop", "--table", "notes", "--json")
    ended = subprocess.run(
        command, env=up_environment(up.home), capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stderr
    run_id = json.loads(ended.stdout)["run_id"]
    seen = up.ui.job("shop_tables_only", run_id)
    assert seen["latest of the job"] == seen["latest of the code location"] == run_id
    assert run_id in seen["in Overview"]
    assert seen["may be executed again"]
    # Where these two differ from the loaded job, the button warns of another version.
    assert seen["location of the run"] == {"repositoryName": "__repository__", "repositoryLocationName": LOCATION}
    assert seen["version of the run"] == seen["version loaded"]
    again = up.ui.execute_again(run_id)
    assert up.ui.ended(again) == "SUCCESS"
    attempt = up.attempt(again)
    assert attempt is not None
    assert (attempt.kind, attempt.tables_wanted) == ("selective", ("notes",))
    assert str(attempt.actor) == "dagster"


def test_what_the_launchpad_fills_in_runs(up: Up) -> None:
    """It writes out every default of the resources; of a secret it would write asterisks, and the run take them."""
    config = up.ui.launchpad("shop_prune")
    assert up.ui.url in config  # the links of this one
    assert "***" not in config
    assert up.ui.ended(up.ui.launch("shop_prune", config)) == "SUCCESS"


def test_every_daemon_is_alive(up: Up) -> None:
    until(lambda: up.ui.healthy_daemons() == DAEMONS, 60, every=0.5)


def test_its_logs_have_no_debug_lines(up: Up) -> None:
    assert "RUN_SUCCESS" not in (up.home / "said.txt").read_text()
    assert [line for log in up.logs().values() for line in log.splitlines() if " DEBUG " in line] == []


def test_one_ctrl_c_leaves_nothing_running(up: Up) -> None:
    server = running(up.home / "postgres")
    assert server is not None
    family = psutil.Process(up.process.pid).children(recursive=True)
    assert len(family) >= 6  # PostgreSQL, code server, web server, daemon, console, guard
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(60) == 0
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []
    assert not psutil.pid_exists(server.pid)
    assert not up.ui.answers()


@pytest.mark.slow
def test_killed_while_it_starts_it_leaves_nothing_running(install: Install, tmp_path: Path) -> None:
    with install() as installation, begun(installation, tmp_path / "home") as up:
        until(lambda: len(psutil.Process(up.process.pid).children(recursive=True)) >= 8, 60)
        _kill_and_see_all_gone(up)


@pytest.mark.slow
def test_the_code_server_and_the_console_are_started_again_when_they_die(install: Install, tmp_path: Path) -> None:
    launched: list[str] = []
    with install() as installation, started(installation, tmp_path / "home") as up:
        [server] = up.processes("code-server")
        server.kill()
        until(lambda: "is started again" in (up.home / "said.txt").read_text(), 20)

        def launches() -> bool:
            with suppress(AssertionError, OSError):  # the UI notices after a moment that the code is back
                launched.append(up.ui.materialize(up.installation.today.isoformat(), "shop/notes"))
            return launched != []

        [console] = [each for each in up.processes("backup_pipeline.cli") if "serve" in each.cmdline()]
        console.kill()
        until(lambda: "The console ended by itself" in (up.home / "said.txt").read_text(), 20)
        until(launches, 90, every=0.5)
        until(lambda: _answers(up), 60, every=0.5)
        assert up.ui.ended(launched[0]) == "SUCCESS"


def _answers(up: Up) -> bool:
    with suppress(OSError):
        return up.send("GET", "/healthz")[0] == 200
    return False


@pytest.mark.slow
def test_killed_while_a_backup_runs_it_leaves_nothing_running_and_starts_again(
    install: Install, tmp_path: Path
) -> None:
    with install() as installation:
        installation.sql(SLOW)
        with started(installation, tmp_path / "home") as up:
            run_id = up.ui.materialize(installation.today.isoformat(), "shop/totals")
            until(up.sleeping, 60)
            codes = {process.pid for process in [*up.processes("code-server"), *up.processes("grpc")]}
            time.sleep(70)  # a daemon loads its workspace anew every minute
            assert {process.pid for process in [*up.processes("code-server"), *up.processes("grpc")]} == codes
            _kill_and_see_all_gone(up)
        assert not up.sleeping()
        with started(installation, tmp_path / "home") as again:
            until(lambda: again.ui.status(run_id) in {"FAILURE", "CANCELED"}, 90)


@pytest.mark.slow
def test_ctrl_c_cancels_the_backup_that_runs(install: Install, tmp_path: Path) -> None:
    with install() as installation:
        installation.sql(SLOW)
        with started(installation, tmp_path / "home") as up:
            run_id = up.ui.materialize(installation.today.isoformat(), "shop/totals")
            until(up.sleeping, 60)
            up.process.send_signal(signal.SIGINT)
            assert up.process.wait(60) == 0
            assert not up.sleeping()
        with started(installation, tmp_path / "home") as again:
            assert again.ui.status(run_id) == "FAILURE"  # Dagster's word for a run that nobody terminated in its UI
            attempt = again.attempt(run_id)
            assert attempt is not None
            assert attempt.status is Status.CANCELED


def _kill_and_see_all_gone(up: Up) -> None:
    family = psutil.Process(up.process.pid).children(recursive=True)
    up.process.kill()
    up.process.wait()
    _, alive = psutil.wait_procs(family, timeout=40)
    assert [(process.pid, process.cmdline()) for process in alive] == []
