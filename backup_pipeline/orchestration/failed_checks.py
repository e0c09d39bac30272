"""The failed checks of a run, read from Dagster's event log."""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg


def failed_checks(instance: dg.DagsterInstance, run_id: str) -> Mapping[str, str]:
    """What each failed check of the run says, by `table, check`."""
    entries = instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    found: dict[str, str] = {}
    for entry in entries:
        if entry.dagster_event is None:
            continue
        evaluation = entry.dagster_event.asset_check_evaluation_data
        if not evaluation.passed:
            name = f"{evaluation.asset_key.path[-1]}, {evaluation.check_name}"
            found[name] = evaluation.description or "failed"
    return found
