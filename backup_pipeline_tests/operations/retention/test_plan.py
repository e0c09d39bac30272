"""Before a backup goes, the one that stays in its place is looked at in the store: in doubt, everything stays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from backup_pipeline.core.copies import Copy, CopyStatus
from backup_pipeline.core.errors import RefusedError
from backup_pipeline.core.layout import BackupPlace
from backup_pipeline.core.ledger import Attempt, AuditEvent, Status
from backup_pipeline.core.names import Kind
from backup_pipeline.core.ports import Second
from backup_pipeline.core.rebuild import GONE_MESSAGE
from backup_pipeline.core.retention import Retention
from backup_pipeline.core.scope import Scope
from backup_pipeline.operations.browse import place_of
from backup_pipeline.operations.retention import prune
from backup_pipeline.operations.retention.hold import DeleteRequest, delete_backup
from backup_pipeline.operations.retention.plan import PruneRequest
from backup_pipeline_tests.actors import TESTER
from backup_pipeline_tests.core.retained import NOW, backup, days
from backup_pipeline_tests.doubles.stores import MemoryStore
from backup_pipeline_tests.operations.shelved import BUNDLE, Shelved, add_row, old

RULE = Retention.model_validate({"automatic": {"keep_within": "30 days", "min_keep": 0}})
NEWEST, OLD = days(1)[0], old(1)[0]


def gone(shop: Shelved, row: Attempt) -> None:
    shop.memory.delete([place_of(row).bundle(BUNDLE)])


def cut_off(shop: Shelved, row: Attempt) -> None:
    shop.memory.put(place_of(row).bundle(BUNDLE), [b"b" * 999])


def damaged(shop: Shelved, row: Attempt) -> None:
    shop.memory.put(place_of(row).bundle(BUNDLE), [b"b" * 999 + b"c"])


def without_manifest(shop: Shelved, row: Attempt) -> None:
    shop.memory.delete([place_of(row).manifest])


def with_another_manifest(shop: Shelved, row: Attempt) -> None:
    other = shop.memory.get(place_of(row).manifest).replace(b'"created_by"', b'"created_bx"')
    shop.memory.put(place_of(row).manifest, [other])


def under_another_date(shop: Shelved, row: Attempt) -> None:
    """Its files lie under a later date, and are gone where they belong."""
    there = BackupPlace(row.scope, row.partition_date + timedelta(days=1), row.backup_id)
    for stored in list(shop.memory.list(place_of(row).prefix)):
        shop.memory.put(there.prefix + stored.key.rpartition("/")[2], [shop.memory.get(stored.key)])
        shop.memory.delete([stored.key])


LOSSES = (gone, cut_off, damaged, without_manifest, with_another_manifest, under_another_date)
AT_ONCE = tuple(lose for lose in LOSSES if lose is not damaged)
"""What shows without reading a bundle whole."""
Loss = Callable[[Shelved, Attempt], None]


@pytest.fixture
def two() -> Shelved:
    """The backup of today, and one that the rule lets go: the only other one there is."""
    shop = Shelved(wish=PruneRequest(Scope("shop"), TESTER, RULE, "Asia/Dhaka"))
    shop.add(NEWEST, OLD)
    return shop


def is_whole(row: Attempt, shop: Shelved) -> bool:
    return len(shop.stored(place_of(row).prefix)) == 2


def test_with_a_good_newest_the_old_one_goes(two: Shelved) -> None:
    assert [each.attempt.backup_id for each in two.plan().removed] == [OLD.backup_id]
    two.prune()
    assert not is_whole(OLD, two)


@pytest.mark.parametrize("lose", LOSSES)
def test_the_only_good_backup_stays_when_the_newest_is_lost(two: Shelved, lose: Loss) -> None:
    lose(two, NEWEST)
    plan = two.plan()
    assert plan.removed == ()
    [why] = [each.reasons for each in plan.verdicts if each.attempt.backup_id == OLD.backup_id]
    assert why[0] == "the newest good backup"
    two.prune()
    assert is_whole(OLD, two)
    assert two.row(OLD.backup_id).status is Status.SUCCESS
    assert any(key.startswith(f"shop/tables/goods/backup_date={OLD.partition_date}") for key in two.stored())


@pytest.mark.parametrize("lose", [gone, cut_off, damaged, with_another_manifest])
def test_the_plan_says_why_it_stays(two: Shelved, lose: Loss) -> None:
    lose(two, NEWEST)
    plan = two.plan()
    [verdict] = [each for each in plan.verdicts if each.attempt.backup_id == OLD.backup_id]
    assert f"{NEWEST.backup_id}, which comes after it, is no good backup: " in verdict.reasons[1]
    assert any(remark.startswith(f"broken: {NEWEST.backup_id}") for remark in plan.remarks)


@pytest.mark.parametrize("lose", LOSSES)
def test_nor_does_delete_remove_it(two: Shelved, lose: Loss) -> None:
    lose(two, NEWEST)
    with pytest.raises(RefusedError, match="the newest good backup"):
        delete_backup(DeleteRequest(two.row(OLD.backup_id), two.wish, two.row(OLD.backup_id).backup_id), two.ports)
    assert is_whole(OLD, two)


@pytest.mark.parametrize("lose", AT_ONCE)
def test_a_successor_that_is_lost_between_plan_and_removal_keeps_it(two: Shelved, lose: Loss) -> None:
    plan = two.plan()
    assert plan.removed
    lose(two, NEWEST)
    report = prune(plan, two.wish, two.ports)
    assert is_whole(OLD, two)
    assert "which was to stay in its place" in report.removed[0].kept


@pytest.mark.parametrize("lose", AT_ONCE)
def test_what_is_lost_takes_no_place_in_a_count(lose: Loss) -> None:
    rule = Retention.model_validate({"automatic": {"keep_last": 2, "min_keep": 0}})
    shop = Shelved(wish=PruneRequest(Scope("shop"), TESTER, rule, "Asia/Dhaka"))
    rows = days(4)
    shop.add(*rows)
    lose(shop, rows[1])
    kept = {each.attempt.backup_id for each in shop.plan().verdicts if not each.removed}
    assert {rows[0].backup_id, rows[2].backup_id} <= kept


def test_the_newest_that_is_lost_leaves_the_next_one_to_lean_on(two: Shelved) -> None:
    yesterday = days(2)[1]
    two.add(yesterday)
    damaged(two, NEWEST)
    assert [each.attempt.backup_id for each in two.plan().removed] == [OLD.backup_id]
    damaged(two, yesterday)
    assert two.plan().removed == ()


def test_partitions_stand_in_only_while_their_files_are_there() -> None:
    newer, older = (
        backup(NOW - timedelta(days=back), salt=back, kind=Kind.TABLES, tables_wanted=("goods",), table_counts={})
        for back in (1, 40)
    )
    shop = Shelved(wish=PruneRequest(Scope("shop"), TESTER, RULE, "Asia/Dhaka"))
    shop.add(newer, older)
    assert [each.attempt for each in shop.plan().removed] == [older]
    shop.memory.delete([f"shop/tables/goods/backup_date={newer.partition_date}/partition.json"])
    assert shop.plan().removed == ()


def test_a_selective_backup_stays_when_what_replaces_it_goes_too() -> None:
    narrow = replace(NEWEST, table_counts={"goods": 1})
    wide, chosen = old(2)
    chosen = replace(chosen, kind=Kind.SELECTIVE, backup_id=chosen.backup_id.replace("full", "selective"))
    shop = Shelved(wish=PruneRequest(Scope("shop"), TESTER, RULE, "Asia/Dhaka"))
    shop.add(narrow, wide, chosen)
    assert [each.attempt.backup_id for each in shop.plan().removed] == [wide.backup_id]


def test_a_refused_removal_is_over_so_a_manifest_that_is_gone_later_is_a_loss(two: Shelved) -> None:
    for action in ("removing", "not removed"):
        two.ledger.audit(AuditEvent(NOW, TESTER, action, OLD.backup_id, {"to": "expired"}))
    without_manifest(two, OLD)
    plan = two.plan()
    assert plan.begun == {}
    assert any(OLD.backup_id in remark for remark in plan.remarks)
    two.prune()
    assert two.stored(place_of(OLD).prefix) == [place_of(OLD).bundle(BUNDLE)]


def test_the_copy_of_a_backup_that_somebody_else_removed_survives(two: Shelved) -> None:
    lost = replace(two.row(OLD.backup_id), status=Status.DELETED, error_message=GONE_MESSAGE)
    add_row(two.ledger, lost)
    second = MemoryStore()
    for stored in two.memory.list(place_of(OLD).prefix):
        second.put(stored.key, [two.memory.get(stored.key)])
    two.ledger.copies.put(Copy(OLD.backup_id, Scope("shop"), "s3://second", CopyStatus.GOOD, NOW))
    ports = replace(two.ports, second=Second("s3://second", second))
    prune(two.plan(), two.wish, ports)
    assert len(list(second.list(""))) == 2


def test_a_copy_of_the_files_under_another_date_hides_nothing(two: Shelved) -> None:
    there = BackupPlace(Scope("shop"), NEWEST.partition_date + timedelta(days=900), NEWEST.backup_id)
    two.memory.put(there.manifest, [b"{}"])
    assert [each.attempt.backup_id for each in two.plan().removed] == [OLD.backup_id]
