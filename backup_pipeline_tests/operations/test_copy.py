"""Copying to the second store: every byte compared, gaps filled later, and never at the first store's cost."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from backup_pipeline.core.alerts import Alert, Delivery, Severity
from backup_pipeline.core.copies import Copy, CopyStatus
from backup_pipeline.core.errors import NotFoundError, SettingsError, StoreUnavailableError
from backup_pipeline.core.ledger import Attempt, Status
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.core.ports import Ports, Second, Store
from backup_pipeline.core.schedule import local_date
from backup_pipeline.core.verification import Level, depth_of
from backup_pipeline.operations.attempts import Request, Work, begin
from backup_pipeline.operations.backup import bundle_attempt, export_attempt
from backup_pipeline.operations.copy import copy_backup, copy_missing, missing_copies, order_of, verify_copy
from backup_pipeline.operations.verify import VerifyRequest
from backup_pipeline.stores.directory import DirectoryStore
from backup_pipeline_tests.actors import RAHIM, TESTER
from backup_pipeline_tests.doubles.ports import now
from backup_pipeline_tests.doubles.stores import FaultyStore, MemoryStore, StoreFault
from backup_pipeline_tests.operations.conftest import SHOP, Made
from backup_pipeline_tests.operations.made import Place

NOWHERE = "postgresql://nobody@127.0.0.1:1/none"
AWAY = StoreUnavailableError("The second store does not answer.", do="Wait for it.")
URL = "memory://second"


class Listening:
    """The port `Alerter`, which remembers what people were told."""

    channels: Sequence[str] = ("test://",)

    def __init__(self) -> None:
        self.heard: list[Alert] = []

    def send(self, alert: Alert, only: Collection[str] | None = None) -> Sequence[Delivery]:
        self.heard.append(alert)
        return [Delivery("test://", None)]


@dataclass
class Desk:
    """A made backup, a second store, and the ports of a copy between them."""

    made: Made
    second: MemoryStore
    people: Listening
    spool: Path

    def ports(self, *, first: Store | None = None, second: Store | None = None) -> Ports:
        ports = Place(self.spool, first or self.made.store, self.made.ledger).ports(NOWHERE)
        return replace(ports, alerter=self.people, second=Second(URL, second or self.second))

    def copy(self, *, first: Store | None = None, second: Store | None = None) -> Copy:
        return copy_backup(order_of(self.made.attempt, RAHIM), self.ports(first=first, second=second))

    @property
    def row(self) -> Copy | None:
        return self.made.ledger.copies.get(self.made.attempt.backup_id, URL)

    @property
    def actions(self) -> list[str]:
        return [event.action for event in reversed(self.made.ledger.audits(self.made.attempt.backup_id))]


@pytest.fixture
def desk(made: Made, tmp_path: Path) -> Desk:
    return Desk(made, MemoryStore(), Listening(), tmp_path)


def same(desk: Desk) -> bool:
    keys = (desk.made.bundle, desk.made.place.manifest)
    return all(desk.second.get(key) == desk.made.store.get(key) for key in keys)


def test_a_copy_has_every_byte_and_its_own_row(desk: Desk) -> None:
    row = desk.copy()
    assert same(desk)
    assert desk.row == row
    assert (row.status, depth_of(row.verification), row.sha256) == (CopyStatus.GOOD, 1, desk.made.attempt.sha256)
    assert row.bytes == sum(stored.size for stored in desk.second.list(""))
    assert row.verification is not None
    assert desk.actions == ["copy"]
    assert desk.people.heard == []


def test_a_backup_on_a_disk_is_copied_like_any_other(desk: Desk, tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "second")
    assert desk.copy(second=store).status is CopyStatus.GOOD
    assert store.get(desk.made.bundle) == desk.made.store.get(desk.made.bundle)


def test_the_manifest_comes_last(desk: Desk) -> None:
    seen: list[str] = []
    second = FaultyStore(desk.second).on("put", StoreFault(times=None, before=seen.append))
    desk.copy(second=second)
    assert seen == [desk.made.bundle, desk.made.place.manifest]


def test_what_is_there_and_good_is_not_sent_again(desk: Desk) -> None:
    desk.copy()
    second = FaultyStore(desk.second)
    assert desk.copy(second=second).status is CopyStatus.GOOD
    assert "put" not in second.calls


def test_a_damaged_copy_is_replaced(desk: Desk) -> None:
    desk.copy()
    desk.second.put(desk.made.bundle, [b"not it"])
    assert desk.copy().status is CopyStatus.GOOD
    assert same(desk)


def test_what_the_first_store_gives_wrongly_is_not_copied(desk: Desk) -> None:
    first = FaultyStore(desk.made.store).on("stream", StoreFault(nth=2, flip=4711))
    row = desk.copy(first=first)
    assert row.status is CopyStatus.FAILED
    assert "is damaged" in (row.error_message or "")
    assert list(desk.second.list("")) == []


@pytest.mark.parametrize("key", ["bundle", "manifest"])
def test_what_does_not_come_back_from_the_second_is_no_copy(desk: Desk, key: str) -> None:
    second = FaultyStore(desk.second).on("put", StoreFault(nth=1 if key == "bundle" else 2, flip=80))
    row = desk.copy(second=second)
    assert row.status is CopyStatus.FAILED
    assert "did not come back" in (row.error_message or "")
    assert desk.second.head(desk.made.place.manifest) is None


def test_a_failed_copy_is_told_once_and_its_recovery_once(desk: Desk) -> None:
    away = FaultyStore(desk.second).on("head", StoreFault(times=None, error=AWAY))
    for _ in range(3):
        row = desk.copy(second=away)
        assert (row.status, desk.row) == (CopyStatus.FAILED, row)
    (told,) = desk.people.heard
    assert told.severity is Severity.WARNING
    assert "copy --missing" in told.do
    assert desk.copy().status is CopyStatus.GOOD
    assert [alert.severity for alert in desk.people.heard] == [Severity.WARNING, Severity.INFO]
    assert desk.copy().status is CopyStatus.GOOD
    assert len(desk.people.heard) == 2


def test_a_copy_that_is_stopped_leaves_no_manifest_and_a_row_that_says_so(desk: Desk) -> None:
    second = FaultyStore(desk.second).on("put", StoreFault(nth=2, error=KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        desk.copy(second=second)
    assert desk.row is not None
    assert (desk.row.status, desk.row.error_message) == (CopyStatus.FAILED, "The copy was stopped.")
    assert desk.second.head(desk.made.place.manifest) is None
    assert desk.copy().status is CopyStatus.GOOD


def test_without_a_second_store_there_is_nothing_to_copy_to(desk: Desk) -> None:
    with pytest.raises(SettingsError, match="BACKUP_SECOND_STORE"):
        copy_backup(order_of(desk.made.attempt, RAHIM), replace(desk.ports(), second=None))


def test_what_has_no_bundle_can_not_be_copied(desk: Desk) -> None:
    with pytest.raises(NotFoundError):
        order_of(replace(desk.made.attempt, status=Status.DELETED), RAHIM)


def test_gaps_are_filled_and_then_there_are_none(desk: Desk) -> None:
    ports = desk.ports()
    decisions = missing_copies(ports)
    assert [each.wanted for each in decisions] == [True]
    assert [row.status for row in copy_missing(decisions, ports, actor=RAHIM)] == [CopyStatus.GOOD]
    again = missing_copies(ports)
    assert [each.wanted for each in again] == [False]


def verified(desk: Desk, level: Level = Level.CONTENTS) -> bool:
    ports = replace(desk.ports(), store=desk.second, spool=desk.spool)
    return verify_copy(desk.made.attempt, VerifyRequest(level), ports, actor=RAHIM).passed


def test_a_copy_is_verified_in_its_own_row(desk: Desk) -> None:
    desk.copy()
    before = desk.made.ledger.get(desk.made.attempt.backup_id)
    assert verified(desk)
    assert desk.row is not None
    assert (depth_of(desk.row.verification), desk.row.good) == (2, True)
    assert desk.made.ledger.get(desk.made.attempt.backup_id) == before
    assert desk.actions == ["copy", "verify"]


def test_damage_in_the_second_store_is_the_copys_alone_and_makes_it_wanted(desk: Desk) -> None:
    desk.copy()
    bad = bytearray(desk.second.get(desk.made.bundle))
    bad[len(bad) // 2] ^= 1
    desk.second.put(desk.made.bundle, [bytes(bad)])
    assert not verified(desk)
    assert desk.row is not None
    assert not desk.row.good
    assert [each.wanted for each in missing_copies(desk.ports())] == [True]
    assert desk.copy().good
    assert verified(desk)


def test_a_copy_that_the_ledger_does_not_know_is_known_once_it_was_verified(desk: Desk) -> None:
    for key in (desk.made.bundle, desk.made.place.manifest):
        desk.second.put(key, [desk.made.store.get(key)])
    assert verified(desk, Level.BYTES)
    assert desk.row is not None
    assert desk.row.good


def test_what_was_never_copied_can_not_be_verified_there(desk: Desk) -> None:
    with pytest.raises(NotFoundError, match="never copied"):
        verified(desk)


def backed_up(url: str, place: Place, ports: Ports) -> Attempt:
    tables = tuple(SHOP.tables)
    request = Request(SHOP, Kind.FULL, tables, local_date(now(), SHOP.timezone), Trigger.MANUAL, TESTER)
    attempt = begin(request, ports)
    work = Work(request, attempt, ports)
    assert all(result.error is None for result in export_attempt(work))
    bundle_attempt(work)
    found = place.ledger.get(attempt.backup_id)
    assert found is not None
    return found


def test_a_backup_is_copied_when_it_is_made(shop_url: str, tmp_path: Path) -> None:
    place, second = Place(tmp_path), MemoryStore()
    ports = replace(place.ports(shop_url), second=Second(URL, second))
    attempt = backed_up(shop_url, place, ports)
    assert attempt.status is Status.SUCCESS
    (row,) = place.ledger.copies.list(backup_id=attempt.backup_id)
    assert row.good
    assert {stored.key for stored in second.list("")} < {stored.key for stored in place.store.list("")}


def test_a_second_store_that_is_away_costs_a_warning_and_not_the_backup(shop_url: str, tmp_path: Path) -> None:
    place, people = Place(tmp_path), Listening()
    away = FaultyStore(MemoryStore()).on("head", StoreFault(times=None, error=AWAY))
    ports = replace(place.ports(shop_url), second=Second(URL, away), alerter=people)
    attempt = backed_up(shop_url, place, ports)
    assert attempt.status is Status.SUCCESS_WITH_WARNINGS
    assert any("was not copied" in warning for warning in attempt.warnings)
    assert [alert.severity for alert in people.heard] == [Severity.WARNING]


def test_whoever_stops_the_copy_does_not_undo_the_backup(shop_url: str, tmp_path: Path) -> None:
    place = Place(tmp_path)
    stopped = FaultyStore(MemoryStore()).on("put", StoreFault(error=KeyboardInterrupt()))
    ports = replace(place.ports(shop_url), second=Second(URL, stopped))
    with pytest.raises(KeyboardInterrupt):
        backed_up(shop_url, place, ports)
    (attempt,) = place.ledger.list()
    assert attempt.status is Status.SUCCESS_WITH_WARNINGS
    assert any("stopped" in warning for warning in attempt.warnings)
