"""Ticks whose backups are made by several runs: exact, whoever takes which part, and whoever is killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backup_pipeline.core.businesses.ticks import Miss, TickStatus
from backup_pipeline.core.errors import BackupError, RefusedError
from backup_pipeline.core.names import Kind
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.operations import shards
from backup_pipeline.operations.businesses import TickReport, TickRequest, run_tick, shared
from backup_pipeline.operations.businesses.shared import slice_of, take_tick_part
from backup_pipeline.postgres.businesses import PostgresBusinessRows
from backup_pipeline.stores.directory import DirectoryStore
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.businesses.trial import CATALOG, SHARING, Trial, active, execute, killed_process
from backup_pipeline_tests.servers.postgres import temporary_database


class Guests:
    """The port `Crew`: as the tick asks for others, `does` is done in their place, before the tick does anything."""

    def __init__(self, does: Callable[[str], object]) -> None:
        self._does, self.asked, self.stopped = does, 0, False

    def of(self, work: str) -> Guests:
        self.work = work
        return self

    def launch(self, count: int) -> None:
        self.asked += count
        if self.asked == count:
            self._does(self.work)

    def is_over(self, run_id: str) -> bool:
        return run_id == "dead"

    def bury(self, run_id: str) -> None:
        pass

    def stop(self) -> None:
        self.stopped = True


@pytest.fixture(scope="module")
def shop(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    with temporary_database(postgres_server) as url:
        trial = Trial(url, tmp_path_factory.mktemp("shared"), 5)
        _first_tick(trial)
        yield trial
        trial.close()


def _first_tick(trial: Trial) -> None:
    """With nothing under way that would hold a window open."""
    trial.prepare()
    while trial.long:
        trial.end_a_long_transaction()
    trial.tick()


@pytest.fixture(autouse=True)
def _every_tick_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "_WORTH", 1)


def _change(shop: Trial, number: int) -> None:
    execute(
        shop,
        f"UPDATE customers SET name = 'n{number}'",
        f"DELETE FROM parts WHERE item_id IN (SELECT id FROM items ORDER BY md5(id::text || '{number}') LIMIT 3)",
        "INSERT INTO logs SELECT id, 'more' FROM shops",
        f"UPDATE orders SET shop_id = {1 + number % 7} WHERE id IN (SELECT id FROM orders ORDER BY id LIMIT 2)",
    )


def test_others_make_the_backups_in_the_snapshot_of_the_tick(shop: Trial) -> None:
    parts: list[int] = []

    def join(work: str) -> None:
        execute(shop, "UPDATE customers SET worth = 99999")  # after the tick's snapshot: nobody sees it
        parts.append(take_tick_part(work, SHARING, shop.ports(), "run-2"))
        parts.append(take_tick_part(work, SHARING, shop.ports(), "run-3"))

    for number, wish in enumerate(({}, {"full": True})):
        _change(shop, number)
        guests = Guests(join)
        report = shop.tick(catalog=SHARING, crew=guests.of, **wish)
        assert (report.tick.status, guests.asked, guests.stopped) == (TickStatus.SUCCESS, 2, True)
        assert parts.pop() == 0, "nothing waited any more"
        keys = [each.attempt.scope.business or "" for each in report.stored]
        assert parts.pop() == len({slice_of(key, len(keys)) for key in keys}), "fewer businesses than 12 shards"
        assert {each.attempt.kind for each in report.stored} == {Kind.FULL if wish else Kind.INCREMENTAL}
        assert {each.attempt.run_id for each in report.stored} == {"run-2"}
        assert report.tick.changed == len(active(shop)) > 2
        assert shop.ledger.shards.list(guests.work) == []
    assert len(report.audited) == report.tick.due
    assert shop.wrong == []
    assert take_tick_part(guests.work, SHARING, shop.ports(), "late") == 0


def test_alone_the_run_of_the_tick_does_everything(shop: Trial) -> None:
    _change(shop, 10)
    report = shop.tick(catalog=SHARING, crew=Guests(lambda _: None).of)
    assert report.tick.changed == len(active(shop))
    assert shop.wrong == []


def test_a_run_of_another_program_or_catalog_is_refused(shop: Trial) -> None:
    def join(work: str) -> None:
        with pytest.raises(RefusedError, match="another version"):
            take_tick_part(work, CATALOG, shop.ports(), "other")

    _change(shop, 20)
    assert shop.tick(catalog=SHARING, crew=Guests(join).of).tick.status is TickStatus.SUCCESS


def _dies_holding(shop: Trial, work: str) -> None:
    shard = shop.ledger.shards.take(work, replace(shop.ports().owner, host="elsewhere"), "dead")
    assert shard is not None


def _shared_tick(shop: Trial, guests: Guests) -> TickReport:
    return run_tick(TickRequest(SHARING, RAHIM, crew=guests.of), shop.states, shop.ports())


def test_what_a_killed_run_held_is_made_by_another(shop: Trial) -> None:
    _change(shop, 30)
    guests = Guests(lambda work: _dies_holding(shop, work))
    report = shop.tick(catalog=SHARING, crew=guests.of)
    assert (report.tick.changed, guests.asked) == (len(active(shop)), 3), "and another run was asked for"
    assert shop.wrong == []


def test_what_nobody_could_make_is_missed_and_made_up_for(shop: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "MOST_TRIES", 1)
    _change(shop, 40)
    guests = Guests(lambda work: _dies_holding(shop, work))
    report = _shared_tick(shop, guests)
    assert report.tick.status is TickStatus.PARTIAL
    assert {miss.outcome for miss in report.tick.misses} == {Miss.FAILED}
    assert "ended without a word" in report.tick.misses[0].reason
    missed = {miss.business for miss in report.tick.misses}
    assert missed | {each.attempt.scope.business for each in report.stored} == set(active(shop))
    shop.newest |= {str(each.attempt.scope.business): each.attempt.backup_id for each in report.stored}
    assert {each.attempt.scope.business for each in shop.tick().stored} >= missed
    assert shop.wrong == []


def test_backups_that_nobody_reported_cost_fulls_and_no_row(shop: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is killed after it wrote, and before it said so: its part is made again, and chains stay exact."""

    class Killed(BaseException):
        pass

    def join(work: str) -> None:
        def killed(*_: Any) -> bool:
            raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(type(shop.ledger.shards), "end", killed)
            with pytest.raises(Killed):
                take_tick_part(work, SHARING, shop.ports(), "killed")

    for number in (50, 51):
        _change(shop, number)
        shop.tick(catalog=SHARING, crew=Guests(join).of)
    _change(shop, 52)
    shop.tick()
    shop.tick()
    assert shop.wrong == []


