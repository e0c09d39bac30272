"""The drill in Dagster: a weekly job, its report in the UI, a failed run and one alert when something is wrong."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest
from dagster._utils.schedules import schedule_execution_time_iterator

from backup_pipeline.core.drill.objects import DatabaseObjects
from backup_pipeline.core.verification import Level, depth_of, has_failed
from backup_pipeline.orchestration.verification import DrillConfig
from backup_pipeline.postgres.drill import PostgresScratch
from backup_pipeline_tests.orchestration.installation import Installation
from backup_pipeline_tests.orchestration.sensing import tell_of_failure


@pytest.fixture
def shop(installation: Installation) -> Installation:
    """The shop without what no backup lists, backed up."""
    assert installation.run().success
    return installation


def drilled(shop: Installation, **config: Any) -> dg.ExecuteInProcessResult:
    with shop.instance() as instance:
        job = shop.definitions().resolve_job_def("shop_drill")
        given = {"ops": {"shop_drilled": {"config": config}}}
        return job.execute_in_process(instance=instance, run_config=given, raise_on_error=False)


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    [event] = [event for event in result.all_events if event.event_type is dg.DagsterEventType.STEP_OUTPUT]
    return {name: value.value for name, value in event.step_output_data.metadata.items()}


def test_the_newest_backup_comes_back_and_the_run_says_so(shop: Installation) -> None:
    result = drilled(shop)
    assert result.success
    told = metadata(result)
    assert (told["passed"], told["findings"], told["tables"]) == (True, 0, 4)
    assert "| customers | 500 | 500 | bytes | bytes |" in told["report"]
    assert "| totals (view) |" in told["report"]
    assert told["predicted_restore_seconds"] > 0
    assert depth_of(shop.attempt().verification) == Level.RESTORED
    assert shop.alerts() == []
    kind = dg.DagsterEventType.ASSET_CHECK_EVALUATION
    proofs = [event.asset_check_evaluation_data for event in result.all_events if event.event_type is kind]
    assert {proof.check_name: proof.metadata["level"].value for proof in proofs} == {"restores": 4, "verified": 3}
    assert all(proof.passed and proof.asset_key.path == ["shop", "bundle"] for proof in proofs)
    [event] = [event for event in shop.audits() if event.action == "drill"]
    assert event.detail["run_id"] == result.run_id


def test_a_difference_fails_the_run_and_people_hear_of_it_once(
    shop: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PostgresScratch, "objects", lambda _: DatabaseObjects())
    result = drilled(shop)
    assert not result.success
    assert "DIFFERENT" in metadata(result)["report"]
    [(what, more)] = shop.step_failures(result.run_id)
    assert "public.customers" in what
    assert more["exit code"] == 20
    assert (depth_of(shop.attempt().verification), has_failed(shop.attempt().verification)) == (3, True)
    [alert] = shop.alerts()
    assert "Drill failed: shop" in alert
    tell_of_failure(shop, result.run_id)
    assert len(shop.alerts()) == 1


def test_a_drill_without_a_backup_is_told_by_the_sensor(installation: Installation) -> None:
    result = drilled(installation)
    assert not result.success
    [(what, more)] = installation.step_failures(result.run_id)
    assert "no good full backup" in what
    assert more["exit code"] == 10
    assert installation.alerts() == []
    tell_of_failure(installation, result.run_id)
    [alert] = installation.alerts()
    assert "Drill failed: shop" in alert


def test_an_injected_fault_fails_the_run_and_nobody_is_alerted(shop: Installation) -> None:
    result = drilled(shop, inject="bitflip")
    [(what, more)] = shop.step_failures(result.run_id)
    assert "Injected fault bitflip was FOUND" in what
    assert more["exit code"] == 20
    tell_of_failure(shop, result.run_id)
    assert shop.alerts() == []
    assert depth_of(shop.attempt().verification) == Level.BYTES
    with pytest.raises(dg.DagsterInvalidConfigError, match="drop-row"):  # the launchpad says what there is
        drilled(shop, inject="fire")


def test_every_sunday_at_four_where_the_catalog_lives(installation: Installation) -> None:
    installation.configure(BACKUP_AUTOMATION="running")
    schedule = installation.definitions().resolve_schedule_def("shop_drill_weekly")
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    start = datetime(2026, 11, 20, tzinfo=UTC).timestamp()
    ticks = schedule_execution_time_iterator(start, str(schedule.cron_schedule), schedule.execution_timezone)
    first = next(ticks).astimezone(UTC)
    assert first == datetime(2026, 11, 21, 22, tzinfo=UTC)  # Sunday, 22 November, 04:00 in Dhaka
    with installation.instance() as instance:
        context = dg.build_schedule_context(instance, scheduled_execution_time=first)
        [request] = schedule.evaluate_tick(context).run_requests or []
    assert request.run_key == "shop drill 2026-11-22T04:00:00+06:00"


def test_every_field_of_the_launchpad_is_explained() -> None:
    assert all(field.description for field in DrillConfig.model_fields.values())
