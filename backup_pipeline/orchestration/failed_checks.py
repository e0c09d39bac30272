"""The failed checks of a run, read from Dagster's event log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluation

from backup_pipeline.core.catalog import BUNDLE
from backup_pipeline.core.checks import ANOMALY


def failed_checks(instance: dg.DagsterInstance, run_id: str) -> Mapping[str, str]:
    """What each failed check of the run says, by `table, check`; without those of tables that were told already.

    The run that makes a bundle tells its anomalies itself, and a table's other checks then say the same once more.
    """
    entries = instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    checks = [entry.dagster_event.asset_check_evaluation_data for entry in entries if entry.dagster_event]
    failed = [check for check in checks if not check.passed]
    told = _told(failed) if any(_is_anomaly(check) and _asset(check) == BUNDLE for check in checks) else set()
    return {
        f"{_asset(check)}, {check.check_name}": check.description or "failed"
        for check in failed
        if _asset(check) not in told
    }


def _told(failed: Sequence[AssetCheckEvaluation]) -> set[str]:
    """The assets whose anomalies the run has told."""
    return {_asset(check) for check in failed if _is_anomaly(check)}


def _is_anomaly(check: AssetCheckEvaluation) -> bool:
    return check.check_name == ANOMALY


def _asset(check: AssetCheckEvaluation) -> str:
    return check.asset_key.path[-1]
