"""Pruning the backups of businesses: chains stay whole, in batches, killed at any step; in a directory and in S3."""

from __future__ import annotations

import logging
import os
import time
import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from backup_pipeline import catalogs
from backup_pipeline.catalogs import load_catalogs
from backup_pipeline.core.businesses.ticks import BusinessMiss, Miss, Tick, TickStatus
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.ledger import Attempt, Claim, Hold, Outcome, Status
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.core.retention import Rule
from backup_pipeline.core.retention.prune import Versions, Why
from backup_pipeline.core.scope import Scope
from backup_pipeline.operations.browse import place_of
from backup_pipeline.operations.leases import leased, reading
from backup_pipeline.operations.retention import businesses, prune
from backup_pipeline.operations.retention.businesses import (
    BusinessesPruneReport,
    prune_businesses,
    remove_in_batches,
)
from backup_pipeline.operations.retention.plan import plan_prune, prune_request, prune_requests
from backup_pipeline.stores.directory import DirectoryStore
from backup_pipeline.stores.s3 import Lock, LockMode
from backup_pipeline.stores.s3.store import S3Store
from backup_pipeline_tests.actors import RAHIM, TESTER
from backup_pipeline_tests.core.retained import NOW
from backup_pipeline_tests.core.retention.test_chains import business_backup, chain
from backup_pipeline_tests.doubles.stores import StoreFault
from backup_pipeline_tests.operations.shelved import BUNDLE, Shelved, bundle_of, filed, manifest_of
from backup_pipeline_tests.servers.ledgers import ScratchLedger, new_ledger_of
from backup_pipeline_tests.servers.moto import MotoServer

DAY = 24 * 60
logger = logging.getLogger(__name__)
RULE = Rule(keep_within="48 hours", keep_daily=2, min_keep=0)


@pytest.fixture(scope="module")
def retail() -> Catalog:
    """The retail system, of whose businesses the last backup of each of two days stays, and all of 48 hours."""
    made = load_catalogs(Path(catalogs.__file__).parent)["retail"]
    assert made.businesses is not None
    return made.model_copy(update={"businesses": made.businesses.model_copy(update={"retention": RULE})})


def history(business: str) -> list[Attempt]:
    """A chain of 40 days ago, and one by hand; one of four days ago, whose last is that of its day; and one of now.

    In order of age. What the rule lets go is the first chain.
    """
    scope = Scope("retail", business=business)
    salt = int(business) * 1000
    oldest = chain(40 * DAY, 4, salt=salt, scope=scope)
    by_hand = business_backup(40 * DAY - 60, salt + 90, scope=scope, type=Trigger.MANUAL)
    older = chain(4 * DAY, 4, salt=salt + 100, scope=scope)
    newest = chain(90, 3, salt=salt + 200, scope=scope)
    return [*oldest, by_hand, *older, *newest]


def shelf(*names: str, **given: object) -> Shelved:
    made = Shelved(**given)  # type: ignore[arg-type]
    for name in names:
        made.add(*history(name), partitions=False)
    return made


def cleaned(shop: Shelved, catalog: Catalog, *, confirmed: bool = True) -> BusinessesPruneReport:
    request, _ = prune_requests(catalog, TESTER, Versions.LEAVE)
    report = prune_businesses(catalog, request, shop.ports, confirmed=confirmed)
    assert report is not None
    return report


def good(shop: Shelved, business: str) -> list[str]:
    rows = shop.ledger.list(scope=Scope("retail", business=business))
    return [row.backup_id for row in rows if row.status.good]


def expected(business: str) -> list[str]:
    """All but the oldest chain, newest first."""
    return [row.backup_id for row in sorted(history(business)[4:], key=lambda row: row.created_at, reverse=True)]


def assert_pruned(shop: Shelved, *names: str) -> None:
    for name in names:
        assert good(shop, name) == expected(name)
        stored = {key.split("/")[-2] for key in shop.stored(f"retail/businesses/{name}/backups/")}
        assert stored == set(expected(name))


def test_the_plan_touches_nothing_and_the_prune_takes_what_no_chain_needs(retail: Catalog) -> None:
    shop = shelf("41", "42")
    before = shop.stored()
    plan = cleaned(shop, retail, confirmed=False)
    assert (plan.businesses, plan.kept, plan.going, plan.bytes) == (2, 16, 8, 8000)
    assert shop.stored() == before
    report = cleaned(shop, retail)
    assert (report.kept, report.going, report.stayed, report.partial) == (16, 8, 0, False)
    assert [each.business for each in report.largest] == ["41", "42"]
    assert_pruned(shop, "41", "42")
    first = history("41")[0].backup_id
    assert shop.actions(first) == ["removing", "expired"]
    assert cleaned(shop, retail).going == 0, "pruning twice is pruning once"


