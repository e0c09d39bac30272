"""Pruning: what goes and what stays in store and ledger, killed at every step, and debris of killed runs."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from backup_pipeline.core.copies import Copy, CopyStatus
from backup_pipeline.core.errors import (
    LeaseLostError,
    LedgerError,
    LockedError,
    StoreDeniedError,
    StoreUnavailableError,
)
from backup_pipeline.core.ledger import LIFE, Attempt, AuditEvent, Claim, Hold, Outcome, Status
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.core.ports import Second
from backup_pipeline.core.restore.requests import RestoreChange, RestoreRow, RestoreStatus
from backup_pipeline.core.retention.prune import Why
from backup_pipeline.core.scope import Scope
from backup_pipeline.operations.browse import place_of
from backup_pipeline.operations.retention import prune
from backup_pipeline.operations.retention.hold import DeleteRequest, delete_backup, hold_backup
from backup_pipeline_tests.actors import KARIM, RAHIM
from backup_pipeline_tests.core.retained import NOW, backup, days
from backup_pipeline_tests.doubles.ports import NOBODY
from backup_pipeline_tests.doubles.stores import FaultyStore, MemoryStore, StoreFault
from backup_pipeline_tests.operations.shelved import Shelved, add_row, keys_of, old, sizes, with_status
from backup_pipeline_tests.servers.ledgers import ScratchLedger, new_ledger_of

DAY = timedelta(days=1)


@pytest.fixture
def shop() -> Shelved:
    """Five days' backups, and two that are too old; all with partitions of their dates."""
    made = Shelved()
    made.add(*days(5), *old(2))
    return made


class Killed(BaseException):
    """The process ended here."""


def _assert_pruned(shop: Shelved) -> None:
    """Everything old is gone, and nothing else."""
    assert shop.statuses() == ["success"] * 5 + ["expired"] * 2
    assert {key.split("backup_date=")[1][:10] for key in shop.stored()} == {f"2026-11-{day}" for day in range(18, 23)}
    for row in shop.ledger.list(status=[Status.SUCCESS]):
        assert shop.store.head(place_of(row).manifest) is not None
        assert shop.store.head(place_of(row).bundle("full_backup.zip")) is not None


def test_a_plan_touches_nothing(shop: Shelved) -> None:
    before, rows = shop.stored(), shop.ledger.list()
    plan = shop.plan()
    of_days = [stored for stored in shop.store.list("") if "-10-1" in stored.key and "/backups/" not in stored.key]
    assert [verdict.attempt.backup_id for verdict in plan.removed] == [row.backup_id for row in reversed(old(2))]
    assert [str(day.day) for day in plan.removed_days] == ["2026-10-12", "2026-10-13"]
    assert (shop.stored(), shop.ledger.list(), shop.ledger.audits()) == (before, rows, [])
    assert plan.bytes == 2 * 1000 + sizes(of_days)


def test_what_the_rules_let_go_is_removed_and_everything_is_written_down(shop: Shelved) -> None:
    before = sizes(shop.store.list(""))
    report = shop.prune()
    _assert_pruned(shop)
    assert not report.partial
    assert [each.objects for each in report.removed] == [2, 2]
    assert report.bytes == before - sizes(shop.store.list(""))
    gone = old(2)[0].backup_id
    assert shop.actions(gone) == ["removing", "expired"]
    assert shop.actions() == ["prune", "pruned"]
    detail = next(event.detail for event in shop.ledger.audits() if event.action == "prune")
    assert isinstance(detail["backups"], list)
    assert detail["backups"][1]["reasons"] == ["keep_within: 30 days were over at 2026-11-11 21:00 UTC"]
    assert shop.row(gone).finished_at == old(2)[0].finished_at
    assert shop.row(days(1)[0].backup_id).expires_at == days(1)[0].started_at + 30 * DAY


def test_pruning_again_finds_nothing_to_do(shop: Shelved) -> None:
    shop.prune()
    assert shop.plan().empty
    again = shop.prune()
    assert (again.removed, again.days, again.debris, again.partial) == ((), (), 0, False)


