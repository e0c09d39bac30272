"""Purging the event log: smaller afterwards, and every page of the assets' history still there; on both storages."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.test_utils import create_run_for_test

from backup_pipeline.cli import main
from backup_pipeline.core.alerts import Alert, Severity
from backup_pipeline.core.scope import Scope
from backup_pipeline.orchestration import retention as purging
from backup_pipeline.orchestration.retention import PURGE_JOB, plan_purge, purge
from backup_pipeline.wiring.addresses import utc_now
from backup_pipeline_tests.orchestration.installation import TABLES, Installation

NOTHING = timedelta(0)
STORAGES = ["sqlite", "postgres"]


@pytest.fixture(params=STORAGES)
def storage(request: pytest.FixtureRequest, installation: Installation) -> str:
    """Which storage Dagster has."""
    if request.param == "postgres":
        installation.configure(DAGSTER_PG_URL=request.getfixturevalue("fresh_database"))
    return str(request.param)


def _kinds(installation: Installation, run_id: str) -> Counter[str]:
    return Counter(
        entry.dagster_event.event_type_value if entry.dagster_event else "a line of the log"
        for entry in installation.events(run_id)
    )


def _history(instance: dg.DagsterInstance) -> dict[str, object]:
    """What the pages of the assets show: materializations with metadata, partitions, checks, the run of each."""
    shown: dict[str, object] = {}
    events = instance.event_log_storage
    failed_partitions = events.get_latest_asset_partition_materialization_attempts_without_materializations
    for asset in (*TABLES, "bundle"):
        key = dg.AssetKey(["shop", asset])
        records = instance.fetch_materializations(key, limit=10).records
        shown[asset] = [(one.run_id, one.partition_key, one.asset_materialization) for one in records]
        shown[f"{asset}, latest"] = instance.get_latest_materialization_event(key)
        shown[f"{asset}, partitions"] = set(instance.get_materialized_partitions(key))
        shown[f"{asset}, failed"] = failed_partitions(key)
    check = dg.AssetCheckKey(dg.AssetKey(["shop", "orders"]), "row_count")
    for record in events.get_asset_check_execution_history(check, limit=10):
        shown[f"check {record.run_id}"] = (record.status, record.event)
    return shown


def _bytes(instance: dg.DagsterInstance, run_id: str) -> int:
    """What the events of a run take: of SQLite the file, else the rows."""
    storage = instance.event_log_storage
    if isinstance(storage, SqliteEventLogStorage):
        return sum(file.stat().st_size for file in Path(storage._base_dir).glob(f"{run_id}.db*"))
    return sum(len(dg.serialize_value(entry)) for entry in instance.all_logs(run_id))


def _logs_of(installation: Installation, run_id: str) -> list[Path]:
    return [path for path in (installation.home / "dagster").rglob("*") if path.is_file() and run_id in path.parts]


def test_old_runs_lose_their_steps_and_keep_their_history(installation: Installation, storage: str) -> None:
    good = installation.run().run_id
    installation.sql("DROP VIEW totals")
    failed = installation.run().run_id
    with installation.instance() as instance:
        before, size = _history(instance), _bytes(instance, good)
        kinds = {run: _kinds(installation, run) for run in (good, failed)}
        plan = plan_purge(instance, installation.catalogs, NOTHING, utc_now())
        assert {run.run_id for run in plan.runs} == {good, failed}
        assert _history(instance) == before  # a plan changes nothing
        assert purge(instance, plan) == plan.events > 0
    with installation.instance() as instance:
        assert _history(instance) == before
        assert _bytes(instance, good) < size
        assert plan_purge(instance, installation.catalogs, NOTHING, utc_now()).runs == ()
        statuses = [instance.get_run_by_id(run) for run in (good, failed)]
    assert [run.status.value for run in statuses if run] == ["SUCCESS", "FAILURE"]
    left = {run: _kinds(installation, run) for run in (good, failed)}
    for run, stays in left.items():
        assert stays.total() < kinds[run].total()
        for kind in ("ASSET_MATERIALIZATION", "ASSET_CHECK_EVALUATION", "PIPELINE_START", "STEP_FAILURE"):
            assert stays[kind] == kinds[run][kind]
        assert not {"STEP_OUTPUT", "STEP_START", "ENGINE_EVENT", "LOGS_CAPTURED", "a line of the log"} & set(stays)
    assert left[failed]["ASSET_MATERIALIZATION_PLANNED"] == kinds[failed]["ASSET_MATERIALIZATION_PLANNED"] > 0
    assert left[good]["PIPELINE_SUCCESS"] == 1
    assert left[failed]["PIPELINE_FAILURE"] == 1


def test_the_compute_logs_of_old_runs_go_and_those_of_others_stay(installation: Installation) -> None:
    first = installation.run("notes").run_id
    with installation.instance() as instance:
        assert _logs_of(installation, first)
        plan = plan_purge(instance, installation.catalogs, NOTHING, utc_now())
        second = installation.run("notes").run_id
        purge(instance, plan)
    assert not _logs_of(installation, first)
    assert _logs_of(installation, second)


def test_young_and_unfinished_runs_keep_everything(installation: Installation, storage: str) -> None:
    run_id = installation.run("notes").run_id
    with installation.instance() as instance:
        started = create_run_for_test(instance, job_name="x", status=dg.DagsterRunStatus.STARTED)
        instance.report_engine_event("it goes on", started)
        assert plan_purge(instance, installation.catalogs, timedelta(minutes=5), utc_now()).runs == ()
        [found] = plan_purge(instance, installation.catalogs, NOTHING, utc_now()).runs
    assert found.run_id == run_id


def test_the_command_shows_first_and_removes_when_confirmed(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = installation.run("notes").run_id
    events = len(installation.events(run_id))
    assert main(["purge-events", "--older-than", "0s"]) == 0
    shown = capsys.readouterr().out
    assert "Would remove" in shown
    assert "of 1 runs" in shown
    assert "--confirm" in shown
    assert len(installation.events(run_id)) == events
    assert main(["purge-events", "--confirm"]) == 0
    assert "of 0 runs" in capsys.readouterr().out  # 90 days by default
    assert main(["purge-events", "--older-than", "0s", "--confirm"]) == 0
    assert "Removed" in capsys.readouterr().out
    assert len(installation.events(run_id)) < events
    assert main(["purge-events", "--older-than", "soon"]) == 2


def test_the_weekly_job_purges_and_tells_people_when_it_can_not(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation.run("notes")
    with closing(installation.ledger) as ledger:
        [told, late] = ledger.outbox.add(Alert(Severity.INFO, "t", "w", "d", Scope("shop")), ["a", "b"], utc_now())
        ledger.outbox.settle(told.id, None, utc_now())
    installation.configure(BACKUP_KEEP_EVENTS_DAYS="1")
    job = installation.definitions().resolve_job_def(PURGE_JOB)
    config = {"ops": {"purged_events": {"config": {"older_than_days": 0}}}}
    with installation.instance() as instance:
        ignored = job.execute_in_process(instance=instance, run_config=config)
        [output] = [event for event in ignored.all_events if event.is_successful_output]
        assert output.step_output_data.metadata["runs"].value == 0  # the run is younger than the settings say
        monkeypatch.setattr(purging, "utc_now", lambda: utc_now() + timedelta(days=2))
        result = job.execute_in_process(instance=instance)
        [output] = [event for event in result.all_events if event.is_successful_output]
        metadata = output.step_output_data.metadata
        assert (metadata["runs"].value, int(str(metadata["events"].value)) > 0) == (2, True)
        assert metadata["delivered alerts"].value == 1
        with closing(installation.ledger) as ledger:
            assert [entry.id for entry in ledger.outbox.list(undelivered=False)] == [late.id]

        def broken(*_: object) -> int:
            message = "disk I/O error"
            raise OSError(message)

        monkeypatch.setattr(purging, "purge", broken)
        assert not job.execute_in_process(instance=instance, raise_on_error=False).success
    [alert] = installation.alerts()
    assert "disk I/O error" in alert
    assert Severity.WARNING.value.upper() in alert
