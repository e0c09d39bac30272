"""Alert channels that are dead, slow or malformed: the backup's status stays what it was, and the failure is shown."""

from __future__ import annotations

import psycopg
import pytest

from backup_pipeline.core.ledger import Status
from backup_pipeline_tests.alerts.servers import free_port, stalling_server
from backup_pipeline_tests.orchestration.installation import Installation
from backup_pipeline_tests.orchestration.sensing import tick


@pytest.mark.parametrize("channel", ["json://127.0.0.1:{port}/hook/t0ken", "nonsense-t0ken", "slack://t0ken"])
def test_a_dead_channel_changes_no_status_and_stands_in_the_audit(installation: Installation, channel: str) -> None:
    alive = f"json://127.0.0.1:{installation.webhook.port}/hook"
    installation.configure(BACKUP_ALERT_URLS=f"{channel.format(port=free_port())} {alive}")
    installation.sql("DROP VIEW totals")
    result = installation.run()
    assert result.exit_code == 3
    attempt = installation.attempt()
    assert attempt.status is Status.FAILED
    assert len(installation.alerts()) == 1  # the living one got it
    delivered = [event.detail for event in installation.audits() if event.action == "alert"]
    assert [bool(detail["error"]) for detail in delivered] == [False, True]  # newest first
    assert "t0ken" not in str(delivered)
    shown = [
        entry.user_message
        for entry in installation.events(result.run_id)
        if "Alert not delivered" in entry.user_message
    ]
    assert len(shown) == 1
    assert "t0ken" not in shown[0]


def test_a_channel_that_never_answers_holds_nothing_up(installation: Installation) -> None:
    with stalling_server() as port:
        installation.configure(BACKUP_ALERT_URLS=f"json://127.0.0.1:{port}/hook", BACKUP_ALERT_TIMEOUT_S="1")
        installation.sql("DROP VIEW totals")
        assert installation.run().exit_code == 3
    [detail] = [event.detail for event in installation.audits() if event.action == "alert"]
    assert "No answer within 1 seconds" in str(detail["error"])
    assert installation.attempt().status is Status.FAILED


def test_a_good_backup_does_not_care_about_its_channels(installation: Installation) -> None:
    installation.configure(BACKUP_ALERT_URLS=f"json://127.0.0.1:{free_port()}/hook")
    assert installation.run().success
    assert installation.attempt().status.good


def _minutes_pass(installation: Installation) -> None:
    """What waits in the outbox is due."""
    with psycopg.connect(installation.ledger_url) as session:
        session.execute("UPDATE alert_outbox SET next_try_at = now()")


def test_an_alert_that_reached_nobody_is_told_by_the_sensor_once_the_channel_is_back(
    installation: Installation,
) -> None:
    installation.webhook.answer = 500
    installation.sql("DROP VIEW totals")
    assert installation.run().exit_code == 3
    assert "No alert is due" in str(tick(installation, "backup_alerts").skip_reason)
    _minutes_pass(installation)
    assert "0 alerts delivered, 1 not" in str(tick(installation, "backup_alerts").skip_reason)
    installation.webhook.answer = 200
    _minutes_pass(installation)
    assert "1 alerts delivered, 0 not" in str(tick(installation, "backup_alerts").skip_reason)
    assert "attempt 3" in installation.alerts()[-1]
    _minutes_pass(installation)
    assert "No alert is due" in str(tick(installation, "backup_alerts").skip_reason)
    assert installation.attempt().status is Status.FAILED


def test_without_the_ledger_the_sensor_says_so_and_comes_again(installation: Installation) -> None:
    installation.configure(BACKUP_LEDGER_URL=f"postgresql://nobody@127.0.0.1:{free_port()}/none")
    assert "can not be reached" in str(tick(installation, "backup_alerts").skip_reason)
