"""One table fails: the others are kept, the run and its row say failed, people hear it once, and there is no bundle."""

from __future__ import annotations

import dagster as dg
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run_iterator

from backup_pipeline.core.errors import PartialError
from backup_pipeline.core.ledger import Status
from backup_pipeline_tests.orchestration.installation import TABLES, Installation
from backup_pipeline_tests.orchestration.sensing import tell_of_failure

BREAK = (
    "DROP VIEW totals; CREATE VIEW totals AS SELECT 1 / (random() * 0)::int AS customer_id, 1 AS amount, 1 AS orders"
)
MEND = (
    "DROP VIEW totals; CREATE VIEW totals AS SELECT customer_id, sum(amount) AS amount FROM orders GROUP BY customer_id"
)


@pytest.mark.parametrize("how", [BREAK, "DROP VIEW totals"], ids=["divides by zero", "dropped"])
def test_a_table_that_fails_leaves_the_others_and_no_bundle(installation: Installation, how: str) -> None:
    installation.sql(how)
    result = installation.run()
    assert (result.success, result.exit_code) == (False, PartialError.exit_code)
    assert "1 of 4 tables failed" in result.error
    assert "totals: " in result.error
    assert result.what_to_do
    today = {installation.today.isoformat()}
    assert installation.materialized() == {
        **{table: today for table in TABLES if table != "totals"},
        "totals": set(),
        "bundle": set(),
    }
    attempt = installation.attempt()
    assert attempt.status is Status.FAILED
    assert "totals" in (attempt.error_message or "")
    assert installation.backups() == []
    [alert] = installation.alerts()
    assert "totals: " in alert
    assert "What to do" in alert
    assert list((installation.home / "work").iterdir()) == []


def test_the_event_log_names_the_table_its_error_and_what_to_do(installation: Installation) -> None:
    installation.sql(BREAK)
    result = installation.run()
    [(said, metadata)] = installation.step_failures(result.run_id)
    assert said == result.error
    assert "division by zero" in metadata["table totals"]
    assert metadata["exit code"] == PartialError.exit_code
    assert metadata["what to do"] == result.what_to_do
    checks = [
        entry.dagster_event.asset_check_evaluation_data
        for entry in installation.events(result.run_id)
        if entry.dagster_event and entry.dagster_event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION
    ]
    [failed] = [check for check in checks if not check.passed]
    assert (failed.asset_key.path[-1], failed.check_name) == ("totals", "row_count")


def test_the_failure_sensor_does_not_tell_again(installation: Installation) -> None:
    installation.sql(BREAK)
    result = installation.run()
    tell_of_failure(installation, result.run_id)
    assert len(installation.alerts()) == 1


def test_every_table_failing_has_the_code_of_the_first_error_and_no_partition(installation: Installation) -> None:
    installation.sql("DROP TABLE customers, orders, notes CASCADE")
    result = installation.run()
    assert not result.success
    assert "4 of 4 tables failed" in result.error
    assert result.exit_code == 2  # the catalog does not fit its database
    assert all(not dates for dates in installation.materialized().values())


def _again(installation: Installation, *assets: str, run_id: str) -> dg.DagsterRun:
    """What Dagster's re-execution of `run_id` runs: the failed assets, or all of them; with the tags it gives."""
    keys = frozenset(dg.AssetKey(["shop", asset]) for asset in assets)
    tags = {"dagster/parent_run_id": run_id, "dagster/root_run_id": run_id}
    with installation.instance() as instance:
        before = instance.get_run_by_id(run_id)
        assert before is not None
        job = installation.definitions().resolve_job_def(before.job_name).get_subset(asset_selection=keys)
        run = instance.create_run_for_job(
            job,
            run_config=before.run_config,
            tags={**before.tags, **tags},
            asset_selection=keys,
            parent_run_id=run_id,
            root_run_id=run_id,
        )
        for _ in execute_run_iterator(InMemoryJob(job), run, instance):
            pass
        again = instance.get_run_by_id(run.run_id)
    assert again is not None
    return again


def test_from_asset_failure_the_bundle_says_that_its_snapshots_are_mixed(installation: Installation) -> None:
    installation.sql(BREAK)
    failed = installation.run()
    installation.sql(MEND)
    again = _again(installation, "totals", "bundle", run_id=failed.run_id)
    assert again.is_success
    manifest = installation.manifest()
    assert manifest.run_id == again.run_id
    assert not manifest.consistent
    assert manifest.status == Status.SUCCESS_WITH_WARNINGS
    assert any("Mixed snapshots" in warning for warning in manifest.warnings)
    snapshots = {table.name: table.snapshot.id for table in manifest.tables}
    assert len(set(snapshots.values())) == 2
    assert snapshots["customers"] == snapshots["orders"] == snapshots["notes"] != snapshots["totals"]
    assert installation.attempt().consistent is False


def test_a_whole_re_execution_is_consistent(installation: Installation) -> None:
    installation.sql(BREAK)
    failed = installation.run()
    installation.sql(MEND)
    assert _again(installation, *TABLES, "bundle", run_id=failed.run_id).is_success
    manifest = installation.manifest()
    assert manifest.consistent
    assert len({table.snapshot.id for table in manifest.tables}) == 1
    assert not any("Mixed" in warning for warning in manifest.warnings)


def test_a_selective_backup_re_executed_from_failure_still_holds_all_its_tables(installation: Installation) -> None:
    installation.sql(BREAK)
    failed = installation.run("totals", "notes")
    assert not failed.success
    installation.sql(MEND)
    assert _again(installation, "totals", run_id=failed.run_id).is_success
    assert installation.attempt().kind == "selective"
    assert [table.name for table in installation.manifest().tables] == ["notes", "totals"]
    assert not installation.manifest().consistent


def test_a_selective_run_of_an_earlier_version_is_executed_again_as_one(installation: Installation) -> None:
    """Those had the bundle's asset, and a tag that says what it holds."""
    with installation.instance() as instance:
        tags = {"backup_pipeline/scope": "selected"}
        first = installation.run_job("shop_full_backup", "notes", "bundle", instance=instance, tags=tags)
    assert first.success
    assert _again(installation, "notes", "bundle", run_id=first.run_id).is_success
    assert installation.attempt().kind == "selective"
    assert [table.name for table in installation.manifest().tables] == ["notes"]


def test_one_table_rerun_and_a_new_bundle_are_mixed_snapshots(installation: Installation) -> None:
    assert installation.run().success
    with installation.instance() as instance:
        result = installation.run_job("shop_full_backup", "notes", "bundle", instance=instance)
    assert result.success
    manifest = installation.manifest()
    assert not manifest.consistent
    assert {table.name for table in manifest.tables} == set(TABLES)
