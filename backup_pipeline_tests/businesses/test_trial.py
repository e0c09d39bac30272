"""What changed of each business is found exactly, whatever people do; cruder ways fail in the same trial."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from backup_pipeline.core.alerts import Alert, Delivery
from backup_pipeline.core.businesses.ticks import Miss, TickStatus
from backup_pipeline.core.errors import BackupError, LeaseHeldError, NotFoundError, StoreError
from backup_pipeline.core.ledger import Claim
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.core.ports import Store
from backup_pipeline.core.rebuild import row_of
from backup_pipeline.core.scope import Purpose, Scope
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.formats.business_state import DuckKeyStates
from backup_pipeline.operations.businesses import TickReport, TickRequest, run_tick
from backup_pipeline.postgres import businesses as postgres_businesses
from backup_pipeline.postgres.businesses import PostgresBusinessRows
from backup_pipeline.postgres.session import Worker
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.businesses.trial import CATALOG, Trial, active, execute
from backup_pipeline_tests.doubles.ports import Quiet, now
from backup_pipeline_tests.doubles.stores import MemoryStore
from backup_pipeline_tests.servers.postgres import temporary_database


def run(trial: Trial, ticks: int) -> None:
    trial.prepare()
    try:
        for _ in range(ticks):
            trial.step()
            assert trial.wrong == []
    finally:
        trial.close()
    kinds = [stored.attempt.kind for report in trial.reports for stored in report.stored]
    assert kinds.count(Kind.INCREMENTAL) > ticks
    assert any(report.audited for report in trial.reports)
    assert trial.crude_wrong["xmin"] > 0
    assert trial.crude_wrong["updated_at"] > 0


@pytest.mark.acceptance("3.7")
def test_every_tick_has_every_business_as_it_is(fresh_database: str, tmp_path: Path) -> None:
    run(Trial(fresh_database, tmp_path, 7), 10)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.acceptance("3.7")
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_tick_of_hundreds(fresh_database: str, tmp_path: Path, seed: int) -> None:
    run(Trial(fresh_database, tmp_path, seed), 110)


@pytest.fixture(scope="module")
def shop(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    """A trial after its first tick."""
    with temporary_database(postgres_server) as url:
        trial = Trial(url, tmp_path_factory.mktemp("shop"), 3)
        trial.prepare()
        trial.end_a_long_transaction()
        trial.tick()
        yield trial
        trial.close()


def test_who_did_not_change_gets_nothing_and_is_confirmed(shop: Trial) -> None:
    shop.tick()
    report = shop.tick()
    assert (report.tick.changed, report.tick.unchanged) == (0, len(active(shop)))
    records = shop.ledger.ticks.newest_records("trial", active(shop))
    assert {record.confirmed_until for record in records.values()} == {report.tick.snapshot_at}
    assert all(record.snapshot_at < record.confirmed_until for record in records.values())


def test_a_transaction_that_stays_open_costs_no_backups(shop: Trial) -> None:
    with psycopg.connect(shop.url) as open_session:
        open_session.execute("CREATE TEMP TABLE held (n int)")  # it has an id of its own from here on
        execute(shop, f"UPDATE customers SET name = 'x' WHERE shop_id = {active(shop)[0]}")
        shop.tick()
        assert [shop.tick().tick.changed for _ in range(2)] == [0, 0]


@pytest.mark.acceptance("3.5")
def test_the_inactive_are_left_out_and_one_that_fails_stops_nobody(shop: Trial) -> None:
    first, second = active(shop)[:2]
    execute(
        shop,
        f"UPDATE shops SET status = 'closed' WHERE id = {first}",
        "INSERT INTO shops SELECT n, 'n' FROM generate_series(1, 7) n ON CONFLICT DO NOTHING",
        f"INSERT INTO customers VALUES (990001, {second}, 'new'), (990002, {first}, 'unseen')",
    )
    report = shop.tick()
    assert first in report.tick.left_out
    assert second in {each.attempt.scope.business for each in report.stored}
    assert shop.active[first] is False
    record = shop.ledger.ticks.newest_records("trial", [first])[first]
    assert report.tick.snapshot_at is not None
    assert record.confirmed_until < report.tick.snapshot_at, "nobody looked after it since it was closed"
    execute(shop, f"UPDATE shops SET status = 'active' WHERE id = {first}")
    again = shop.tick()
    (made,) = [each for each in again.stored if each.attempt.scope.business == first]
    assert made.attempt.kind is Kind.FULL


class _Failing(MemoryStore):
    """A store that keeps nothing of one business."""

    def __init__(self, inner: Store, business: str) -> None:
        self.__dict__ = inner.__dict__
        self._business = business

    def keep(self, key: str, chunks: Any, *, replace: bool = False) -> Any:
        if f"/businesses/{self._business}/" in key:
            message = "the disk of the store is full"
            raise StoreError(message, do="Make room.")
        return super().keep(key, chunks, replace=replace)


def test_a_business_that_fails_is_in_the_misses_and_gets_it_next_time(shop: Trial) -> None:
    broken, other = active(shop)[:2]
    execute(
        shop,
        f"INSERT INTO customers VALUES (980001, {broken}, 'lost?'), (980002, {other}, 'kept')",
        f"DELETE FROM customers WHERE id IN (SELECT id FROM customers WHERE shop_id = {broken} LIMIT 1)",
    )
    whole = shop.store
    shop.store = _Failing(whole, broken)
    report = run_tick(TickRequest(CATALOG, RAHIM), shop.states, shop.ports())
    shop.store = whole
    assert report.tick.status is TickStatus.PARTIAL
    assert [(miss.business, miss.outcome, miss.reason) for miss in report.tick.misses] == [
        (broken, Miss.FAILED, "the disk of the store is full")
    ]
    assert [each.attempt.scope.business for each in report.stored] == [other]
    shop.newest[other] = report.stored[0].attempt.backup_id
    assert shop.ledger.ticks.list("trial", limit=1)[0].misses == report.tick.misses
    assert [each.attempt.scope.business for each in shop.tick().stored] == [broken]
    assert shop.wrong == []


@pytest.mark.acceptance("3.32")
def test_a_backup_is_collected_then_stored_then_recorded_and_people_are_told(
    shop: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []

    def noted(of: type, method: str, step: Callable[..., str]) -> None:
        inner = getattr(of, method)

        def note_and_do(self: Any, *given: Any, **more: Any) -> Any:
            steps.append(step(*given))
            return inner(self, *given, **more)

        monkeypatch.setattr(of, method, note_and_do)

    business, newest = active(shop)[0], shop.ledger.events.newest()
    noted(PostgresBusinessRows, "rows_of", lambda table, _: f"collected {table.plan.name}")
    noted(MemoryStore, "keep", lambda key, *_: "stored " + key.rpartition(".")[2])
    noted(type(shop.ledger), "adopt", lambda rows, _: f"recorded {len(rows)}")
    (stored,) = shop_report(shop, only=frozenset({business}), apart=True).stored
    tables = [name for name, table in CATALOG.tables.items() if table and table.business != "shared"]
    assert sorted(steps[:-3]) == sorted(f"collected {name}" for name in tables)
    assert steps[-3:] == ["stored zip", "stored json", "recorded 1"]
    told = [event for event in shop.ledger.events.since(newest, 100) if event.kind == "backup"]
    assert [(event.business, event.subject, event.detail["status"]) for event in told] == [
        (business, stored.attempt.backup_id, "success")
    ]


def test_past_the_deadline_the_rest_is_left_for_the_next_tick(shop: Trial) -> None:
    execute(shop, "UPDATE customers SET name = name || '!'", "UPDATE shops SET name = name || '.'")
    clock = _Clock()
    ports = replace(shop.ports(), clock=clock.at)
    clock.jump_at = 4  # the tick has begun; then its time is over before a business is written
    report = run_tick(TickRequest(CATALOG, RAHIM), shop.states, ports)
    assert {miss.outcome for miss in report.tick.misses} == {Miss.SKIPPED}
    assert report.tick.skipped == report.tick.due == len(active(shop))
    assert shop.tick().tick.changed == report.tick.due
    assert shop.wrong == []


def test_a_row_says_what_its_backup_goes_on_from_and_so_does_one_that_is_rebuilt(shop: Trial) -> None:
    execute(shop, f"INSERT INTO customers VALUES (976001, {active(shop)[0]}, 'more')")
    shop.tick()
    stored = [each for report in shop.reports for each in report.stored if each.attempt.kind is Kind.INCREMENTAL]
    assert stored
    for each in stored:
        row = shop.ledger.get(each.attempt.backup_id)
        assert row is not None
        assert each.manifest is not None
        assert each.manifest.chain is not None
        rebuilt = row_of(each.manifest, "", "", now())
        assert row.goes_on_from == each.manifest.chain.previous == rebuilt.goes_on_from


class _Loud(Quiet):
    """An alerter that keeps what it is to send."""

    def __init__(self) -> None:
        self.sent: list[Alert] = []

    def send(self, alert: Alert, only: Collection[str] | None = None) -> Sequence[Delivery]:
        self.sent.append(alert)
        return []


def test_who_takes_all_of_its_room_is_told_once_and_backed_up_all_the_same(shop: Trial) -> None:
    business, alerter = active(shop)[0], _Loud()
    quiet, ports = shop.ledger.ticks.stored("trial", [business])[business][1], replace(shop.ports(), alerter=alerter)
    assert CATALOG.businesses is not None
    quota = CATALOG.businesses.quota.model_copy(update={"total": f"{quiet // 1000 + 1} kB", "file": "1 kB"})
    small = CATALOG.model_copy(update={"businesses": CATALOG.businesses.model_copy(update={"quota": quota})})
    reports = []
    for number in range(2):
        execute(shop, f"INSERT INTO customers VALUES ({975001 + number}, {business}, repeat('x', 2000))")
        reports.append(run_tick(TickRequest(small, RAHIM), shop.states, ports))
        shop.newest |= {str(each.attempt.scope.business): each.attempt.backup_id for each in reports[-1].stored}
    assert [[use.business for use in report.crowded] for report in reports] == [[business], [business]]
    assert [list(alert.tables) for alert in alerter.sent] == [[business]], "in the tick that filled it, not after it"
    assert [len(report.stored) for report in reports] == [1, 1]
    assert [len(report.big) for report in reports] == [1, 1]
    shop.tick()


@pytest.mark.slow
@pytest.mark.acceptance("3.36")
def test_a_business_of_more_than_fifty_megabytes_is_backed_up_whole_with_a_warning(shop: Trial) -> None:
    """Texts that no compression makes small; it is over the 50 MB of a file that the catalog names."""
    business = active(shop)[0]
    text = "(SELECT string_agg(md5(n::text || g::text), '') FROM generate_series(1, 4000) n)"
    execute(shop, f"INSERT INTO customers SELECT 940000 + g, {business}, {text} FROM generate_series(1, 1000) g")
    report = shop.tick()
    (stored,) = [each for each in report.stored if each.attempt.scope.business == business]
    assert (stored.attempt.file_size_bytes or 0) > 50_000_000
    assert report.big == (stored.attempt.backup_id,)
    assert shop.wrong == []
    execute(shop, "DELETE FROM customers WHERE id > 940000 AND id < 950000")
    shop.tick()


class _Clock:
    def __init__(self) -> None:
        self.looks, self.jump_at = 0, 10**9

    def at(self) -> datetime:
        self.looks += 1
        return now() + timedelta(minutes=5 if self.looks >= self.jump_at else 0)


def test_a_tick_that_finds_another_one_at_work_is_skipped_and_says_who(shop: Trial) -> None:
    claim = Claim(Scope("trial", purpose=Purpose.TICK), "tick 77", RAHIM, shop.ports().owner)
    lease = shop.ledger.leases.acquire(claim, timedelta(minutes=1))
    try:
        report = run_tick(TickRequest(CATALOG, RAHIM), shop.states, shop.ports())
        assert report.tick.status is TickStatus.SKIPPED
        assert "overrun" in report.tick.message
        assert "tick 77" in report.tick.message
        with pytest.raises(LeaseHeldError, match="tick 77"):
            run_tick(TickRequest(CATALOG, RAHIM, only=frozenset(active(shop)[:1])), shop.states, shop.ports())
    finally:
        shop.ledger.leases.release(lease)


def test_ticks_that_did_not_run_are_one_row_and_are_not_made_up_for(shop: Trial) -> None:
    shop.tick()
    last = shop.ledger.ticks.last("trial")
    assert last is not None
    report = shop.tick(scheduled_at=last.scheduled_at + timedelta(minutes=25))
    missed = report.missed
    assert missed is not None
    assert (missed.status, missed.missed_count) == (TickStatus.MISSED, 4)
    assert missed.scheduled_at == last.scheduled_at + timedelta(minutes=5)
    assert missed.missed_until == last.scheduled_at + timedelta(minutes=20)
    following = shop.tick(scheduled_at=last.scheduled_at + timedelta(minutes=30))
    assert following.missed is None


def test_a_state_that_is_lost_or_is_another_costs_fulls_and_no_row(shop: Trial, tmp_path: Path) -> None:
    before = shop.states
    shop.states = DuckKeyStates(tmp_path)
    report = shop.tick()
    assert {each.attempt.kind for each in report.stored} == {Kind.FULL}
    assert report.tick.changed == report.tick.due
    shop.states = before  # its chain is not the newest any more
    report = shop.tick()
    assert report.tick.fulls == report.tick.due
    assert report.audited == ()


def test_by_hand_one_business_in_three_ways(shop: Trial) -> None:
    business, other = active(shop)[:2]
    shop.tick()
    execute(shop, f"INSERT INTO customers VALUES (970001, {business}, 'a'), (970002, {other}, 'b')")
    only = frozenset({business})
    (manual,) = shop_report(shop, only=only, apart=True, reason="before the import").stored
    assert (manual.attempt.kind, manual.attempt.type, manual.attempt.reason) == (
        Kind.FULL, Trigger.MANUAL, "before the import",
    )  # fmt: skip
    (incremental,) = shop_report(shop, only=only).stored
    assert (incremental.attempt.kind, incremental.attempt.type) == (Kind.INCREMENTAL, Trigger.AUTOMATIC)
    (full,) = shop_report(shop, only=only, full=True).stored
    assert full.attempt.kind is Kind.FULL
    shop.newest[business] = full.attempt.backup_id
    report = shop.tick()
    assert [each.attempt.scope.business for each in report.stored] == [other]
    assert shop.wrong == []
    with pytest.raises(NotFoundError, match="no active business 99"):
        shop_report(shop, only=frozenset({"99"}))


def shop_report(shop: Trial, **wish: Any) -> TickReport:
    return run_tick(TickRequest(CATALOG, RAHIM, **wish), shop.states, shop.ports())


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Collection[str] | None]]:
    """The tables that are counted by business, and of which businesses."""
    calls: list[tuple[str, Collection[str] | None]] = []
    counts = PostgresBusinessRows.counts

    def noted(rows: PostgresBusinessRows, table: Any, businesses: Collection[str] | None = None) -> Any:
        if table.tracked and table.path.enforced:
            calls.append((table.plan.name, businesses))
        return counts(rows, table, businesses)

    monkeypatch.setattr(PostgresBusinessRows, "counts", noted)
    return calls


def test_where_nothing_changed_each_table_is_looked_at_once(shop: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.tick()
    asked: list[str] = []
    rows, batches = Worker.rows, Worker.batches

    def noted_rows(worker: Worker, sql: str) -> Any:
        asked.append(sql)
        return rows(worker, sql)

    def noted_batches(worker: Worker, sql: str, *more: Any) -> Any:
        asked.append(sql)
        return batches(worker, sql, *more)

    monkeypatch.setattr(Worker, "rows", noted_rows)
    monkeypatch.setattr(Worker, "batches", noted_batches)
    assert shop.tick().tick.changed == 0
    for table in ("customers", "orders", "items", "parts"):
        looked = [sql for sql in asked if f'FROM ONLY "public"."{table}"' in sql and "LIMIT 0" not in sql]
        assert len(looked) == 1, (table, looked)
    assert not any('FROM "public"."items" AS "s' in sql for sql in asked), "its candidates were known by then"


def test_who_had_deletions_is_first_looked_for_among_those_with_changes(
    shop: Trial, counted: list[tuple[str, Collection[str] | None]]
) -> None:
    shop.tick()
    business, other = active(shop)[:2]
    execute(
        shop,
        f"INSERT INTO customers VALUES (930001, {business}, 'a'), (930002, {business}, 'b'), (930003, {other}, 'c')",
    )
    shop.tick()
    assert counted == []
    execute(shop, "DELETE FROM customers WHERE id = 930001", "UPDATE customers SET name = 'd' WHERE id = 930002")
    (stored,) = shop.tick().stored
    assert stored.attempt.scope.business == business
    assert counted == [("customers", {business})]
    execute(shop, "DELETE FROM customers WHERE id = 930003", "UPDATE customers SET name = 'e' WHERE id = 930002")
    assert {each.attempt.scope.business for each in shop.tick().stored} == {business, other}
    assert counted[1:] == [("customers", {business}), ("customers", None)], "then among all"
    assert shop.wrong == []


@pytest.mark.parametrize("few", [0, 2])
def test_of_many_candidates_no_places_are_collected(shop: Trial, monkeypatch: pytest.MonkeyPatch, few: int) -> None:
    monkeypatch.setattr(postgres_businesses, "_AS_ARRAY", few)
    monkeypatch.setattr(postgres_businesses, "_SAMPLED_FROM", 0)
    monkeypatch.setattr(postgres_businesses, "_SAMPLE", 100)
    execute(
        shop,
        "UPDATE orders SET shop_id = 3 WHERE shop_id = 2",
        "UPDATE customers SET name = name || '?'",
        "DELETE FROM items WHERE id IN (SELECT id FROM items ORDER BY id LIMIT 2)",
    )
    assert shop.tick().tick.changed > 2
    assert shop.wrong == []


def test_a_chain_that_was_tampered_with_shows_at_the_next_full(shop: Trial) -> None:
    """The audit compares what the store has with what the source has: it notices what no checksum can."""
    business = active(shop)[0]
    execute(shop, f"INSERT INTO customers VALUES (960001, {business}, 'here')")
    shop.tick()
    with psycopg.connect(shop.url) as session:
        session.execute("UPDATE customers SET name = 'changed' WHERE id = 960001")
        (version,) = session.execute("SELECT xmin::text::int8 FROM customers WHERE id = 960001").fetchone() or (0,)
        session.commit()
    with shop.states.open("trial") as state:  # which is made believe that it has the change already
        state._db.execute(f"UPDATE keys_customers SET version = {version} WHERE key = '960001'")
    report = run_tick(TickRequest(CATALOG, RAHIM, only=frozenset({business}), full=True), shop.states, shop.ports())
    assert list(report.differing) == [business]
    assert "customers: 0 rows are only in the chain, 0 only in the full, 1 are others" in report.differing[business]
    assert report.tick.status is TickStatus.PARTIAL
    shop.newest[business] = report.stored[0].attempt.backup_id
    shop.tick()
    assert shop.wrong == []


@pytest.mark.slow
def test_who_got_no_first_backup_is_counted_once(shop: Trial, tmp_path: Path) -> None:
    """Keys that were read for a backup that failed, or for a manual one, are no second rows in the next tick."""
    before, whole, (broken, other) = shop.states, shop.store, active(shop)[:2]
    shop.states, shop.store = DuckKeyStates(tmp_path), _Failing(shop.store, broken)
    assert shop_report(shop, only=frozenset({other}), apart=True).stored
    report = shop_report(shop)
    assert ([miss.business for miss in report.tick.misses], report.unaccounted) == ([broken], {})
    shop.newest |= {each.attempt.scope.business or "": each.attempt.backup_id for each in report.stored}
    shop.store = whole
    report = shop.tick()
    assert [(each.attempt.scope.business, each.attempt.kind) for each in report.stored] == [(broken, Kind.FULL)]
    assert shop.wrong == []
    shop.states = before
    shop.tick()


def test_rows_of_whom_no_registry_knows_hide_no_deletion(shop: Trial) -> None:
    business = active(shop)[0]
    rows = ", ".join(f"({950000 + n}, {shop_id}, '2026-01-05')" for n, shop_id in enumerate([business, "42"] * 3))
    execute(shop, f"INSERT INTO visits VALUES {rows}")
    shop.tick()
    with shop.states.open("trial") as state:  # of this one alone nothing that is known says anything about now
        state._db.execute(
            "UPDATE businesses SET entry = replace(entry, 'print\": \"', 'print\": \"x') WHERE business = '42'"
        )
    execute(shop, f"DELETE FROM visits WHERE id >= 950000 AND shop_id = {business}")
    shop.tick()
    assert shop.wrong == []


def test_a_business_whose_rows_were_not_those_that_changed_gets_everything(
    shop: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    business = active(shop)[0]
    shop.tick()
    execute(shop, f"INSERT INTO customers VALUES (940001, {business}, 'new')")
    with monkeypatch.context() as patch:
        patch.setattr(PostgresBusinessRows, "rows_with", lambda *_: iter(()))
        with pytest.raises(BackupError, match="0 rows of table customers were read"):
            shop_report(shop)
    (stored,) = shop.tick().stored
    assert (stored.attempt.scope.business, stored.attempt.kind) == (business, Kind.FULL)
    assert shop.wrong == []


def test_a_state_that_is_damaged_begins_anew(shop: Trial, tmp_path: Path) -> None:
    before = shop.states
    shop.states = DuckKeyStates(tmp_path)
    shop.tick()
    (path,) = tmp_path.glob("*.duckdb")
    data = bytearray(path.read_bytes())
    data[12288::1000] = bytes(len(data[12288::1000]))
    path.write_bytes(data)
    report = shop.tick()
    assert report.tick.fulls == report.tick.due
    shop.states = before
    shop.tick()


@pytest.mark.slow
def test_a_row_of_fifty_megabytes_goes_with_its_business(shop: Trial) -> None:
    business, other = active(shop)[:2]
    shop.tick(full=True)
    execute(
        shop,
        f"INSERT INTO customers VALUES (920001, {business}, repeat('0123456789', 5000000)), (920002, {other}, 'small')",
    )
    report = shop.tick()
    assert {each.attempt.scope.business for each in report.stored} == {business, other}
    execute(shop, "UPDATE customers SET name = name || '!' WHERE id = 920001")
    (stored,) = shop.tick().stored
    assert (stored.attempt.kind, stored.attempt.record_count) == (Kind.INCREMENTAL, 1)
    execute(shop, "DELETE FROM customers WHERE id = 920001")
    shop.tick()
    assert shop.wrong == []
