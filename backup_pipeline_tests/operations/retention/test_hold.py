"""Holding and releasing a backup: in the store and in the ledger, and who may not."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from backup_pipeline.core.errors import NotFoundError, StoreDeniedError, UsageError, VerificationError
from backup_pipeline.core.ledger import Hold, Status, read_hold, seal_hold
from backup_pipeline.operations.browse import place_of
from backup_pipeline.operations.retention.hold import hold_backup, release_backup
from backup_pipeline_tests.actors import KARIM, RAHIM
from backup_pipeline_tests.core.retained import NOW, days
from backup_pipeline_tests.doubles.stores import StoreFault
from backup_pipeline_tests.operations.shelved import Shelved, add_row, with_status

HOLD = Hold(RAHIM, "the audit of 2026", NOW + timedelta(days=9))


@pytest.fixture
def shop() -> Shelved:
    made = Shelved()
    made.add(*days(2))
    return made


def test_a_hold_stands_in_the_store_and_in_the_ledger_until_it_is_released(shop: Shelved) -> None:
    row = days(2)[1]
    hold_backup(row, HOLD, shop.ports)
    assert shop.row(row.backup_id).hold == HOLD
    told = json.loads(shop.store.get(place_of(row).hold))
    assert told == {"backup_id": row.backup_id, "until": "2026-11-30T21:00:00+00:00"}
    assert release_backup(shop.row(row.backup_id), shop.ports, actor=KARIM, reason="done")
    assert shop.row(row.backup_id).hold is None
    assert shop.store.head(place_of(row).hold) is None
    assert shop.actions(row.backup_id) == ["hold", "release"]
    released = shop.ledger.audits(row.backup_id)[0]
    assert (str(released.actor), released.detail["held_by"], released.detail["reason"]) == ("karim", "rahim", "done")


def test_a_second_hold_takes_the_place_of_the_first(shop: Shelved) -> None:
    row = days(2)[1]
    hold_backup(row, HOLD, shop.ports)
    hold_backup(row, Hold(KARIM, "for ever"), shop.ports)
    assert shop.row(row.backup_id).hold == Hold(KARIM, "for ever", None)
    assert read_hold(shop.store.get(place_of(row).hold), "it") is None


def test_a_hold_wants_a_reason_and_a_time_to_come(shop: Shelved) -> None:
    row = days(2)[1]
    for wrong in (Hold(RAHIM, "  "), Hold(RAHIM, "late", NOW)):
        with pytest.raises(UsageError):
            hold_backup(row, wrong, shop.ports)
    assert shop.row(row.backup_id).hold is None
    assert shop.store.head(place_of(row).hold) is None


@pytest.mark.parametrize("status", [Status.FAILED, Status.EXPIRED, Status.DELETED, Status.MISSED])
def test_only_what_is_there_can_be_held(shop: Shelved, status: Status) -> None:
    row = with_status(days(2)[1], status)
    add_row(shop.ledger, row)
    with pytest.raises(NotFoundError):
        hold_backup(row, HOLD, shop.ports)


def test_a_backup_without_its_manifest_can_not_be_held(shop: Shelved) -> None:
    row = days(2)[1]
    shop.store.delete([place_of(row).manifest])
    with pytest.raises(NotFoundError, match=r"manifest\.json is missing"):
        hold_backup(row, HOLD, shop.ports)


def test_when_the_ledger_does_not_know_it_the_store_still_holds(shop: Shelved, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the two: the store comes first, so the backup is held rather than not."""
    row = days(2)[1]
    monkeypatch.setattr(shop.ledger, "hold", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        hold_backup(row, HOLD, shop.ports)
    assert shop.store.head(place_of(row).hold) is not None


def test_release_says_whether_there_was_a_hold(shop: Shelved) -> None:
    row = days(2)[1]
    assert not release_backup(row, shop.ports, actor=KARIM)
    shop.store.put(place_of(row).hold, [seal_hold(row.backup_id, None)])
    assert release_backup(row, shop.ports, actor=KARIM), "one that only the store knows"
    assert shop.store.head(place_of(row).hold) is None


def test_where_nobody_may_delete_a_hold_is_released_by_writing_that_it_is_over(shop: Shelved) -> None:
    row = days(2)[1]
    hold_backup(row, HOLD, shop.ports)
    shop.faulty.on("delete", StoreFault(times=None, error=StoreDeniedError("no")))
    release_backup(shop.row(row.backup_id), shop.ports, actor=KARIM)
    assert read_hold(shop.store.get(place_of(row).hold), "it") == NOW
    assert shop.row(row.backup_id).hold is None


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"until": "soon"}', b'{"until": 5}', b"\xff"])
def test_a_hold_that_is_damaged_is_said_to_be(data: bytes) -> None:
    with pytest.raises(VerificationError, match=r"hold\.json can not be read"):
        read_hold(data, "hold.json")