class CountingLedger(ScratchLedger):
    """A ledger that kills at the `at`th write; 0: never. `writes` counts them."""

    writes, at = 0, 0

    def _count(self) -> None:
        self.writes += 1
        if self.writes == self.at:
            raise Killed

    def audit(self, event: AuditEvent) -> None:
        self._count()
        super().audit(event)

    def end(self, backup_id: str, outcome: Outcome) -> None:
        self._count()
        super().end(backup_id, outcome)


def _crashing() -> tuple[Shelved, CountingLedger]:
    ledger = new_ledger_of(CountingLedger)
    shop = Shelved(ledger=ledger)
    shop.add(*days(5), *old(2))
    return shop, ledger


def test_killed_before_any_change_of_the_store_the_next_prune_does_it_all() -> None:
    deletes = 0
    while True:
        shop, _ = _crashing()
        shop.faulty.on("delete", StoreFault(nth=deletes + 1, error=Killed()))
        try:
            shop.prune()
        except Killed:
            deletes += 1
            assert [row for row in shop.ledger.list() if row.status.good and not _whole(row, shop)] == [
                row for row in shop.ledger.list() if row.status.good and row.backup_id in shop.plan().begun
            ]
            shop.prune()
            _assert_pruned(shop)
        else:
            break
    assert deletes == 2 * 2 + 2 * 5


def test_killed_after_any_change_of_the_store_the_next_prune_does_the_rest() -> None:
    for nth in range(1, 15):
        shop, _ = _crashing()
        inner_delete = shop.memory.delete

        def after(keys: list[str], nth: int = nth, calls: list[int] = [], inner_delete: object = inner_delete) -> None:  # noqa: B006
            inner_delete(keys)  # type: ignore[operator]
            calls.append(1)
            if len(calls) == nth:
                raise Killed

        object.__setattr__(shop.memory, "delete", after)
        with pytest.raises(Killed):
            shop.prune()
        object.__setattr__(shop.memory, "delete", inner_delete)
        shop.prune()
        _assert_pruned(shop)


def test_killed_before_any_write_of_the_ledger_the_next_prune_does_the_rest() -> None:
    whole, counter = _crashing()
    whole.prune()
    for at in range(1, counter.writes + 1):
        shop, ledger = _crashing()
        ledger.at = at
        with pytest.raises(Killed):
            shop.prune()
        ledger.at = 0
        shop.prune()
        _assert_pruned(shop)


def _whole(row: Attempt, shop: Shelved) -> bool:
    return shop.memory.head(place_of(row).manifest) is not None


def test_a_manifest_that_is_missing_without_a_word_is_told_and_nothing_is_removed(shop: Shelved) -> None:
    lost = old(1)[0]
    shop.memory.delete([place_of(lost).manifest])
    plan = shop.plan()
    [remark] = plan.remarks
    assert remark.startswith(f"orphan: {lost.backup_id} is success in the ledger, and has no manifest in the store.")
    assert "rebuild" in remark
    shop.prune()
    assert shop.row(lost.backup_id).status is Status.SUCCESS
    assert shop.memory.head(place_of(lost).bundle("full_backup.zip")) is not None
    assert any("2026-10-13" in key for key in shop.stored("shop/tables/")), "its date is not freed either"


def test_a_lost_backup_protects_no_other_one_and_lets_no_other_one_go(shop: Shelved) -> None:
    """The newest ones lost their manifests: what is left is the newest, and the floor."""
    for row in days(5):
        shop.memory.delete([place_of(row).manifest])
    assert [verdict.removed for verdict in shop.plan().verdicts] == [False, False]


def test_a_manifest_without_a_row_is_told_and_nothing_is_removed(shop: Shelved) -> None:
    unknown = backup(NOW - 300 * DAY, salt=77)
    shop.file(unknown)
    assert shop.plan().remarks == (
        f"orphan: {unknown.backup_id} is in the store with its manifest, but has no row in the ledger. "
        "`backup-pipeline rebuild` makes the ledger what the store is.",
    )
    shop.prune()
    assert _whole(unknown, shop)
    assert any(f"backup_date={unknown.partition_date}" in key for key in shop.stored("shop/tables/"))