def test_old_ticks_go_with_whom_they_missed_and_the_newest_stays(
    retail: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(businesses, "_TICKS_AT_ONCE", 2)
    shop = shelf("41")
    ticks, now = shop.ledger.ticks, shop.ports.clock()
    numbers = []
    for days in (90, 60, 50, 40, 36, 34):
        tick = ticks.begin(Tick("retail", now - timedelta(days=days), TickStatus.RUNNING))
        missed = BusinessMiss("41", Miss.FAILED, "no room")
        ticks.end(replace(tick, status=TickStatus.PARTIAL, failed=1, misses=(missed,)))
        numbers.append(tick.number)
    other = ticks.begin(Tick("other", now - timedelta(days=90), TickStatus.MISSED))
    at_work = ticks.begin(Tick("retail", now - timedelta(days=80), TickStatus.RUNNING, by_hand=True))
    assert cleaned(shop, retail, confirmed=False).ticks == 5
    assert cleaned(shop, retail).ticks == 5
    assert [tick.number for tick in ticks.list("retail")] == [numbers[-1], at_work.number]
    assert [len(tick.misses) for tick in ticks.list("retail")] == [1, 0]
    assert [tick.number for tick in ticks.list("other")] == [other.number]
    ticks.end(replace(at_work, status=TickStatus.FAILED))
    assert ticks.older("retail", before=now + timedelta(days=1)) == 1, (
        "the newest of the schedule says when ticks ended"
    )


def test_businesses_are_read_by_page_and_removed_in_batches(retail: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(businesses, "PAGE", 2)
    monkeypatch.setattr(businesses, "BATCH", 3)
    shop = shelf("41", "42", "43")
    assert cleaned(shop, retail).businesses == 3
    assert_pruned(shop, "41", "42", "43")


def test_what_is_held_or_read_since_the_plan_stays_with_its_chain(retail: Catalog) -> None:
    shop = shelf("41", "42")
    held, read = history("41")[2], history("42")[3]
    for row in (held, read):
        request = prune_request(row.scope, {"retail": retail}, TESTER, Versions.LEAVE)
        plan = plan_prune(request, shop.ports)
        if row is held:
            shop.ledger.hold(row.backup_id, Hold(RAHIM, "the audit"))
            report = prune(plan, request, shop.ports, remove=remove_in_batches)
            assert good(shop, "41")[-3:] == [each.backup_id for each in history("41")[2::-1]]
            assert {each.kept for each in report.removed} == {
                "",
                "held by rahim until it is released: the audit",
                f"{held.backup_id} goes on from it, and stays",
            }
        else:
            with reading(row.backup_id, "restore", RAHIM, shop.ports):
                prune(plan, request, shop.ports, remove=remove_in_batches)
            assert len(good(shop, "42")) == 12


def test_a_business_whose_lease_somebody_has_is_left_for_the_next_time(retail: Catalog) -> None:
    shop = shelf("41", "42")
    claim = Claim(Scope("retail", business="41"), "prune of another", RAHIM, replace(shop.ports.owner, pid=1))
    with leased(claim, shop.ports):
        report = cleaned(shop, retail)
    assert list(report.busy) == ["41"]
    assert report.error().exit_code == 3
    assert_pruned(shop, "42")
    assert len(good(shop, "41")) == 12


def test_what_was_left_of_a_gone_backup_is_swept_and_the_others_gone_are_not_read(retail: Catalog) -> None:
    shop = shelf("41")
    cleaned(shop, retail)
    left, other = history("41")[0], history("42")[0]
    shop.file(left, manifest=False, partitions=False)
    unknown = replace(other, scope=left.scope)
    shop.file(unknown, manifest=False, partitions=False)
    request = prune_request(left.scope, {"retail": retail}, TESTER, Versions.LEAVE)
    plan = plan_prune(request, shop.ports)
    assert [each.reason for each in plan.debris] == ["the backup is expired, and this was left of it"]
    [remark] = plan.remarks
    assert remark.startswith(f"orphan: {unknown.backup_id} has no manifest in the store, and no row in the ledger.")
    cleaned(shop, retail)
    assert shop.stored(place_of(left).prefix) == []
    assert shop.stored(place_of(unknown).prefix) != []


class Killed(BaseException):
    """The process ended here."""


class KilledLedger(ScratchLedger):
    """A ledger that kills at the `at`th of its writes; 0: never."""

    writes, at = 0, 0

    def _count(self) -> None:
        self.writes += 1
        if self.writes == self.at:
            raise Killed

    def adopt(self, rows: Sequence[Attempt], events: Sequence[object]) -> None:
        self._count()
        super().adopt(rows, events)  # type: ignore[arg-type]

    def end_all(self, outcomes: Mapping[str, Outcome]) -> None:
        self._count()
        super().end_all(outcomes)


def _whole_chains(shop: Shelved, business: str) -> None:
    """No backup is there, in the store, without what it goes on from."""
    there = {key.split("/")[-2] for key in shop.stored("retail/") if key.endswith("/manifest.json")}
    for row in history(business):
        if row.backup_id in there and row.goes_on_from:
            assert row.goes_on_from in there


def test_killed_before_or_after_any_delete_the_next_prune_does_the_rest(retail: Catalog) -> None:
    calls = 0
    while True:
        shop = shelf("41")
        shop.faulty.on("delete", StoreFault(nth=calls + 1, error=Killed()))
        try:
            cleaned(shop, retail)
        except Killed:
            calls += 1
            _whole_chains(shop, "41")
            cleaned(shop, retail)
            assert_pruned(shop, "41")
        else:
            break
    assert calls >= 4 + 1


def test_killed_at_any_write_of_the_ledger_the_next_prune_does_the_rest(retail: Catalog) -> None:
    at = 0
    while True:
        at += 1
        ledger = new_ledger_of(KilledLedger)
        shop = shelf("41", ledger=ledger)
        ledger.writes, ledger.at = 0, at
        try:
            cleaned(shop, retail)
        except Killed:
            ledger.at = 0
            _whole_chains(shop, "41")
            cleaned(shop, retail)
            assert_pruned(shop, "41")
        else:
            break
    assert at > 3, "of each batch: what is going, that it is gone, and its audit"


def test_in_a_directory(retail: Catalog, tmp_path: Path) -> None:
    shop = shelf("41", store=DirectoryStore(tmp_path / "store"))
    assert cleaned(shop, retail).going == 4
    assert_pruned(shop, "41")


def test_where_the_bucket_locks_one_backup_it_stays_with_its_chain(
    retail: Catalog, lock_server: MotoServer, locked_bucket: str
) -> None:
    store = S3Store(locked_bucket, "", replace(lock_server.admin, lock=Lock(LockMode.COMPLIANCE, 30)))
    shop = shelf("41", store=store)
    first, second, third, fourth = history("41")[:4]
    store.delete([place_of(second).manifest])
    store.keep(place_of(second).manifest, [manifest_of(second)])
    report = cleaned(shop, retail)
    assert {(left.why, left.key) for left in report.left} == {(Why.LOCKED, place_of(second).manifest)}
    assert (report.going, report.stayed, report.only_locked) == (2, 2, True)
    statuses = [shop.row(row.backup_id).status for row in (first, second, third, fourth)]
    assert statuses == [Status.SUCCESS, Status.SUCCESS, Status.EXPIRED, Status.EXPIRED]
    assert store.head(place_of(first).manifest) is not None
    assert store.head(place_of(fourth).manifest) is None


def many(business: int, chains: int) -> Iterator[Attempt]:
    """So many chains of 25, one every 125 minutes, the newest an hour old."""
    for number in range(chains):
        first = 125 * (number + 1) + 60
        yield from chain(
            first, 25, salt=business * 10_000 + number * 25, scope=Scope("retail", business=f"{business:04d}")
        )


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.acceptance("3.37")
@pytest.mark.parametrize("number", [2, 20])
def test_a_hundred_thousand_objects_in_bounded_memory_and_time(retail: Catalog, tmp_path: Path, number: int) -> None:
    """Businesses with 2,500 backups each, nine days of ticks; two days stay, and the chain of another.

    Twenty take the memory of two, and ten times their time.
    """
    store = DirectoryStore(tmp_path / "store")
    shop = Shelved(store=store)
    for business in range(number):
        rows = [filed(row) for row in many(business, 100)]
        for row in rows:
            folder = tmp_path / "store" / place_of(row).prefix
            folder.mkdir(parents=True)
            for name, content in ((BUNDLE, bundle_of(row)), ("manifest.json", manifest_of(row))):
                (folder / name).write_bytes(content)
                at = (row.finished_at or NOW).timestamp()
                os.utime(folder / name, (at, at))
        shop.ledger.adopt(rows, [])
    tracemalloc.start()
    began = time.monotonic()
    report = cleaned(shop, retail)
    seconds, (_, peak) = time.monotonic() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    logger.info("%d backups in %.0f s, at most %.0f MB", report.going, seconds, peak / 1e6)
    assert report.going > 1_750 * number
    assert not report.partial
    assert peak < 100e6, "of one business at a time"
    assert seconds < 150 * number
    for business in range(number):
        left = shop.ledger.list(scope=Scope("retail", business=f"{business:04d}"), status=[Status.SUCCESS])
        ids = {row.backup_id for row in left}
        assert all(row.goes_on_from in ids for row in left if row.kind is Kind.INCREMENTAL)
        assert all(row.backup_id in ids for row in many(business, 100) if NOW - row.created_at < timedelta(hours=48))
