"""Alerts through the outbox: nobody is told twice in the normal case, and everybody in the end."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from backup_pipeline.core.alerts import CLAIM, GIVE_UP_AFTER, Alert, Delivery, Severity
from backup_pipeline.core.errors import LedgerUnavailableError
from backup_pipeline.core.ports import Ports
from backup_pipeline.core.scope import Scope
from backup_pipeline.operations.alerting import deliver, tell
from backup_pipeline_tests.doubles.ledgers import faulty, raising
from backup_pipeline_tests.doubles.ports import ports_for_test
from backup_pipeline_tests.ledger.attempts import NOON
from backup_pipeline_tests.servers.ledgers import ScratchLedger, new_ledger

ALERT = Alert(Severity.FAILURE, "Backup failed: isp", "It broke.", "Mend it.", Scope("isp"), backup_id="b1")


@dataclass
class Town:
    """A ledger, channels of which some are `dead`, and a clock that is set by hand."""

    channels: Sequence[str] = ("mail", "chat")
    dead: set[str] = field(default_factory=set)
    heard: list[tuple[str, str]] = field(default_factory=list)
    tries: int = 0
    now: datetime = NOON
    ledger: ScratchLedger = field(default_factory=new_ledger)

    @property
    def ports(self) -> Ports:
        return ports_for_test(ledger=self.ledger, alerter=self, clock=self.clock)

    def clock(self) -> datetime:
        return self.now

    def send(self, alert: Alert, only: Collection[str] | None = None) -> Sequence[Delivery]:
        wanted = [channel for channel in self.channels if only is None or channel in only]
        self.tries += len(wanted)
        self.heard += [(channel, alert.title) for channel in wanted if channel not in self.dead]
        return [Delivery(channel, "connection refused" if channel in self.dead else None) for channel in wanted]

    def open(self) -> list[tuple[str, int]]:
        """Channel and attempts of what is undelivered."""
        return [(entry.channel, entry.attempts) for entry in self.ledger.outbox.list()]


def test_in_the_normal_case_each_channel_hears_once_and_nothing_is_left() -> None:
    town = Town()
    assert tell(ALERT, town.ports) == [Delivery("mail"), Delivery("chat")]
    town.now += timedelta(days=1)
    assert deliver(town.ports) == []
    assert town.heard == [("mail", ALERT.title), ("chat", ALERT.title)]
    assert town.open() == []


def test_a_channel_that_was_away_hears_it_when_it_is_back_and_the_others_not_again() -> None:
    town = Town(dead={"mail"})
    tell(ALERT, town.ports)
    assert town.open() == [("mail", 1)]
    for minutes in (1, 2):
        town.now += timedelta(minutes=minutes)
        [failed] = deliver(town.ports)
        assert failed.last_error == "connection refused"
    town.dead.clear()
    town.now += timedelta(minutes=4)
    [delivered] = deliver(town.ports)
    assert delivered.delivered_at == town.now
    assert town.heard == [("chat", ALERT.title), ("mail", ALERT.title)]
    told = [event.detail for event in town.ledger.audits("b1") if event.action == "alert"]
    assert [(detail["channel"], detail["error"]) for detail in told] == [
        ("mail", None),
        ("chat", None),
        ("mail", "connection refused"),
    ]
    assert told[0]["attempts"] == 4


def test_whoever_dies_between_noting_and_telling_leaves_it_to_the_next() -> None:
    town = Town()
    town.ledger.outbox.add(ALERT, town.channels, town.now)
    assert deliver(town.ports) == []
    town.now += CLAIM
    assert len(deliver(town.ports)) == 2
    assert [channel for channel, _ in town.heard] == ["mail", "chat"]


def test_a_dead_channel_is_tried_once_a_pass_and_holds_up_no_other() -> None:
    town = Town(dead={"mail"})
    for _ in range(5):
        tell(ALERT, town.ports)
    town.dead.add("chat")
    tell(ALERT, town.ports)
    town.dead.remove("chat")
    town.now += timedelta(hours=1)
    before = town.tries
    tried = deliver(town.ports)
    assert [(entry.channel, entry.delivered_at is None) for entry in tried] == [("mail", True), ("chat", False)]
    assert town.tries == before + 2


def test_a_pass_ends_in_time() -> None:
    town = Town(dead={"mail"})
    for _ in range(3):
        tell(ALERT, town.ports)
    town.dead.clear()
    town.now += timedelta(hours=1)
    assert deliver(town.ports, within=timedelta(0)) == []
    assert len(deliver(town.ports)) == 3


def test_a_channel_that_is_not_configured_any_more_is_said_to_be_so_and_given_up_in_the_end() -> None:
    town = Town(dead={"mail"})
    tell(ALERT, town.ports)
    town.channels = ("chat",)
    town.now += timedelta(minutes=1)
    [entry] = deliver(town.ports)
    assert "not configured any more" in str(entry.last_error)
    town.now += GIVE_UP_AFTER
    [entry] = deliver(town.ports)
    assert entry.given_up_at == town.now
    assert town.ledger.audits("b1")[0].detail["error"] == entry.last_error


@pytest.mark.parametrize("method", ["add", "settle"])
def test_without_the_ledger_people_are_told_all_the_same(method: str) -> None:
    town = Town()
    away = raising(LedgerUnavailableError("The ledger is away."))
    town.ledger = faulty(town.ledger, outbox=faulty(town.ledger.outbox, **{method: away}))
    assert tell(ALERT, town.ports) == [Delivery("mail"), Delivery("chat")]
    assert len(town.heard) == 2