@pytest.mark.parametrize("status", [Status.FAILED, Status.CANCELED])
def test_a_bundle_without_a_manifest_goes_after_the_grace(shop: Shelved, status: Status) -> None:
    killed = backup(NOW - timedelta(minutes=90), salt=5, status=status)
    shop.file(killed, manifest=False, partitions=False)
    add_row(shop.ledger, killed)
    [debris] = shop.plan().debris
    assert debris.reason == f"no manifest, and its run is {status}"
    report = shop.prune()
    assert shop.stored(place_of(killed).prefix) == []
    assert report.debris == 1
    assert shop.row(killed.backup_id).status is status


def test_a_bundle_that_no_ledger_knows_stays_also_without_its_manifest(shop: Shelved) -> None:
    unknown = backup(NOW - timedelta(minutes=90), salt=5)
    shop.file(unknown, manifest=False, partitions=False)
    [remark] = shop.plan().remarks
    assert f"{unknown.backup_id} has no manifest in the store, and no row in the ledger" in remark
    shop.prune()
    assert shop.stored(place_of(unknown).prefix) != []


def test_a_bundle_that_is_being_made_or_is_within_the_grace_is_no_debris(shop: Shelved) -> None:
    running = backup(NOW - timedelta(hours=9), salt=5, status=Status.RUNNING, finished_at=NOW - timedelta(hours=3))
    fresh = backup(NOW - timedelta(minutes=40), salt=6, status=Status.FAILED)
    for row in (running, fresh):
        shop.file(row, manifest=False)
        add_row(shop.ledger, row)
    assert shop.plan().debris == ()


def test_what_was_left_of_a_removed_backup_is_swept_at_once(shop: Shelved) -> None:
    gone = with_status(backup(NOW - 50 * DAY, salt=9), Status.EXPIRED)
    shop.file(gone, manifest=False, partitions=False)
    add_row(shop.ledger, gone)
    assert [each.reason for each in shop.plan().debris] == ["the backup is expired, and this was left of it"]
    shop.prune()
    assert shop.stored(place_of(gone).prefix) == []


def test_partitions_stay_as_long_as_a_backup_of_their_date(shop: Shelved) -> None:
    day = old(1)[0]
    manual = backup(day.started_at + timedelta(hours=5), type=Trigger.MANUAL, salt=50)
    shop.add(manual)
    shop.prune()
    assert shop.row(day.backup_id).status is Status.EXPIRED
    assert shop.stored(f"shop/tables/goods/backup_date={day.partition_date}/") != []
    assert shop.stored(f"shop/schema/backup_date={day.partition_date}/") != []


def test_partitions_of_no_backup_go_but_for_fresh_ones_and_those_of_a_run(shop: Shelved) -> None:
    lonely = backup(NOW - 20 * DAY, salt=1, status=Status.FAILED)
    shop.file(lonely, manifest=False)
    add_row(shop.ledger, lonely)
    assert [str(day.day) for day in shop.plan().removed_days] == [
        "2026-10-12",
        "2026-10-13",
        str(lonely.partition_date),
    ]
    again = backup(NOW - timedelta(minutes=5), salt=2, status=Status.RUNNING, partition_date=lonely.partition_date)
    add_row(shop.ledger, again)
    assert str(lonely.partition_date) not in [str(day.day) for day in shop.plan().removed_days]
    add_row(shop.ledger, replace(again, status=Status.FAILED))
    shop.store.put(f"shop/tables/goods/backup_date={lonely.partition_date}/part-00001.parquet", [b"new"])
    assert str(lonely.partition_date) not in [str(day.day) for day in shop.plan().removed_days]


def test_a_run_that_begins_after_the_plan_keeps_the_partitions_of_its_date(shop: Shelved) -> None:
    plan = shop.plan()
    row = backup(NOW, salt=3, status=Status.RUNNING, partition_date=old(1)[0].partition_date, late=True)
    add_row(shop.ledger, row)
    report = prune(plan, shop.wish, shop.ports)
    assert [str(day) for day in report.days] == ["2026-10-12"]
    assert shop.stored(f"shop/tables/goods/backup_date={row.partition_date}/") != []


