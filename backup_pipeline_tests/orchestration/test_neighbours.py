"""Beside us stand the assets, checks, jobs and runs of other people, under names that begin as ours do."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from backup_pipeline.core.ledger import Status
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.operations.attempts import Request, begin
from backup_pipeline.orchestration.keys import CATALOG_TAG
from backup_pipeline.orchestration.retention import plan_purge, purge
from backup_pipeline.wiring.addresses import utc_now
from backup_pipeline.wiring.ports import open_ports
from backup_pipeline_tests.actors import TESTER
from backup_pipeline_tests.orchestration.installation import Installation
from backup_pipeline_tests.orchestration.sensing import tell_of_cancellation, tell_of_failure, tell_of_success, tick
from backup_pipeline_tests.orchestration.test_resources_failures import killed_process

CLEAN, NOTES = dg.AssetKey(["shop", "clean"]), dg.AssetKey(["shop", "notes"])
WATCHING = ("backup_failed", "backup_canceled", "backup_checks_failed")


@dg.asset(key=CLEAN, config_schema={"fails": dg.Field(bool, default_value=True)})
def clean(context: dg.AssetExecutionContext) -> None:
    if context.op_execution_context.op_config["fails"]:
        message = "somebody else's trouble"
        raise ValueError(message)


@dg.asset_check(asset=CLEAN)
def is_clean() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=False, description="somebody else's finding")


@dg.asset_check(asset=NOTES)
def notes_are_polite() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=False, description="somebody else's opinion")


THEIRS = dg.Definitions(
    assets=[clean],
    asset_checks=[is_clean, notes_are_polite],
    jobs=[
        dg.define_asset_job("shop_clean", dg.AssetSelection.assets(CLEAN)),
        dg.define_asset_job("shop_nightly", dg.AssetSelection.assets(CLEAN, NOTES)),
    ],
)
GOOD = {"ops": {"shop__clean": {"config": {"fails": False}}}}


def _job(installation: Installation, name: str | None) -> dg.JobDefinition:
    """A job of both, merged; without a name the one by which the UI materializes assets."""
    merged = dg.Definitions.merge(installation.definitions(), THEIRS)
    return merged.resolve_job_def(name) if name else merged.resolve_implicit_global_asset_job_def()


@contextmanager
def _watched(installation: Installation) -> Iterator[None]:
    """The sensors look at whatever runs end meanwhile, as the daemon does it."""
    cursors: Mapping[str, str | None] = {sensor: tick(installation, sensor).cursor for sensor in WATCHING}
    yield
    for sensor, cursor in cursors.items():
        assert tick(installation, sensor, cursor).cursor != cursor  # it has seen an end
    tick(installation, "backup_orphans")


@pytest.mark.parametrize("job", [None, "shop_clean"])
def test_their_failing_asset_alerts_nobody(installation: Installation, job: str | None) -> None:
    with _watched(installation), installation.instance() as instance:
        selection = None if job else [CLEAN]
        theirs = _job(installation, job)
        failed = theirs.execute_in_process(instance=instance, asset_selection=selection, raise_on_error=False)
        assert not failed.success
        assert theirs.execute_in_process(instance=instance, asset_selection=selection, run_config=GOOD).success
        instance.report_run_canceled(create_run_for_test(instance, job_name=theirs.name, asset_selection={CLEAN}))
    assert installation.alerts() == []
    assert installation.attempts() == []


def test_what_their_checks_find_on_our_tables_is_theirs(installation: Installation) -> None:
    with installation.instance() as instance:
        run = _job(installation, None).execute_in_process(
            instance=instance,
            asset_selection=[NOTES, CLEAN],
            run_config=GOOD,
            partition_key=installation.today.isoformat(),
        )
        evaluations = run.get_asset_check_evaluations()
        opinions = {check.check_name for check in evaluations if not check.passed}
    assert opinions == {"is_clean", "notes_are_polite"}
    tell_of_success(installation, run.run_id)
    assert installation.alerts() == []
    assert installation.attempt().status.good


@pytest.mark.parametrize(("job", "chosen"), [("__ASSET_JOB", True), ("shop_nightly", False)])
def test_a_run_of_theirs_that_is_for_our_table_too_is_told(
    installation: Installation, job: str, *, chosen: bool
) -> None:
    """It failed before our step began: by its selection, else by what was planned, we know that a table was wanted."""
    with installation.instance() as instance:
        definition = _job(installation, None if chosen else job)
        assert definition.name == job
        run = instance.create_run_for_job(definition, asset_selection={NOTES} if chosen else None)
        instance.report_run_failed(run, "No room for it.")
    tell_of_failure(installation, run.run_id)
    [alert] = installation.alerts()
    assert "No room for it." in alert


def test_a_canceled_run_of_theirs_closes_our_row_and_no_other(installation: Installation) -> None:
    with installation.instance() as instance:
        started = dg.DagsterRunStatus.STARTED
        ours = create_run_for_test(instance, job_name="__ASSET_JOB", asset_selection={NOTES}, status=started)
        other = create_run_for_test(instance, job_name="__ASSET_JOB", asset_selection={CLEAN}, status=started)
        _begin(installation, ours)
        for run in (other, ours):
            instance.report_run_canceled(run)
    tell_of_cancellation(installation, other.run_id)
    assert installation.attempt().status is Status.RUNNING
    tell_of_cancellation(installation, ours.run_id)
    assert installation.attempt().status is Status.CANCELED


def _begin(installation: Installation, run: dg.DagsterRun) -> None:
    """Our step in the run, whose process is no more."""
    request = Request(
        installation.catalog, Kind.TABLES, ("notes",), installation.today, Trigger.MANUAL, TESTER, run_id=run.run_id
    )
    with open_ports(installation.settings, "shop") as ports:
        begin(request, replace(ports, owner=killed_process()))


def _started(instance: dg.DagsterInstance, *keys: dg.AssetKey) -> dg.DagsterRun:
    status = dg.DagsterRunStatus.STARTED
    run = create_run_for_test(instance, job_name="__ASSET_JOB", asset_selection=set(keys), status=status)
    assert isinstance(run, dg.DagsterRun)
    return run


def _status(installation: Installation, run: dg.DagsterRun) -> dg.DagsterRunStatus:
    with installation.instance() as instance:
        known = instance.get_run_by_id(run.run_id)
    assert known is not None
    return known.status


@pytest.mark.parametrize("all_ours", [True, False])
def test_of_a_dead_step_the_row_is_closed_and_a_run_of_others_is_theirs_to_end(
    installation: Installation, *, all_ours: bool
) -> None:
    with installation.instance() as instance:
        run = _started(instance, NOTES) if all_ours else _started(instance, NOTES, CLEAN)
    _begin(installation, run)
    tick(installation, "backup_orphans")
    assert installation.attempt().status is Status.FAILED
    ends = dg.DagsterRunStatus.FAILURE if all_ours else dg.DagsterRunStatus.STARTED
    assert _status(installation, run) is ends
    tick(installation, "backup_orphans")  # its row is closed by somebody else now
    assert _status(installation, run) is ends


def test_a_purge_leaves_the_events_of_their_runs(installation: Installation) -> None:
    day = installation.today.isoformat()
    ours = installation.run("notes").run_id
    with installation.instance() as instance:
        job = _job(installation, None)
        adhoc = job.execute_in_process(instance=instance, asset_selection=[NOTES], partition_key=day).run_id
        own = _job(installation, "shop_clean").execute_in_process(instance=instance, run_config=GOOD).run_id
        mixed = job.execute_in_process(
            instance=instance, asset_selection=[NOTES, CLEAN], run_config=GOOD, partition_key=day
        ).run_id
        elsewhere = (
            _job(installation, "shop_clean")
            .execute_in_process(instance=instance, run_config=GOOD, tags={CATALOG_TAG: "of another installation"})
            .run_id
        )
        theirs = {run: len(instance.all_logs(run)) for run in (own, mixed, elsewhere)}
        plan = plan_purge(instance, installation.catalogs, timedelta(0), utc_now())
        assert {run.run_id for run in plan.runs} == {ours, adhoc}
        assert purge(instance, plan) > 0
        assert {run: len(instance.all_logs(run)) for run in theirs} == theirs
