"""Customers' data that can not be true: a warning in the backup, a failed check in Dagster, and every row kept."""

from __future__ import annotations

import dagster as dg
import pytest

from backup_pipeline.core.content.validation import VALID_ROWS
from backup_pipeline.core.ledger import Status
from backup_pipeline_tests.orchestration.installation import Installation


@pytest.mark.acceptance("4.18")
@pytest.mark.parametrize(("bad", "passed"), [(5, True), (6, False)])
def test_above_the_share_the_check_fails_and_the_backup_warns(
    installation: Installation, bad: int, passed: bool
) -> None:
    installation.edit_catalog("    sheet: Customers\n", "    sheet: Customers\n    validation: {name: name}\n")
    installation.edit_catalog("grace_minutes: 0\n", "grace_minutes: 0\nvalidation: {share: 0.01}\n")
    installation.sql(f"UPDATE customers SET name = 'Test User' WHERE id <= {bad}")
    result = installation.run()
    assert result.success
    with installation.instance() as instance:
        events = instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    evaluations = [event.get_dagster_event().asset_check_evaluation_data for event in events]
    (check,) = (each for each in evaluations if each.check_name == VALID_ROWS)
    assert (check.asset_key.path[-1], check.passed) == ("customers", passed)
    row = installation.ledger.list()[0]
    assert row.status is Status.SUCCESS_WITH_WARNINGS  # of the forgotten table in any case
    assert any(f"{bad} of 500 rows" in warning for warning in row.warnings) is not passed
    assert row.table_counts["customers"] == 500