def test_partitions_that_were_never_bundled_go_by_the_rules_too(shop: Shelved) -> None:
    rows = [
        backup(NOW - back * DAY, kind=Kind.TABLES, table_counts={}, tables_wanted=("goods",), salt=back)
        for back in (60, 61, 20)
    ]
    shop.add(*rows)
    shop.wish = replace(
        shop.wish,
        retention=shop.wish.retention.model_copy(
            update={"automatic": shop.wish.retention.automatic.model_copy(update={"min_keep": 0})}
        ),
    )
    shop.prune()
    assert [shop.row(row.backup_id).status for row in rows] == [Status.EXPIRED, Status.EXPIRED, Status.SUCCESS]
    assert shop.stored(f"shop/tables/goods/backup_date={rows[0].partition_date}/") == []
    assert shop.stored(f"shop/tables/goods/backup_date={rows[2].partition_date}/") != []


def test_who_holds_a_backup_after_the_plan_was_made_keeps_it_and_its_partitions(shop: Shelved) -> None:
    plan, row = shop.plan(), old(1)[0]
    shop.ledger.hold(row.backup_id, Hold(RAHIM, "wait"))
    report = prune(plan, shop.wish, shop.ports)
    assert [each.kept for each in report.removed] == ["", "held by rahim until it is released: wait"]
    assert report.partial
    assert shop.row(row.backup_id).status is Status.SUCCESS
    assert _whole(row, shop)
    assert shop.stored(f"shop/tables/goods/backup_date={row.partition_date}/") != []


def test_a_hold_outlives_its_ledger(shop: Shelved) -> None:
    row = old(1)[0]
    hold_backup(row, Hold(RAHIM, "the audit", NOW + DAY), shop.ports)
    add_row(shop.ledger, row)  # as a rebuilt ledger has it: nobody holds it
    [verdict] = [each for each in shop.plan().verdicts if each.attempt.backup_id == row.backup_id]
    assert not verdict.removed
    assert verdict.reasons[0].startswith("held: its hold.json is in the store")
    shop.now = NOW + 2 * DAY
    assert row.backup_id in [each.attempt.backup_id for each in shop.plan().removed]
    shop.prune()
    assert shop.stored(place_of(row).prefix) == []


def test_a_hold_that_can_not_be_read_holds(shop: Shelved) -> None:
    row = old(1)[0]
    shop.store.put(place_of(row).hold, [b"not json"])
    assert row.backup_id not in [each.attempt.backup_id for each in shop.plan().removed]


def _request(shop: Shelved, row: Attempt) -> int:
    asked = RestoreRow(row.backup_id, Scope("shop"), "new", "postgresql://target", "db", RAHIM, NOW)
    return shop.ledger.restores.add(asked).id


def test_a_backup_that_a_restore_reads_or_waits_for_stays(shop: Shelved) -> None:
    row = old(1)[0]
    number = _request(shop, row)
    for status in (None, RestoreStatus.APPROVED, RestoreStatus.RUNNING):
        if status is not None:
            shop.ledger.restores.change(number, RestoreChange(status))
        assert row.backup_id not in [each.attempt.backup_id for each in shop.plan().removed]
    shop.ledger.restores.change(number, RestoreChange(RestoreStatus.DONE))
    assert row.backup_id in [each.attempt.backup_id for each in shop.plan().removed]


def test_a_restore_that_begins_after_the_plan_keeps_its_backup(shop: Shelved) -> None:
    plan, row = shop.plan(), old(1)[0]
    _request(shop, row)
    report = prune(plan, shop.wish, shop.ports)
    assert report.removed[1].kept == "restore request 1 is requested: it reads this backup"
    assert _whole(row, shop)


