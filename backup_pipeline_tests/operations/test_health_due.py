"""What is due is accounted for: nights without a scheduler, storms of failures, watchers that meet, and recovery."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backup_pipeline.core.alerts import LOG_CHANNEL, Alert, Delivery, Severity, Signal
from backup_pipeline.core.due import DueState
from backup_pipeline.core.errors import BackupError, CanceledError, LedgerUnavailableError
from backup_pipeline.core.ledger import Attempt, Outcome, Status
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.core.ports import Ledger, Ports
from backup_pipeline.core.schedule import local_date
from backup_pipeline.operations.alerting import tell_success, tell_unreached
from backup_pipeline.operations.attempts import Request, begin, end_failed
from backup_pipeline.operations.health import account, end_vanished, look
from backup_pipeline_tests.actors import TESTER
from backup_pipeline_tests.core.values import catalog
from backup_pipeline_tests.doubles.ledgers import faulty, raising
from backup_pipeline_tests.operations.made import Place
from backup_pipeline_tests.servers.ledgers import new_ledger

MIDNIGHT = datetime(2026, 11, 20, 18, tzinfo=UTC)  # in Dhaka
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
SHOP = catalog({"goods": None})
GONE = raising(LedgerUnavailableError("the ledger is gone"))


@dataclass
class People:
    """The port `Alerter` that remembers what people were told."""

    alerts: list[Alert] = field(default_factory=list)
    channels: Sequence[str] = ("people",)

    def send(self, alert: Alert, only: Collection[str] | None = None) -> Sequence[Delivery]:
        self.alerts.append(alert)
        return [Delivery("people")]

    @property
    def titles(self) -> list[str]:
        return [alert.title for alert in self.alerts]


@dataclass
class Switch:
    """The port `Pinger` that remembers what it was told; nobody takes its start pings."""

    heard: list[str] = field(default_factory=list)

    def ping(self, signal: Signal, catalog: str, text: str) -> Delivery | None:
        self.heard.append(f"{signal} {catalog}: {text}")
        return Delivery("http://switch", "refused" if signal is Signal.START else None)


@dataclass
class World:
    """A ledger, people, a dead-man's switch, and a clock that is set by hand."""

    ledger: Ledger
    people: People
    spool: Path
    now: datetime = MIDNIGHT - DAY / 2
    switch: Switch = field(default_factory=Switch)

    @property
    def ports(self) -> Ports:
        ports = Place(self.spool, ledger=self.ledger).ports("postgresql://nobody@127.0.0.1:1/none")
        return replace(ports, alerter=self.people, clock=lambda: self.now, pinger=self.switch)

    def at(self, now: datetime) -> DueState:
        """A watcher looks at `now`."""
        self.now = now
        return account(SHOP, self.ports).freshness.state

    def begin(self, *, kind: Kind = Kind.FULL) -> Attempt:
        day = local_date(self.now, SHOP.timezone)
        return begin(Request(SHOP, kind, ("goods",), day, Trigger.AUTOMATIC, TESTER), self.ports)

    def succeed(self, *, after: timedelta = MINUTE, kind: Kind = Kind.FULL) -> Attempt:
        attempt = self.begin(kind=kind)
        self.now += after
        outcome = Outcome(Status.SUCCESS, self.now, table_counts={"goods": 1})
        self.ledger.end(attempt.backup_id, outcome)
        tell_success(attempt, self.ports)
        return attempt

    def fail(self, error: BaseException | None = None, *, kind: Kind = Kind.FULL) -> Attempt:
        attempt = self.begin(kind=kind)
        end_failed(attempt, error or BackupError("goods is on fire.", do="Put it out."), self.ports)
        return attempt

    def statuses(self) -> list[tuple[datetime | None, Status]]:
        return [(row.due_at, row.status) for row in self.ledger.list()]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(new_ledger(), People(), tmp_path)


def test_a_thread_that_only_the_log_knows_is_told_once_when_a_channel_is_set(world: World) -> None:
    world.people.channels = (LOG_CHANNEL,)
    world.fail()
    world.now += MINUTE
    world.fail()
    tell_unreached(world.ports)
    assert world.people.titles == [f"Backup failed: shop for {local_date(world.now, SHOP.timezone)}"]  # the log's
    world.people = People()
    for _ in range(3):
        tell_unreached(world.ports)
        world.now += MINUTE
    [alert] = world.people.alerts
    assert alert.title == "Still: Backups of shop go wrong (full)"
    assert "2 failed or missed backups" in alert.what
    assert "Nobody was told until now" in alert.what
    world.fail()
    assert len(world.people.alerts) == 1


