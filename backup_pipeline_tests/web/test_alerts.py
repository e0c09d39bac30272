"""Alerts in the console: what goes wrong now, what could not be told, channels, and what an anomaly holds."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import pytest

from backup_pipeline.core.alerts import Alert, Delivery, Severity
from backup_pipeline.core.ledger import Hold
from backup_pipeline.core.scope import PROGRAM, Scope
from backup_pipeline.operations.alerting import tell
from backup_pipeline.operations.retention.hold import hold_backup
from backup_pipeline_tests.servers.ledgers import new_ledger
from backup_pipeline_tests.web.deciding import HOSTILE, Office, open_office


@dataclass
class Channel:
    """The port `Alerter` with a channel that answers as a test says."""

    channels: Sequence[str] = ("mailto://ops@shop",)
    answer: str | None = None
    sent: list[Alert] = field(default_factory=list)

    def send(self, alert: Alert, only: Collection[str] | None = None) -> Sequence[Delivery]:
        self.sent.append(alert)
        return [Delivery(name, self.answer) for name in self.channels]


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    return open_office(new_ledger(), tmp_path_factory.mktemp("office"))


@pytest.fixture
def channel(office: Office) -> Channel:
    channel = Channel()
    office.console.app.state.ports = replace(office.ports, alerter=channel)
    return channel


def _alert(office: Office, text: str = "the disk is full") -> Alert:
    return Alert(
        Severity.FAILURE, f"Backup failed: {text}", text, "Make room.", Scope("shop"), at=office.console.clock(),
        topic="full",
    )  # fmt: skip


def test_without_anything_wrong_the_page_says_so(office: Office, channel: Channel) -> None:
    page = office.as_("rahim").get("/alerts")
    assert "Every alert was delivered." in page.text
    assert "mailto://ops@shop" in page.text
    assert "Send a test message" in page.text
    viewer = office.as_("nila").get("/alerts")
    assert viewer.status_code == 200
    assert "Send a test message" not in viewer.text


def test_without_a_channel_it_is_said_that_nobody_is_told(office: Office) -> None:
    office.console.app.state.ports = office.ports
    page = office.as_("rahim").get("/alerts")
    assert "No alert reaches anybody." in page.text
    assert office.as_("rahim").post("/alerts/test").status_code == 422


@pytest.mark.acceptance("3.31")
def test_what_was_not_delivered_is_shown_and_tried_again(office: Office, channel: Channel) -> None:
    channel.answer = "connection refused"
    tell(_alert(office), replace(office.ports, alerter=channel))
    page = office.as_("rahim").get("/alerts")
    for word in ("the disk is full", "connection refused", "Try again now", "full backups fail or are missed"):
        assert word in page.text
    office.as_("rahim").post("/alerts/retry")
    assert "waits" in office.as_("rahim").get("/alerts").text
    channel.answer = None
    assert office.as_("rahim").post("/alerts/retry").status_code == 303
    assert office.ledger.outbox.list() == []
    assert "delivered" in office.as_("rahim").get("/alerts?delivered=1").text


def test_the_channels_are_tried(office: Office, channel: Channel) -> None:
    assert office.as_("rahim").post("/alerts/test").status_code == 303
    assert [alert.title for alert in channel.sent] == ["A test message"]
    channel.answer = HOSTILE
    answer = office.as_("rahim").post("/alerts/test")
    assert answer.status_code == 303
    page = office.as_("rahim").get("/alerts")
    assert 'class="flash failure"' in page.text
    assert "<script>alert" not in page.text


def test_what_an_anomaly_holds_is_released_here(office: Office, channel: Channel) -> None:
    backup = office.backups()[1]
    hold_backup(backup, Hold(PROGRAM, f"customers lost 40 % of their rows {HOSTILE}"), office.ports)
    page = office.as_("rahim").get("/alerts")
    assert "customers lost 40 % of their rows" in page.text
    assert "<script>alert" not in page.text
    answer = office.as_("rahim").post(f"/backups/{backup.backup_id}/release", data={"next": "/alerts"})
    assert answer.headers["location"] == "/alerts"
    assert "customers lost" not in office.as_("rahim").get("/alerts").text
