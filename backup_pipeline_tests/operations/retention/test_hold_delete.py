"""Deleting one backup: what protects it, the confirmation, and what is left of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backup_pipeline.core.errors import LockedError, RefusedError, StoreDeniedError
from backup_pipeline.core.ledger import Attempt, Hold, Status, seal_hold
from backup_pipeline.core.names import Trigger
from backup_pipeline.core.restore.requests import RestoreRow
from backup_pipeline.core.scope import Scope
from backup_pipeline.core.verification import Level, Verification
from backup_pipeline.operations.browse import place_of
from backup_pipeline.operations.retention.hold import DeleteRequest, check_deletable, delete_backup, left_error
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.core.retained import NOW, backup, days
from backup_pipeline_tests.doubles.stores import StoreFault
from backup_pipeline_tests.operations.shelved import Shelved, add_row, sizes, with_status


@pytest.fixture
def shop() -> Shelved:
    made = Shelved()
    made.add(*days(6))
    return made


def _refusal(shop: Shelved, row: Attempt) -> str:
    before, rows = shop.stored(), shop.ledger.list()
    with pytest.raises(RefusedError) as caught:
        delete_backup(DeleteRequest(row, shop.wish, row.backup_id), shop.ports)
    assert (shop.stored(), shop.ledger.list()) == (before, rows)
    assert "Nothing was touched." in caught.value.what
    return caught.value.what


def test_a_backup_that_nothing_protects_goes_and_its_row_stays(shop: Shelved) -> None:
    row = days(6)[3]
    size = sizes(shop.store.list(place_of(row).prefix))
    removed = delete_backup(DeleteRequest(row, shop.wish, row.backup_id, "private data in it"), shop.ports)
    assert (removed.objects, removed.bytes, removed.left, removed.kept) == (2, size, (), "")
    assert shop.row(row.backup_id).status is Status.DELETED
    assert shop.stored(place_of(row).prefix) == []
    assert shop.actions(row.backup_id) == ["removing", "deleted"]
    assert shop.ledger.audits(row.backup_id)[0].detail["why"] == "private data in it"
    shop.prune()
    assert shop.stored(f"shop/tables/goods/backup_date={row.partition_date}/") == []


def test_the_newest_good_one_stays(shop: Shelved) -> None:
    assert "the newest good backup" in _refusal(shop, days(6)[0])


def test_a_held_one_stays(shop: Shelved) -> None:
    row = days(6)[3]
    shop.ledger.hold(row.backup_id, Hold(RAHIM, "the audit"))
    assert "held by rahim until it is released: the audit" in _refusal(shop, shop.row(row.backup_id))


def test_one_that_only_the_store_knows_to_be_held_stays(shop: Shelved) -> None:
    row = days(6)[3]
    shop.store.put(place_of(row).hold, [seal_hold(row.backup_id, None)])
    assert "held: its hold.json is in the store" in _refusal(shop, row)


def test_one_that_a_restore_reads_stays(shop: Shelved) -> None:
    row = days(6)[3]
    shop.ledger.restores.add(RestoreRow(row.backup_id, Scope("shop"), "new", "postgresql://t", "db", RAHIM, NOW))
    assert "restore request 1 is requested" in _refusal(shop, row)


def test_one_within_the_grace_stays(shop: Shelved) -> None:
    row = backup(NOW, type=Trigger.MANUAL, salt=8)
    shop.add(row, backup(NOW, type=Trigger.MANUAL, salt=9))
    assert "younger than the grace of 60 minutes" in _refusal(shop, row)


def test_one_whose_successor_is_not_verified_stays(shop: Shelved) -> None:
    rows = days(6)
    add_row(shop.ledger, replace(rows[2], verification=Verification(Level.BYTES, rows[2].created_at, passed=False)))
    assert f"{rows[2].backup_id}, which comes after it, is not verified" in _refusal(shop, rows[3])


def test_the_floor_stays(shop: Shelved) -> None:
    rows = days(6)
    for row in rows[3:]:
        delete_backup(DeleteRequest(row, shop.wish, row.backup_id), shop.ports)
    assert "min_keep: 3 automatic backups always stay, and 2 would be left" in _refusal(shop, rows[2])


def test_a_manual_one_goes_because_manual_ones_have_no_floor(shop: Shelved) -> None:
    row = backup(days(6)[4].started_at, type=Trigger.MANUAL, salt=8)
    shop.add(row)
    delete_backup(DeleteRequest(row, shop.wish, row.backup_id), shop.ports)
    assert shop.row(row.backup_id).status is Status.DELETED


def test_every_reason_is_told(shop: Shelved) -> None:
    row = replace(days(6)[0], hold=Hold(RAHIM, "the audit"))
    add_row(shop.ledger, row)
    told = _refusal(shop, row)
    assert "held by rahim" in told
    assert "the newest good backup" in told


def test_one_that_is_being_made_is_locked(shop: Shelved) -> None:
    with pytest.raises(LockedError) as caught:
        check_deletable(backup(NOW, status=Status.RUNNING), shop.wish, shop.ports)
    assert caught.value.exit_code == 11


@pytest.mark.parametrize("status", [Status.EXPECTED, Status.MISSED])
def test_what_never_was_can_not_be_deleted(shop: Shelved, status: Status) -> None:
    row = backup(NOW, status=status, salt=3)
    add_row(shop.ledger, row)
    assert "nothing of it was ever stored" in _refusal(shop, row)


@pytest.mark.parametrize("status", [Status.FAILED, Status.CANCELED, Status.EXPIRED])
def test_what_is_left_of_one_that_failed_or_expired_goes(shop: Shelved, status: Status) -> None:
    row = backup(days(6)[4].started_at, status=status, salt=3)
    shop.file(row, manifest=False, partitions=False)
    add_row(shop.ledger, row)
    assert delete_backup(DeleteRequest(row, shop.wish, row.backup_id), shop.ports).objects == 1
    assert shop.row(row.backup_id).status is Status.DELETED


def test_deleting_again_removes_what_was_left(shop: Shelved) -> None:
    row = days(6)[3]
    shop.faulty.on("delete", StoreFault(nth=2, error=StoreDeniedError("no", do="ask")))
    removed = delete_backup(DeleteRequest(row, shop.wish, row.backup_id), shop.ports)
    assert len(removed.left) == 1
    assert left_error(removed).exit_code == 3
    assert "is deleted, but something of it is left" in left_error(removed).what
    again = delete_backup(DeleteRequest(shop.row(row.backup_id), shop.wish, row.backup_id), shop.ports)
    assert (again.objects, again.left) == (1, ())
    assert shop.stored(place_of(row).prefix) == []


def test_a_store_that_refuses_keeps_the_backup_whole_and_listed(shop: Shelved) -> None:
    row = days(6)[3]
    shop.faulty.on("delete", StoreFault(error=StoreDeniedError("no", do="ask")))
    removed = delete_backup(DeleteRequest(row, shop.wish, row.backup_id), shop.ports)
    assert shop.row(row.backup_id).status is Status.SUCCESS
    assert len(shop.stored(place_of(row).prefix)) == 2
    assert left_error(removed).exit_code == 3
    assert "stays whole" in left_error(removed).what


@pytest.mark.parametrize("typed", [None, "", "latest", "20261121T180000Z-full-00000000x"])
def test_the_id_is_typed_twice(shop: Shelved, typed: str | None) -> None:
    row = days(6)[3]
    with pytest.raises(RefusedError, match="is not confirmed") as caught:
        delete_backup(DeleteRequest(row, shop.wish, typed), shop.ports)
    assert caught.value.exit_code == 21
    assert f"backup-pipeline delete {row.backup_id} --confirm {row.backup_id}" in caught.value.do
    assert shop.row(row.backup_id).status is Status.SUCCESS


def test_a_status_that_moves_meanwhile_is_no_backup_any_more(shop: Shelved) -> None:
    row = with_status(days(6)[3], Status.DELETED)
    add_row(shop.ledger, row)
    assert delete_backup(DeleteRequest(row, shop.wish, row.backup_id), shop.ports).objects == 2