def test_what_is_expected_of_a_catalog_that_vanished_is_ended_after_a_day_and_told_once(world: World) -> None:
    world.at(MIDNIGHT - DAY / 2)
    assert end_vanished(["shop"], world.ports) == []
    assert end_vanished(["other"], world.ports) == []  # another installation may have it
    world.now += DAY - MINUTE
    assert end_vanished(["other"], world.ports) == []
    world.now += MINUTE
    with ThreadPoolExecutor(4) as pool:
        ended = [row for rows in pool.map(lambda _: end_vanished(["other"], world.ports), range(8)) for row in rows]
    [row] = ended
    assert (row.status, row.due_at) == (Status.CANCELED, MIDNIGHT)
    assert "The catalog shop is no longer configured" in (row.error_message or "")
    assert world.ledger.get(row.backup_id) == row
    assert world.people.titles == ["Catalog shop is no longer backed up"]
    world.now += DAY
    assert end_vanished(["other"], world.ports) == []


def test_a_catalog_that_comes_back_is_expected_again(world: World) -> None:
    world.at(MIDNIGHT - DAY / 2)
    world.now += 2 * DAY
    assert len(end_vanished([], world.ports)) == 1
    world.at(world.now)
    assert world.statuses()[0] == (MIDNIGHT + 2 * DAY, Status.EXPECTED)


def test_a_good_night_is_one_row_from_expected_to_success_and_nobody_is_told(world: World) -> None:
    assert world.at(MIDNIGHT - DAY / 2) is DueState.WAITING
    assert world.statuses() == [(MIDNIGHT, Status.EXPECTED)]
    world.now = MIDNIGHT + MINUTE
    world.succeed()
    assert world.at(MIDNIGHT + DAY / 2) is DueState.FRESH
    assert world.statuses() == [(MIDNIGHT + DAY, Status.EXPECTED), (MIDNIGHT, Status.SUCCESS)]
    assert world.people.alerts == []


def test_three_nights_without_a_scheduler_are_three_rows_and_one_alert(world: World) -> None:
    world.at(MIDNIGHT - DAY / 2)
    world.now = MIDNIGHT
    world.succeed()
    world.at(MIDNIGHT + HOUR)
    assert world.at(MIDNIGHT + 3 * DAY + DAY / 2) is DueState.OVERDUE
    missed = [MIDNIGHT + 3 * DAY, MIDNIGHT + 2 * DAY, MIDNIGHT + DAY]
    assert world.statuses()[1:] == [*((due, Status.MISSED) for due in missed), (MIDNIGHT, Status.SUCCESS)]
    [alert] = world.people.alerts
    assert alert.title == "Backup overdue: shop"
    assert "3 backups were missed, due 2026-11-21 18:00 to 2026-11-23 18:00 UTC." in alert.what
    assert "One catch-up run is wanted, filed under 2026-11-24" in alert.what
    assert "backup-pipeline backup" in alert.do
    for minutes in range(1, 300, 7):
        world.at(MIDNIGHT + 3 * DAY + DAY / 2 + minutes * MINUTE)
    assert len(world.people.alerts) == 1
    assert [event.action for event in world.ledger.audits()].count("missed") == 3


def test_the_catch_up_run_ends_the_thread_with_its_own_true_date(world: World) -> None:
    world.at(MIDNIGHT - DAY / 2)
    world.at(MIDNIGHT + DAY + DAY / 2)
    caught_up = world.succeed()
    assert caught_up.partition_date.isoformat() == "2026-11-22"
    assert (caught_up.due_at, caught_up.late) == (None, False)
    assert world.at(world.now + MINUTE) is DueState.FRESH
    assert world.people.titles == ["Backup overdue: shop", "Backups work again: shop"]
    recovery = world.people.alerts[1]
    assert (recovery.severity, recovery.backup_id) == (Severity.INFO, caught_up.backup_id)
    assert "after 2 failed or missed backups since" in recovery.what
    world.now += HOUR
    world.succeed()
    assert len(world.people.alerts) == 2


def test_a_storm_of_failures_is_one_thread_with_a_reminder_a_day(world: World) -> None:
    for number in range(3 * 24 * 2):  # every half an hour, for three days
        world.now = MIDNIGHT + number * 30 * MINUTE
        world.fail()
    assert world.people.titles[0].startswith("Backup failed: shop for 2026-11-21")
    assert [title.partition(":")[0] for title in world.people.titles] == ["Backup failed", "Still", "Still"]
    assert "49 failed or missed backups. Of them 47 were not told one by one." in world.people.alerts[1].what
    held = [event for event in world.ledger.audits() if event.action == "alert held back"]
    assert len(held) == 3 * 24 * 2 - 3
    assert held[0].backup_id is not None
    world.now += MINUTE
    world.succeed()
    assert world.people.titles[-1] == "Backups work again: shop"
    assert len(world.people.alerts) == 4


def test_what_failed_of_single_tables_is_a_thread_of_its_own(world: World) -> None:
    world.now = MIDNIGHT + 5 * HOUR
    world.fail()
    world.fail(kind=Kind.TABLES)
    world.fail(kind=Kind.TABLES)
    assert len(world.people.alerts) == 2
    world.succeed(kind=Kind.TABLES)
    assert world.people.titles[-1] == "Backups work again: shop"
    assert [thread.topic for thread in world.ledger.threads.list()] == ["full"]


