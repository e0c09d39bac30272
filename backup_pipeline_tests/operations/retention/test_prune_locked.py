"""Pruning where the bucket locks: a locked backup stays whole, is told object by object, and goes when it may."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from backup_pipeline.core.ledger import Status
from backup_pipeline.core.ports import Ports
from backup_pipeline.core.retention.prune import Left, Why
from backup_pipeline.operations.browse import place_of
from backup_pipeline.operations.retention import prune
from backup_pipeline.operations.retention.hold import DeleteRequest, delete_backup, left_error
from backup_pipeline.operations.retention.plan import plan_prune
from backup_pipeline.stores.directory import PlainRemovals
from backup_pipeline.stores.s3 import Lock, LockMode
from backup_pipeline.stores.s3.store import S3Store
from backup_pipeline_tests.core.retained import days
from backup_pipeline_tests.operations.shelved import Shelved, add_row, old
from backup_pipeline_tests.servers.moto import MotoServer


@dataclass(frozen=True)
class Locking(PlainRemovals):
    """A store that locks what has `word` in its key."""

    word: str = ""

    def locked(self, keys: Sequence[str]) -> Sequence[Left]:
        return [Left(key, Why.LOCKED, "It is locked.", "Wait.") for key in keys if self.word in key]


@pytest.fixture
def shop() -> Shelved:
    made = Shelved()
    made.add(*days(5), *old(2))
    return made


def _ports(shop: Shelved, word: str) -> Ports:
    return replace(shop.ports, removals=lambda store: Locking(store, word))


def test_of_a_backup_with_one_locked_object_nothing_goes(shop: Shelved) -> None:
    row = old(1)[0]
    ports = _ports(shop, place_of(row).bundle("full_backup.zip"))
    before = shop.stored(place_of(row).prefix)
    plan = plan_prune(shop.wish, ports)
    assert set(plan.locked) == {row.backup_id}
    report = prune(plan, shop.wish, ports)
    assert shop.stored(place_of(row).prefix) == before
    assert shop.row(row.backup_id).status is Status.SUCCESS
    assert shop.stored(f"shop/tables/goods/backup_date={row.partition_date}/") != []
    assert [each.kept for each in report.removed] == ["", "locked by the store; it stays whole"]
    assert (report.partial, report.only_locked, report.error().exit_code) == (True, True, 3)
    assert shop.actions(row.backup_id) == ["not removed"]
    shop.prune()
    assert shop.row(row.backup_id).status is Status.EXPIRED, "unlocked, it goes"


def test_a_locked_backup_can_not_be_deleted_either(shop: Shelved) -> None:
    row = days(5)[3]
    removed = delete_backup(DeleteRequest(row, shop.wish, row.backup_id), _ports(shop, row.backup_id))
    assert (removed.objects, len(removed.left)) == (0, 2)
    assert left_error(removed).exit_code == 3
    assert shop.row(row.backup_id).status is Status.SUCCESS


def test_in_a_bucket_with_object_lock_the_ledger_stays_true(lock_server: MotoServer, locked_bucket: str) -> None:
    store = S3Store(locked_bucket, "", replace(lock_server.admin, lock=Lock(LockMode.COMPLIANCE, 30)))
    shop = Shelved(store=store)
    locked, free = old(2)
    for row in (*days(3), locked, free):
        shop.file(row, partitions=False)
        add_row(shop.ledger, row)
    store.delete([place_of(locked).manifest])
    store.keep(place_of(locked).manifest, [b"{}"])
    report = shop.prune()
    assert [left.why for left in report.left if locked.backup_id in left.key] == [Why.LOCKED]
    assert shop.row(locked.backup_id).status is Status.SUCCESS
    assert store.head(place_of(locked).manifest) is not None
    assert shop.row(free.backup_id).status is Status.EXPIRED
    assert store.head(place_of(free).manifest) is None
    hidden = [left for left in report.left if free.backup_id in left.key]
    assert {(left.why, left.hidden) for left in hidden} == {(Why.VERSIONED, True)}
