"""A demo table is halved between two backups: the manifest, the check, the alert and the hold all say so."""

from __future__ import annotations

import dagster as dg

from backup_pipeline.core.anomalies import ANOMALY
from backup_pipeline.core.ledger import Hold, Status
from backup_pipeline.core.scope import PROGRAM
from backup_pipeline_tests.orchestration.installation import TABLES, Installation
from backup_pipeline_tests.orchestration.sensing import tell_of_success

SAID = "600 rows, usually 1,200 (median of 3 good backups): 50% fewer rows."


def _checks(installation: Installation, run_id: str) -> dict[str, tuple[bool, str]]:
    """Whether the anomaly check of each asset passed, and what it says."""
    events = [entry.dagster_event for entry in installation.events(run_id) if entry.dagster_event]
    wanted = [event for event in events if event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION]
    found = [event.asset_check_evaluation_data for event in wanted]
    return {
        check.asset_key.path[-1]: (check.passed, check.description or "")
        for check in found
        if check.check_name == ANOMALY
    }


def test_a_halved_table_is_seen_everywhere(installation: Installation) -> None:
    for _ in range(3):
        assert installation.run().success
    last = installation.attempt().backup_id
    assert installation.alerts() == []
    installation.sql("DELETE FROM orders WHERE amount > 600")
    result = installation.run()
    assert result.success

    attempt, manifest = installation.attempt(), installation.manifest()
    assert (attempt.status, manifest.status) == (Status.SUCCESS_WITH_WARNINGS, "success_with_warnings")
    assert f"Table orders, check anomaly: {SAID}" in manifest.warnings
    [found] = manifest.findings
    assert (found.table, found.kind, found.now, found.usual, found.held) == ("orders", "rows", 600, 1200, last)

    checks = _checks(installation, result.run_id)
    assert set(checks) == {*TABLES, "bundle"}
    assert {asset for asset, (passed, _) in checks.items() if not passed} == {"orders"}
    assert checks["orders"] == (False, SAID)

    [alert] = installation.alerts()
    for words in ("orders", SAID, f"{last} is held", "backup-pipeline show", attempt.backup_id, "Unusual backup"):
        assert words in alert
    held = next(row for row in installation.attempts() if row.backup_id == last)
    assert held.hold == Hold(PROGRAM, f"anomaly in {attempt.backup_id}: orders: 50% fewer rows")

    tell_of_success(installation, result.run_id)  # the sensor for failed checks has nothing to add
    assert len(installation.alerts()) == 1


def test_the_bundle_shows_statistics_and_references(installation: Installation) -> None:
    installation.edit_catalog("  notes:\n", "  notes:\n    references: {body: customers.name}\n")
    result = installation.run()
    assert result.success
    with installation.instance() as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey(["shop", "bundle"]))
    assert event is not None
    assert event.asset_materialization is not None
    shown = str(event.asset_materialization.metadata["statistics"].value)
    assert "| orders | 1,200 |" in shown
    assert "| Backups there | 1 (1 manual; 1 full) |" in shown
    assert installation.manifest().orphans == {"notes(body) → customers(name)": 70}
    assert _checks(installation, result.run_id)["bundle"][0]


def test_tables_alone_alert_once(installation: Installation) -> None:
    assert installation.run().success
    installation.sql("TRUNCATE notes")
    with installation.instance() as instance:
        result = installation.run_job("shop_tables_only", "notes", instance=instance)
    assert result.success
    [alert] = installation.alerts()
    assert installation.attempt().backup_id in alert
    tell_of_success(installation, result.run_id)  # the sensor for failed checks has nothing to add
    assert len(installation.alerts()) == 1