def test_a_night_that_failed_is_overdue_too_but_told_once(world: World) -> None:
    world.at(MIDNIGHT - DAY / 2)
    world.now = MIDNIGHT
    world.fail()
    assert world.at(MIDNIGHT + DAY / 2) is DueState.OVERDUE
    assert world.statuses() == [(MIDNIGHT + DAY, Status.EXPECTED), (MIDNIGHT, Status.FAILED)]
    assert len(world.people.alerts) == 1
    assert world.at(MIDNIGHT + DAY) is DueState.OVERDUE
    assert world.people.titles[-1] == "Still: Backup overdue: shop"


def test_a_night_that_somebody_canceled_is_told_as_overdue_once_its_grace_is_over(world: World) -> None:
    world.at(MIDNIGHT - DAY / 2)
    world.now = MIDNIGHT
    world.fail(CanceledError("Stopped by hand."))
    assert world.at(MIDNIGHT + HOUR) is DueState.WAITING
    for minutes in range(120, 600, 60):
        assert world.at(MIDNIGHT + minutes * MINUTE) is DueState.OVERDUE
    assert [title.partition(":")[0] for title in world.people.titles] == ["Backup canceled", "Backup overdue"]


def test_a_run_that_is_still_under_way_after_its_grace_is_said_to_be(world: World) -> None:
    world.at(MIDNIGHT - DAY / 2)
    world.now = MIDNIGHT
    running = world.begin()
    world.now = MIDNIGHT + 3 * HOUR
    found = account(SHOP, world.ports)
    assert (found.freshness.state, found.freshness.running) == (DueState.OVERDUE, running.backup_id)
    assert f"One is running since 2026-11-20 18:00 UTC: {running.backup_id}." in found.freshness.what
    assert (found.settlement.missed, found.settlement.catch_up) == ((), None)


def test_of_watchers_that_meet_one_writes_and_one_alert_comes(world: World) -> None:
    world.at(MIDNIGHT - DAY / 2)
    world.now = MIDNIGHT + DAY + DAY / 2
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: account(SHOP, world.ports), range(8)))
    assert [status for _, status in world.statuses()] == [Status.EXPECTED, Status.MISSED, Status.MISSED]
    assert world.people.titles == ["Backup overdue: shop"]


def test_looking_writes_nothing_and_tells_nobody(world: World) -> None:
    world.at(MIDNIGHT - DAY / 2)
    before = world.statuses()
    found = look(SHOP, world.ledger, MIDNIGHT + 9 * DAY)
    assert (found.state, found.missed) == (DueState.OVERDUE, ())  # nobody has counted them yet
    assert (world.statuses(), world.people.alerts) == (before, [])
    world.at(MIDNIGHT + 9 * DAY)
    assert len(look(SHOP, world.ledger, MIDNIGHT + 9 * DAY).missed) == 9
    assert len(world.people.alerts) == 1


def test_a_full_backup_pings_its_start_and_its_end_and_the_audit_says_what_became_of_it(world: World) -> None:
    failed = world.fail()
    good = world.succeed()
    world.succeed(kind=Kind.TABLES)
    ids = [failed.backup_id, good.backup_id]
    assert world.switch.heard == [
        f"start shop: start: backup {ids[0]}",
        "fail shop: goods is on fire.\nWhat to do: Put it out.",
        f"start shop: start: backup {ids[1]}",
        f"success shop: success: backup {ids[1]}",
    ]
    pings = [event for event in reversed(world.ledger.audits()) if event.action == "ping"]
    assert [event.backup_id for event in pings] == [ids[0], ids[0], ids[1], ids[1]]
    assert pings[0].detail == {"signal": "start", "url": "http://switch", "error": "refused"}
    assert pings[3].detail == {"signal": "success", "url": "http://switch", "error": None}
    assert world.ledger.dues.newest_good("shop", datetime.now(UTC) + timedelta(days=3650)) is not None


def test_a_run_without_a_row_pings_its_failure(world: World) -> None:
    world.ledger = faulty(world.ledger, list=GONE)
    request = Request(
        SHOP, Kind.FULL, ("goods",), local_date(world.now, SHOP.timezone), Trigger.AUTOMATIC, TESTER, run_id="r1"
    )
    with pytest.raises(LedgerUnavailableError):
        begin(request, world.ports)
    assert world.switch.heard == ["fail shop: the ledger is gone"]
    assert world.people.titles == ["Backup failed: shop"]


def test_without_the_threads_nothing_is_held_back_and_no_backup_suffers(tmp_path: Path) -> None:
    ledger = new_ledger()
    threads = faulty(ledger.threads, failing=GONE, recovered=GONE)
    world = World(faulty(ledger, threads=threads), People(), tmp_path)
    world.fail()
    world.fail()
    assert len(world.people.alerts) == 2
    world.succeed()
    assert world.ledger.dues.newest_good("shop", datetime.now(UTC) + timedelta(days=3650)) is not None