def test_a_tick_that_fails_leaves_nobody_at_work(shop: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    _change(shop, 60)
    guests = Guests(lambda _: None)
    with monkeypatch.context() as patch:
        patch.setattr(PostgresBusinessRows, "rows_with", lambda *_: iter(()))
        with pytest.raises(BackupError, match="0 rows of table customers were read"):
            _shared_tick(shop, guests)
    assert guests.stopped
    assert shop.ledger.shards.list(guests.work) == []
    assert Kind.FULL in {each.attempt.kind for each in shop.tick().stored}, "whose rows were wrong is forgotten"
    assert shop.wrong == []


@pytest.fixture
def killers(postgres_server: EmbeddedPostgres, tmp_path: Path) -> Iterator[Trial]:
    """A trial after its first tick, with a store that other processes write too."""
    with temporary_database(postgres_server) as url:
        trial = Trial(url, tmp_path, 5)
        trial.store, trial.among_processes = DirectoryStore(tmp_path / "store"), True
        _first_tick(trial)
        yield trial
        trial.close()


def _manifests(trial: Trial) -> set[str]:
    return {found.key.split("/")[-2] for found in trial.store.list("trial/") if found.key.endswith("/manifest.json")}


@pytest.mark.acceptance("3.7")
def test_a_process_that_is_killed_at_its_part_of_a_tick_costs_nobody_anything(killers: Trial) -> None:
    """Killed as it writes the manifest of its second business: the tick does that part again, and is right."""
    _change(killers, 70)
    report = killers.tick(catalog=SHARING, crew=Guests(lambda work: killed_process(work, killers, 4)).of)
    assert (report.tick.status, report.tick.changed) == (TickStatus.SUCCESS, len(active(killers)))
    rows = {row.backup_id for row in killers.ledger.list()}
    assert len(_manifests(killers) - rows) <= 1, "what was written and not noted is no backup of anybody's chain"
    _change(killers, 71)
    assert killers.tick().tick.changed == len(active(killers))
    assert killers.wrong == []


@pytest.mark.slow
@pytest.mark.acceptance("3.7")
def test_a_process_that_is_killed_at_a_tick_leaves_the_next_one_all_of_it(killers: Trial) -> None:
    _change(killers, 80)
    killed_process("tick", killers, 4)
    (dead,) = killers.ledger.ticks.list("trial", limit=1)
    assert dead.status is TickStatus.RUNNING
    report = killers.tick(catalog=SHARING)
    assert (report.tick.status, report.tick.changed) == (TickStatus.SUCCESS, len(active(killers)))
    assert killers.ledger.ticks.list("trial", limit=2)[1].status is TickStatus.FAILED, "and it says so of the dead one"
    _change(killers, 81)
    assert killers.tick().tick.changed == len(active(killers))
    assert killers.wrong == []
