"""The weekly clean-up as a job: it acts and records, its plan is in the UI, and people hear when it can not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from dagster._utils.schedules import schedule_execution_time_iterator

from backup_pipeline.core.ledger import Attempt, Status
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.core.scope import DAGSTER, Scope
from backup_pipeline.operations.browse import place_of
from backup_pipeline.orchestration.definitions import assemble
from backup_pipeline.settings import BUILT_IN_CATALOGS, Settings
from backup_pipeline_tests.cli.test_retention import FILES, aged
from backup_pipeline_tests.ledger.attempts import outcome
from backup_pipeline_tests.operations.shelved import BUNDLE, bundle_of, filed, manifest_of
from backup_pipeline_tests.orchestration.installation import Installation, isp_catalogs
from backup_pipeline_tests.orchestration.sensing import tell_of_failure


def _old(installation: Installation, count: int = 5) -> list[Attempt]:
    ledger = installation.ledger
    try:
        return aged(ledger, installation.store, count)
    finally:
        ledger.close()


def _prune(installation: Installation, **config: Any) -> dg.ExecuteInProcessResult:
    with installation.instance() as instance:
        run_config = {"ops": {"shop_pruned": {"config": config}}}
        job = installation.definitions().resolve_job_def("shop_prune")
        return job.execute_in_process(instance=instance, run_config=run_config, raise_on_error=False)


def _metadata(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    [event] = [event for event in result.all_events if event.event_type is dg.DagsterEventType.STEP_OUTPUT]
    return {name: value.value for name, value in event.step_output_data.metadata.items()}


def _statuses(installation: Installation, rows: list[Attempt]) -> list[str]:
    known = {row.backup_id: str(row.status) for row in installation.attempts()}
    return [known[row.backup_id] for row in rows]


def test_it_removes_what_the_rules_let_go_and_shows_the_plan(installation: Installation) -> None:
    assert installation.run().success
    rows = _old(installation)
    result = _prune(installation)
    assert result.success
    assert _statuses(installation, rows) == ["success"] * 3 + ["expired"] * 2
    told = _metadata(result)
    assert (told["kept"], told["removed"], told["left"]) == (4, 2, "none")
    assert (
        f"| **remove** | {rows[4].backup_id} | automatic | {rows[4].partition_date} | 1.0 kB | keep_within: 30 days"
        in told["plan"]
    )
    actions = [event.action for event in reversed(installation.audits()) if event.actor == DAGSTER]
    assert actions == ["prune", "removing", "expired", "removing", "expired", "pruned"]


def test_a_dry_run_only_shows_the_plan(installation: Installation) -> None:
    rows = _old(installation)
    result = _prune(installation, dry_run=True)
    assert result.success
    assert "**remove**" in _metadata(result)["plan"]
    assert _statuses(installation, rows) == ["success"] * 5


def test_a_failure_is_told_once_and_is_no_failure_of_a_backup(installation: Installation) -> None:
    rows = _old(installation)
    installation.configure(BACKUP_STORE="file:///dev/null/nowhere")
    result = _prune(installation)
    assert not result.success
    [(told, metadata)] = installation.step_failures(result.run_id)
    assert "/dev/null/nowhere" in told
    assert metadata["exit code"] == 1
    tell_of_failure(installation, result.run_id)
    [alert] = installation.alerts()
    assert "Clean-up of old backups failed: shop" in alert
    assert _statuses(installation, rows) == ["success"] * 5


def test_run_config_can_not_ask_for_more_than_the_settings_do(installation: Installation) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError):
        _prune(installation, versions="remove")


def test_a_safety_backup_of_a_restore_goes_by_the_rule_of_manual_ones(installation: Installation) -> None:
    installation.edit_catalog("grace_minutes: 0", "grace_minutes: 0\nretention: {manual: {keep_within: 7 days}}")
    [newer, older] = _old(installation, 2)
    ledger = installation.ledger
    safety = []
    for row in (newer, older):
        moved = replace(
            row,
            backup_id=row.backup_id.replace("-full-", "-selective-"),
            scope=Scope("shop").safety,
            kind=Kind.SELECTIVE,
            type=Trigger.MANUAL,
            status=Status.RUNNING,
            table_counts={"customers": 1},
        )
        ledger.begin(moved)
        known = filed(replace(moved, sha256=None))
        files = {name: getattr(known, name) for name in (*FILES, "snapshot_at", "file_size_bytes", "verification")}
        ledger.end(moved.backup_id, outcome(**files))
        installation.store.put(place_of(moved).bundle(BUNDLE), [bundle_of(moved)])
        installation.store.put(place_of(moved).manifest, [manifest_of(moved)])
        safety.append(moved)
    ledger.close()
    assert _prune(installation).success
    assert _statuses(installation, safety) == ["success", "expired"]


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return assemble(isp_catalogs(), Settings(catalogs=BUILT_IN_CATALOGS, automation="running"))


@pytest.mark.acceptance("2.9")
def test_it_runs_on_sundays_at_three_in_dhaka_where_automation_runs(definitions: dg.Definitions) -> None:
    schedule = definitions.resolve_schedule_def("isp_prune")
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    assert schedule.job_name == "isp_prune"
    start = datetime(2026, 11, 21, tzinfo=UTC).timestamp()
    ticks = schedule_execution_time_iterator(start, str(schedule.cron_schedule), schedule.execution_timezone)
    assert next(ticks).astimezone(UTC) == datetime(2026, 11, 21, 21, 0, tzinfo=UTC)
    at = datetime(2026, 11, 21, 21, 0, tzinfo=UTC)
    first, again = (
        schedule.evaluate_tick(
            dg.build_schedule_context(scheduled_execution_time=when, repository_def=definitions.get_repository_def())
        ).run_requests
        for when in (at, at + timedelta(days=7))
    )
    assert first is not None
    assert again is not None
    assert first[0].run_key != again[0].run_key


def test_a_catalog_may_have_no_clean_up(installation: Installation) -> None:
    installation.edit_catalog("grace_minutes: 0", "grace_minutes: 0\nretention: {schedule: null}")
    assert "shop_prune" not in [schedule.name for schedule in installation.definitions().schedules or ()]