def test_a_store_that_lets_nobody_delete_keeps_everything_listed(shop: Shelved) -> None:
    denied = StoreDeniedError("S3 said no to: delete: AccessDenied", do="Prune with other credentials.")
    shop.faulty.on("delete", StoreFault(times=None, error=denied))
    before = shop.stored()
    report = shop.prune()
    assert shop.stored() == before
    assert set(shop.statuses()) == {"success"}
    assert {left.why for left in report.left} == {Why.DENIED}
    assert report.left[0].key == place_of(old(2)[1]).manifest
    assert report.error().exit_code == 3
    assert "S3 said no to: delete: AccessDenied" in str(report.error())
    assert shop.actions(old(1)[0].backup_id) == ["removing", "not removed"]
    assert shop.plan().begun == {}


def test_what_can_not_be_removed_whole_says_so_in_its_row_and_goes_later(shop: Shelved) -> None:
    denied = StoreDeniedError("no", do="ask")
    shop.faulty.on("delete", StoreFault(nth=2, times=1, error=denied))  # the bundle of the oldest
    report = shop.prune()
    row = shop.row(old(2)[1].backup_id)
    assert row.status is Status.EXPIRED
    assert row.warnings == (f"Of {place_of(row).bundle('full_backup.zip')} something is left in the store. no",)
    assert report.partial
    assert shop.prune().debris == 1
    assert shop.stored(place_of(row).prefix) == []


def test_a_store_that_goes_away_is_an_error_and_not_a_refusal(shop: Shelved) -> None:
    shop.faulty.on("delete", StoreFault(nth=2, error=StoreUnavailableError("503")))
    with pytest.raises(StoreUnavailableError):
        shop.prune()
    shop.prune()
    _assert_pruned(shop)


def test_without_its_ledger_nothing_is_removed(shop: Shelved, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, before = shop.plan(), shop.stored()

    def away(event: AuditEvent) -> None:
        raise LedgerError("gone")

    monkeypatch.setattr(shop.ledger, "audit", away)
    with pytest.raises(LedgerError):
        prune(plan, shop.wish, shop.ports)
    assert shop.stored() == before


def test_copies_go_with_their_backups_and_a_copy_that_stays_is_tried_again(shop: Shelved) -> None:
    second = FaultyStore(MemoryStore())
    for row in shop.ledger.list():
        for key in shop.stored(place_of(row).prefix):
            second.put(key, [b"copy"])
        shop.ledger.copies.put(Copy(row.backup_id, Scope("shop"), "file:///second", CopyStatus.GOOD, NOW))
    ports = replace(shop.ports, second=Second("file:///second", second))
    second.on("delete", StoreFault(times=1, error=StoreDeniedError("no", do="ask")))
    report = prune(shop.plan(), shop.wish, ports)
    oldest, older = old(2)[1].backup_id, old(2)[0].backup_id
    assert len(report.left) == 1
    assert report.left[0].key.startswith("file:///second/shop/backups/")
    statuses = {each: shop.ledger.copies.get(each, "file:///second").status for each in (oldest, older)}  # type: ignore[union-attr]
    assert sorted(statuses.values()) == ["deleted", "good"]
    prune(shop.plan(), shop.wish, ports)
    assert {key.split("/")[3] for key in keys_of(second)} == {row.backup_id for row in days(5)}


def test_only_one_writes_a_catalog_at_a_time(shop: Shelved) -> None:
    row, leases, before = days(5)[3], shop.ledger.leases, shop.stored()
    held = leases.acquire(Claim(Scope("shop"), "a backup", KARIM, NOBODY), LIFE)
    with pytest.raises(LockedError, match="written by a backup"):
        prune(shop.plan(), shop.wish, shop.ports)
    with pytest.raises(LockedError, match="written by a backup"):
        delete_backup(DeleteRequest(row, shop.wish, row.backup_id), shop.ports)
    assert shop.stored() == before
    leases.release(held)
    delete_backup(DeleteRequest(row, shop.wish, row.backup_id), shop.ports)
    shop.prune()
    assert leases.get(Scope("shop")) is None, "given back"


def test_a_prune_that_loses_its_lease_removes_nothing_more(shop: Shelved, monkeypatch: pytest.MonkeyPatch) -> None:
    before = shop.stored()
    monkeypatch.setattr(shop.ledger.leases, "renew", lambda *_: None)
    with pytest.raises(LeaseLostError):
        prune(shop.plan(), shop.wish, shop.ports)
    assert shop.stored() == before
