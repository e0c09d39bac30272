"""Honest dates, through Dagster: a SELECT reads now, so a date that was missed stays missed, or is called late."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg
import pytest

from backup_pipeline.core.errors import RefusedError
from backup_pipeline.core.ledger import Status
from backup_pipeline_tests.orchestration.installation import TABLES, Installation


def test_a_date_that_is_over_is_refused_and_nothing_is_written(installation: Installation) -> None:
    yesterday = installation.past()
    result = installation.run(day=yesterday)
    assert (result.success, result.exit_code) == (False, RefusedError.exit_code)
    assert str(yesterday) in result.error
    assert "late: true" in result.what_to_do
    [(said, metadata)] = installation.step_failures(result.run_id)
    assert said == result.error
    assert metadata["exit code"] == 21
    attempt = installation.attempt()
    assert (attempt.status, attempt.partition_date, attempt.late) == (Status.FAILED, yesterday, False)
    assert installation.store_keys() == []
    assert all(not dates for dates in installation.materialized().values())
    assert len(installation.alerts()) == 1


def test_within_the_grace_after_midnight_the_date_is_still_its_own(installation: Installation) -> None:
    installation.edit_catalog("grace_minutes: 0", "grace_minutes: 1440")  # the longest; yesterday ended within it
    result = installation.run(day=installation.past())
    assert result.success, result
    manifest = installation.manifest()
    assert manifest.partition_date == installation.past()
    assert not manifest.late
    assert not any("Late" in warning for warning in manifest.warnings)
    assert not installation.run(day=installation.past(2)).success


def test_a_late_backup_says_late_with_the_true_time(installation: Installation) -> None:
    day = installation.past(3)
    result = installation.run(day=day, late=True)
    assert result.success, result
    manifest, attempt = installation.manifest(), installation.attempt()
    assert manifest.late
    assert manifest.partition_date == day
    assert abs((datetime.now(UTC) - manifest.snapshot.taken_at).total_seconds()) < 600
    assert manifest.status == Status.SUCCESS_WITH_WARNINGS
    assert any(warning.startswith("Late") for warning in manifest.warnings)
    assert attempt.late
    assert attempt.snapshot_at == manifest.snapshot.taken_at
    with installation.instance() as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey(["shop", "bundle"]))
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.partition == day.isoformat()
    assert event.asset_materialization.metadata["late"].value is True


def test_saying_late_on_the_day_itself_makes_nothing_late(installation: Installation) -> None:
    assert installation.run(late=True).success
    assert not installation.manifest().late
    assert not installation.attempt().late


def test_a_date_to_come_is_refused(installation: Installation) -> None:
    with pytest.raises(RefusedError, match="lies ahead") as caught:
        installation.run(day=installation.past(-1), late=True)
    assert str(installation.today) in caught.value.do
    assert installation.store_keys() == []


def test_a_date_before_the_first_of_the_catalog_is_refused(installation: Installation) -> None:
    with pytest.raises(RefusedError, match="before the first one of catalog shop") as caught:
        installation.run(day=installation.past(5000), late=True)
    assert "start_date" in caught.value.do


def test_a_missed_date_stays_a_visible_gap(installation: Installation) -> None:
    installation.edit_catalog("grace_minutes: 0", f"grace_minutes: 0\nstart_date: '{installation.past(3)}'")
    assert installation.run(day=installation.past(2), late=True).success
    assert installation.run().success
    assert not installation.run(day=installation.past(1)).success
    there = {installation.past(2).isoformat(), installation.today.isoformat()}
    assert installation.materialized() == dict.fromkeys((*TABLES, "bundle"), there)
    partitions = installation.definitions().resolve_asset_graph().get(dg.AssetKey(["shop", "bundle"])).partitions_def
    assert partitions is not None
    missed = set(partitions.get_partition_keys()) - there
    assert missed == {installation.past(3).isoformat(), installation.past(1).isoformat()}


def test_a_bundle_alone_of_a_past_date_is_allowed_as_it_reads_no_source(installation: Installation) -> None:
    day = installation.past(2)
    assert installation.run(day=day, late=True).success
    before = installation.manifest()
    installation.configure(BACKUP_SOURCE_URL="postgresql://nobody:x@127.0.0.1:1/gone")
    with installation.instance() as instance:
        result = installation.run_job("shop_full_backup", "bundle", instance=instance, partition_key=day.isoformat())
    assert result.success
    again = installation.manifest()
    assert again.backup_id != before.backup_id
    assert again.snapshot == before.snapshot
    assert again.totals == before.totals
    assert again.late


def test_a_bundle_without_its_partitions_names_the_missing_tables(installation: Installation) -> None:
    with installation.instance() as instance:
        result = installation.run_job("shop_full_backup", "bundle", instance=instance)
    [(said, metadata)] = installation.step_failures(result.run_id)
    assert all(table in said for table in TABLES)
    assert metadata["exit code"] == 10
    assert installation.attempt().status is Status.FAILED
    assert installation.backups() == []
