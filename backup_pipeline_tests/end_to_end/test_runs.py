"""Runs from outside of Dagster, against a Dagster that runs whole: what `runs` asks its web server, and what comes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from backup_pipeline.core.errors import DagsterAwayError, LaunchUnsureError, NotFoundError, RefusedError
from backup_pipeline.core.runs import JobOrder, RunPhase, RunRequest, RunVerb
from backup_pipeline.core.scope import Scope
from backup_pipeline.operations.progress import log_lines
from backup_pipeline.runs import DagsterAddress, GraphQLLauncher
from backup_pipeline_tests.actors import KARIM
from backup_pipeline_tests.end_to_end.running_up import Up, started
from backup_pipeline_tests.faults.fault import After, Fault, Stall
from backup_pipeline_tests.faults.proxy import FaultProxy
from backup_pipeline_tests.orchestration.conftest import Install
from backup_pipeline_tests.orchestration.installation import until


@pytest.fixture(scope="module")
def up(install: Install, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with install() as installation, started(installation, tmp_path_factory.mktemp("runs") / "home") as running:
        yield running


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
    # As if it were being sent: else the console that runs beside sends it, too, where this test is slow.
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
